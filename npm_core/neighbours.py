"""The training family nearest to a target, and what its model carries over to it (paper, C.3)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from npm_core import alphabet
from npm_core.arrays import Float32, Indices
from npm_core.draws import keyed_generator
from npm_core.errors import DataError
from npm_core.family_weights import weighted
from npm_core.tables import Family, read_table, write_rows

NEIGHBOURS = pa.schema(
    [
        ("target", pa.string()),
        ("family", pa.string()),
        ("probability", pa.float64()),
        ("bits", pa.float64()),
        ("target_positions", pa.list_(pa.int32())),
        ("family_columns", pa.list_(pa.int32())),
    ]
)
"""One row a target. family is null where no training family was hit; of probability (HHsearch,
per cent) and bits (MMseqs2) the one is null that was not measured."""


@dataclass(frozen=True, eq=False)
class Neighbour:
    """The training family nearest to a target, and where the two meet.

    Attributes:
        target: Target id.
        family: Family id, None without a hit.
        probability: HHsearch's, per cent; None with MMseqs2.
        bits: MMseqs2's score; None with HHsearch.
        target_positions, family_columns: (n,) int32, 0-based and increasing: residue and column
            that the alignment puts side by side.
    """

    target: str
    family: str | None
    probability: float | None
    bits: float | None
    target_positions: Indices
    family_columns: Indices

    def __post_init__(self) -> None:
        if self.target_positions.shape != self.family_columns.shape:
            raise DataError(
                f"target {self.target}: {len(self.target_positions)} positions meet "
                f"{len(self.family_columns)} columns"
            )


def by_family(neighbours: Iterable[Neighbour]) -> dict[str, list[Neighbour]]:
    """Neighbours by the family they lead to; those without a hit are absent."""
    families: dict[str, list[Neighbour]] = {}
    for neighbour in neighbours:
        if neighbour.family is not None:
            families.setdefault(neighbour.family, []).append(neighbour)
    return families


def reference_member(family: Family, *, seed: int) -> tuple[int, Indices]:
    """A random member of a family (C.3, step 2).

    It depends on the seed and the family's id alone, so every target that has this neighbour meets
    the same one.

    Returns:
        Its row, and (L',) the family's columns in which it has residues.

    Raises:
        DataError: No row has a residue.
    """
    present = family.residues != alphabet.GAP
    members = np.flatnonzero(present.any(1))
    if not members.size:
        raise DataError(f"family {family.id}: no row has a residue to be a reference")
    member = int(keyed_generator(seed, "reference", family.id).choice(members))
    return member, np.flatnonzero(present[member]).astype(np.int32)


def under_reference(
    family: Family, *, seed: int, identity_threshold: float
) -> tuple[Family, Indices]:
    """A family's alignment under its reference member, and the columns that this one keeps.

    Args:
        family: In its own columns.
        seed: Of the member.
        identity_threshold: For the weights of the rows in the columns that are left.

    Returns:
        The alignment, the member first, and (L',) the columns.

    Raises:
        DataError: No row has a residue.
    """
    member, columns = reference_member(family, seed=seed)
    order = np.r_[member, np.delete(np.arange(family.depth), member)]
    residues = np.ascontiguousarray(family.residues[order][:, columns])
    return weighted(family.id, residues, identity_threshold=identity_threshold), columns


def transfer(
    scores: Float32, columns: Indices, neighbour: Neighbour, length: int
) -> Float32 | None:
    """Rows and columns of a family's contact scores that align to a target (C.3, step 3).

    Pairs with a residue that does not align are unknown to the neighbour: they get the lowest of
    the transferred scores, so that they rank last, after every pair it has an opinion on.

    Args:
        scores: (L', L'), of the family's model.
        columns: (L',), the family's columns the model is about, increasing.
        neighbour: Where the target meets the family.
        length: L of the target.

    Returns:
        (L, L) float32, symmetric, zero diagonal; None if no pair of residues aligns.
    """
    model = np.full(int(max(columns.max(), neighbour.family_columns.max(initial=0))) + 1, -1)
    model[columns] = np.arange(len(columns))
    here = model[neighbour.family_columns]
    positions, here = neighbour.target_positions[here >= 0], here[here >= 0]
    if len(positions) < 2:
        return None
    block = scores[np.ix_(here, here)]
    lowest = block[~np.eye(len(block), dtype=bool)].min()
    matrix = np.full((length, length), lowest, dtype=np.float32)
    matrix[np.ix_(positions, positions)] = block
    np.fill_diagonal(matrix, 0.0)
    return matrix


def write_neighbours(
    path: Path | str, neighbours: Sequence[Neighbour], metadata: dict[str, str]
) -> None:
    """Write the nearest family of each target as Parquet."""
    rows = ({name: getattr(one, name) for name in NEIGHBOURS.names} for one in neighbours)
    write_rows(path, NEIGHBOURS.with_metadata(metadata), rows, 4096)


def read_neighbours(path: Path | str) -> list[Neighbour]:
    """The nearest family of each target, as `write_neighbours` wrote it.

    Raises:
        DataError: The file is missing or no such table.
    """
    return [
        Neighbour(
            **{
                **row,
                "target_positions": np.array(row["target_positions"], dtype=np.int32),
                "family_columns": np.array(row["family_columns"], dtype=np.int32),
            }
        )
        for row in read_table(path, NEIGHBOURS.names)
    ]
