"""Cross-evaluation by artificial depth: buckets of families, reduced MSAs (paper, 4.1 and C.3)."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from npm_core import alphabet
from npm_core.arrays import Bools, Indices, States
from npm_core.draws import keyed_generator
from npm_core.errors import DataError, SettingsError
from npm_core.files import numbered_tsv, write_tsv
from npm_core.tables import Family, Target
from npm_core.weights import sequence_weights

SAME_PROTEIN = 20
"""Consecutive identical residues that two different families do not share by descent."""


def shared_structures(targets: Iterable[Target]) -> list[list[str]]:
    """Ids of targets that know each other's contacts, in groups; a target that is alone is absent.

    Two targets do if their sources name one entry ("1abc" of "1abc_A"), or if they have
    `SAME_PROTEIN` consecutive residues in common: they are parts of one protein that overlap,
    whatever their structures are called.
    """
    group_of: dict[str, list[str]] = {}
    owner: dict[tuple[str, str], str] = {}
    for target in targets:
        group_of[target.id] = [target.id]
        entry = target.source.rpartition("_")[0] or target.source
        stretches = (
            target.sequence[start : start + SAME_PROTEIN]
            for start in range(target.length - SAME_PROTEIN + 1)
        )
        known = (stretch for stretch in stretches if "X" not in stretch)
        for token in (("entry", entry), *(("stretch", stretch) for stretch in known)):
            mine, other = group_of[target.id], group_of[owner.setdefault(token, target.id)]
            if mine is not other:
                other.extend(mine)
                group_of.update(dict.fromkeys(mine, other))
    distinct = {id(group): group for group in group_of.values()}
    return [group for group in distinct.values() if len(group) > 1]


def split_buckets(
    families: Sequence[str], targets: Collection[Target], *, buckets: int, seed: int
) -> dict[str, int]:
    """Partition a clan's families into equally sized buckets (C.3, "Dataset splits").

    Families whose targets come from one structure would know each other's contacts, so they stay
    together. Groups are dealt from the largest down, families with a target first, each to the
    bucket with the fewest families and then the fewest targets; the rest is chance.

    Args:
        families: Accessions.
        targets: Targets of some of them; a target is called like its family.
        buckets: How many buckets.
        seed: Of the order in which groups of one size are dealt.

    Returns:
        Family to bucket, 0-based, in the order of `families`.

    Raises:
        SettingsError: There are fewer groups than buckets.
        DataError: A family occurs twice, or a target belongs to none.
    """
    known = {target.id for target in targets}
    if len(set(families)) != len(families):
        raise DataError("a family occurs twice among those to split into buckets")
    if strays := known - set(families):
        raise DataError(f"target {min(strays)} belongs to none of the {len(families)} families")
    groups = shared_structures(targets)
    grouped = {family for group in groups for family in group}
    groups += [[family] for family in families if family not in grouped]
    if not 1 <= buckets <= len(groups):
        raise SettingsError(
            f"{buckets} buckets were asked for, but {len(families)} families make "
            f"{len(groups)} groups that do not share a structure"
        )
    groups = [groups[index] for index in keyed_generator(seed, "buckets").permutation(len(groups))]
    groups.sort(key=lambda group: (-len(group), group[0] not in known))
    sizes = np.zeros(buckets, dtype=int)
    with_target = np.zeros(buckets, dtype=int)
    assigned: dict[str, int] = {}
    for group in groups:
        bucket = int(np.lexsort((with_target, sizes))[0])
        sizes[bucket] += len(group)
        with_target[bucket] += len(known.intersection(group))
        assigned.update(dict.fromkeys(group, bucket))
    return {family: assigned[family] for family in families}


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


def weighted(name: str, residues: States, *, identity_threshold: float) -> Family:
    """A family with the weights of the rows it has."""
    weights = sequence_weights(residues, identity_threshold=identity_threshold)
    return Family(name, residues, weights.astype(np.float32))


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


def write_buckets(path: Path | str, buckets: Mapping[str, int]) -> None:
    """Write family and bucket as TSV."""
    write_tsv(path, ("family", "bucket"), buckets.items())


def read_buckets(path: Path | str) -> dict[str, int]:
    """Family to bucket, as `write_buckets` wrote them.

    Raises:
        DataError: The header or a line has another form, or a family occurs twice.
    """
    buckets: dict[str, int] = {}
    for number, row in numbered_tsv(path, ("family", "bucket")):
        if not row["bucket"].isdecimal() or row["family"] in buckets:
            raise DataError(
                f"{path}, line {number}: expected a new family and a bucket, "
                f"found {row['family']} and {row['bucket']!r}"
            )
        buckets[row["family"]] = int(row["bucket"])
    return buckets


def bucket_members(buckets: Mapping[str, int], cv_round: int) -> set[str]:
    """Families of one round's evaluation bucket.

    Raises:
        SettingsError: There is no such bucket.
    """
    members = {family for family, bucket in buckets.items() if bucket == cv_round}
    if not members:
        raise SettingsError(
            f"round {cv_round} was asked for; buckets are 0 to {max(buckets.values(), default=-1)}"
        )
    return members
