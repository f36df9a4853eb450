"""Records of FASTA and A3M files: names and sequences, aligned or not."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO

from npm_core.errors import DataError
from npm_core.files import open_text

_NUCLEOTIDES = "ACGTUN"

ANNOTATIONS = frozenset(
    {"ss_dssp", "ss_pred", "ss_conf", "sa_dssp", "sa_pred", "aa_dssp", "aa_pred"}
)
"""Names of the rows in which HH-suite writes secondary structure and its like; no sequences.

A consensus stays: HH-suite, too, takes it as the query that the columns follow.
"""


def open_sequences(path: Path | str) -> AbstractContextManager[IO[str]]:
    r"""`open_text` of sequences, in whose headers a byte that is no UTF-8 may stand, as `\xfc`."""
    return open_text(path, errors="backslashreplace")


def fasta_records(stream: Iterable[str], where: str) -> Iterator[tuple[str, str]]:
    """(header without `>`, sequence) of each FASTA or A3M record; `#` lines before it are skipped.

    A `*` that ends a sequence (a stop codon's) is dropped.

    Raises:
        DataError: Text before the first `>`, or an empty header.
    """
    name: str | None = None
    parts: list[str] = []
    for number, line in enumerate(stream, start=1):
        if line.startswith(">"):
            if name is not None:
                yield name, "".join(parts).rstrip("*")
            name, parts = line[1:].strip(), []
            if not name:
                raise DataError(f"{where}, line {number}: a record without a name")
        elif name is None:
            if line.strip() and not line.startswith("#"):
                raise DataError(f"{where}, line {number}: expected '>', found {line[:20]!r}")
        else:
            parts.append(line.strip())
    if name is not None:
        yield name, "".join(parts).rstrip("*")


def read_fasta(path: Path | str) -> Iterator[tuple[str, str]]:
    """(header without `>`, sequence) of each record of a FASTA file, gzipped or not.

    Raises:
        DataError: The file is no text or no FASTA, or a sequence holds a byte that is no UTF-8:
            MMseqs2 would take the text that stands for it for residues.
    """
    with open_sequences(path) as stream:
        for header, sequence in fasta_records(stream, str(path)):
            at = sequence.find("\\")
            if at >= 0:
                raise DataError(
                    f"{path}: {header.split(maxsplit=1)[0]}: {sequence[at : at + 4]} at position "
                    f"{at + 1} is no amino acid"
                )
            yield header, sequence


def fasta_text(records: Iterable[tuple[object, str]]) -> str:
    """(header without `>`, sequence) records as FASTA or A3M, each sequence on one line."""
    return "".join(f">{name}\n{sequence}\n" for name, sequence in records)


def count_records(fasta: bytes) -> int:
    """Sequences of a FASTA or A3M text: its header lines."""
    return fasta.startswith(b">") + fasta.count(b"\n>")


def refuse_nucleotides(sequence: str, where: str) -> None:
    """Raise where a sequence, aligned or not, is DNA or RNA, whose letters are amino acids' too.

    It is if it has 30 letters or more, of which none is another than A, C, G, T, U and N, and one
    in twenty is A, one C, one G and one T or U. Proteins' repeats lack one of the four: the 240
    letters of A, G and few T in Epstein-Barr virus's EBNA-1 are the longest stretch we know.

    Raises:
        DataError: It is.
    """
    letters = sequence.upper().replace("-", "").replace(".", "")
    if letters.strip(_NUCLEOTIDES) or len(letters) < 30:
        return
    thymine = letters.count("T") + letters.count("U")
    if 20 * min(thymine, *map(letters.count, "ACG")) >= len(letters):
        raise DataError(
            f"{where} is DNA or RNA, expected a protein: translate it (all of its {len(letters)} "
            f"letters are among {_NUCLEOTIDES})"
        )
