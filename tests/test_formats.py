"""File formats: round trips to each format's precision, hand-written files, damage that is seen."""

import gzip

import msgpack
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from npm_core import model_files, potts, score_files
from npm_core.alphabet import GAP, STATES, encode
from npm_core.cli import main
from npm_core.errors import DataError, SettingsError
from npm_core.potts import Potts

GAP_GAUGE = {"ccmpred-raw", "ccmpred-msgpack"}


@pytest.fixture
def model(rng):
    upper = rng.normal(size=(6, STATES, STATES)).astype(np.float32)
    fields = rng.normal(size=(4, STATES)).astype(np.float32)
    return Potts(fields, potts.full_couplings(upper, 4), {"query": "ACDE"})


@pytest.fixture
def scores(rng):
    upper = np.triu(rng.normal(size=(5, 5)), 1)
    return upper + upper.T


@pytest.mark.parametrize("name", model_files.MODELS)
def test_models_survive_a_round_trip(tmp_path, rng, model, name):
    model_files.write_model(tmp_path / "model", model, name)
    found = model_files.read_model(tmp_path / "model", name)
    assert np.array_equal(found.couplings, model.couplings)
    if name in GAP_GAUGE:
        residues = rng.integers(0, STATES, (10, 4)).astype(np.uint8)
        difference = potts.energy(found, residues) - potts.energy(model, residues)
        assert np.allclose(difference, difference[0], atol=1e-5)
        assert not found.fields[:, GAP].any()
    else:
        assert np.array_equal(found.fields, model.fields)


@pytest.mark.parametrize("name", model_files.MODELS)
def test_a_model_of_one_position_survives_a_round_trip(tmp_path, name):
    fields = np.arange(STATES, dtype=np.float32)[None] - GAP
    alone = Potts(fields, np.zeros((1, 1, STATES, STATES), np.float32))
    model_files.write_model(tmp_path / "model", alone, name)
    assert np.array_equal(model_files.read_model(tmp_path / "model", name).fields, fields)


@pytest.mark.parametrize("name", model_files.MODELS)
@pytest.mark.parametrize("share", [0.0, 0.2, 0.6, 0.97])
def test_a_truncated_model_is_refused(tmp_path, model, name, share):
    path = tmp_path / "model"
    model_files.write_model(path, model, name)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match="model"):
        model_files.read_model(path, name)


@pytest.mark.parametrize("name", model_files.MODELS)
def test_a_model_with_nan_is_refused(tmp_path, model, name):
    model.couplings[0, 1, 2, 3] = model.couplings[1, 0, 3, 2] = np.nan
    model_files.MODELS[name][1](tmp_path / "model", model)
    with pytest.raises(DataError, match="NaN"):
        model_files.read_model(tmp_path / "model", name)


def test_plmc_files_use_its_own_alphabet(tmp_path, model):
    model_files.write_model(tmp_path / "a.params", model)
    data = (tmp_path / "a.params").read_bytes()
    assert data[40:61] == b"-ACDEFGHIKLMNPQRSTVWY"
    first_fields = np.frombuffer(data, "<f4", 42, offset=61 + 4 + 16 + 4 * 84)[:3]
    assert np.array_equal(first_fields, model.fields[0, [GAP, 0, 4]])
    assert model_files.read_model(tmp_path / "a.params").metadata["query"] == "ACDE"


def test_a_plmc_file_without_the_gap_reads_as_zero_for_it(tmp_path):
    letters = b"ACDEFGHIKLMNPQRSTVWY"
    # One sequence that counts, one that plmc left out; both have a weight in the file.
    header = np.array([2, 20, 1, 1, 5], "<i4").tobytes() + np.zeros(5, "<f4").tobytes()
    front = letters + np.ones(2, "<f4").tobytes() + b"AC" + np.array([1, 2], "<i4").tobytes()
    fields = np.arange(40, dtype="<f4")
    couplings = np.zeros((20, 20), "<f4")
    couplings[0, 19] = 7
    body = [np.zeros(40, "<f4"), fields, np.zeros(400, "<f4"), couplings]
    (tmp_path / "a.plmc").write_bytes(header + front + b"".join(part.tobytes() for part in body))
    found = model_files.read_model(tmp_path / "a.plmc")
    assert found.couplings[0, 1, encode("A")[0], encode("Y")[0]] == 7
    assert found.fields[1, encode("C")[0]] == 21
    assert not found.fields[:, GAP].any()


def test_a_raw_file_as_ccmpred_prints_it(tmp_path):
    lines = ["\t".join(["1"] * 20) + "\t", "\t".join(["2"] * 20) + "\t", "# 0 1"]
    block = np.zeros((21, 21))
    block[2, 5] = 0.25
    lines += ["".join(f"{value:.20e}\t" for value in row) for row in block]
    (tmp_path / "a.raw").write_text("\n".join([*lines, '#>META> {"a": 1}']) + "\n")
    found = model_files.read_model(tmp_path / "a.raw")
    assert found.couplings[0, 1, 2, 5] == found.couplings[1, 0, 5, 2] == 0.25
    assert found.fields[1].tolist() == [2.0] * 20 + [0.0]


def test_a_msgpack_file_as_ccmpred_packs_it(tmp_path):
    block = np.zeros((21, 21))
    block[2, 5] = 0.25
    pair = {"i": 0, "j": 1, "x": block.ravel().tolist()}
    content = {"format": "ccm-1", "ncol": 2, "x_single": [1] * 40, "x_pair": {"0/1": pair}}
    (tmp_path / "a.msgpack").write_bytes(msgpack.packb(content))
    assert model_files.read_model(tmp_path / "a.msgpack").couplings[0, 1, 2, 5] == 0.25


def test_a_gremlin_file_as_it_prints_it(tmp_path):
    block = np.zeros((21, 21))
    block[2, 5] = 0.25
    fields = " ".join(["1"] * 21)
    pair = " ".join(map(str, block.ravel()))
    (tmp_path / "a.mrf").write_text(f"V[0] {fields}\nV[1] {fields}\nW[0][1] {pair}\n")
    assert model_files.read_model(tmp_path / "a.mrf").couplings[0, 1, 2, 5] == 0.25


def test_scores_of_a_model_are_the_papers_but_for_ccmpreds_own_file(tmp_path, model):
    found = model_files.write_model_scores(tmp_path / "a.npz", model).scores
    assert np.allclose(found, potts.contact_scores(model.couplings, centre="none"), atol=1e-6)
    found = model_files.write_model_scores(tmp_path / "a.mat", model).scores
    assert np.allclose(found, potts.ccmpred_matrix(model.couplings), atol=1e-6)


def test_raw_pairs_out_of_order_are_refused(tmp_path, model):
    model_files.write_model(tmp_path / "a.raw", model)
    text = (tmp_path / "a.raw").read_text().replace("# 0 2", "# 0 3")
    (tmp_path / "a.raw").write_text(text)
    with pytest.raises(DataError, match="pair headers"):
        model_files.read_model(tmp_path / "a.raw")


def test_residues_of_gremlin_files_that_left_columns_out_keep_their_numbers(tmp_path, model):
    model_files.write_model(tmp_path / "a.mrf", model)
    text = (tmp_path / "a.mrf").read_text().replace("[3]", "[4]")
    (tmp_path / "a.mrf").write_text(text)
    found = model_files.read_model(tmp_path / "a.mrf")
    assert np.array_equal(found.couplings, model.couplings)
    assert model_files.numbers_of(found).tolist() == [1, 2, 3, 5]
    model_files.write_model(tmp_path / "b.mrf", found)
    assert (tmp_path / "b.mrf").read_text() == text


@pytest.mark.parametrize("name", ["safetensors", "npz-model", "plmc", "gremlin"])
def test_residue_numbers_survive_a_round_trip(tmp_path, model, name):
    numbered = Potts(model.fields, model.couplings, {"query": "ACDE", "numbers": "24-25 29-30"})
    model_files.write_model(tmp_path / "model", numbered, name)
    found = model_files.read_model(tmp_path / "model", name)
    assert model_files.numbers_of(found).tolist() == [24, 25, 29, 30]


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
        model_files.write_model(tmp_path / model_name, made)
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
        ("a.mat", "0 1\n2 0\n", "symmetric"),
    ],
)
def test_damaged_score_files_are_refused(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        score_files.read_scores(tmp_path / name)


SHAPES = {"fields": (2, 21), "couplings": (2, 2, 21, 21)}


@pytest.mark.parametrize("name", ["fields", "couplings"])
@pytest.mark.parametrize("wrong", [np.float32(1), np.zeros(3, "U3"), np.zeros((2, 21), complex)])
def test_arrays_that_are_no_model_are_refused(tmp_path, name, wrong):
    arrays = {key: np.zeros(shape, np.float32) for key, shape in SHAPES.items()}
    np.savez(tmp_path / "a.npz", **arrays)
    assert model_files.read_model(tmp_path / "a.npz").length == 2
    np.savez(tmp_path / "a.npz", **{**arrays, name: wrong})
    with pytest.raises(DataError, match=r"a.npz: (fields|couplings) are"):
        model_files.read_model(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (torch.zeros(2, 21, dtype=torch.bfloat16), "BF16"),
        (torch.zeros(2, 21, dtype=torch.int8), "I8"),
        (torch.tensor(1.0), r"couplings for \(\) fields"),
    ],
)
def test_tensors_that_are_no_model_are_refused(tmp_path, model, fields, message):
    path = tmp_path / "a.safetensors"
    model_files.write_model(path, model)
    with safe_open(path, framework="pt") as file:
        metadata, couplings = file.metadata(), file.get_tensor("couplings")
    save_file({"fields": fields, "couplings": couplings}, path, metadata=metadata)
    with pytest.raises(DataError, match=message):
        model_files.read_model(path)


@pytest.mark.parametrize("length", [-3, 0, "2", 2.0, None])
def test_a_msgpack_of_no_positions_is_refused(tmp_path, length):
    content = {"format": "ccm-1", "ncol": length, "x_single": [], "x_pair": {}}
    (tmp_path / "a.msgpack").write_bytes(msgpack.packb(content))
    with pytest.raises(DataError, match="ncol is"):
        model_files.read_model(tmp_path / "a.msgpack")


def test_kinds_do_not_mix(tmp_path, model, scores):
    score_files.write_scores(tmp_path / "a.mat", scores)
    with pytest.raises(SettingsError, match="a Potts model is needed"):
        model_files.read_model(tmp_path / "a.mat")
    with pytest.raises(SettingsError, match="mat holds contact scores"):
        model_files.write_model(tmp_path / "a", model, "mat")
    with pytest.raises(SettingsError, match="cannot tell the format"):
        model_files.write_model(tmp_path / "a.unknown", model)
    with pytest.raises(SettingsError, match=r"mrf\. `fit-potts` makes a model"):
        model_files.read_model(tmp_path / "a.a3m")
    target = str(tmp_path / "a.mrf")
    assert main(["convert", "--input", str(tmp_path / "a.mat"), "--output", target]) == 2


@pytest.mark.parametrize("name", ["a.potts.safetensors", "a.npz", "a.mrf.gz"])
def test_a_model_in_place_of_scores_is_called_so(tmp_path, model, name):
    model_files.write_model(tmp_path / name, model)
    with pytest.raises(
        SettingsError, match=r"a Potts model, not contact scores; run `score` first"
    ):
        score_files.read_pair_scores(tmp_path / name)


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


@pytest.mark.parametrize("name", ["a.mat.gz", "a.csv.gz", "a.rr.gz"])
def test_text_is_gzipped_where_the_name_says_so(tmp_path, scores, name):
    score_files.write_scores(tmp_path / name, scores, query="ACDEF")
    score_files.write_scores(tmp_path / name.removesuffix(".gz"), scores, query="ACDEF")
    packed = (tmp_path / name).read_bytes()
    assert gzip.decompress(packed) == (tmp_path / name.removesuffix(".gz")).read_bytes()
    assert packed[3:8] == bytes(5)  # no name, no time
    assert len(list(tmp_path.iterdir())) == 2


def test_what_is_not_read_gzipped_is_not_written_so(tmp_path, model, scores):
    with pytest.raises(SettingsError, match=r"npz is not read gzipped"):
        score_files.write_scores(tmp_path / "a.npz.gz", scores)
    with pytest.raises(SettingsError, match=r"plmc is not read gzipped"):
        model_files.write_model(tmp_path / "a.params.gz", model)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.mat", "b.MAT", "c.mat.gz"])
def test_score_and_convert_write_the_same_matrix_whatever_the_name(tmp_path, model, name):
    model_files.write_model(tmp_path / "model.npz", model)
    for verb, flag in (("score", "--potts"), ("convert", "--input")):
        out = tmp_path / verb / name
        assert main([verb, flag, str(tmp_path / "model.npz"), "--output", str(out)]) == 0
        assert np.allclose(
            score_files.read_scores(out).scores, potts.ccmpred_matrix(model.couplings)
        )


def test_what_stands_at_the_output_does_not_choose_the_format(tmp_path, model, scores):
    score_files.write_scores(tmp_path / "a.mat", scores)
    model_files.write_model(tmp_path / "out.npz", model)
    words = ["--input", str(tmp_path / "a.mat"), "--output", str(tmp_path / "out.npz")]
    assert main(["convert", *words]) == 0
    assert np.array_equal(score_files.read_scores(tmp_path / "out.npz").scores, scores)
    model_files.write_model(tmp_path / "out.npz", model)
    assert model_files.read_model(tmp_path / "out.npz").length == 4


def test_the_verbs_fit_score_and_convert(tmp_path, capsys):
    (tmp_path / "a.a3m").write_text(">q\nACDEFGHI\n>b\nACdD-FGHI\n>c\nVCDEFGHL\n")
    potts_file, mat, rr, plmc = (
        str(tmp_path / n) for n in ("a.safetensors", "a.mat", "a.rr", "a.params")
    )
    report = tmp_path / "fit.json"
    fit = ["fit-potts", "--msa", str(tmp_path / "a.a3m"), "--output", potts_file]
    assert main([*fit, "--report", str(report)]) == 0
    picture = tmp_path / "a.png"
    assert main(["score", "--potts", potts_file, "--output", mat, "--map", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main(["convert", "--input", potts_file, "--output", plmc]) == 0
    assert main(["convert", "--input", plmc, "--output", rr]) == 0
    assert '"converged": true' in report.read_text()
    assert "\nACDEFGHI\n" in (tmp_path / "a.rr").read_text()
    assert score_files.read_scores(mat).scores.shape == (8, 8)
    assert main(["score", "--potts", potts_file, "--output", mat, "--centre", "none"]) == 2
    assert "ERROR" in capsys.readouterr().err


def test_a_map_is_drawn_whatever_the_file_of_scores_can_list(tmp_path, model):
    # Of four residues no two are far enough apart for CASP RR.
    model_files.write_model(tmp_path / "a.npz", model)
    words = ["--potts", str(tmp_path / "a.npz"), "--output", str(tmp_path / "a.rr")]
    assert main(["score", *words, "--map", str(tmp_path / "a.png")]) == 0
    assert (tmp_path / "a.rr").read_text().splitlines()[-2:] == ["ACDE", "END"]
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
