"""From found alignments to families: filtered by HHfilter, encoded, weighted."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from time import monotonic

from npm_core import ffindex
from npm_core.errors import DataError
from npm_core.family_weights import weighted
from npm_core.fasta import count_records, fasta_records
from npm_core.hhsuite import FilterSettings, hhfilter
from npm_core.ledger import Row, check_failed_share, summary, write_ledger
from npm_core.msa import Msa, msa_from_rows
from npm_core.parallel import map_in_order
from npm_core.programs import Programs, version
from npm_core.progress import note, track
from npm_core.provenance import provenance
from npm_core.tables import Family, write_families


@dataclass(frozen=True)
class FamilyRow(Row):
    """A ledger row with what the filter and the encoding did.

    Attributes:
        found: Rows before HHfilter; `depth` is the number after.
        length: Columns.
        meff: Sum of the sequence weights.
        nonstandard: Letters replaced by a parent amino acid or a gap, the query's included.
    """

    found: int = 0
    length: int = 0
    meff: float = 0.0
    nonstandard: int = 0


def build_family(
    name: str,
    a3m: bytes,
    programs: Programs,
    *,
    settings: FilterSettings,
    identity_threshold: float,
) -> tuple[FamilyRow, Family | None]:
    """One family from one alignment (paper, C.3 and section 2).

    Columns are those of the first row; a letter in it that is no amino acid (X) becomes a gap and
    its column stays.

    Args:
        name: Id of the family.
        a3m: The alignment, query first.
        programs: Runs HHfilter.
        settings: HHfilter's.
        identity_threshold: Rows this alike share their weight.

    Returns:
        The ledger row, and the family unless it failed.
    """
    started = monotonic()
    found = count_records(a3m)
    row = FamilyRow(name, "failed", found=found)
    finished = hhfilter(programs, a3m, settings)
    if finished.failure:
        return replace(row, reason=f"hhfilter: {finished.failure}", seconds=finished.seconds), None
    try:
        before = _first_row(a3m, name)
        msa = _parse(finished.output, name)
        if before != msa.query:
            raise DataError("hhfilter did not keep the query as the first row")
    except DataError as error:
        return replace(row, reason=str(error), seconds=monotonic() - started), None
    family = weighted(name, msa.residues, identity_threshold=identity_threshold)
    return (
        replace(
            row,
            status="ok" if found > 1 else "empty",
            depth=family.depth,
            length=family.length,
            meff=round(family.meff, 4),
            nonstandard=msa.nonstandard,
            seconds=monotonic() - started,
        ),
        family,
    )


def _parse(a3m: bytes, name: str, max_rows: int | None = None) -> Msa:
    text = a3m.decode("utf-8", errors="replace")
    return msa_from_rows(fasta_records(StringIO(text), name), name, max_rows)


def _first_row(a3m: bytes, name: str) -> str:
    return _parse(a3m, name, max_rows=1).query


def build_families(
    msas: Path | str,
    output: Path | str,
    ledger: Path | str,
    *,
    settings: FilterSettings,
    identity_threshold: float,
    workers: int,
    max_failed_share: float,
) -> list[FamilyRow]:
    """Build the families table of one shard; it does not depend on `workers`.

    Args:
        msas: Prefix of the ffindex of A3M texts; its keys become the ids of the families.
        output: Families table to write, in the order of the alignments.
        ledger: Ledger to write, in the same order.
        settings: HHfilter's.
        identity_threshold: As `build_family`.
        workers: Alignments at a time.
        max_failed_share: As `shard.Shard`.

    Returns:
        The ledger.

    Raises:
        DataError: The ffindex is missing or damaged.
        ToolError: HHfilter is missing, or too many families failed.
    """
    total = len(ffindex.read_index(msas))
    rows: list[FamilyRow] = []

    def families(programs: Programs) -> Iterator[Family]:
        results = map_in_order(
            lambda entry: build_family(
                *entry, programs, settings=settings, identity_threshold=identity_threshold
            ),
            ffindex.read_entries(msas),
            workers=workers,
            stop=programs.stop,
        )
        for row, family in track(results, total=total, what="families built"):
            rows.append(row)
            if family is not None:
                yield family
            else:
                check_failed_share(rows, total=total, allowed=max_failed_share, where=str(msas))

    facts = provenance(
        hhfilter=version("hhfilter", "-h"),
        filter=vars(settings),
        identity_threshold=identity_threshold,
    )
    with Programs() as programs:
        write_families(output, families(programs), facts)
    write_ledger(ledger, rows, FamilyRow)
    note(f"{msas}: {summary(rows)}")
    return rows
