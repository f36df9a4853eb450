"""Files of contact scores: round trips, files written by hand, damage seen."""

import numpy as np
import pytest
from potts_inputs import random_scores

from npm_core import potts, potts_files, score_files
from npm_core.alphabet import STATES
from npm_core.cli import main
from npm_core.errors import DataError, SettingsError
from npm_core.potts import Potts


@pytest.fixture
def scores(rng):
    return random_scores(rng)


@pytest.mark.parametrize("name", ["a.npz", "a.csv"])
def test_numbers_of_scores_survive_a_round_trip(tmp_path, scores, name):
    numbers = np.array([24, 25, 27, 28, 29], np.int32)
    score_files.write_scores(tmp_path / name, scores, query="ACDEF", numbers=numbers)
    found = score_files.read_scores(tmp_path / name)
    assert np.array_equal(found.scores, scores)
    assert found.numbers.tolist() == numbers.tolist()
    whole, scored = found.whole()
    assert (whole.query, whole.numbers.tolist()) == ("ACXDEF", [*range(24, 30)])
    assert scored.tolist() == [True, True, False, True, True, True]
    assert np.array_equal(whole.scores[np.ix_(scored, scored)], scores)
    assert not whole.scores[2].any()


def test_an_rr_file_of_scores_with_a_gap_shows_the_residue_in_between(tmp_path):
    scores = np.zeros((8, 8))
    scores[0, 7] = scores[7, 0] = 1.0
    numbers = np.array([11, 12, 13, 15, 16, 17, 18, 19], np.int32)
    score_files.write_scores(tmp_path / "a.rr", scores, query="ACDEFGHI", numbers=numbers)
    lines = (tmp_path / "a.rr").read_text().splitlines()
    assert lines[-3:] == ["ACDXEFGHI", "1 9 0 8 1", "END"]


@pytest.mark.parametrize(
    ("numbers", "message"),
    [([3, 2, 4, 5, 6], "do not increase"), ([1, 2, 3, 4, 10**7], "residue numbers from 1")],
)
def test_numbers_of_no_protein_are_refused(tmp_path, scores, numbers, message):
    np.savez(tmp_path / "a.npz", scores=scores, numbers=np.array(numbers))
    with pytest.raises(DataError, match=message):
        score_files.read_scores(tmp_path / "a.npz")


@pytest.mark.parametrize("name", ["mat", "npy", "npz", "evcouplings"])
def test_scores_survive_a_round_trip(tmp_path, scores, name):
    path = tmp_path / f"scores.{'csv' if name == 'evcouplings' else name}"
    score_files.write_scores(path, scores, query="ACDEF")
    found = score_files.read_scores(path)
    assert np.array_equal(found.scores, scores)
    assert found.query == ("ACDEF" if name in ("evcouplings", "npz") else None)


def chain(query, pairs):
    """Scores of a protein that are zero but for some pairs, positions from 1."""
    scores = np.zeros((len(query), len(query)))
    for (i, j), score in pairs.items():
        scores[i - 1, j - 1] = scores[j - 1, i - 1] = score
    return scores


def test_rr_files_list_pairs_that_are_far_and_above_zero(tmp_path):
    scores = chain("ACDEFGHIK", {(1, 7): 1.0, (2, 9): 4.0, (1, 9): -2.0, (3, 8): 9.0})
    score_files.write_scores(tmp_path / "a.rr", scores, query="ACDEFGHIK")
    lines = (tmp_path / "a.rr").read_text().splitlines()
    assert [line for line in lines if not line.startswith("REMARK")] == [
        *("PFRMAT RR", "MODEL 1", "ACDEFGHIK", "2 9 0 8 1", "1 7 0 8 0.25", "END"),
    ]
    found = score_files.read_scores(tmp_path / "a.rr")
    assert found.query == "ACDEFGHIK"
    # What is not listed is one below the lowest p.
    expected = np.full((9, 9), -0.75)
    expected[1, 8] = expected[8, 1] = 1.0
    expected[0, 6] = expected[6, 0] = 0.25
    np.fill_diagonal(expected, 0)
    assert np.array_equal(found.scores, expected)
    with pytest.raises(DataError, match=r"a.rr: no score is above zero"):
        score_files.write_scores(tmp_path / "a.rr", scores - 5)


@pytest.mark.parametrize(
    "query",
    [None, "AC-EFGH*K", "A" * 50 + "END", "A" * 50 + "REMARK", "END" + "A" * 60, "A" * 100],
    ids=["none", "gap", "end", "remark", "starts with end", "whole lines"],
)
def test_an_rr_file_is_read_back_and_written_the_same(tmp_path, query):
    length = len(query or "A" * 9)
    scores = chain("A" * length, {(1, 9): 3.0, (2, 9): 1.0})
    score_files.write_scores(tmp_path / "a.rr", scores, query=query)
    found = score_files.read_scores(tmp_path / "a.rr")
    assert found.query == query
    assert np.argmax(found.scores) == 8
    score_files.write_scores(tmp_path / "b.rr", found.scores, query=found.query)
    assert (tmp_path / "b.rr").read_text() == (tmp_path / "a.rr").read_text()


def test_a_foreign_rr_file_is_scored(tmp_path):
    text = (
        "PFRMAT RR\nTARGET T1\nAUTHOR 1234-5678-9000\nMETHOD x\nREMARK\nMODEL  1\n"
        "ACDEF\nGHIKL\n1 8 0 8 0.9\n2 10 0 8 0.1\nEND\n"
    )
    (tmp_path / "a.rr").write_text(text)
    distances = np.full((10, 10), 20.0)
    np.fill_diagonal(distances, 0.0)
    for near in (6, 7):
        distances[0, near] = distances[near, 0] = 5.0
    np.savez(tmp_path / "c.npz", distances=distances)
    words = ["--scores", str(tmp_path / "a.rr"), "--contacts", str(tmp_path / "c.npz")]
    assert main(["precision", *words, "--output", str(tmp_path / "p.tsv")]) == 0
    rows = [line.split("\t")[:4] for line in (tmp_path / "p.tsv").read_text().splitlines()]
    # 10 pairs are 6 to 9 apart: 2 of them contacts. The 5 strongest are the file's two, then 1-7.
    assert rows[1:4] == [
        ["short", "L", "0.200000", "10"],
        ["short", "L/2", "0.400000", "5"],
        ["short", "L/5", "0.500000", "2"],
    ]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.rr", "PFRMAT RR\n1 2 0 8 0.5\nEND\n", "whole sequence before its pairs"),
        ("a.rr", "MODEL 1\nACD\n1 4 0 8 0.5\nEND\n", "sequence of 3 letters"),
        ("a.rr", "MODEL 1\nACD\nEND\n", "no pairs"),
        ("a.rr", "ACD\n1 2 0 8 0.5\n1 2 0 8 0.4\nEND\n", "twice"),
        ("a.rr", "ACD\n1 2 0 8 nan\nEND\n", "NaN"),
        ("a.rr", "ACD\n2 1 0 8 0.5\nEND\n", "i < j"),
        ("a.rr", "1 2 0 8\nEND\n", "expected 'i j 0 8 p'"),
        ("a.csv", "i,j,cn\n1,2,0.5\n", "missing"),
        ("a.csv", "i,A_i,j,A_j,cn\n1,A,2,C,x\n", "line 2"),
        ("a.csv", "i,A_i,j,A_j,cn\n1,ALA,2,C,1\n", r"a\.csv, line 2: A_i is 'ALA', expected one"),
        ("a.csv", "i,A_i,j,A_j,cn\n1,A,2,,1\n", "line 2: A_j is '', expected one letter"),
        ("a.csv", "i,A_i,j,A_j,cn\n1,A,2,7,1\n", "line 2: A_j is '7', expected one letter"),
        ("a.csv", "i,j,cn,A_i,A_j\n1,2,0.5,A\n", "line 2: A_j is '', expected one letter"),
        ("a.mat", "0 1\n2 0\n", "symmetric"),
    ],
)
def test_damaged_score_files_are_refused(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        score_files.read_scores(tmp_path / name)


@pytest.mark.parametrize("name", ["a.npz", "a.csv", "a.rr", "a.mat"])
def test_a_query_of_another_length_than_the_scores_is_not_written(tmp_path, scores, name):
    with pytest.raises(DataError, match=f"{name}: a sequence of 4 for 5 residues"):
        score_files.write_scores(tmp_path / name, scores, query="ACDE")
    assert not list(tmp_path.iterdir())


def test_an_error_of_writing_names_its_file_once(tmp_path, scores):
    with pytest.raises(SettingsError) as told:
        score_files.write_scores(tmp_path / "a.npz.gz", scores, file_format="npz")
    assert str(told.value).count("a.npz.gz") == 1


UPPER = np.array([[0.0, 3, 1], [0, 0, 2], [0, 0, 0]])


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (UPPER.T, r"has its lower triangle only.*write \(m \+ m\.T\) / 2"),
        (UPPER + UPPER.T / 2, r"is not symmetric.*write \(m \+ m\.T\) / 2"),
        (np.full((3, 3), 0.5), "all 3 scores are equal"),
        (np.eye(3), "all 3 scores are equal"),
    ],
)
def test_a_matrix_whose_upper_triangle_may_not_be_meant_is_refused(tmp_path, matrix, message):
    np.savetxt(tmp_path / "a.txt", matrix)
    with pytest.raises(DataError, match=f"a.txt: .*{message}"):
        score_files.read_pair_scores(tmp_path / "a.txt")


@pytest.mark.parametrize(
    "matrix",
    [UPPER, UPPER + UPPER.T, UPPER + np.float32(1 + 1e-7) * UPPER.T, UPPER + np.diag([np.nan] * 3)],
    ids=["an upper triangle", "symmetric", "to rounding", "no number on the diagonal"],
)
def test_a_matrix_of_which_the_upper_triangle_is_meant_is_read(tmp_path, matrix):
    np.save(tmp_path / "a.npy", matrix)
    np.testing.assert_array_equal(score_files.read_pair_scores(tmp_path / "a.npy").scores, matrix)


def test_ccmpreds_matrices_are_read(golden):
    paths = sorted(golden.glob("*.mat*"))
    assert paths
    for path in paths:
        found = score_files.read_pair_scores(path).scores
        assert np.array_equal(score_files.read_scores(path, "mat").scores, found)


@pytest.mark.parametrize(
    ("query", "pairs", "numbers"),
    [
        ("ACDXEFGHI", {(1, 9)}, [1, 2, 3, 5, 6, 7, 8, 9]),
        ("ACDXEFXHI", {(1, 7)}, [1, 2, 3, 5, 6, 7, 8, 9]),
        ("XCDXEFGHX", {(2, 8)}, [1, 2, 3, 5, 6, 7, 8, 9]),
        ("XXXXXXXXX", {(1, 9)}, [*range(1, 10)]),
    ],
    ids=["in no pair", "one in a pair", "at the ends", "no letter is known"],
)
def test_an_x_between_letters_that_no_pair_names_has_no_score(tmp_path, query, pairs, numbers):
    listed = "".join(f"{i} {j} 0 8 0.5\n" for i, j in pairs)
    (tmp_path / "a.rr").write_text(f"PFRMAT RR\nMODEL 1\n{query}\n{listed}END\n")
    found = score_files.read_scores(tmp_path / "a.rr")
    assert found.numbers.tolist() == numbers
    assert found.scores.shape == (len(numbers), len(numbers))
    whole, scored = found.whole()
    assert whole.query == (query if found.query else None)
    assert (np.flatnonzero(scored) + 1).tolist() == numbers
    for i, j in pairs:
        assert whole.scores[i - 1, j - 1] == 0.5


def test_scores_with_a_gap_have_one_precision_in_either_format(tmp_path, rng, capsys):
    scores = rng.random((30, 30))
    numbers = np.delete(np.arange(11, 42, dtype=np.int32), 12)
    query = "ACDEFGHIKLMNPQRSTVWYACDEFGHIKL"
    np.savez(
        tmp_path / "c.npz",
        distances=3.0 * np.abs(np.subtract.outer(np.arange(31), np.arange(31))),
        sequence=np.array(f"{query[:12]}W{query[12:]}"),
    )
    tables = []
    for name in ("a.npz", "a.rr", "b.npz"):
        if name == "b.npz":
            words = ["--input", str(tmp_path / "a.rr"), "--output", str(tmp_path / "b.npz")]
            assert main(["convert", *words]) == 0
        else:
            score_files.write_scores(
                tmp_path / name, scores + scores.T, query=query, numbers=numbers, name="q 1"
            )
        words = ["--scores", str(tmp_path / name), "--contacts", str(tmp_path / "c.npz")]
        assert main(["precision", *words, "--output", str(tmp_path / "p.tsv")]) == 0
        assert "30 are scored and resolved" in capsys.readouterr().err
        tables.append((tmp_path / "p.tsv").read_text())
    assert tables[0] == tables[1] == tables[2]
    assert score_files.read_scores(tmp_path / "b.npz").scores.shape == (30, 30)


def test_the_name_of_the_query_goes_from_the_model_to_the_scores(tmp_path, rng):
    upper = rng.normal(size=(36, STATES, STATES)).astype(np.float32)
    facts = {"query": "ACDEFGHIK", "query_name": "sp|P1|X_HUMAN some words"}
    made = Potts(np.zeros((9, STATES), np.float32), potts.full_couplings(upper, 9), facts)
    for model_name in ("a.safetensors", "a.npz"):
        potts_files.write_model(tmp_path / model_name, made)
        potts_file = str(tmp_path / model_name)
        for verb, flag, source, name in (
            ("score", "--potts", potts_file, "a.rr"),
            ("score", "--potts", potts_file, "s.npz"),
            ("convert", "--input", str(tmp_path / "s.npz"), "b.rr"),
            ("convert", "--input", str(tmp_path / "b.rr"), "c.rr"),
        ):
            assert main([verb, flag, source, "--output", str(tmp_path / name)]) == 0
        for name in ("a.rr", "b.rr", "c.rr"):
            lines = (tmp_path / name).read_text().splitlines()
            assert [line for line in lines if line.startswith("TARGET")] == ["TARGET sp|P1|X_HUMAN"]
            (tmp_path / name).unlink()
