"""Downloads that end right or with a clear error: mirrors, resumption, digests on record."""

import errno
import gzip
import json
import re
import shutil
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import requests
import tenacity
from filelock import FileLock
from urllib3.exceptions import HTTPError

from npm_core import __version__
from npm_core.errors import DataError, OutputError, SettingsError
from npm_core.files import atomic_path, write_text
from npm_core.progress import SECONDS_BETWEEN_LINES, note
from npm_core.provenance import file_digest
from npm_core.source_lock import SourceLock

_CHUNK_BYTES = 2**20
_GZIP_SUFFIXES = (".gz", ".tgz")
RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
_LONGEST_WAIT = 300.0
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


class Transient(Exception):
    """Worth another attempt, after `wait` seconds where the server named them."""

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


class Absent(DataError):
    """The server, or the folder, has no such file."""


@dataclass(frozen=True)
class Patience:
    """How long a file is asked for.

    Attributes:
        attempts: For each mirror: on 429, 5xx, broken connections, stalls and truncation.
        timeout: Seconds without a byte that make a stall.
        first_wait: Seconds before the second attempt; they double, unless the server names them.
        stopped: Once it is set nothing is waited for, and nothing asked again.
    """

    attempts: int = 8
    timeout: float = 60.0
    first_wait: float = 1.0
    stopped: threading.Event = field(default_factory=threading.Event)

    def retrying(self, url: str) -> tenacity.Retrying:
        """Calls what it is given until that raises no `Transient`."""
        return tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(Transient),
            stop=tenacity.stop_after_attempt(self.attempts)
            | tenacity.stop_when_event_set(self.stopped),
            wait=_Waits(self.first_wait),
            sleep=tenacity.sleep_using_event(self.stopped),
            before_sleep=_say_why(url),
            reraise=True,
        )

    def go_on(self) -> None:
        """Raise `Transient` once it was stopped."""
        if self.stopped.is_set():
            raise Transient("stopped")


PATIENT = Patience()


@dataclass(frozen=True)
class _State:
    """What a partial download is a part of; it can only go on from the same thing."""

    url: str
    validator: str
    size: int | None


def is_url(place: str) -> bool:
    """Whether a place is a URL, not a path."""
    return _URL.match(place) is not None


def download(
    urls: Sequence[str],
    output: Path | str,
    *,
    lock: SourceLock | None,
    patience: Patience = PATIENT,
) -> str:
    """Fetch a file from the first mirror that has it, whole and as it was the first time.

    The bytes go to a .part file beside `output`; an interrupted download goes on from there when
    the server proves (ETag or Last-Modified) that it is the same file. `output` appears by a
    rename when its size is the announced one, gzip data is intact and the digest is on record.

    Args:
        urls: Places of one and the same file, best first: https, http or file.
        output: File to write. Nothing is fetched when it already has the recorded digest; its
            time becomes that of a file just fetched.
        lock: Digests on record. The first download adds the sha256 under the first URL; from
            then on every download of any of `urls` must have it. None checks nothing.
        patience: How long it is asked for.

    Returns:
        sha256 of the file, in hexadecimal.

    Raises:
        Absent: No mirror has the file.
        DataError: What they have is damaged or not what is on record, or cannot be had now. The
            message says what became of each.
        OutputError: It cannot be written.
        SettingsError: A URL of another kind.
    """
    output = Path(output)
    for url in urls:
        _check_url(url)
    if not urls:
        raise SettingsError(f"{output}: no URL to fetch it from")
    output.parent.mkdir(parents=True, exist_ok=True)
    failures: dict[str, DataError | Transient] = {}
    with FileLock(_beside(output, ".lock")):
        # Read here: another process may have fetched it meanwhile.
        expected = None if lock is None else lock.digest(urls)
        if expected is not None and output.is_file() and file_digest(output) == expected:
            output.touch()
            return expected
        for url in urls:
            try:
                digest = _fetch(
                    url,
                    output,
                    expected=expected,
                    lock=None if lock is None else (lock, urls[0]),
                    patience=patience,
                )
            except (DataError, Transient) as error:
                failures[url] = error
                continue
            return digest
    listed = "".join(f"\n       {url}: {error}" for url, error in failures.items())
    absent = all(isinstance(error, Absent) for error in failures.values())
    raise (Absent if absent else DataError)(f"{output}: could not be fetched.{listed}")


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path:
        return
    if parts.scheme in ("http", "https") and parts.netloc:
        return
    raise SettingsError(f"{url}: expected http://, https:// or file:///absolute/path")


def _beside(output: Path, suffix: str) -> Path:
    return output.with_name(f".{output.name}{suffix}")


def _fetch(
    url: str,
    output: Path,
    *,
    expected: str | None,
    lock: tuple[SourceLock, str] | None,
    patience: Patience,
) -> str:
    """Fetch from one mirror, check, record and put in place; returns the digest."""

    def attempt() -> str:
        patience.go_on()
        if urlsplit(url).scheme == "file":
            _copy(url, part)
            in_one_piece = True
        else:
            in_one_piece = _request(url, part, patience)
        problem = _gzip_problem(part, must_be=url.endswith(_GZIP_SUFFIXES))
        if problem:
            _discard(part)
            # All announced bytes came at once: another attempt would bring the same.
            raise DataError(problem) if in_one_piece else Transient(problem)
        return file_digest(part)

    part = _beside(output, ".part")
    digest = patience.retrying(url)(attempt)
    if expected is not None and digest != expected:
        _discard(part)
        raise DataError(
            f"sha256 is {digest}, the lock file has {expected}. If the file was changed on "
            "purpose, delete its entry there"
        )
    if lock is not None:
        table, name = lock
        table.record(name, digest, part.stat().st_size)
    with atomic_path(output) as whole:
        part.replace(whole)
    _discard(part)
    return digest


class _Waits(tenacity.wait.wait_base):
    """Doubling waits with jitter, or what the server asks for."""

    def __init__(self, first: float) -> None:
        self._doubling = tenacity.wait_random_exponential(multiplier=first, max=_LONGEST_WAIT)

    def __call__(self, retry_state: tenacity.RetryCallState) -> float:
        error = retry_state.outcome.exception() if retry_state.outcome else None
        if isinstance(error, Transient) and error.wait is not None:
            return min(error.wait, _LONGEST_WAIT)
        return self._doubling(retry_state)


def _say_why(url: str) -> Any:
    def say(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        wait = state.next_action.sleep if state.next_action else 0.0
        note(f"{url}: {error}; attempt {state.attempt_number + 1} in {wait:.0f} s")

    return say


def _copy(url: str, part: Path) -> None:
    source = Path(url2pathname(urlsplit(url).path))
    try:
        with source.open("rb"):
            _discard(part)  # what another mirror sent cannot go on from these bytes
            shutil.copyfile(source, part)
    except FileNotFoundError as error:
        raise Absent(f"{source}: {error.strerror}") from error
    except (IsADirectoryError, PermissionError) as error:
        raise DataError(f"{source}: {error.strerror}") from error


def _request(url: str, part: Path, patience: Patience) -> bool:
    """Bring `part` to its full size by one request; what arrived stays when it breaks off.

    Returns:
        Whether all of it came in this one answer, of the announced size.

    Raises:
        DataError: The server answers that there is nothing to get.
        OutputError: There is no room for it.
        Transient: Anything that may be different next time.
    """
    state = _read_state(part, url)
    have = part.stat().st_size if state is not None else 0
    if state is not None and state.size == have:
        return False
    headers = {"User-Agent": f"neural-potts-model/{__version__}", "Accept-Encoding": "identity"}
    if state is not None and have:
        headers |= {"Range": f"bytes={have}-", "If-Range": state.validator}
    try:
        with requests.get(url, headers=headers, stream=True, timeout=patience.timeout) as response:
            _check_status(response, part)
            append = response.status_code == 206
            if append:
                size = _check_range(response, part, have, state)
            else:
                have, size = 0, _content_length(response)
                _discard(part)  # before the state: its bytes are of another answer
            _write_state(part, _State(url, _validator(response), size))
            with part.open("ab" if append else "wb") as stream:
                for chunk in _chunks(response, url, have, size):
                    stream.write(chunk)
                    patience.go_on()
    except (requests.RequestException, HTTPError, ConnectionError, TimeoutError) as error:
        got = part.stat().st_size if part.exists() else 0
        raise Transient(f"broke off after {got} bytes ({type(error).__name__})") from error
    except OSError as error:
        full = error.errno == errno.ENOSPC
        reason = "the disk is full; run again to go on from here" if full else error.strerror
        raise OutputError(f"{part}: {reason}") from error
    got = part.stat().st_size
    if size is not None and got < size:
        raise Transient(f"broke off after {got} bytes of {size}")
    if size is not None and got > size:
        _discard(part)
        raise Transient(f"{got} bytes came, {size} were announced")
    return size is not None and not append


def _check_status(response: requests.Response, part: Path) -> None:
    status = response.status_code
    if status == 416:
        _discard(part)
        raise Transient("the server has no such range (416); starting again from the beginning")
    if status in RETRIED:
        raise Transient(f"HTTP status {status} {response.reason}", retry_after(response))
    if status in (404, 410):
        raise Absent(f"HTTP status {status} {response.reason}")
    if status not in (200, 206):
        raise DataError(f"HTTP status {status} {response.reason}")
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        raise DataError(f"the server sends it in encoding {encoding!r}, which was not asked for")


def retry_after(response: requests.Response) -> float | None:
    """Seconds after which the server wants to be asked again, where it says so."""
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else None


def _check_range(
    response: requests.Response, part: Path, have: int, state: _State | None
) -> int | None:
    """The size of the whole file, when the answer goes on exactly where `part` ends."""
    found = response.headers.get("Content-Range", "")
    match = _CONTENT_RANGE.fullmatch(found)
    problem = ""
    if state is None or have == 0:
        problem = "a part came, the whole was asked for"
    elif match is None or int(match[1]) != have:
        problem = f"asked for bytes from {have}, got {found or 'no Content-Range'!r}"
    elif state.validator.startswith('"') and _etag(response) not in ("", state.validator):
        problem = f"the file has changed: ETag {_etag(response)}, before {state.validator}"
    elif state.size is not None and match[3] not in ("*", str(state.size)):
        problem = f"the file has changed: {match[3]} bytes, before {state.size}"
    if problem or match is None or state is None:
        _discard(part)
        raise Transient(f"{problem}; starting again from the beginning")
    return state.size if match[3] == "*" else int(match[3])


def _content_length(response: requests.Response) -> int | None:
    value = response.headers.get("Content-Length", "")
    return int(value) if value.isdecimal() else None


def _etag(response: requests.Response) -> str:
    """The strong ETag, quotes included, or nothing: a weak one does not promise equal bytes."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else ""


def _validator(response: requests.Response) -> str:
    return _etag(response) or response.headers.get("Last-Modified", "")


def _chunks(response: requests.Response, url: str, have: int, size: int | None) -> Iterator[bytes]:
    """What arrives, as it arrives, undecoded."""
    last = time.monotonic()
    # read1 hands over what has come; read would lose it when the connection breaks.
    while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=False):
        yield chunk
        have += len(chunk)
        if time.monotonic() - last >= SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            whole = "" if size is None else f" of {size / 2**30:.2f}"
            note(f"{url}: {have / 2**30:.2f}{whole} GiB")


def _state_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _write_state(part: Path, state: _State) -> None:
    write_text(_state_path(part), json.dumps(asdict(state)))


def _read_state(part: Path, url: str) -> _State | None:
    """What `part` is a part of; when that is unknown or another URL's, `part` is worthless."""
    try:
        state = _State(**json.loads(_state_path(part).read_text(encoding="utf-8")))
        usable = part.is_file() and state.url == url and bool(state.validator)
        usable = usable and (state.size is None or part.stat().st_size <= state.size)
    except (FileNotFoundError, ValueError, TypeError):
        usable = False
    if usable:
        return state
    _discard(part)
    return None


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _state_path(part).unlink(missing_ok=True)


def _gzip_problem(part: Path, *, must_be: bool) -> str:
    """What is wrong with gzip data, unpacked to its end; nothing for sound or other data.

    A proxy's error page or a cut file must not pass for the file.
    """
    with part.open("rb") as stream:
        zipped = stream.read(2) == b"\x1f\x8b"
    if not zipped:
        return "the name ends in .gz, but the data is no gzip" if must_be else ""
    try:
        with gzip.open(part, "rb") as unpacked:
            while unpacked.read(_CHUNK_BYTES):
                pass
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        return f"gzip data is truncated or corrupt ({error})"
    return ""
