"""PDB chains as targets: fetched, read, and checked against the sequence that was searched."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from npm_core import alphabet
from npm_core.errors import DataError
from npm_core.files import read_tsv
from npm_core.pdb_archive import NotInArchive
from npm_core.pdb_selection import split_chain_id
from npm_core.queries import Query
from npm_core.structures import read_structure
from npm_core.tables import Target


@dataclass(frozen=True, eq=False)
class Built:
    """What became of one chain.

    Attributes:
        id: The chain, e.g. "1abc_A".
        split: "train" or "test".
        target: None when the chain was dropped.
        reason: Why it was dropped; empty when it was not.
    """

    id: str
    split: str
    target: Target | None
    reason: str = ""


def read_assigned(path: Path | str) -> dict[str, str]:
    """Split of each chain in the table that `assign-structures` writes.

    Raises:
        DataError: The file lacks a column, holds another split, or a chain twice.
    """
    splits: dict[str, str] = {}
    for row in read_tsv(path, ("id", "split")):
        if row["split"] not in ("train", "test"):
            raise DataError(f"{path}: {row['id']} has split {row['split']!r}")
        if row["id"] in splits:
            raise DataError(f"{path}: {row['id']} occurs twice")
        splits[row["id"]] = row["split"]
    return splits


def build_target(
    query: Query, split: str, fetch: Callable[[str], Path], *, min_resolved: float
) -> Built:
    """The target of one chain, or why there is none.

    The target has the sequence that was searched with, so that it fits its alignment. The
    structure's own may differ from it where either has an X.

    Args:
        query: Id like "1abc_A" (entry and author's chain) and sequence.
        split: Passed on.
        fetch: Path of an entry's file; raises NotInArchive.
        min_resolved: As in `Chain.target`.

    Raises:
        DataError: The id is no entry and chain, or the fetch failed for another reason than that
            the archive has no such entry.
    """
    entry, name = split_chain_id(query.id)
    try:
        path = fetch(entry)
    except NotInArchive as error:
        return Built(query.id, split, None, str(error))
    try:
        chain = read_structure(path).chain(name)
        _check_sequence(chain.sequence, query.sequence)
        target = chain.target(query.id, split, query.id, min_resolved=min_resolved)
    except DataError as error:
        return Built(query.id, split, None, str(error).removeprefix(f"{path}: "))
    return Built(query.id, split, replace(target, sequence=query.sequence))


def _check_sequence(found: str, expected: str) -> None:
    """Raise unless two sequences agree wherever neither has an X."""
    if len(found) != len(expected):
        raise DataError(
            f"the structure has {len(found)} residues, its sequence in the search {len(expected)}"
        )
    for number, (one, other) in enumerate(zip(found, expected, strict=True), start=1):
        if "X" not in (one, other) and alphabet.encode(one) != alphabet.encode(other):
            raise DataError(f"residue {number} is {one} in the structure, {other} in the search")
