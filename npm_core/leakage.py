"""Which test sequences occur as rows in the alignments of training sequences (paper, C.4).

A held-out sequence is never a training query, but the database that training queries are searched
against holds it as well, so that it can be a row of their alignments.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path

from npm_core import ffindex
from npm_core.errors import DataError
from npm_core.files import read_tsv, require_file
from npm_core.parallel import map_in_processes
from npm_core.progress import track
from npm_core.queries import read_queries
from npm_core.tables import read_targets

OCCURS, ABSENT = "row of a training alignment", "in no training alignment"
UNKNOWN = "without a test sequence of its own"
"""A target whose entry was assigned to test by its other chains: nothing can be looked for."""


def accession(name: str) -> str:
    """What one sequence is called everywhere: the accession in a UniProt or UniRef name.

    "UniRef50_P12345", "UniRef100_P12345", "sp|P12345|NAME_HUMAN" and "P12345" are P12345; of any
    other name the first word.
    """
    word = name.split(maxsplit=1)[0]
    parts = word.split("|")
    if len(parts) >= 3 and parts[0] in ("sp", "tr"):
        return parts[1]
    return word.partition("_")[2] if word.startswith("UniRef") and "_" in word else word


def accessions(fasta: Path | str) -> Iterator[str]:
    """Accession of each sequence of a FASTA file, which may hold none."""
    return (accession(query.id) for query in read_queries(fasta, may_be_empty=True))


def occurrences(
    prefixes: Sequence[Path | str], test: Path | str, *, workers: int
) -> tuple[Counter[str], int]:
    """The number of training alignments of which each test sequence is a row.

    Args:
        prefixes: ffindexes of the training queries' A3M texts.
        test: FASTA of the test sequences.
        workers: Processes, each with an ffindex at a time.

    Returns:
        Alignments by accession, those that occur in none left out; and how many alignments there
        are.

    Raises:
        DataError: The test sequences are a pipe.
        ToolError: A process was killed, usually for want of memory.
    """
    require_file(test, "each process reads it")
    found: Counter[str] = Counter()
    total = 0
    counts = map_in_processes(partial(_count, test), prefixes, workers=workers)
    for one, alignments in track(counts, total=len(prefixes), what="shards read"):
        found.update(one)
        total += alignments
    return found, total


@cache
def _wanted(test: Path | str) -> frozenset[str]:
    """Accessions of the test sequences, read once in each process."""
    return frozenset(accessions(test))


def _count(test: Path | str, prefix: Path | str) -> tuple[Counter[str], int]:
    """Alignments of one ffindex by the test sequence they hold, and how many there are."""
    found: Counter[str] = Counter()
    alignments = 0
    for _, a3m in ffindex.read_entries(prefix):
        alignments += 1
        headers = (text.partition(b"\n")[0] for text in a3m.removeprefix(b">").split(b"\n>"))
        rows = {accession(header.decode(errors="replace")) for header in headers if header.strip()}
        found.update(rows & _wanted(test))
    return found, alignments


def nearest_test_sequences(
    targets: Sequence[Path | str], assignments: Path | str
) -> dict[str, str]:
    """Accession of the test sequence that each test target resembles most, by target; or nothing.

    Args:
        targets: Tables of targets.
        assignments: The audit of `assign-structures`.

    Raises:
        DataError: The audit lacks a column or a target.
    """
    best = {row["id"]: row["test_best"] for row in read_tsv(assignments, ("id", "test_best"))}
    found = {}
    for target in read_targets(*targets):
        if target.split == "test":
            if target.id not in best:
                raise DataError(f"{assignments}: target {target.id} is not in it")
            found[target.id] = _nearest(target.id, best)
    return found


def _nearest(name: str, best: dict[str, str]) -> str:
    """Of the target's own hit: one whose entry was assigned by its other chains has none."""
    return accession(best[name]) if best[name] else ""


def tally(what: str, names: Iterable[str], found: Counter[str]) -> list[tuple[str, str, int]]:
    """(status, what, count) of the sequences that occur, of those that do not, and of no name."""
    states = Counter((OCCURS if name in found else ABSENT) if name else UNKNOWN for name in names)
    shown = [OCCURS, ABSENT, *([UNKNOWN] if states[UNKNOWN] else [])]
    return [(status, what, states[status]) for status in shown]
