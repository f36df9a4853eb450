"""The user's own data: a table of alignments and structures into the chain's own files."""

import io
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from npm_core import alphabet
from npm_core.errors import DataError, told_where
from npm_core.fasta import fasta_records, fasta_text
from npm_core.files import numbered_tsv, write_tsv
from npm_core.msa import Msa, msa_from_rows, read_alignment, read_msa
from npm_core.pairwise import MIN_IDENTITY, Match, domain, match
from npm_core.pdb_selection import entry_id
from npm_core.queries import is_test
from npm_core.reduction import anchor
from npm_core.structures import Chain, read_chain
from npm_core.tables import Target

COLUMNS = ("id", "clan", "alignment", "query", "structure", "chain", "columns", "split")
"""Columns of the table; `id` and `alignment` are needed, the others may be empty or absent."""

PROFILE_ROWS = 500
"""Rows of an imported family's profile for nearest-neighbour search, where Pfam has its seed."""

_SUFFIX = re.compile(r"(\.(cif|mmcif|pdb|ent))?(\.gz)?$", re.IGNORECASE)
_VERSION = re.compile(r"\.\d+$")
_ID = re.compile(r"[A-Za-z0-9_.|:-]{1,64}")


@dataclass(frozen=True)
class LocalFamily:
    """One line of the table.

    Attributes:
        id: Name, unique in the table.
        alignment: A3M, aligned FASTA, Stockholm or PSICOV aln.
        query: Row of the query: its name, or its number from 1; empty for the first.
        structure: mmCIF or PDB file of the query's protein, or None.
        chain: Chain in that file; empty for its only protein chain.
        columns: TSV of `residue` (number in the chain's sequence, from 1) and `column` (of the
            alignment, from 1), or None to align the chain's sequence to the query row.
        clan: Clan, for the clan experiment.
        split: "train" or "test"; empty to draw by hash of the id.
        folder: Of the table; a structure is told from others by its path from there.
    """

    id: str
    alignment: Path
    query: str = ""
    structure: Path | None = None
    chain: str = ""
    columns: Path | None = None
    clan: str = ""
    split: str = ""
    folder: Path = Path()


@dataclass(frozen=True, eq=False)
class ImportedFamily:
    """What one line of the table became, or one family that only a search knows.

    Attributes:
        id: The family's.
        msa: The alignment: in its query's columns, or as it stands (clans).
        split: "train" or "test"; the clan in the clan experiment.
        target: The protein of known structure, or None.
        target_columns: (L of the target,) int32, column of each residue or -1; None without one.
        refusal: Why there is no target although a structure was given; empty otherwise.
        identity: Share of the structure's known residues with a column that are those of the
            query's row there; None where nothing can be compared.
    """

    id: str
    msa: Msa
    split: str
    target: Target | None = None
    target_columns: NDArray[np.int32] | None = None
    refusal: str = ""
    identity: float | None = None


def read_local_families(path: Path | str) -> list[LocalFamily]:
    """Read a table of families (TSV with a header line; paths relative to the table).

    Raises:
        DataError: A column is missing or unknown, an id is repeated or cannot be a file's name,
            a file does not exist.
    """
    path = Path(path)
    families: dict[str, LocalFamily] = {}
    for number, row in numbered_tsv(path, ("id", "alignment")):
        family = _family(row, path, f"{path}, line {number}")
        if family.id in families:
            raise DataError(f"{path}, line {number}: id {family.id} occurs twice")
        families[family.id] = family
    if not families:
        raise DataError(f"{path}: no families below the header")
    return list(families.values())


def _family(row: dict[str, str], table: Path, where: str) -> LocalFamily:
    if unknown := row.keys() - set(COLUMNS):
        raise DataError(
            f"{where}: unknown columns {sorted(unknown)}; known are {', '.join(COLUMNS)}"
        )
    if not _ID.fullmatch(row["id"]):
        raise DataError(f"{where}: id {row['id']!r} must match {_ID.pattern}")
    if row.get("split", "") not in ("", "train", "test"):
        raise DataError(f"{where}: split is {row['split']!r}, expected train, test or nothing")

    def file(column: str) -> Path | None:
        if not row.get(column):
            return None
        if not (table.parent / row[column]).is_file():
            raise DataError(f"{where}: no file {table.parent / row[column]}")
        return table.parent / row[column]

    alignment = file("alignment")
    if alignment is None:
        raise DataError(f"{where}: no alignment")
    return LocalFamily(
        id=row["id"],
        alignment=alignment,
        query=row.get("query", ""),
        structure=file("structure"),
        chain=row.get("chain", ""),
        columns=file("columns"),
        clan=row.get("clan", ""),
        split=row.get("split", ""),
        folder=table.parent,
    )


def refuse_versions(
    families: Iterable[LocalFamily], searched: Collection[str], table: Path | str
) -> None:
    """Raise where the table names a searched family with its version: it would be two families.

    Args:
        families: Of the table.
        searched: Ids of the families that a search found; Pfam's accessions without a version.
        table: For the message.

    Raises:
        DataError: It does.
    """
    for family in families:
        bare = _VERSION.sub("", family.id)
        if family.id not in searched and bare in searched:
            raise DataError(
                f"{table}: family {family.id} is {bare} among those found by search-families; "
                f"write it as {bare}, or its rows would be in two families"
            )


def import_anchored(
    family: LocalFamily, *, test_share: float, salt: str, min_resolved: float
) -> ImportedFamily:
    """A family in its query's columns, and its target with the whole alignment in its numbering.

    Args:
        family: The table line.
        test_share: Share of ids that a hash puts into the test split.
        salt: Of that hash.
        min_resolved: As in `Chain.target`.
    """
    msa = read_msa(family.alignment, query=_query(family))
    split = family.split or ("test" if is_test(family.id, share=test_share, salt=salt) else "train")
    return _with_target(family, msa, 0, split, whole_chain=True, min_resolved=min_resolved)


def import_unanchored(
    family: LocalFamily, *, max_rows: int, min_resolved: float, searched: bytes | None = None
) -> ImportedFamily:
    """A clan's family with all its columns, and its target cut to the stretch they cover.

    Args:
        family: The table line.
        max_rows: Rows kept.
        min_resolved: As in `Chain.target`; of the stretch.
        searched: More rows (A3M) in the same columns, as `search-families` finds them.

    Raises:
        DataError: The searched rows have other columns.
    """
    msa = read_alignment(family.alignment, max_rows=max_rows)
    if searched is not None:
        msa = _deepened(msa, searched_msa(family.id, searched), family, max_rows)
    with told_where(str(family.alignment)):
        row = msa.row(_query(family))
    return _with_target(family, msa, row, family.clan, whole_chain=False, min_resolved=min_resolved)


def _query(family: LocalFamily) -> int | str:
    """The query's row, from 0, or its name."""
    if not family.query:
        return 0
    return int(family.query) - 1 if family.query.isdecimal() else family.query


def searched_msa(name: str, a3m: bytes, max_rows: int | None = None) -> Msa:
    """The rows that a search found for a family."""
    where = f"rows found for {name}"
    return msa_from_rows(fasta_records(io.StringIO(a3m.decode()), where), where, max_rows)


def import_searched(name: str, a3m: bytes, *, clan: str, max_rows: int) -> ImportedFamily:
    """A family that only a search knows: it has no structure, and trains."""
    return ImportedFamily(name, searched_msa(name, a3m, max_rows), clan)


def _deepened(msa: Msa, found: Msa, family: LocalFamily, max_rows: int) -> Msa:
    if found.length != msa.length:
        raise DataError(
            f"{family.alignment}: {msa.length} columns, but the rows found for {family.id} have "
            f"{found.length}. Both must be in the match columns of one profile"
        )
    return replace(
        msa,
        names=(*msa.names, *found.names)[:max_rows],
        residues=np.concatenate([msa.residues, found.residues])[:max_rows],
        nonstandard=msa.nonstandard + found.nonstandard,
    )


def _with_target(
    family: LocalFamily,
    msa: Msa,
    row: int,
    split: str,
    *,
    whole_chain: bool,
    min_resolved: float,
) -> ImportedFamily:
    if family.structure is None:
        return ImportedFamily(family.id, msa, split)
    same = None
    try:
        chain = read_chain(family.structure, family.chain or None)
        columns = chain_columns(family, chain, msa, row)
        same = identity(chain.sequence, msa, row, columns)
        # A clan's row may be of another protein than the structure.
        if whole_chain and same is not None and same < MIN_IDENTITY:
            raise DataError(
                f"{family.columns}: {same:.0%} of the residues of {family.structure}, chain "
                f"{chain}, are the query's in their columns, expected {MIN_IDENTITY:.0%}. Both "
                "numbers count from 1: residues in the chain's full sequence, columns in the query"
            )
        part = slice(0, len(columns)) if whole_chain else domain(columns)
        source = _source(family.structure, family.folder, chain)
        target = chain.target(family.id, split, source, part, min_resolved=min_resolved)
    except DataError as error:
        return ImportedFamily(family.id, msa, split, refusal=str(error), identity=same)
    return ImportedFamily(family.id, msa, split, target, columns[part], identity=same)


def _source(structure: Path, folder: Path, chain: Chain) -> str:
    """Entry and chain, as in "1abc_A"; where the file has no entry's name, its path in the table.

    `entry_of` tells whether two targets are of one structure, and two folders may each have a
    file "model.pdb". Many files carry the chain in their name already.
    """
    end = f"_{chain.author}"
    with suppress(DataError):
        return entry_id(structure.name.split(".")[0].removesuffix(end)) + end
    inside = structure.relative_to(folder) if structure.is_relative_to(folder) else structure
    return _SUFFIX.sub("", inside.as_posix()).removesuffix(end) + end


def chain_columns(family: LocalFamily, chain: Chain, msa: Msa, row: int) -> NDArray[np.int32]:
    """Alignment column of each residue of a chain; -1 where it has none.

    Args:
        family: Its table line; `columns` names a file with the map, else the chain's sequence is
            aligned to the query row's residues.
        chain: The structure's chain, L residues.
        msa: The family's alignment.
        row: The query's row; it may hold gaps.

    Returns:
        (L,) int32.

    Raises:
        DataError: The map is malformed, or chain and query are not of one protein, as
            `Match.require_one_protein` tells.
    """
    columns = np.full(len(chain.sequence), -1, dtype=np.int32)
    if family.columns is not None:
        for residue, column in _column_map(family.columns):
            if not (1 <= residue <= len(chain.sequence) and 1 <= column <= msa.length):
                raise DataError(
                    f"{family.columns}: residue {residue}, column {column} is outside the chain's "
                    f"{len(chain.sequence)} residues or the alignment's {msa.length} columns"
                )
            columns[residue - 1] = column - 1
        if (columns < 0).all():
            raise DataError(f"{family.columns}: maps no residue")
        return columns
    present = np.flatnonzero(msa.residues[row] != alphabet.GAP)
    query = alphabet.decode(msa.residues[row, present])
    found = match(chain.sequence, query)
    with told_where(f"{family.structure}, chain {chain}"):
        found.require_one_protein(
            "Name the row of the structure's own sequence in column `query`, or give `columns`"
        )
    columns[found.here] = present[found.there]
    return columns


def identity(sequence: str, msa: Msa, row: int, columns: NDArray[np.int32]) -> float | None:
    """Share of the residues with a column that are the row's there; None where there are none.

    Those of which nothing is known, for a gap of the row or an X, do not count.
    """
    mapped = np.flatnonzero(columns >= 0)
    return Match(sequence, alphabet.decode(msa.residues[row]), mapped, columns[mapped]).identity


def _column_map(path: Path) -> Iterator[tuple[int, int]]:
    for number, row in numbered_tsv(path, ("residue", "column")):
        try:
            yield int(row["residue"]), int(row["column"])
        except ValueError as error:
            raise DataError(f"{path}, line {number}: expected two whole numbers") from error


def aligned_to_target(imported: ImportedFamily) -> Msa:
    """The alignment in the numbering of the target, whose sequence is row 0.

    A residue without a column (unresolved or inserted) has only gaps below it. A first row that
    is the target itself is not kept twice.
    """
    target, columns = imported.target, imported.target_columns
    if target is None or columns is None:
        raise DataError(f"family {imported.id} has no target")
    rows = anchor(imported.msa.residues, columns)
    query = alphabet.encode(target.sequence)
    start = int((rows[0] == query)[columns >= 0].all())
    return Msa(
        (target.id, *imported.msa.names[start:]),
        np.concatenate([query[None], rows[start:]]),
        imported.msa.nonstandard,
    )


def a3m_text(msa: Msa, max_rows: int | None = None) -> bytes:
    """An alignment, or `max_rows` rows of it at even steps from the first, as A3M."""
    count = msa.depth if max_rows is None else min(max_rows, msa.depth)
    rows = np.arange(count) * msa.depth // count
    return fasta_text((msa.names[row], alphabet.decode(msa.residues[row])) for row in rows).encode()


def write_audit(path: Path | str, imported: Sequence[ImportedFamily]) -> None:
    """Write one line a family: whether it became a target, why not, its `identity` where known."""
    write_tsv(path, ("family", "status", "reason", "identity"), map(_fate, imported))


def _fate(one: ImportedFamily) -> tuple[str, ...]:
    status = "ok" if one.target else "refused" if one.refusal else "skipped"
    reason = one.refusal or ("" if one.target else "no structure: trains only")
    return one.id, status, reason, "" if one.identity is None else f"{one.identity:.3f}"


def outcome(imported: Sequence[ImportedFamily], audit: Path) -> str:
    """How many structures became targets and how many were refused, and where to read why.

    Rows that were no sequences are counted, too.
    """
    refused = sum(bool(one.refusal) for one in imported)
    targets = sum(one.target is not None for one in imported)
    annotations = sum(one.msa.annotations for one in imported)
    return (
        f"{targets} targets, {refused} structures refused"
        + (f": {audit} says why" if refused else "")
        + (f"; {annotations} rows of annotation left out" if annotations else "")
    )
