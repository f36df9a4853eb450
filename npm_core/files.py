"""Files: written whole or not at all, and read with an error that names what is wrong."""

import codecs
import csv
import gzip
import hashlib
import io
import os
import re
import shutil
import tempfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from safetensors import SafetensorError

from npm_core.errors import DataError, OutputError

if TYPE_CHECKING:
    from torch import Tensor

_UMASK = os.umask(0)
os.umask(_UMASK)
"""The umask, for the mode of new files. Reading it sets it, so it is read before threads run."""

_NO_TEXT = {
    b"PK\x03\x04": "a zip archive, expected text; unpack it",
    b"BZh91AY": "bzip2 data, expected text; unpack it: bunzip2",
    b"\xfd7zXZ": "xz data, expected text; unpack it: unxz",
    b"\x28\xb5\x2f\xfd": "zstd data, expected text; unpack it: unzstd",
    codecs.BOM_UTF16_LE: "UTF-16, expected UTF-8; convert it: iconv -f utf-16 -t utf-8",
    codecs.BOM_UTF16_BE: "UTF-16, expected UTF-8; convert it: iconv -f utf-16 -t utf-8",
}
"""First bytes of what is given for text by mistake."""

_UNDECODABLE = re.compile("[\udc80-\udcff]")
"""What the error handler surrogateescape reads bytes as."""

_BREAKS = re.compile(r"\s*[\t\r\n]\s*")
"""What would end a field or a line of a tab-separated table."""


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """A temporary path beside `path` that becomes `path` (fsync, rename) when the block succeeds.

    The file that stood at `path` before survives any failure, a full disk included. The file that
    a symbolic link leads to is replaced, not the link; a device or a FIFO gets what was written.

    Raises:
        OutputError: `path` is a folder, nothing can be written in its folder, or the disk is full.
    """
    given = Path(path)
    if given.is_dir():
        raise OutputError(f"{given}: is a folder, expected a file to write")
    stream = given.exists() and not given.is_file()
    path = Path(os.path.realpath(given))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(
            prefix=f".{path.name}.", suffix=".part", dir=None if stream else path.parent
        )
    except OSError as error:
        raise OutputError(f"{given}: cannot be written ({error.strerror})") from error
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        if stream:
            with temporary.open("rb") as source, given.open("wb") as target:
                shutil.copyfileobj(source, target)
            return
        with temporary.open("rb+") as whole:
            os.fsync(whole.fileno())
        temporary.chmod(0o666 & ~_UMASK)
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    # Nobody reads on, which is no error (`cli.main`); or what was read is damaged.
    except (BrokenPipeError, gzip.BadGzipFile):
        raise
    except (OSError, SafetensorError) as error:
        if getattr(error, "filename", None) is not None:  # of another file, which it names
            raise
        reason = getattr(error, "strerror", None) or error
        kept = "" if stream else "; what stood there is still whole"
        raise OutputError(
            f"{given}: cannot be written ({reason}){kept}. "
            "Make room and give the same command again"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """Write `text` (UTF-8) to `path`, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def open_gzip(path: Path | str, level: int = 9) -> Iterator[gzip.GzipFile]:
    """Open a gzip file for writing, whole or not at all: the same content is the same bytes."""
    with (
        atomic_path(path) as temporary,
        temporary.open("wb") as raw,
        # Neither a name nor a time in the header.
        gzip.GzipFile("", "wb", level, raw, mtime=0) as stream,
    ):
        yield stream


def write_gzip(path: Path | str, text: str, encoding: str = "utf-8") -> None:
    """Write `text` to `path` as gzip data, whole or not at all."""
    with open_gzip(path) as stream:
        stream.write(text.encode(encoding))


def file_stem(name: str) -> str:
    """A file name for a sequence: its first word, and a digest if that is no safe or full name."""
    word = name.split()[0] if name.split() else ""
    safe = re.sub(r"[^A-Za-z0-9_.-]", "_", word)[:64].lstrip(".")
    if safe == word:
        return safe
    return f"{safe}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def write_tsv(path: Path | str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write rows as they come, tab-separated, each on one line; None is an empty field."""
    with atomic_path(path) as part, part.open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, dialect="excel-tab", lineterminator="\n")
        table.writerow(columns)
        for row in rows:
            table.writerow("" if value is None else _BREAKS.sub(" ", str(value)) for value in row)


def read_tsv(path: Path | str, needed: Collection[str] = ()) -> Iterator[dict[str, str]]:
    """Rows of a tab-separated table, each value as text by the name of its column.

    Raises:
        DataError: As `numbered_tsv`.
    """
    return (row for _, row in numbered_tsv(path, needed))


def numbered_tsv(
    path: Path | str, needed: Collection[str] = ()
) -> Iterator[tuple[int, dict[str, str]]]:
    """As `read_tsv`, each row behind the number of its line, which blank lines count into.

    Raises:
        DataError: The file is missing, lacks a column or has a line of another width.
    """
    with open_text(path) as stream:
        table = csv.DictReader(stream, dialect="excel-tab")
        found = table.fieldnames or ()
        if missing := set(needed) - set(found):
            raise DataError(
                f"{path}: columns {sorted(missing)} are missing; separated by tabs, there are "
                f"{', '.join(found) or 'none'}"
            )
        for row in table:
            if None in row or None in row.values():
                more = row.pop(None, [])
                count = len(more) + sum(value is not None for value in row.values())
                raise DataError(
                    f"{path}, line {table.line_num}: {count} tab-separated values, expected "
                    f"{len(found)}, one a column; an empty one has its tab, too"
                )
            yield table.line_num, row


def write_tensors(
    path: Path | str, tensors: Mapping[str, "Tensor"], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors as safetensors, whole or not at all."""
    from safetensors.torch import save_file

    with atomic_path(path) as temporary:
        save_file(dict(tensors), temporary, metadata=dict(metadata) if metadata else None)


def require_file(path: Path | str, why: str) -> None:
    """Raise where a path leads to what cannot be read again, such as a pipe; it may lead nowhere.

    Args:
        path: `-` is standard input, which may be a file.
        why: The input is to be a file; ends the message.

    Raises:
        DataError: It is no regular file.
    """
    place = _place(path)
    if place.exists() and not place.is_file():
        raise DataError(f"{path}: a pipe or a folder, expected a file: {why}")


def _place(path: Path | str) -> Path:
    return Path("/dev/stdin" if str(path) == "-" else path)


@contextmanager
def open_binary(path: Path | str) -> Iterator[io.BufferedReader]:
    """Open a file, or for `-` standard input, for reading bytes.

    Raises:
        DataError: The file is missing.
    """
    try:
        with _place(path).open("rb") as stream:
            yield stream
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error


@contextmanager
def open_text(
    path: Path | str, encoding: str = "utf-8", errors: str = "strict"
) -> Iterator[IO[str]]:
    """Open a text file for reading, gzipped or not (told by its first two bytes).

    The byte order mark that Windows puts before UTF-8 is left out.

    Args:
        path: `-` is standard input.
        encoding: Of its bytes.
        errors: What to do with bytes that are not in the encoding, as Python's `open`.

    Raises:
        DataError: The file is missing, no text, or its gzip data is truncated or corrupt.
    """
    try:
        # Opened once: what a pipe has given it does not give again.
        with open_binary(path) as raw:
            zipped = raw.peek(2)[:2] == b"\x1f\x8b"
            data = gzip.GzipFile(fileobj=raw) if zipped else raw
            begin = data.peek(8)
            for magic, told in _NO_TEXT.items():
                if begin.startswith(magic):
                    raise DataError(f"{path}: {told}")
            if begin.startswith(codecs.BOM_UTF8):
                data.read(3)
            with io.TextIOWrapper(cast("IO[bytes]", data), encoding, errors) as stream:
                yield stream
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: gzip data is truncated or corrupt ({error})") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{_undecodable(path, encoding)} is not in {encoding}, as expected; if the file is in "
            "Latin-1, convert it: iconv -f latin1 -t utf-8"
        ) from error


def _undecodable(path: Path | str, encoding: str) -> str:
    """Where the first bytes are that are no text, and what they are."""
    if not Path(path).is_file():  # a pipe, which cannot be read again
        return f"{path}: the text"
    with open_text(path, encoding, "surrogateescape") as stream:
        for number, line in enumerate(stream, start=1):
            if found := _UNDECODABLE.search(line):
                shown = line[max(0, found.start() - 20) : found.end()]
                told = shown.encode(encoding, "surrogateescape").decode(
                    encoding, "backslashreplace"
                )
                return f"{path}, line {number}: '{told}'"
    return f"{path}: the text"
