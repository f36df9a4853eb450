"""The lock file of the sources: digests of what was fetched, so that it is the same next time."""

import errno
import os
import re
import threading
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock

from npm_core.errors import DataError, OutputError

HEADER = b"url\tbytes\tsha256"
_ENTRY = re.compile(rb"([^\t]+)\t\d+\t([0-9a-f]{64})")


class SourceLock:
    """A table that only grows: a line for each file, added when it was first fetched.

    Processes and threads may add to it side by side. Each reads what was added since it last
    looked, so that a file costs the same however many there are.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        self._digests: dict[str, str] = {}
        self._known_bytes = 0
        self._one_thread = threading.Lock()

    def digest(self, urls: Sequence[str]) -> str | None:
        """The sha256 on record for any of `urls`, which are the same file.

        Raises:
            DataError: They have several, or the file is no lock file.
        """
        with self._one_thread:
            self._read_on()
            found = {self._digests[url] for url in urls if url in self._digests}
        if len(found) > 1:
            raise DataError(
                f"{self._path}: {', '.join(urls)} are mirrors, but differ in their sha256"
            )
        return found.pop() if found else None

    def record(self, url: str, digest: str, size: int) -> None:
        """Add a file of so many bytes; one that is there already must be the same.

        Raises:
            DataError: It is another, or the file is no lock file.
            OutputError: The line cannot be written.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._one_thread, FileLock(self._path.with_name(f".{self._path.name}.lock")):
            if unfinished := self._read_on():
                raise DataError(
                    f"{self._path}: {unfinished!r} is not a whole line; end or delete it"
                )
            known = self._digests.get(url)
            if known is None:
                self._append(f"{url}\t{size}\t{digest}".encode())
                self._read_on()
            elif known != digest:
                raise DataError(
                    f"{self._path}: another run recorded sha256 {known}, this one has {digest}"
                )

    def _append(self, line: bytes) -> None:
        with self._path.open("ab", buffering=0) as stream:
            before = stream.tell()
            text = line + b"\n" if before else HEADER + b"\n" + line + b"\n"
            try:
                if stream.write(text) < len(text):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(stream.fileno())
            except OSError as error:
                stream.truncate(before)
                raise OutputError(f"{self._path}: cannot be written ({error.strerror})") from error

    def _read_on(self) -> bytes:
        """Take in the lines that are new; returns what follows the last of them."""
        try:
            with self._path.open("rb") as stream:
                if stream.seek(0, os.SEEK_END) < self._known_bytes:  # somebody deleted a line
                    self._known_bytes, self._digests = 0, {}
                stream.seek(self._known_bytes)
                *lines, unfinished = stream.read().split(b"\n")
        except FileNotFoundError:
            return b""
        for line in lines:
            if self._known_bytes or line != HEADER:
                self._take(line)
            self._known_bytes += len(line) + 1
        return unfinished

    def _take(self, line: bytes) -> None:
        entry = _ENTRY.fullmatch(line)
        if entry is None:
            raise DataError(
                f"{self._path}: not a lock file; expected url, bytes and sha256 of a file, "
                f"separated by tabs, got {line[:200]!r}. Correct or delete it"
            )
        url, digest = (part.decode() for part in entry.groups())
        if self._digests.setdefault(url, digest) != digest:
            raise DataError(f"{self._path}: two lines on {url} differ in their sha256")
