"""Multiple sequence alignments in the columns of their query: A3M and its kin, read and checked."""

import difflib
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from npm_core import alphabet
from npm_core.arrays import Indices, States
from npm_core.errors import DataError, told_where
from npm_core.fasta import ANNOTATIONS, fasta_records, open_sequences, refuse_nucleotides
from npm_core.formats import suffix_of
from npm_core.numbering import range_misfit, residue_numbers

_DROP_INSERTS = str.maketrans("", "", "abcdefghijklmnopqrstuvwxyz. \t\r\n")

_ALIGNED = re.compile(r"[A-Za-z*.-]*")

SUFFIXES = {
    "a3m": "a3m",
    "a2m": "a3m",
    "fas": "fasta",
    "fasta": "fasta",
    "fa": "fasta",
    "faa": "fasta",
    "afa": "fasta",
    "mfa": "fasta",
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
        misfit: Why the numbers count from 1 although the query's name ends in /FIRST-LAST.
        annotations: How many rows of the file were no sequences (`ANNOTATIONS`) and left out.
    """

    names: tuple[str, ...]
    residues: States
    nonstandard: int = 0
    numbers: Indices | None = None
    misfit: str = ""
    annotations: int = 0

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
        return replace(
            self,
            names=tuple(self.names[index] for index in order),
            residues=residues if columns is None else np.ascontiguousarray(residues[:, columns]),
            numbers=None,
            misfit="",
        )

    def row(self, query: int | str) -> int:
        """Index of the row of that index or name.

        Where no row has the name, it may be the first word of a row's, or else stand before the
        "/" of one, as in Pfam's NAME/FIRST-LAST.

        Raises:
            DataError: There is no such row, or more than one.
        """
        if isinstance(query, int):
            if not 0 <= query < self.depth:
                raise DataError(f"row {query + 1} was asked for as the query of {self.depth} rows")
            return query
        for callings in zip(*map(_callings, self.names), strict=True):
            rows = [index for index, name in enumerate(callings) if name == query]
            if len(rows) == 1:
                return rows[0]
            if rows:
                found = ", ".join(repr(self.names[index]) for index in rows[:3])
                raise DataError(
                    f"{len(rows)} rows are named {query!r} ({found}); the query's name must be its "
                    "own: give it in full, or rename the others"
                )
        words = [name.split(maxsplit=1)[0] for name in self.names]
        near = difflib.get_close_matches(query, words, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"the first is {self.names[0]!r}"
        raise DataError(f"no row is named {query!r}; {hint}")


def _callings(name: str) -> tuple[str, str, str]:
    """What a row may be called: its name, the first word of it, or what stands before its "/"."""
    return name, name.split(maxsplit=1)[0], name.partition("/")[0]


def msa_from_rows(
    rows: Iterator[tuple[str, str]],
    where: str,
    max_rows: int | None = None,
    query: int | str | None = None,
) -> Msa:
    """Build an alignment from (name, aligned sequence) pairs.

    Lower case letters and `.` are inserts and dropped; upper case letters and `-` are columns.
    `ANNOTATIONS` are left out and counted.

    Args:
        rows: Names and sequences, the query first.
        where: File or entry, for error messages.
        max_rows: Rows after this many are not read.
        query: Row (0-based) or name of the query, which comes first, with only the columns in
            which it has a letter; None leaves rows and columns as they stand.

    Raises:
        DataError: No rows, rows of unequal length, a letter that is no amino acid, DNA or RNA, no
            such query.
    """
    names: list[str] = []
    encoded: list[States] = []
    nonstandard = annotations = 0
    asked: dict[int, str] = {}  # the rows that may be the query
    first = ""
    for name, sequence in rows:
        if name.split(maxsplit=1)[0] in ANNOTATIONS:
            annotations += 1
            continue
        if max_rows is not None and len(names) >= max_rows:
            break
        columns = sequence.translate(_DROP_INSERTS)
        try:
            states = alphabet.encode(columns)
        except DataError as error:
            raise DataError(f"{where}: row {len(names) + 1} ({name}): {error}") from error
        if not names:
            refuse_nucleotides(sequence, f"{where}: row 1 ({name})")
            first = sequence
        elif len(states) != len(encoded[0]):
            lower = _in_lower_case(first, 1) or _in_lower_case(sequence, len(names) + 1)
            raise DataError(
                f"{where}: row {len(names) + 1} ({name}) has {len(states)} columns, row 1 "
                f"({names[0]}) has {len(encoded[0])}. Every row of an alignment needs the same "
                f"number of upper case letters and '-'{lower}"
            )
        if query == len(names) or query in _callings(name):
            asked[len(names)] = sequence
        names.append(name)
        encoded.append(states)
        nonstandard += alphabet.count_nonstandard(columns)
    if not names:
        raise DataError(f"{where}: no sequences")
    if len(encoded[0]) == 0:
        raise DataError(f"{where}: row 1 ({names[0]}) has no columns{_in_lower_case(first, 1)}")
    msa = Msa(tuple(names), np.stack(encoded), nonstandard, annotations=annotations)
    if query is None:
        return msa
    with told_where(where):
        row = msa.row(query)
    if (msa.residues[row] == alphabet.GAP).all():
        lower = _in_lower_case(asked[row], row + 1)
        raise DataError(
            f"{where}: row {row + 1} ({names[row]}) has no residue to be a query{lower}"
        )
    # The paper's step for Pfam (C.3): "We drop these gap characters and their corresponding columns
    # in the MSA". An X is a gap among the states, but a residue of the query: its column stays.
    present = np.array([letter != "-" for letter in asked[row].translate(_DROP_INSERTS)])
    numbers = residue_numbers(names[row], asked[row])[present]
    misfit = range_misfit(names[row], asked[row])
    return replace(msa.led_by(row, present), numbers=numbers, misfit=misfit)


def _in_lower_case(sequence: str, row: int) -> str:
    """A hint to end an error with, where most of a row's letters are inserts."""
    letters = sum(map(str.isalpha, sequence))
    inserts = sum(map(str.islower, sequence))
    if 2 * inserts <= letters:
        return ""
    return (
        f". Row {row} has {inserts} of {letters} letters in lower case, which A3M and Stockholm "
        "read as inserts: write columns in capitals, or name the file .fasta if it is an aligned "
        "FASTA"
    )


def _stockholm_records(stream: Iterable[str], where: str) -> Iterator[tuple[str, str]]:
    """Rows of a Stockholm file's only alignment; interleaved blocks are joined.

    Pfam and HMMER write match columns in capitals and '-', inserts in lower case and '.'; others
    write '.' for every gap. So a column with lower case letters is an insert; in one with capitals
    or '-', a '.' is a gap; one of '.' only holds nothing. Rows come out as in an A3M.

    Raises:
        DataError: A name twice in a block, rows of unequal width, a column with letters of both
            cases or lower case and '-', no `//` at the end, or another alignment behind it.
    """
    parts: dict[str, list[str]] = {}
    block: set[str] = set()
    lines = enumerate(stream, start=1)
    for number, line in lines:
        text = line.rstrip()
        if text == "//":
            _refuse_another(lines, where)
            break
        if not text:
            block.clear()
        if not text or text.startswith("#"):
            continue
        fields = text.split()
        if len(fields) != 2:
            raise DataError(
                f"{where}, line {number}: expected 'name sequence', found {text[:40]!r}"
            )
        if fields[0] in block:
            raise DataError(
                f"{where}, line {number}: row {fields[0]} occurs twice in one block; expected "
                "names that differ, and an empty line between blocks"
            )
        block.add(fields[0])
        parts.setdefault(fields[0], []).append(fields[1])
    else:
        if parts:
            raise DataError(
                f"{where}: not closed by '//': truncated, expected a whole alignment; fetch it "
                "again, or end it with a line '//' if nothing is missing"
            )
    rows = {
        # A character that is none of Latin-1 becomes `?`, which is no amino acid either.
        name: np.frombuffer("".join(blocks).encode("latin-1", "replace"), dtype=np.uint8)
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


def _refuse_another(lines: Iterator[tuple[int, str]], where: str) -> None:
    """Raise where another alignment follows; it is not counted how many: Pfam-A.full has 20 000."""
    for number, line in lines:
        if line.strip():
            head = (words.split() for _, words in islice(lines, 3))
            names = [words[2] for words in head if words[:2] == ["#=GF", "ID"] and words[2:]]
            named = f" ({names[0]})" if names else ""
            raise DataError(
                f"{where}, line {number}: a second alignment begins{named}, expected one a file. "
                f"This cuts it out, and the first with 1 for {number}: "
                f"gzip -cdf {shlex.quote(where)} | sed -n '{number},/^\\/\\//p' > one.sto"
            )


def _aln_records(stream: Iterable[str]) -> Iterator[tuple[str, str]]:
    """PSICOV format: one aligned row a line, no names; each character is a column, '.' a gap."""
    for number, line in enumerate(stream, start=1):
        if line.strip():
            yield f"row{number}", line.strip().upper().replace(".", "-")


def _every_letter_a_column(rows: Iterator[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Aligned FASTA has no insert convention: letters of either case are columns, '.' is a gap."""
    for name, sequence in rows:
        yield name, sequence.upper().replace(".", "-")


def _is_a3m(rows: Sequence[tuple[str, str]]) -> bool:
    """Whether only without lower case and `.` the rows are of one length: A3M, not FASTA."""
    whole = {len(sequence) for _, sequence in rows}
    columns = {len(sequence.translate(_DROP_INSERTS)) for _, sequence in rows}
    return len(whole) > 1 and len(columns) == 1


def _rows(
    lines: Iterable[str], first: str, named: str | None, where: str
) -> Iterator[tuple[str, str]]:
    """Rows in the format that the first line tells, or else the suffix.

    Args:
        lines: Of the file.
        first: The first that is neither empty nor a comment.
        named: What the suffix tells, if anything.
        where: File, for error messages.
    """
    fasta = first.startswith(">")
    if first.startswith("# STOCKHOLM") or (named == "stockholm" and not fasta):
        return _stockholm_records(lines, where)
    if first.startswith(("CLUSTAL", "MUSCLE")) and " " in first:
        raise DataError(
            f"{where}: {first[:20].strip()!r}: the format of Clustal is not read; write the "
            "alignment as aligned FASTA or Stockholm"
        )
    if fasta or named in ("a3m", "fasta"):
        rows = fasta_records(lines, where)
        if named not in ("a3m", "fasta"):
            held = list(rows)
            named, rows = "a3m" if _is_a3m(held) else "fasta", iter(held)
        return rows if named == "a3m" else _every_letter_a_column(rows)
    if named == "aln" or _ALIGNED.fullmatch(first.strip()):
        return _aln_records(lines)
    raise DataError(
        f"{where}: cannot tell the alignment's format from its first line, {first[:20].strip()!r}; "
        "expected '>' (A3M, aligned FASTA), '# STOCKHOLM' or an aligned row (PSICOV aln), or a "
        f"name that ends in one of {', '.join(sorted(SUFFIXES))}"
    )


def _one_alignment(lines: Iterator[str], where: str) -> Iterator[str]:
    """Lines before a NUL, with which ColabFold's and MMseqs2's tools end an alignment.

    Raises:
        DataError: Another alignment follows.
    """
    for line in lines:
        before, nul, after = line.partition("\0")
        if nul and (after + "".join(lines)).strip("\0 \t\r\n"):
            raise DataError(
                f"{where}: holds several alignments, separated by NUL; split it, one alignment a "
                "file"
            )
        yield before


def read_alignment(
    path: Path | str,
    *,
    query: int | str | None = None,
    max_rows: int | None = None,
) -> Msa:
    """Read an alignment with all its columns and rows as they stand, or anchored to a query.

    The first line tells Stockholm (`# STOCKHOLM`), A3M or FASTA (`>`) and other programs' formats
    that are not read; the suffix (`SUFFIXES`) tells A3M from FASTA. Where it does not, rows of
    unequal length that are of one length without lower case and `.` are A3M, all others FASTA.

    Args:
        path: A3M/A2M, aligned FASTA, Stockholm or PSICOV aln, gzipped or not; `-` is standard
            input.
        query: As `msa_from_rows`.
        max_rows: Read at most this many rows.

    Raises:
        DataError: The file is unreadable, ragged or empty, of no known format, or lacks the query.
    """
    path, where = Path(path), str(path)
    named = SUFFIXES.get(suffix_of(path))
    with open_sequences(path) as stream:
        head = []
        for line in stream:
            head.append(line)
            if line.startswith("# STOCKHOLM") or (line.strip() and not line.startswith("#")):
                break
        lines = _one_alignment(chain(head, stream), where)
        rows = _rows(lines, head[-1] if head else "", named, where)
        return msa_from_rows(rows, where, max_rows, query)


def read_msa(path: Path | str, *, query: int | str = 0) -> Msa:
    """`read_alignment` anchored to its query, the first row when not named."""
    return read_alignment(path, query=query)
