"""FFindex: many small files in two, NAME.ffdata with the texts and NAME.ffindex with the places."""

from collections.abc import Container, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from npm_core.errors import DataError
from npm_core.files import atomic_path


@dataclass(frozen=True, order=True)
class Entry:
    """Where one text lies.

    Attributes:
        offset: First byte of the text.
        length: Bytes, the closing NUL counted.
        key: Name of the text, unique in its index.
    """

    offset: int
    length: int
    key: str


def data_path(prefix: Path | str) -> Path:
    """The file of texts; a prefix may hold dots, so this is no change of suffix."""
    return Path(f"{prefix}.ffdata")


def index_path(prefix: Path | str) -> Path:
    """The file of places."""
    return Path(f"{prefix}.ffindex")


def read_index(prefix: Path | str) -> list[Entry]:
    """Places of all texts, in the order in which the texts lie in the data file.

    Raises:
        DataError: A file is missing, a line is malformed, a key occurs twice or a text would end
            outside the data file.
    """
    path = index_path(prefix)
    try:
        lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
        size = data_path(prefix).stat().st_size
    except FileNotFoundError as error:
        raise DataError(f"{error.filename}: no such file; an ffindex needs both parts") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: a key is no UTF-8 ({error})") from error
    entries = [
        _entry(line, f"{path}, line {number}") for number, line in enumerate(lines, 1) if line
    ]
    if len({entry.key for entry in entries}) != len(entries):
        raise DataError(f"{path}: a key occurs twice")
    for entry in entries:
        if entry.offset + entry.length > size:
            raise DataError(
                f"{path}: {entry.key} ends at byte {entry.offset + entry.length}, but "
                f"{data_path(prefix)} has {size}. Make the pair of files again"
            )
    return sorted(entries)


def _entry(line: str, where: str) -> Entry:
    try:
        key, offset, length = line.split("\t")
        entry = Entry(int(offset), int(length), key)
    except ValueError as error:
        raise DataError(f"{where}: expected 'key offset length', found {line[:60]!r}") from error
    if entry.offset < 0 or entry.length < 1:
        raise DataError(f"{where}: offset {entry.offset} and length {entry.length} are no place")
    return entry


def read_entries(
    prefix: Path | str, *, only: Container[str] | None = None
) -> Iterator[tuple[str, bytes]]:
    """(key, text without its NUL) in the order of the data file.

    Args:
        prefix: Of the pair of files.
        only: Keys to read, where not all of them.

    Raises:
        DataError: As `read_index`.
    """
    entries = [entry for entry in read_index(prefix) if only is None or entry.key in only]
    with data_path(prefix).open("rb") as stream:
        for entry in entries:
            stream.seek(entry.offset)
            yield entry.key, stream.read(entry.length).removesuffix(b"\0")


def write_entries(prefix: Path | str, entries: Iterable[tuple[str, bytes]]) -> int:
    """Write texts in the order given, with the index sorted as HH-suite looks keys up: by bytes.

    Keys may be longer than the 32 characters which HH-suite's own programs read.

    Returns:
        The number of texts.

    Raises:
        DataError: A key is empty, holds a tab or a line break, or occurs twice.
    """
    places: dict[str, tuple[int, int]] = {}
    with ExitStack() as stack:
        # The index is renamed first, so that a whole pair ends with the appearance of the data.
        data = stack.enter_context(atomic_path(data_path(prefix)))
        index = stack.enter_context(atomic_path(index_path(prefix)))
        with data.open("wb") as stream:
            offset = 0
            for key, text in entries:
                if not key or "\t" in key or len(key.splitlines()) != 1:
                    raise DataError(f"{data_path(prefix)}: {key!r} cannot be a key")
                if key in places:
                    raise DataError(f"{data_path(prefix)}: {key} occurs twice")
                stream.write(text + b"\0")
                places[key] = (offset, len(text) + 1)
                offset += len(text) + 1
        # Sorted by the bytes of the key: a shorter key comes first, as in LC_ALL=C.
        keys = sorted(places, key=str.encode)
        index.write_text(
            "".join(f"{key}\t{places[key][0]}\t{places[key][1]}\n" for key in keys),
            encoding="utf-8",
        )
    return len(places)
