"""Multiple sequence alignments in the columns of their query: A3M and its kin, read and checked."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from npm_core import alphabet
from npm_core.arrays import Indices, States
from npm_core.errors import DataError
from npm_core.files import open_text
from npm_core.numbering import residue_numbers

_DROP_INSERTS = str.maketrans("", "", "abcdefghijklmnopqrstuvwxyz. \t\r\n")

SUFFIXES = {
    "a3m": "a3m",
    "a2m": "a3m",
    "fas": "fasta",
    "fasta": "fasta",
    "fa": "fasta",
    "afa": "fasta",
    "sto": "stockholm",
    "stockholm": "stockholm",
    "stk": "stockholm",
    "aln": "aln",
    "psicov": "aln",
}


@dataclass(frozen=True, eq=False)
class Msa:
    """An alignment anchored to its first row, the query.

    Attributes:
        names: One name a row.
        residues: (depth, length), states 0..20 (`alphabet.ALPHABET`, gap last). Inserts relative
            to the query's columns are not kept.
        nonstandard: How many letters were replaced by a parent amino acid or a gap.
        numbers: (length,) number of the query's residue in each column; None where columns were
            kept in which it has none.
    """

    names: tuple[str, ...]
    residues: States
    nonstandard: int = 0
    numbers: Indices | None = None

    def __post_init__(self) -> None:
        if self.residues.ndim != 2 or self.residues.size == 0:
            raise DataError(f"an alignment needs rows and columns, found {self.residues.shape}")
        if len(self.names) != len(self.residues):
            raise DataError(f"{len(self.names)} names for {len(self.residues)} rows")
        if self.residues.max() >= alphabet.STATES:
            raise DataError(f"state {self.residues.max()} is outside 0..{alphabet.STATES - 1}")

    @property
    def depth(self) -> int:
        return self.residues.shape[0]

    @property
    def length(self) -> int:
        return self.residues.shape[1]

    @cached_property
    def query(self) -> str:
        """Row 0 in letters; gaps are kept."""
        return alphabet.decode(self.residues[0])

    def led_by(self, row: int, columns: NDArray[np.bool_] | None = None) -> "Msa":
        """The same alignment with `row` first and, where given, only the True `columns`."""
        order = np.r_[row, np.delete(np.arange(self.depth), row)]
        residues = self.residues[order]
        return Msa(
            tuple(self.names[index] for index in order),
            residues if columns is None else np.ascontiguousarray(residues[:, columns]),
            self.nonstandard,
        )

    def row(self, query: int | str) -> int:
        """Index of the row of that index or name, or of which a name's first word is `query`.

        Raises:
            DataError: There is no such row.
        """
        if isinstance(query, int):
            if not 0 <= query < self.depth:
                raise DataError(f"row {query + 1} was asked for as the query of {self.depth} rows")
            return query
        for index, candidate in enumerate(self.names):
            if _is_called(query, candidate):
                return index
        raise DataError(f"no row is named {query!r}; the first is {self.names[0]!r}")


def _is_called(query: str, name: str) -> bool:
    return query in (name, name.split(maxsplit=1)[0])


def msa_from_rows(
    rows: Iterator[tuple[str, str]],
    where: str,
    max_rows: int | None = None,
    query: int | str | None = None,
) -> Msa:
    """Build an alignment from (name, aligned sequence) pairs.

    Lower case letters and `.` are inserts and dropped; upper case letters and `-` are columns.

    Args:
        rows: Names and sequences, the query first.
        where: File or entry, for error messages.
        max_rows: Rows after this many are not read.
        query: Row (0-based) or name of the query, which comes first, with only the columns in
            which it has a letter; None leaves rows and columns as they stand.

    Raises:
        DataError: No rows, rows of unequal length, a letter that is no amino acid, no such query.
    """
    names: list[str] = []
    encoded: list[States] = []
    nonstandard = 0
    asked = ""
    for name, sequence in rows:
        if max_rows is not None and len(names) >= max_rows:
            break
        columns = sequence.translate(_DROP_INSERTS)
        try:
            states = alphabet.encode(columns)
        except DataError as error:
            raise DataError(f"{where}: row {len(names) + 1} ({name}): {error}") from error
        if encoded and len(states) != len(encoded[0]):
            raise DataError(
                f"{where}: row {len(names) + 1} ({name}) has {len(states)} columns, row 1 "
                f"({names[0]}) has {len(encoded[0])}. Every row of an alignment needs the same "
                "number of upper case letters and '-'"
            )
        if not asked and query is not None:
            called = query == len(names) if isinstance(query, int) else _is_called(query, name)
            asked = sequence if called else ""
        names.append(name)
        encoded.append(states)
        nonstandard += alphabet.count_nonstandard(columns)
    if not names:
        raise DataError(f"{where}: no sequences")
    if len(encoded[0]) == 0:
        raise DataError(f"{where}: row 1 ({names[0]}) has no columns")
    msa = Msa(tuple(names), np.stack(encoded), nonstandard)
    if query is None:
        return msa
    try:
        row = msa.row(query)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    if (msa.residues[row] == alphabet.GAP).all():
        raise DataError(f"{where}: row {row + 1} ({names[row]}) has no residue to be a query")
    # The paper's step for Pfam (C.3): "We drop these gap characters and their corresponding columns
    # in the MSA". An X is a gap among the states, but a residue of the query: its column stays.
    present = np.array([letter != "-" for letter in asked.translate(_DROP_INSERTS)])
    numbers = residue_numbers(names[row], asked)[present]
    return replace(msa.led_by(row, present), numbers=numbers)


def fasta_records(stream: IO[str], where: str) -> Iterator[tuple[str, str]]:
    """(header without `>`, sequence) of each FASTA or A3M record; `#` lines before it are skipped.

    Raises:
        DataError: Text before the first `>`, or an empty header.
    """
    name: str | None = None
    parts: list[str] = []
    for number, line in enumerate(stream, start=1):
        if line.startswith(">"):
            if name is not None:
                yield name, "".join(parts)
            name, parts = line[1:].strip(), []
            if not name:
                raise DataError(f"{where}, line {number}: a record without a name")
        elif name is None:
            if line.strip() and not line.startswith("#"):
                raise DataError(f"{where}, line {number}: expected '>', found {line[:20]!r}")
        else:
            parts.append(line.strip())
    if name is not None:
        yield name, "".join(parts)


def fasta_text(records: Iterable[tuple[object, str]]) -> str:
    """(header without `>`, sequence) records as FASTA or A3M, each sequence on one line."""
    return "".join(f">{name}\n{sequence}\n" for name, sequence in records)


def _stockholm_records(stream: IO[str], where: str) -> Iterator[tuple[str, str]]:
    """Rows of the first alignment of a Stockholm file; interleaved blocks are joined.

    Pfam and HMMER write match columns in capitals and '-', inserts in lower case and '.'; others
    write '.' for every gap. So a column with lower case letters is an insert; in one with capitals
    or '-', a '.' is a gap; one of '.' only holds nothing. Rows come out as in an A3M.

    Raises:
        DataError: Rows of unequal width, or a column with letters of both cases or lower case
            and '-'.
    """
    parts: dict[str, list[str]] = {}
    for number, line in enumerate(stream, start=1):
        text = line.rstrip()
        if text == "//":
            break
        if not text or text.startswith("#"):
            continue
        fields = text.split()
        if len(fields) != 2:
            raise DataError(
                f"{where}, line {number}: expected 'name sequence', found {text[:40]!r}"
            )
        parts.setdefault(fields[0], []).append(fields[1])
    rows = {
        name: np.frombuffer("".join(blocks).encode("latin-1"), dtype=np.uint8)
        for name, blocks in parts.items()
    }
    if not rows:
        return
    first, width = next((name, len(row)) for name, row in rows.items())
    inserts, matches = np.zeros(width, dtype=bool), np.zeros(width, dtype=bool)
    for name, row in rows.items():
        if len(row) != width:
            raise DataError(
                f"{where}: row {name} has {len(row)} characters, row {first} has {width}"
            )
        lower = (row >= ord("a")) & (row <= ord("z"))
        inserts |= lower
        matches |= ~lower & (row != ord("."))
    if (inserts & matches).any():
        raise DataError(
            f"{where}: column {np.flatnonzero(inserts & matches)[0] + 1} is an insert (lower case) "
            "in some rows and not in others (capitals or '-')"
        )
    for name, row in rows.items():
        row = np.where(matches & (row == ord(".")), np.uint8(ord("-")), row)
        yield name, row.tobytes().decode("latin-1")


def _aln_records(stream: IO[str]) -> Iterator[tuple[str, str]]:
    """PSICOV format: one aligned row a line, no names; each character is a column, '.' a gap."""
    for number, line in enumerate(stream, start=1):
        if line.strip():
            yield f"row{number}", line.strip().upper().replace(".", "-")


def _every_letter_a_column(rows: Iterator[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Aligned FASTA has no insert convention: letters of either case are columns, '.' is a gap."""
    for name, sequence in rows:
        yield name, sequence.upper().replace(".", "-")


def read_alignment(
    path: Path | str,
    *,
    query: int | str | None = None,
    max_rows: int | None = None,
) -> Msa:
    """Read an alignment with all its columns and rows as they stand, or anchored to a query.

    Args:
        path: A3M/A2M, aligned FASTA, Stockholm or PSICOV aln, told apart by their suffixes
            (`SUFFIXES`), gzipped or not.
        query: As `msa_from_rows`.
        max_rows: Read at most this many rows.

    Raises:
        DataError: The file is unreadable, ragged or empty, of no known format, or lacks the query.
    """
    path = Path(path)
    suffixes = [suffix.lstrip(".").lower() for suffix in path.suffixes if suffix != ".gz"]
    file_format = SUFFIXES.get(suffixes[-1]) if suffixes else None
    if file_format is None:
        raise DataError(
            f"{path}: cannot tell the alignment's format from its name; "
            f"use one of {', '.join(sorted(SUFFIXES))} as suffix"
        )
    with open_text(path, "latin-1" if file_format == "stockholm" else "utf-8") as stream:
        where = str(path)
        if file_format == "a3m":
            rows = fasta_records(stream, where)
        elif file_format == "fasta":
            rows = _every_letter_a_column(fasta_records(stream, where))
        elif file_format == "stockholm":
            rows = _stockholm_records(stream, where)
        else:
            rows = _aln_records(stream)
        return msa_from_rows(rows, where, max_rows, query)


def read_msa(path: Path | str, *, query: int | str = 0) -> Msa:
    """`read_alignment` anchored to its query, the first row when not named."""
    return read_alignment(path, query=query)
