"""Buckets of a clan's families for cross-evaluation (paper, 4.1 and C.3)."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from npm_core.draws import keyed_generator
from npm_core.errors import DataError, SettingsError
from npm_core.files import numbered_tsv, write_tsv
from npm_core.pdb_selection import entry_of
from npm_core.tables import Target

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
        stretches = (
            target.sequence[start : start + SAME_PROTEIN]
            for start in range(target.length - SAME_PROTEIN + 1)
        )
        known = (stretch for stretch in stretches if "X" not in stretch)
        entry = entry_of(target.source)
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
