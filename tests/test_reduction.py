"""Reduced depth: what is nested, what a target's MSA holds."""

import numpy as np
import pytest

from npm_core.alphabet import decode, encode
from npm_core.buckets import write_buckets
from npm_core.clan_targets import write_columns
from npm_core.cli import main
from npm_core.errors import DataError
from npm_core.reduction import (
    anchor,
    anchor_rows,
    check_columns,
    is_target,
    reduce_bucket,
    reduce_depth,
    reduce_family,
    take_test_rows,
    under_target,
)
from npm_core.tables import (
    Family,
    Target,
    read_families,
    read_metadata,
    read_targets,
    write_families,
    write_targets,
)


def family(name, *rows):
    residues = np.stack([encode(row) for row in rows])
    return Family(name, residues, np.ones(len(rows), dtype=np.float32))


def letters(residues):
    return sorted(map(bytes, residues))


def test_a_smaller_depth_is_a_subset_of_a_larger_one(rng):
    residues = rng.permutation(60).reshape(20, 3).astype(np.uint8)
    shallow = reduce_depth(residues, 3, key=(1, 0, "PF1"))
    deep = reduce_depth(residues, 10, key=(1, 0, "PF1"))
    assert len(shallow) == 3
    assert set(letters(shallow)) < set(letters(deep)) < set(letters(residues))
    assert letters(reduce_depth(residues, 99, key=(1, 0, "PF1"))) == letters(residues)
    assert (reduce_depth(residues, None, key=(1, 0, "PF1")) == residues).all()
    assert letters(reduce_depth(residues, 3, key=(1, 1, "PF1"))) != letters(shallow)


def test_every_row_has_the_same_chance_to_be_kept():
    residues = np.arange(10, dtype=np.uint8)[:, None]
    kept = [reduce_depth(residues, 3, key=(seed,)) for seed in range(2000)]
    counts = np.bincount(np.concatenate(kept).ravel(), minlength=10)
    assert counts.sum() == 6000
    assert abs(counts - 600).max() < 5 * np.sqrt(2000 * 0.3 * 0.7)


def test_rows_without_are_never_kept_unless_there_are_no_others():
    residues = np.arange(4, dtype=np.uint8)[:, None]
    without = np.array([True, False, True, False])
    assert reduce_depth(residues, None, key=(1,), without=without).ravel().tolist() == [1, 3]
    everything = np.ones(4, dtype=bool)
    assert len(reduce_depth(residues, 2, key=(1,), without=everything)) == 2


def test_test_rows_are_those_that_no_depth_takes_up_to_a_number():
    weights = np.linspace(0.05, 1, 20).astype(np.float32)
    whole = Family("PF1", np.arange(20, dtype=np.uint8)[:, None], weights)
    without = np.arange(20) % 5 == 0  # 16 rows are chosen among
    chosen = {"key": (1, 0, "PF1"), "without": without}
    shallow = take_test_rows(whole, 4, most=99, **chosen)
    kept = reduce_depth(whole.residues, 4, **chosen)
    together = sorted([*kept.ravel(), *shallow.residues.ravel()])
    assert together == [row for row in range(20) if row % 5], "each row once, but for those without"
    assert shallow.weights.tolist() == weights[shallow.residues.ravel()].tolist()
    few, deep = (take_test_rows(whole, depth, most=6, **chosen) for depth in (4, 10))
    assert few.depth == 6
    assert (few.residues == deep.residues).all(), "the same at depths that leave them all"
    for depth in (16, 17, None):
        assert take_test_rows(whole, depth, most=6, **chosen) is None
    assert take_test_rows(whole, 4, most=6, key=(1,), without=np.ones(20, bool)) is None


def test_an_anchored_alignment_follows_the_target_and_gaps_where_it_has_no_column():
    residues = np.stack([encode("ACDE"), encode("-CD-")])
    anchored = anchor(residues, np.array([0, -1, 2, 3], dtype=np.int32))
    assert (anchored == np.stack([encode("A-DE"), encode("--D-")])).all()
    assert (residues[0] == encode("ACDE")).all(), "the family is not touched"


def test_rows_without_a_residue_in_the_targets_positions_are_left_out():
    rows = family("PF1", "ACD", "A--", "-CD")
    rows = Family("PF1", rows.residues, np.array([0.25, 0.5, 1], dtype=np.float32))
    kept = anchor_rows(rows, np.array([-1, 1, 2], dtype=np.int32))
    assert [decode(row) for row in kept.residues] == ["-CD", "-CD"]
    assert kept.weights.tolist() == [0.25, 1]
    assert anchor_rows(family("PF1", "A--"), np.array([1, 2], dtype=np.int32)) is None


def test_the_target_itself_is_recognised_by_its_columns():
    protein = Target("PF1", "Clan", "AWD", np.zeros((3, 3), np.float32), "1abc_A")
    columns = np.array([0, -1, 2], dtype=np.int32)
    residues = np.stack([encode("AED"), encode("AWE"), encode("A-D"), encode("--D")])
    assert is_target(residues, protein, columns).tolist() == [True, False, True, False]


def test_the_target_msa_has_the_target_first_and_its_own_weights():
    protein = Target("PF1", "Clan", "AWD", np.zeros((3, 3), np.float32), "1abc_A")
    columns = np.array([0, -1, 2], dtype=np.int32)
    rows = family("PF1", "ACD", "KCE", "KCE")
    under = under_target(rows, protein, columns, identity_threshold=0.8)
    assert under.query == "AWD"
    assert (under.residues[1:] == np.stack([encode(row) for row in ("A-D", "K-E", "K-E")])).all()
    assert under.weights.tolist() == [1.0, 1.0, 0.5, 0.5]


def test_weights_belong_to_the_rows_that_are_left():
    rows = family("PF1", "ACDEF", "ACDEF", "KLMNP")
    alone = reduce_family(rows, 1, key=(1,), identity_threshold=0.8)
    assert alone.weights.tolist() == [1.0]
    together = reduce_family(rows, None, key=(1,), identity_threshold=0.8)
    assert together.weights.tolist() == [0.5, 0.5, 1.0]


def test_each_round_keeps_other_rows_of_a_family():
    rows = Family("PF1", np.arange(20, dtype=np.uint8)[:, None], np.ones(20, dtype=np.float32))
    settings = {"depth": 5, "seed": 1, "identity_threshold": 0.8, "most_test_rows": 0}
    first, second, again = (
        reduce_bucket([rows], {}, {}, cv_round=number, **settings).families[0].residues.tolist()
        for number in (0, 1, 0)
    )
    assert first == again
    assert first != second


def test_columns_that_do_not_fit_are_refused():
    protein = Target("PF1", "Clan", "AWD", np.zeros((3, 3), np.float32), "1abc_A")
    rows = family("PF1", "ACD")
    alone = np.array([-1, 0, -1], dtype=np.int32)
    assert check_columns(rows, protein, alone) is alone
    with pytest.raises(DataError, match="up to column 4"):
        check_columns(rows, protein, np.array([0, 1, 3], dtype=np.int32))
    with pytest.raises(DataError, match="2 positions up to column 3"):
        check_columns(rows, protein, np.array([0, 2], dtype=np.int32))
    with pytest.raises(DataError, match="up to column 0"):
        check_columns(rows, protein, np.array([-1, -1, -1], dtype=np.int32))
    with pytest.raises(DataError, match="no row"):
        check_columns(rows, protein, None)


def test_verbs_split_and_reduce_a_clan(tmp_path, capsys):
    names = [f"PF{number}" for number in range(6)]
    rows = ["ACDE", "ACDF", "KLMN", "PQRS", "TVWY"]
    write_families(tmp_path / "families.parquet", [family(name, *rows) for name in names], {})
    targets = [
        Target(name, "Clan", "ACD", np.full((3, 3), place, np.float32), f"{place}_A")
        for place, name in enumerate(names[:4])
    ]
    write_targets(tmp_path / "targets.parquet", targets, {})
    columns = np.array([0, 1, 2], dtype=np.int32)
    write_columns(tmp_path / "columns.parquet", dict.fromkeys(names[:4], columns), {})
    inputs = [
        *("--families", str(tmp_path / "families.parquet")),
        *("--targets", str(tmp_path / "targets.parquet")),
    ]
    assert not main(
        [
            *("split-buckets", *inputs, "--buckets", "2", "--seed", "1"),
            *("--output", str(tmp_path / "buckets.tsv")),
        ]
    )

    def reduce(cv_round, depth):
        folder = tmp_path / f"{cv_round}-{depth}"
        arguments = [
            *("reduce-families", *inputs, "--columns", str(tmp_path / "columns.parquet")),
            *("--buckets", str(tmp_path / "buckets.tsv"), "--round", cv_round, "--depth", depth),
            *("--seed", "1", "--output", str(folder / "reduced.parquet")),
            *("--target-msas", str(folder / "msas.parquet")),
            *("--evaluation-targets", str(folder / "targets.parquet")),
            *("--test-rows", str(folder / "test_rows.parquet"), "--most-test-rows", "2"),
        ]
        assert main(arguments) == 0
        return folder

    first, second, full = reduce("0", "2"), reduce("1", "2"), reduce("0", "full")
    ids = [[one.id for one in read_families(path / "reduced.parquet")] for path in (first, second)]
    assert sorted(ids[0] + ids[1]) == names
    assert len(ids[0]) == 3
    with_target = [one.id for one in read_targets(first / "targets.parquet")]
    assert with_target == [name for name in names[:4] if name in ids[0]]
    for under in read_families(first / "msas.parquet"):
        assert under.query == "ACD"
        assert under.depth == 3, "the target and two rows"
        assert not (under.residues[1:] == encode("ACD")).all(1).any(), "the target is there once"
    for under in read_families(full / "msas.parquet"):
        assert under.depth == 4, "the target and the three rows that are not it"
    judges = {rows.id: rows for rows in read_families(first / "test_rows.parquet")}
    assert list(judges) == with_target
    for under in read_families(first / "msas.parquet"):
        rows = [decode(row) for row in (*under.residues[1:], *judges[under.id].residues)]
        assert sorted(rows) == ["KLM", "PQR", "TVW"], "the target's columns; no row in both"
    assert list(read_families(full / "test_rows.parquet")) == []
    assert read_metadata(full / "test_rows.parquet")["targets_without_test_rows"] == len(judges)
    assert read_metadata(first / "reduced.parquet")["rows_identical_to_targets"] == 4
    assert read_metadata(reduce("0", "9") / "reduced.parquet")["shallower_than_depth"] == 3
    capsys.readouterr()


def test_a_bucket_without_a_target_is_refused(tmp_path, capsys):
    write_buckets(tmp_path / "buckets.tsv", {"PF1": 0, "PF2": 1})
    target = Target("PF2", "Clan", "ACD", np.zeros((3, 3), np.float32), "1abc_A")
    write_targets(tmp_path / "targets.parquet", [target], {})
    status = main(
        [
            *("reduce-families", "--families", "x", "--targets", str(tmp_path / "targets.parquet")),
            *("--columns", "x", "--buckets", str(tmp_path / "buckets.tsv"), "--round", "0"),
            *("--depth", "2", "--seed", "1"),
            *("--output", str(tmp_path / "y"), "--target-msas", str(tmp_path / "z")),
        ]
    )
    assert status == 2
    assert "none of the 1 families of bucket 0 has a target" in capsys.readouterr().err


def test_the_verb_nests_depths_and_draws_anew_for_each_family_and_seed(tmp_path, capsys):
    letters = "ACDEFGHIKLMNPQRSTVWY"
    rows = np.stack([encode(letters[k:] + letters[:k]) for k in range(20)])
    families = [Family(name, rows, np.ones(20, np.float32)) for name in ("PF1", "PF2")]
    write_families(tmp_path / "families", families, {})
    target = Target("PF1", "Clan", "WWW", np.zeros((3, 3), np.float32), "1abc_A")
    write_targets(tmp_path / "targets", [target], {})
    write_columns(tmp_path / "columns", {"PF1": np.array([0, 1, 2], np.int32)}, {})
    write_buckets(tmp_path / "buckets", {"PF1": 0, "PF2": 0})
    inputs = [f"--{n}={tmp_path / n}" for n in ("families", "targets", "columns", "buckets")]

    def kept(depth, seed="1"):
        out = tmp_path / f"{depth}-{seed}"
        more = [f"--depth={depth}", f"--seed={seed}", f"--output={out}", f"--target-msas={out}.m"]
        assert main(["reduce-families", *inputs, "--round=0", *more]) == 0
        return [set(map(decode, family.residues)) for family in read_families(out)]

    shallow, deep, other = kept("4"), kept("9"), kept("4", seed="2")
    assert all(few < many for few, many in zip(shallow, deep, strict=True))
    assert shallow[0] != shallow[1], "each family draws for itself"
    assert shallow != other
    capsys.readouterr()


def test_the_verb_weighs_reduced_rows_by_its_threshold(tmp_path, capsys):
    rows = np.stack([encode("ACDE"), encode("ACDF")])
    write_families(tmp_path / "families", [Family("PF1", rows, np.ones(2, np.float32))], {})
    target = Target("PF1", "Clan", "WWWW", np.zeros((4, 3), np.float32), "1abc_A")
    write_targets(tmp_path / "targets", [target], {})
    write_columns(tmp_path / "columns", {"PF1": np.arange(4, dtype=np.int32)}, {})
    write_buckets(tmp_path / "buckets", {"PF1": 0})
    words = [f"--{n}={tmp_path / n}" for n in ("families", "targets", "columns", "buckets")]
    words += ["--round=0", "--depth=full", "--seed=1", f"--target-msas={tmp_path / 'm'}"]
    more = [f"--output={tmp_path / 'r'}", "--identity-threshold=0.75"]
    assert main(["reduce-families", *words, *more]) == 0
    (reduced,), (under,) = read_families(tmp_path / "r"), read_families(tmp_path / "m")
    assert reduced.weights.tolist() == [0.5, 0.5], "three columns of four agree"
    assert under.weights.tolist() == [1.0, 0.5, 0.5]
    capsys.readouterr()
