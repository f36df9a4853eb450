"""Buckets are equal, hold together what shares a structure, and are those of their seed."""

import numpy as np
import pytest

from npm_core.buckets import (
    bucket_members,
    read_buckets,
    shared_structures,
    split_buckets,
    write_buckets,
)
from npm_core.cli import main
from npm_core.errors import DataError, SettingsError
from npm_core.tables import Target


def target(name, source, sequence="ACD"):
    coordinates = np.zeros((len(sequence), 3), dtype=np.float32)
    return Target(name, "Clan", sequence, coordinates, source)


def test_targets_share_a_structure_by_entry_or_by_overlap_in_one_protein():
    protein = "ACDEFGHIKLMNPQRSTVWYACEGIKMP"
    targets = [
        target("a", "1abc_A"),
        target("b", "1abc_B", protein[:24]),
        target("c", "another", protein[4:]),
        target("d", "2abc_A", protein[5:]),
        target("e", "3abc_A", protein[:19]),
        target("f", "nowhere_1"),
        target("g", "nowhere_2"),
        target("h", "somewhere"),
        target("i", "elsewhere"),
    ]
    groups = {frozenset(group) for group in shared_structures(targets)}
    assert groups == {frozenset("abcd"), frozenset("fg")}, "e meets b in 19 residues only"


def test_unknown_residues_are_no_shared_protein():
    assert (
        shared_structures([target("a", "1abc_A", "X" * 30), target("b", "2abc_A", "X" * 30)]) == []
    )


def test_buckets_are_equal_and_keep_shared_structures_together():
    families = [f"PF{number:05d}" for number in range(23)]
    targets = [
        *(target(families[number], f"{number % 4}abc_A") for number in range(8)),
        *(target(families[number], f"{number}_A") for number in range(8, 13)),
    ]
    buckets = split_buckets(families, targets, buckets=5, seed=1)
    assert list(buckets) == families
    sizes = np.bincount(list(buckets.values()))
    assert sorted(sizes) == [4, 4, 5, 5, 5]
    for number in range(4):
        assert buckets[families[number]] == buckets[families[number + 4]]
    with_target = np.bincount([buckets[one.id] for one in targets], minlength=5)
    assert with_target.min() >= 2


def test_buckets_depend_on_the_seed_and_not_on_chance():
    families = [f"PF{number:05d}" for number in range(20)]
    first, again, other = (split_buckets(families, [], buckets=5, seed=s) for s in (1, 1, 2))
    assert first == again
    assert first != other


def test_of_two_equal_buckets_the_one_with_fewer_targets_gets_a_family():
    # Dealt are the target to the first bucket, then others to the second, second, first, second.
    for seed in range(5):
        buckets = split_buckets(list("abcde"), [target("c", "1abc_A")], buckets=2, seed=seed)
        assert sorted(buckets.values()) == [0, 0, 1, 1, 1]
        assert buckets["c"] == 0


def test_more_buckets_than_structures_are_refused():
    assert split_buckets(["a", "b"], [], buckets=1, seed=1) == {"a": 0, "b": 0}
    with pytest.raises(SettingsError, match="0 buckets were asked for"):
        split_buckets(["a", "b"], [], buckets=0, seed=1)
    targets = [target("a", "1abc_A"), target("b", "1abc_B")]
    with pytest.raises(SettingsError, match="1 groups"):
        split_buckets(["a", "b"], targets, buckets=2, seed=1)
    with pytest.raises(DataError, match="belongs to none"):
        split_buckets(["a"], targets, buckets=1, seed=1)


def test_buckets_are_read_as_written_and_a_family_is_in_one(tmp_path):
    path = tmp_path / "buckets.tsv"
    write_buckets(path, {"PF2": 1, "PF1": 0, "PF3": 1})
    buckets = read_buckets(path)
    assert list(buckets.items()) == [("PF2", 1), ("PF1", 0), ("PF3", 1)]
    assert bucket_members(buckets, 1) == {"PF2", "PF3"}
    for line in ("PF1\t1", "PF4\t-1", "PF4\t"):
        path.write_text(f"family\tbucket\nPF1\t0\n{line}\n")
        with pytest.raises(DataError, match="line 3: expected a new family and a bucket"):
            read_buckets(path)
    with pytest.raises(DataError, match="a family occurs twice"):
        split_buckets(["a", "b", "a"], [], buckets=2, seed=1)


def test_a_round_without_a_bucket_is_refused(tmp_path, capsys):
    write_buckets(tmp_path / "buckets.tsv", {"PF1": 0})
    status = main(
        [
            *("reduce-families", "--families", "x", "--targets", "x", "--columns", "x"),
            *("--buckets", str(tmp_path / "buckets.tsv"), "--round", "5", "--depth", "2"),
            *("--seed", "1", "--output", "y", "--target-msas", "z"),
        ]
    )
    assert status == 2
    assert "buckets are 0 to 0" in capsys.readouterr().err
