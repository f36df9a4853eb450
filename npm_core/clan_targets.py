"""The structure a Pfam family is judged by: chosen, aligned to its row, cut to the domain."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from npm_core.arrays import Indices
from npm_core.errors import DataError
from npm_core.files import read_tsv, write_tsv
from npm_core.pairwise import domain, match
from npm_core.pdb_archive import Archive, NotInArchive
from npm_core.pdb_selection import entry_id
from npm_core.pfam import StructureRow
from npm_core.structures import Chain, read_structure
from npm_core.tables import Target, read_table, write_rows

STRUCTURE_COLUMNS = ("clan", "family", "pdb", "chain", "row", "a3m")
AUDIT_COLUMNS = ("family", "pdb", "chain", "row", "status", "identity", "coverage", "reason")

COLUMNS = pa.schema([("id", pa.string()), ("columns", pa.list_(pa.int32()))])
"""One row a target: for each residue its column in the family's alignment, or -1."""


class Refused(DataError):
    """A structure cannot be its family's target; the next one is tried."""


@dataclass(frozen=True)
class Attempt:
    """What became of one structure, a line of the audit.

    Attributes:
        structure: The structure and its row.
        status: "chosen" or "refused".
        identity: Identical among the aligned residues that are known (no X) in both; None if it did
            not come to an alignment.
        coverage: Aligned among the row's residues; None likewise.
        reason: Why it was refused.
    """

    structure: StructureRow
    status: str
    identity: float | None = None
    coverage: float | None = None
    reason: str = ""


@dataclass(frozen=True, eq=False)
class DomainMap:
    """Where a chain meets a row of its family.

    Attributes:
        part: The stretch of the chain from its first to its last residue with a family column.
        columns: (length of the part,), family column of each residue, or -1.
        identity: Identical among the aligned residues that are known (no X) in both.
        coverage: Aligned among the row's residues.
    """

    part: slice
    columns: Indices
    identity: float
    coverage: float


def row_columns(a3m: str) -> tuple[str, Indices]:
    """Residues of an a3m row, upper case, and the column of each; -1 for inserts."""
    residues: list[str] = []
    columns: list[int] = []
    column = 0
    for letter in a3m:
        if letter.islower():
            residues.append(letter.upper())
            columns.append(-1)
            continue
        if letter != "-":
            residues.append(letter)
            columns.append(column)
        column += 1
    return "".join(residues), np.array(columns, dtype=np.int32)


def map_to_family(sequence: str, a3m: str) -> DomainMap:
    """Align a chain's full sequence to its row and carry the family's columns over.

    pdbmap and `DR PDB` lines name a row and a chain, but not which residue is which: the chain
    may be longer (tags, other domains), shorter or mutated.

    Args:
        sequence: The chain's SEQRES.
        a3m: The row of the family; upper case letters and `-` are the family's columns.

    Raises:
        Refused: No residue of the chain falls on a column, or no known one on a known one.
    """
    residues, row = row_columns(a3m)
    found = match(sequence, residues)
    columns = np.full(len(sequence), -1, dtype=np.int32)
    columns[found.here] = row[found.there]
    if (columns < 0).all():
        raise Refused("no residue of the chain falls on a column of the family")
    if found.identity is None:
        raise Refused("no known residue of the chain falls on a known one of the row")
    part = domain(columns)
    return DomainMap(part, columns[part], found.identity, len(found.here) / len(residues))


def fetched_chain(row: StructureRow, archive: Archive) -> Chain:
    """Fetch an entry's mmCIF file, unless the cache has it, and read the row's chain.

    Args:
        row: Names entry and chain.
        archive: Has the entry's file.

    Raises:
        Refused: The archive has no such entry (it may be obsolete), or the file cannot be read or
            has no such chain.
        DataError: The fetch failed otherwise (the next run goes on from here).
    """
    try:
        entry = entry_id(row.pdb)
    except DataError as error:
        raise Refused(str(error)) from error
    try:
        path = archive.fetch(entry)
    except NotInArchive as error:
        raise Refused(str(error)) from error
    try:
        return read_structure(path).chain(row.chain)
    except DataError as error:
        raise Refused(str(error).removeprefix(f"{path}: ")) from error


def in_order_of_preference(structures: Iterable[StructureRow]) -> list[StructureRow]:
    """Structures whose row fills most of the family's columns first; then by pdb and chain."""

    def filled(row: StructureRow) -> int:
        return sum(letter.isupper() for letter in row.a3m)

    return sorted(structures, key=lambda row: (-filled(row), row.pdb, row.chain, row.name))


def choose_target(
    family: str,
    clan: str,
    length: int,
    structures: Sequence[StructureRow],
    read: Callable[[StructureRow], Chain],
    *,
    min_identity: float,
    min_coverage: float,
    min_resolved: float,
    max_attempts: int,
) -> tuple[Target | None, Indices | None, list[Attempt]]:
    """A single structure for a family (C.3, "Evaluation"): the first that is not refused.

    Args:
        family: Accession; becomes the target's id.
        clan: Becomes the target's split.
        length: Columns of the family's alignment.
        structures: Candidates; tried in `in_order_of_preference`.
        read: Fetches and reads a candidate's chain, or raises `Refused`.
        min_identity: Least identity of chain and row, as in `DomainMap`.
        min_coverage: Least share of the row's residues that the chain must cover.
        min_resolved: Least share of the domain's residues that must be resolved.
        max_attempts: Candidates to try before the family goes without a target.

    Returns:
        The target cut to the domain, the family column of each of its residues, and what became
        of each candidate that was tried. Target and columns are None if all were refused.

    Raises:
        DataError: A row does not have the family's number of columns.
    """
    attempts: list[Attempt] = []
    for structure in in_order_of_preference(structures)[:max_attempts]:
        columns = sum(letter.isupper() or letter == "-" for letter in structure.a3m)
        if columns != length:
            raise DataError(
                f"family {family}: row {structure.name} has {columns} columns, the family "
                f"{length}. Make structures and families from the same release"
            )
        found = None
        try:
            chain = read(structure)
            found = map_to_family(chain.sequence, structure.a3m)
            _check(found, min_identity, min_coverage)
            target = _target(structure, chain, family, clan, found.part, min_resolved)
        except Refused as refusal:
            identity, coverage = (found.identity, found.coverage) if found else (None, None)
            attempts.append(Attempt(structure, "refused", identity, coverage, str(refusal)))
            continue
        attempts.append(Attempt(structure, "chosen", found.identity, found.coverage))
        return target, found.columns, attempts
    return None, None, attempts


def _check(found: DomainMap, min_identity: float, min_coverage: float) -> None:
    if found.identity < min_identity:
        raise Refused(f"identity {found.identity:.2f} is below {min_identity}")
    if found.coverage < min_coverage:
        raise Refused(f"the chain covers {found.coverage:.2f} of the row, below {min_coverage}")


def _target(
    row: StructureRow, chain: Chain, family: str, clan: str, part: slice, min_resolved: float
) -> Target:
    """The domain as the family's target; refused where too little of it is resolved."""
    source = f"{row.pdb}_{row.chain}"
    try:
        return chain.target(family, clan, source, part, min_resolved=min_resolved)
    except DataError as error:
        raise Refused(str(error)) from error


def write_structures(
    path: Path | str, clan: str, structures: Mapping[str, Sequence[StructureRow]]
) -> None:
    """Write the structures of a clan's families as TSV."""
    rows = (
        (clan, family, row.pdb, row.chain, row.name, row.a3m)
        for family, found in structures.items()
        for row in found
    )
    write_tsv(path, STRUCTURE_COLUMNS, rows)


def read_structures(path: Path | str) -> tuple[dict[str, str], dict[str, list[StructureRow]]]:
    """Clan of each family with structures, and the structures, as `write_structures` wrote them.

    Raises:
        DataError: The file is missing or no such table.
    """
    clans: dict[str, str] = {}
    structures: dict[str, list[StructureRow]] = {}
    for row in read_tsv(path, STRUCTURE_COLUMNS):
        clan, family, *structure = (row[name] for name in STRUCTURE_COLUMNS)
        clans[family] = clan
        structures.setdefault(family, []).append(StructureRow(*structure))
    return clans, structures


def write_audit(path: Path | str, attempts: Mapping[str, Sequence[Attempt]]) -> None:
    """Write what became of each structure; a family without any has one line that says so."""
    rows = (
        fields
        for family, tried in attempts.items()
        for fields in (
            [_audit_fields(family, attempt) for attempt in tried]
            or [(family, "", "", "", "refused", "", "", "no structure")]
        )
    )
    write_tsv(path, AUDIT_COLUMNS, rows)


def _audit_fields(family: str, attempt: Attempt) -> tuple[str, ...]:
    row = attempt.structure
    shares = (
        "" if share is None else f"{share:.4f}" for share in (attempt.identity, attempt.coverage)
    )
    return (family, row.pdb, row.chain, row.name, attempt.status, *shares, attempt.reason)


def write_columns(
    path: Path | str, columns: Mapping[str, Indices], metadata: dict[str, str]
) -> None:
    """Write the family column of each target's residues as Parquet."""
    rows = ({"id": name, "columns": values} for name, values in columns.items())
    write_rows(path, COLUMNS.with_metadata(metadata), rows, 4096)


def read_columns(path: Path | str) -> dict[str, Indices]:
    """Family column of each residue, by target, as `write_columns` wrote them.

    Raises:
        DataError: The file is missing or no such table.
    """
    rows = read_table(path, COLUMNS.names)
    return {row["id"]: np.array(row["columns"], dtype=np.int32) for row in rows}
