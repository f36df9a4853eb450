"""Artificial depth: MSAs reduced to some of their rows, under their targets (paper, 4.1, C.3)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from npm_core import alphabet
from npm_core.arrays import Bools, Indices, States
from npm_core.draws import keyed_generator
from npm_core.errors import DataError
from npm_core.family_weights import weighted
from npm_core.tables import Family, Target


def _row_order(count: int, key: Iterable[object], without: Bools | None) -> NDArray[np.int64]:
    """The order in which a key chooses among `count` rows.

    Those of `without` are not chosen, unless there are no others.
    """
    order = keyed_generator(*key).permutation(count)
    if without is not None and not without.all():
        order = order[~without[order]]
    return order


def reduce_depth(
    residues: States, depth: int | None, *, key: Iterable[object], without: Bools | None = None
) -> States:
    """Rows of an alignment chosen at random without replacement (the paper's purging, C.3).

    One order of the rows belongs to each key, and a depth takes its first rows, so a smaller
    depth is a subset of a larger one.

    Args:
        residues: (M, L) states.
        depth: Rows to keep; None, or more than there are, keeps all.
        key: What the order of the rows depends on, e.g. (seed, round, family).
        without: (M,) bool, rows that are not chosen, unless there are no others.

    Returns:
        (at most depth, L) states, in the order of the alignment.
    """
    return residues[np.sort(_row_order(len(residues), key, without)[:depth])]


def take_test_rows(
    family: Family,
    depth: int | None,
    *,
    most: int,
    key: Iterable[object],
    without: Bools | None = None,
) -> Family | None:
    """Rows that `reduce_depth` leaves out, with the weights they have in the whole family.

    They are the last of the same order: a family with `most` rows more than any depth takes has
    the same at every depth. None where no row is left.

    Args:
        family: Whole.
        depth: Rows that are kept; None for all.
        most: Rows to take.
        key: As in `reduce_depth`.
        without: Rows that are never taken.
    """
    order = _row_order(family.depth, key, without)
    left = order[family.depth if depth is None else depth :]
    if without is not None:
        left = left[~without[left]]
    if left.size == 0:
        return None
    rows = np.sort(left[-most:])
    return Family(family.id, family.residues[rows], family.weights[rows])


def anchor(residues: States, columns: Indices) -> States:
    """An alignment in the positions of a target instead of the family's columns.

    Args:
        residues: (M, C) states.
        columns: (L,), the family column of each of the target's residues, -1 where it has none.

    Returns:
        (M, L) states; all gap where the target has a residue but the family no column.
    """
    anchored = residues[:, columns]
    anchored[:, columns < 0] = alphabet.GAP
    return anchored


def anchor_rows(family: Family, columns: Indices) -> Family | None:
    """The rows of a family that have a residue in the target's positions, in these; None if none.

    Args:
        family: Its rows, in Pfam's columns.
        columns: As in `anchor`.
    """
    residues = anchor(family.residues, columns)
    kept = (residues != alphabet.GAP).any(1)
    if not kept.any():
        return None
    return Family(family.id, residues[kept], family.weights[kept])


def is_target(residues: States, target: Target, columns: Indices) -> Bools:
    """Which rows are the target itself: identical to it wherever it has a family column.

    They are not drawn into the reduced MSA: its independent Potts model gets the target as row 0,
    and would count it twice.

    Args:
        residues: (M, C) states.
        target: L residues.
        columns: (L,), the family column of each of them, -1 where it has none.

    Returns:
        (M,)
    """
    mapped = columns >= 0
    query = alphabet.encode(target.sequence)
    return (residues[:, columns[mapped]] == query[mapped]).all(1)


def reduce_family(
    family: Family,
    depth: int | None,
    *,
    key: Iterable[object],
    identity_threshold: float,
    without: Bools | None = None,
) -> Family:
    """A family with the rows that `reduce_depth` leaves of it, and their own weights."""
    residues = reduce_depth(family.residues, depth, key=key, without=without)
    return weighted(family.id, residues, identity_threshold=identity_threshold)


def under_target(
    family: Family, target: Target, columns: Indices, *, identity_threshold: float
) -> Family:
    """A family's rows below its target's sequence, in the target's positions.

    "The depth-reduced MSA is aligned to the sequence from the target structure" (C.3): the
    independent Potts model is fitted to depth + 1 rows, the NPM trained on the depth rows and
    given the target's sequence as input.

    Args:
        family: Its rows, in Pfam's columns.
        target: L residues.
        columns: (L,), the family column of each of them, -1 where it has none.

    Returns:
        Under the family's id, row 0 the target.
    """
    query = alphabet.encode(target.sequence)[None]
    residues = np.concatenate([query, anchor(family.residues, columns)])
    return weighted(family.id, residues, identity_threshold=identity_threshold)


def check_columns(family: Family, target: Target, columns: Indices | None) -> Indices:
    """The columns, if they fit both the family and the target.

    Raises:
        DataError: They do not, or there are none.
    """
    if columns is None:
        raise DataError(f"target {target.id} has no row in the table of columns")
    if len(columns) != target.length or not 0 <= columns.max() < family.length:
        raise DataError(
            f"family {family.id}: {len(columns)} positions up to column {columns.max() + 1} "
            f"for a target of {target.length} residues and {family.length} columns. "
            "Were targets and families made from the same release?"
        )
    return columns


@dataclass(frozen=True)
class Reduction:
    """Families of one bucket at one depth.

    Attributes:
        families: Reduced, in Pfam's columns.
        msas: Of those with a target, the same rows below it, in its positions.
        test_rows: Of those with a target, rows that the depth leaves out, in its positions.
        redundant: How many rows were identical to a target.
    """

    families: list[Family]
    msas: list[Family]
    test_rows: list[Family]
    redundant: int


def reduce_bucket(
    families: Iterable[Family],
    targets: Mapping[str, Target],
    columns: Mapping[str, Indices],
    *,
    depth: int | None,
    seed: int,
    cv_round: int,
    identity_threshold: float,
    most_test_rows: int,
) -> Reduction:
    """Reduce families in depth, and put them under their targets.

    Args:
        families: Whole, of one bucket.
        targets: By family, where it has one.
        columns: As in `anchor`, by family.
        depth: Rows to keep; None for all.
        seed: Of the rows that are kept; these differ by round and family, too.
        cv_round: The bucket's.
        identity_threshold: From which rows share their weight.
        most_test_rows: Of a family.

    Raises:
        DataError: As in `check_columns`.
    """
    reduced, msas, test_rows, redundant = [], [], [], 0
    for family in families:
        target = targets.get(family.id)
        own = place = None
        if target is not None:
            place = check_columns(family, target, columns.get(target.id))
            own = is_target(family.residues, target, place)
            redundant += int(own.sum())
        key = (seed, cv_round, family.id)
        kept = reduce_family(
            family, depth, key=key, identity_threshold=identity_threshold, without=own
        )
        reduced.append(kept)
        if target is not None and place is not None:
            msas.append(under_target(kept, target, place, identity_threshold=identity_threshold))
            left = take_test_rows(family, depth, most=most_test_rows, key=key, without=own)
            judges = left and anchor_rows(left, place)
            if judges is not None:
                test_rows.append(judges)
    return Reduction(reduced, msas, test_rows, redundant)
