"""The nearest family and what is carried over from it, against pairs checked by hand."""

import csv
import gzip
import shutil

import numpy as np
import pytest
import torch
from family_inputs import family

from npm_core.alphabet import decode, encode
from npm_core.checkpoints import save_model
from npm_core.cli import main
from npm_core.errors import DataError
from npm_core.ffindex import write_entries
from npm_core.hhsuite import hhalign
from npm_core.model import HeadSettings, NeuralPottsModel, TrunkSettings, build_trunk
from npm_core.msa import fasta_text, read_alignment
from npm_core.neighbour_search import _best, paired_positions, trains_on
from npm_core.neighbours import (
    Neighbour,
    read_neighbours,
    reference_member,
    transfer,
    under_reference,
    write_neighbours,
)
from npm_core.predict import contact_scores, predict_windows
from npm_core.programs import Programs
from npm_core.reduction import write_buckets
from npm_core.structures import read_chain
from npm_core.tables import (
    Target,
    read_metadata,
    read_scores,
    write_families,
    write_targets,
)


def neighbour(positions, columns, target="t"):
    positions, columns = np.array(positions, np.int32), np.array(columns, np.int32)
    return Neighbour(target, "f", 90.0, None, positions, columns)


def mutated(rng, sequence, share):
    letters = np.array(list(sequence))
    places = rng.random(len(letters)) < share
    letters[places] = rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), places.sum())
    return "".join(letters)


def protein(rng, length):
    return "".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), length))


def test_aligned_rows_pair_their_positions():
    positions, columns = paired_positions("AC-DE", "A-FDE", 10, 20)
    assert positions.tolist() == [10, 12, 13]
    assert columns.tolist() == [20, 22, 23]


def test_a_target_trains_on_the_families_outside_its_bucket():
    buckets = {"a": 0, "b": 0, "c": 1, "d": 2}
    assert {family for family in buckets if trains_on(buckets, "a", family)} == {"c", "d"}
    with pytest.raises(DataError, match="e is in no bucket"):
        trains_on(buckets, "a", "e")


def test_scores_of_aligned_residues_are_carried_over_and_all_others_rank_last():
    # The model is about the family's columns 2, 3, 5 and 6.
    columns = np.array([2, 3, 5, 6], dtype=np.int32)
    scores = np.array([[0, 1, 2, 3], [1, 0, 4, -5], [2, 4, 0, 6], [3, -5, 6, 0]], np.float32)
    # Residues 0, 1, 3, 4 of five meet columns 2, 4, 5, 6; the model has no column 4.
    matrix = transfer(scores, columns, neighbour([0, 1, 3, 4], [2, 4, 5, 6]), 5)
    assert matrix[0, 3] == matrix[3, 0] == 2
    assert matrix[0, 4] == 3
    assert matrix[3, 4] == 6
    assert matrix[0, 1] == matrix[1, 2] == matrix[2, 4] == 2, "the lowest carried over"
    assert (matrix == matrix.T).all()
    assert (np.diag(matrix) == 0).all()


def test_scores_follow_the_columns_that_the_model_has_left():
    # Columns 3 and 6 are the second and the last of the model's four.
    columns = np.array([2, 3, 5, 6], dtype=np.int32)
    scores = np.zeros((4, 4), np.float32)
    scores[0, 1] = scores[1, 0] = 9.0
    scores[1, 3] = scores[3, 1] = 7.0
    matrix = transfer(scores, columns, neighbour([0, 2], [3, 6]), 3)
    assert matrix[0, 2] == matrix[2, 0] == 7.0


def test_the_reference_has_the_weights_of_its_own_columns():
    # Whole, the rows agree in 2 of 4 columns; without the member's gaps in both that are left.
    rows = family("AC--", "ACDE")
    seen = {}
    for seed in range(30):
        reference, columns = under_reference(rows, seed=seed, identity_threshold=0.8)
        seen[len(columns)] = reference.meff
    assert seen == {2: 1.0, 4: 2.0}


def test_nothing_is_carried_over_unless_two_residues_align():
    scores = np.ones((2, 2), np.float32)
    columns = np.array([0, 1], dtype=np.int32)
    assert transfer(scores, columns, neighbour([4], [1]), 9) is None
    assert transfer(scores, columns, neighbour([4, 5], [1, 7]), 9) is None
    assert transfer(scores, columns, neighbour([], []), 9) is None


def test_the_reference_is_a_random_member_and_its_gap_columns_go():
    rows = family("AC-E", "-CDE", "A--E", "----")
    expected = {"ACE": (0, 1, 3), "CDE": (1, 2, 3), "AE": (0, 3)}
    seen = set()
    for seed in range(30):
        reference, columns = under_reference(rows, seed=seed, identity_threshold=0.8)
        assert tuple(columns) == expected[reference.query]
        assert sorted(map(bytes, reference.residues)) == sorted(
            map(bytes, rows.residues[:, columns])
        )
        seen.add(reference.query)
    assert seen == set(expected), "the row without a residue is no member"
    assert reference_member(rows, seed=3)[0] == reference_member(rows, seed=3)[0]


def test_neighbours_are_read_as_written(tmp_path):
    path = tmp_path / "neighbours.parquet"
    nothing = np.zeros(0, np.int32)
    without = Neighbour("u", None, None, None, nothing, nothing)
    write_neighbours(path, [neighbour([0, 2], [5, 6]), without], {})
    first, second = read_neighbours(path)
    assert (first.target, first.family, first.probability, first.bits) == ("t", "f", 90.0, None)
    assert first.target_positions.tolist() == [0, 2]
    assert first.family_columns.tolist() == [5, 6]
    assert second.family is None
    assert second.family_columns.size == 0


def test_of_equally_probable_families_the_one_of_the_higher_score_is_nearest():
    hits = {"PF1": (99.9, 80.0), "PF2": (99.9, 95.0), "PF3": (99.8, 120.0), "PF0": (99.9, 95.0)}
    assert _best(hits) == ("PF0", (99.9, 95.0))
    assert _best({}) is None


@pytest.fixture
def relatives(rng):
    """Two unrelated families of 60 columns; the target descends from the second."""
    ancestors = {"PF1": protein(rng, 60), "PF2": protein(rng, 60), "PF3; rm": protein(rng, 60)}
    families = [
        family(*(mutated(rng, ancestor, 0.3) for _ in range(12)), name=name)
        for name, ancestor in ancestors.items()
    ]
    # Eight residues before the domain, and the domain without its columns 30 to 32.
    core = mutated(rng, ancestors["PF2"], 0.2)
    sequence = protein(rng, 8) + core[:30] + core[33:]
    coordinates = np.zeros((len(sequence), 3), dtype=np.float32)
    return families, Target("PF4", "Clan", sequence, coordinates, "1abc_A")


def write_relatives(tmp_path, families, target):
    write_families(tmp_path / "families.parquet", families, {})
    write_targets(tmp_path / "targets.parquet", [target], {})
    return [
        *("--targets", str(tmp_path / "targets.parquet")),
        *("--families", str(tmp_path / "families.parquet")),
        *("--output", str(tmp_path / "neighbours.parquet")),
    ]


def check_alignment(found):
    """Most of the domain is aligned, and where it is, residue 8 + c meets column c."""
    pairs = dict(zip(found.target_positions.tolist(), found.family_columns.tolist(), strict=True))
    assert len(pairs) > 40
    right = [pairs[p] == (p - 8 if p < 38 else p - 5) for p in pairs]
    assert np.mean(right) > 0.9


@pytest.mark.skipif(shutil.which("hhsearch") is None, reason="needs HH-suite")
def test_hhsearch_finds_the_related_family_and_aligns_to_its_own_columns(
    tmp_path, relatives, capsys
):
    families, target = relatives
    command = write_relatives(tmp_path, families, target)
    # Seeds have columns of their own: a tail of six that no family has.
    seeds = (
        (one.id, "".join(f">{n}\n{'W' * 6}{decode(r)}\n" for n, r in enumerate(one.residues)))
        for one in families
    )
    write_entries(tmp_path / "seed", ((name, text.encode()) for name, text in seeds))
    write_buckets(tmp_path / "buckets.tsv", {"PF4": 0, "PF1": 1, "PF2": 1, "PF3; rm": 2})
    command = ["find-clan-neighbours", *command, "--profiles", str(tmp_path / "seed")]
    command += ["--buckets", str(tmp_path / "buckets.tsv"), "--round", "0", "--workers", "2"]
    assert main(command) == 0
    (found,) = read_neighbours(tmp_path / "neighbours.parquet")
    assert found.family == "PF2"
    assert found.probability > 90
    check_alignment(found)
    # With PF2 in the target's own bucket it may not be used.
    write_buckets(tmp_path / "buckets.tsv", {"PF4": 0, "PF1": 1, "PF2": 0, "PF3; rm": 2})
    assert main(command) == 0
    (found,) = read_neighbours(tmp_path / "neighbours.parquet")
    assert found.family in ("PF1", "PF3; rm")
    assert [path.name for path in tmp_path.glob(".*")] == [], "scratch is removed"
    capsys.readouterr()


@pytest.mark.skipif(shutil.which("hhalign") is None, reason="needs HH-suite")
def test_two_real_families_of_one_protein_meet_residue_by_residue(real_data, tmp_path):
    # 3F1L is in both PF13561 (chain A) and PF00106 (chain B, the same protein): a residue of the
    # one must fall on the column that the other's map gives to the residue of the same number.
    clan = real_data / "clans" / "NADP_Rossmann"

    def residues(name):
        with gzip.open(clan / name, "rt") as stream:
            return list(csv.DictReader(stream, delimiter="\t"))

    domain = residues("PF13561_3f1l_A.map.tsv.gz")
    truth = {r["auth_seqid"]: int(r["hmm_col"]) - 1 for r in residues("PF00106_3f1l_B.map.tsv.gz")}
    numbers = {int(r["chain_idx0"]): r["auth_seqid"] for r in domain}
    chain = read_chain(clan / "PF13561_3f1l_A.pdb.gz")
    (tmp_path / "query.fasta").write_text(f">q\n{chain.sequence}\n")
    msa = read_alignment(clan / "PF00106.a3m.gz")
    (tmp_path / "family.a3m").write_text(fasta_text(enumerate(map(decode, msa.residues))))
    with Programs() as programs:
        pairs = hhalign(programs, tmp_path / "query.fasta", tmp_path / "family.a3m")
    right = [
        column == truth[numbers[position]]
        for position, column in zip(*map(list, pairs), strict=True)
        if numbers.get(position) in truth
    ]
    assert len(right) > 150
    assert np.mean(right) > 0.9


@pytest.mark.skipif(shutil.which("mmseqs") is None, reason="needs MMseqs2")
def test_mmseqs_finds_the_related_query_and_counts_targets_without_a_hit(
    tmp_path, relatives, rng, capsys
):
    families, target = relatives
    stranger = Target("x", "test", protein(rng, 50), np.zeros((50, 3), np.float32), "2abc_A")
    command = write_relatives(tmp_path, families, target)
    write_targets(tmp_path / "targets.parquet", [target, stranger], {})
    assert main(["find-neighbours", *command]) == 0
    found, missing = read_neighbours(tmp_path / "neighbours.parquet")
    assert found.family == "PF2"
    assert found.bits > 30
    check_alignment(found)
    assert missing.family is None
    assert read_metadata(tmp_path / "neighbours.parquet")["targets_without_hit"] == 1
    capsys.readouterr()


@pytest.mark.skipif(shutil.which("mmseqs") is None, reason="needs MMseqs2")
def test_the_nearest_family_is_the_best_hit_but_not_the_targets_own(tmp_path, rng, capsys):
    own = protein(rng, 80)
    families = [
        family(own, name="T"),
        family(mutated(rng, own, 0.45), name="far"),
        family(mutated(rng, own, 0.2), name="near"),
    ]
    target = Target("T", "test", own, np.zeros((80, 3), np.float32), "1abc_A")
    assert main(["find-neighbours", *write_relatives(tmp_path, families, target)]) == 0
    (found,) = read_neighbours(tmp_path / "neighbours.parquet")
    assert found.family == "near"
    assert found.bits > 50
    capsys.readouterr()


def test_nearest_contacts_are_those_of_the_family_where_it_aligns(tmp_path, rng, capsys):
    # Columns 1 and 4 of the family always agree, all others are chance; the target's residues
    # 3 to 8 are the family's columns 0 to 5.
    rows = rng.choice(list("ACDEFG"), (200, 6))
    rows[:, 4] = rows[:, 1]
    write_families(tmp_path / "families.parquet", [family(*map("".join, rows))], {})
    targets = [Target(name, "Clan", "A" * 10, np.zeros((10, 3), np.float32), "x") for name in "tuv"]
    write_targets(tmp_path / "targets.parquet", targets, {})
    nothing = np.zeros(0, np.int32)
    found = [
        neighbour(range(3, 9), range(6)),
        Neighbour("u", None, None, None, nothing, nothing),
        Neighbour("v", "f", 1.0, None, nothing, nothing),
    ]
    write_neighbours(tmp_path / "neighbours.parquet", found, {})
    arguments = [
        *("nearest-contacts", "--neighbours", str(tmp_path / "neighbours.parquet")),
        *("--targets", str(tmp_path / "targets.parquet"), "--seed", "1"),
        *("--families", str(tmp_path / "families.parquet")),
        *("--output", str(tmp_path / "scores.parquet")),
    ]
    assert main(arguments) == 0
    (scores,) = read_scores(tmp_path / "scores.parquet")
    assert (scores.id, scores.model, scores.depth) == ("t", "nearest", 200)
    assert scores.matrix.shape == (10, 10)
    assert np.unravel_index(scores.matrix.argmax(), (10, 10)) == (3 + 1, 3 + 4)
    aligned = np.zeros((10, 10), dtype=bool)
    aligned[3:9, 3:9] = True
    off_diagonal = ~np.eye(10, dtype=bool)
    lowest = scores.matrix[aligned & off_diagonal].min()
    assert (scores.matrix[~aligned & off_diagonal] == lowest).all()
    metadata = read_metadata(tmp_path / "scores.parquet")
    assert (metadata["targets_with_hit"], metadata["targets_without_hit"]) == (2, 1)
    assert "1 without a hit, 1 without two aligned residues" in capsys.readouterr().err
    assert main([*arguments, "--identity-threshold", "1"]) == 0
    (others,) = read_scores(tmp_path / "scores.parquet")
    assert scores.meff < others.meff  # of the rows under the reference
    assert not np.array_equal(scores.matrix, others.matrix)
    write_neighbours(
        tmp_path / "neighbours.parquet", [Neighbour("t", "g", 1.0, None, nothing, nothing)], {}
    )
    assert main(arguments) == 2
    assert "nearest family g" in capsys.readouterr().err


def test_a_sisters_scores_are_npm_reading_her_query_where_she_aligns(tmp_path, capsys):
    # Of the rows with residues there is one, the reference; column 1 is no position of its query.
    write_families(tmp_path / "families.parquet", [family("A-CDEFG", "-------")], {})
    targets = [Target(name, "Clan", "K" * 9, np.zeros((9, 3), np.float32), "x") for name in "tu"]
    write_targets(tmp_path / "targets.parquet", targets, {})
    nothing = np.zeros(0, np.int32)
    found = [
        neighbour([1, 2, 3, 4], [0, 1, 2, 3]),
        Neighbour("u", None, None, None, nothing, nothing),
    ]
    write_neighbours(tmp_path / "neighbours.parquet", found, {})
    torch.manual_seed(0)
    trunk = build_trunk(TrunkSettings("rotary", layers=1, width=8, attention_heads=2))
    model = NeuralPottsModel(trunk, HeadSettings(rank=2)).eval()
    with torch.no_grad():
        for weight in model.couplings.parameters():
            weight.normal_()
    save_model(tmp_path / "model", model, {"TrainSettings": {"max_length": 512}})
    arguments = [
        *("npm-contacts", "--neighbours", str(tmp_path / "neighbours.parquet")),
        *("--targets", str(tmp_path / "targets.parquet"), "--sister-seed", "1"),
        *("--families", str(tmp_path / "families.parquet")),
        *("--checkpoint", str(tmp_path / "model"), "--output", str(tmp_path / "scores.parquet")),
    ]
    assert main(arguments) == 0
    own, other, scores = read_scores(tmp_path / "scores.parquet")
    assert [(one.id, one.model) for one in (own, other)] == [("t", "npm"), ("u", "npm")]
    assert (scores.id, scores.model, scores.depth) == ("t", "npm_sister", None)
    query = contact_scores(predict_windows(model, encode("ACDEFG"), window=512))
    # Columns 0, 2 and 3 are residues 0, 1 and 2 of the query; column 1 is a gap there.
    placed = scores.matrix[np.ix_([1, 3, 4], [1, 3, 4])]
    np.testing.assert_allclose(placed, query[:3, :3], atol=1e-6)
    assert np.ptp(query[:3, :3]) > 0
    assert (scores.matrix[0, 1:] == placed[~np.eye(3, dtype=bool)].min()).all()
    assert read_metadata(tmp_path / "scores.parquet")["targets_without_sister"] == 1
    write_families(tmp_path / "families.parquet", [family("ACD", name="g")], {})
    assert main(arguments) == 2
    assert "nearest family f is not among the families" in capsys.readouterr().err
    write_neighbours(tmp_path / "neighbours.parquet", [neighbour([1], [1], target="w")], {})
    assert main(arguments) == 2
    assert "neighbours of w, which is not among the targets" in capsys.readouterr().err


def test_columns_are_counted_over_a_gap_of_the_familys_query(tmp_path, rng, capsys):
    if shutil.which("mmseqs") is None:
        pytest.skip("needs MMseqs2")
    own = protein(rng, 80)
    target = Target("T", "test", own, np.zeros((80, 3), np.float32), "1abc_A")
    gapped = [family(own[:40] + "-" + own[41:], name="near")]
    assert main(["find-neighbours", *write_relatives(tmp_path, gapped, target)]) == 0
    (found,) = read_neighbours(tmp_path / "neighbours.parquet")
    assert found.target_positions.tolist() == found.family_columns.tolist()
    assert len(found.family_columns) >= 79
    capsys.readouterr()
