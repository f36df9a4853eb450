"""Potts models: energies and scores by hand, scores against CCMpred's own."""

import gzip

import numpy as np
import pytest
from potts_inputs import random_model
from safetensors import safe_open
from safetensors.numpy import save_file

from npm_core import potts
from npm_core.alphabet import GAP, STATES, encode
from npm_core.errors import DataError, SettingsError
from npm_core.model_files import read_model, write_model
from npm_core.potts import Potts


@pytest.fixture
def model(rng):
    return random_model(rng)


def test_energy_is_minus_the_fields_and_each_pair_once():
    model = Potts(np.zeros((3, STATES), np.float32), np.zeros((3, 3, 21, 21), np.float32))
    model.fields[0, 4] = 1.0
    model.fields[2, GAP] = 0.5
    model.couplings[0, 2, 4, GAP] = model.couplings[2, 0, GAP, 4] = 2.0
    residues = np.stack([encode("CA-"), encode("CAA"), encode("AA-")])
    assert potts.energy(model, residues).tolist() == [-3.5, -1.0, -0.5]


def test_energy_adds_up_every_field_and_pair(model):
    row = encode("AC-EFG")
    fields = [model.fields[i, row[i]] for i in range(6)]
    pairs = [model.couplings[i, j, row[i], row[j]] for i in range(6) for j in range(i + 1, 6)]
    assert potts.energy(model, row[None])[0] == pytest.approx(-sum(fields) - sum(pairs), abs=1e-5)


def test_energies_are_of_rows_as_long_as_the_model(model):
    for row in ("A", "ACDEFGH"):
        with pytest.raises(DataError, match="a model of length 6 for an alignment of"):
            potts.energy(model, encode(row)[None])


def test_scores_are_norms_without_gaps_corrected_for_their_means():
    couplings = np.zeros((3, 3, STATES, STATES), np.float32)
    for i, j, norm in ((0, 1, 5.0), (0, 2, 1.0), (1, 2, 2.0)):
        couplings[i, j, 0, 1] = couplings[j, i, 1, 0] = norm * 0.6
        couplings[i, j, 2, 2] = couplings[j, i, 2, 2] = norm * 0.8
        couplings[i, j, GAP, 3] = couplings[j, i, 3, GAP] = 100.0
    scores = potts.contact_scores(couplings)
    expected = [5 - 6 * 7 / 16, 1 - 6 * 3 / 16, 2 - 7 * 3 / 16]
    assert np.allclose([scores[0, 1], scores[0, 2], scores[1, 2]], expected, atol=1e-6)
    assert np.array_equal(scores, scores.T)
    assert not scores.diagonal().any()
    assert scores.dtype == np.float32
    couplings[1, 1] = 9.0
    assert np.array_equal(potts.contact_scores(couplings), scores)


@pytest.mark.parametrize(
    ("centre", "norm"), [("none", np.sqrt(401)), ("mean", 1.0), ("zero_sum", 0.0)]
)
def test_centring_takes_its_part_out_of_each_block(centre, norm):
    # Over 20 x 20 amino acids: 1 everywhere (norm 20) and +-1 / sqrt(40) in two rows (norm 1).
    block = np.ones((STATES, STATES), np.float32)
    block[:2] += np.array([[1], [-1]]) / np.sqrt(np.float32(40))
    couplings = potts.full_couplings(block[None], 2)
    assert potts.frobenius_norms(couplings, centre=centre)[0, 1] == pytest.approx(norm, abs=1e-5)


@pytest.mark.parametrize("centre", ["mean", "zero_sum"])
def test_the_gap_has_its_part_in_what_is_taken_out_of_a_block(centre):
    # Its coupling 441 has the mean 1 over 21 x 21: the 20 x 20 left become -1, or 1 after +1 - 2.
    block = np.zeros((STATES, STATES), np.float32)
    block[GAP, GAP] = 441
    couplings = potts.full_couplings(block[None], 2)
    assert potts.frobenius_norms(couplings, centre=centre)[0, 1] == pytest.approx(20)


def test_a_scaled_model_has_fields_and_couplings_times_the_factor(model):
    scaled = potts.scaled(model, 0.25)
    assert np.array_equal(scaled.fields, model.fields / 4)
    assert np.array_equal(scaled.couplings, model.couplings / 4)
    assert scaled.metadata == model.metadata


def test_an_unknown_centre_is_refused(model):
    with pytest.raises(SettingsError, match="none, mean, zero_sum"):
        potts.contact_scores(model.couplings, centre="median")


def test_one_position_has_one_score_of_zero():
    couplings = np.zeros((1, 1, 21, 21), np.float32)
    assert potts.contact_scores(couplings).tolist() == [[0.0]]
    assert potts.ccmpred_matrix(couplings).tolist() == [[0.0]]


def test_couplings_that_are_all_zero_score_zero():
    assert not potts.contact_scores(np.zeros((4, 4, 21, 21), np.float32)).any()


def test_the_smallest_pair_is_zero_in_ccmpreds_matrix_though_all_are_above_the_diagonal():
    # Three equal norms F are each corrected to F - 2F 2F / 6F = F / 3.
    block = np.zeros((3, STATES, STATES), np.float32)
    block[:, :2, 0] = 1, -1
    couplings = potts.full_couplings(block, 3)
    assert potts.contact_scores(couplings)[0, 1] == pytest.approx(np.sqrt(2) / 3)
    assert not potts.ccmpred_matrix(couplings).any()


def test_what_all_couplings_of_two_positions_have_in_common_is_not_in_ccmpreds_matrix(rng, model):
    common = np.triu(rng.normal(size=(6, 6)), 1).astype(np.float32)
    shifted = model.couplings + (common + common.T)[:, :, None, None]
    expected = potts.ccmpred_matrix(model.couplings)
    assert np.allclose(potts.ccmpred_matrix(shifted), expected, atol=1e-4)


@pytest.mark.parametrize("shape", [(0, 0, 21, 21), (2, 3, 21, 21), (2, 2, 20, 20)], ids=str)
def test_couplings_of_another_shape_have_no_scores(shape):
    with pytest.raises(DataError, match=r"expected \(L, L, 21, 21\)"):
        potts.contact_scores(np.zeros(shape, np.float32))


@pytest.mark.parametrize(
    ("fields", "couplings", "said"),
    [
        (np.zeros((2, 21), np.int64), np.zeros((2, 2, 21, 21)), "fields are of type int64"),
        (np.zeros((2, 20)), np.zeros((2, 2, 21, 21)), r"fields are \(2, 20\)"),
        (np.zeros((0, 21)), np.zeros((0, 0, 21, 21)), r"fields are \(0, 21\)"),
        (np.zeros((2, 21)), np.zeros((2, 1, 21, 21)), r"couplings are \(2, 1, 21, 21\)"),
    ],
)
def test_arrays_of_other_shapes_or_kinds_are_no_model(fields, couplings, said):
    with pytest.raises(DataError, match=said):
        Potts(fields, couplings)


def test_couplings_that_are_not_finite_are_refused(model):
    model.couplings[1, 2, 3, 4] = np.nan
    with pytest.raises(DataError, match="diverged"):
        potts.contact_scores(model.couplings)


def test_a_file_returns_the_same_model(tmp_path, model):
    write_model(tmp_path / "a.safetensors", model)
    loaded = potts.load(tmp_path / "a.safetensors")
    assert np.array_equal(loaded.fields, model.fields)
    assert np.array_equal(loaded.couplings, model.couplings)
    assert loaded.metadata["query"] == "ACDEFG"


def test_a_file_holds_floats_of_32_bits_whatever_the_model(tmp_path, model):
    double = Potts(model.fields.astype(np.float64), model.couplings.astype(np.float64))
    write_model(tmp_path / "a.safetensors", double)
    loaded = potts.load(tmp_path / "a.safetensors")
    with safe_open(tmp_path / "a.safetensors", framework="numpy") as file:
        kinds = [file.get_slice(name).get_dtype() for name in ("fields", "couplings")]
    assert kinds == ["F32", "F32"]
    assert np.array_equal(loaded.couplings, model.couplings)


@pytest.mark.parametrize("damage", ["nan", "asymmetric", "diagonal"])
def test_a_damaged_model_is_not_written(tmp_path, model, damage):
    if damage == "nan":
        model.fields[0, 0] = np.nan
    elif damage == "asymmetric":
        model.couplings[0, 1, 0, 0] += 1
    else:
        model.couplings[2, 2, 0, 0] = 1
    with pytest.raises(DataError):
        write_model(tmp_path / "a.safetensors", model)
    assert not any(tmp_path.iterdir())


def test_a_file_of_another_alphabet_is_refused(tmp_path, model):
    path = tmp_path / "a.safetensors"
    write_model(path, model)
    path.write_bytes(path.read_bytes().replace(b"ARNDCQEGHILKMFPSTWYV-", b"-ACDEFGHIKLMNPQRSTVWY"))
    with pytest.raises(DataError, match="alphabet '-ACDEFGHIKLMNPQRSTVWY'"):
        potts.load(path)


def test_a_file_of_another_format_or_other_tensors_is_refused(tmp_path, model):
    path = tmp_path / "a.safetensors"
    write_model(path, model)
    path.write_bytes(path.read_bytes().replace(b"npm-potts-1", b"npm-potts-9"))
    with pytest.raises(DataError, match="of format 'npm-potts-9', expected fields"):
        potts.load(path)
    save_file({"fields": model.fields}, path, metadata={"format": "npm-potts-1"})
    with pytest.raises(DataError, match=r"tensors \['fields'\] of format 'npm-potts-1'"):
        potts.load(path)


def test_a_file_of_a_model_that_diverged_is_refused(tmp_path, model):
    model.couplings[1, 2, 3, 4] = model.couplings[2, 1, 4, 3] = np.inf
    potts.write(tmp_path / "a.safetensors", model)
    with pytest.raises(DataError, match=r"a\.safetensors: the couplings of position 2 hold NaN"):
        read_model(tmp_path / "a.safetensors")


def test_a_truncated_file_is_refused(tmp_path, model):
    write_model(tmp_path / "a.safetensors", model)
    whole = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "a.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="not a whole safetensors file"):
        potts.load(tmp_path / "a.safetensors")


@pytest.mark.parametrize("name", ["tinyU", "UPI0003108055"])
def test_scores_of_ccmpreds_parameters_are_those_it_prints(golden, name):
    found = np.load(golden / f"{name}.stock.params.npz")
    couplings = potts.full_couplings(found["w_upper"].astype(np.float32), len(found["v"]))
    with gzip.open(golden / f"{name}.stock.mat.gz", "rt") as stream:
        printed = np.loadtxt(stream)
    assert np.abs(potts.ccmpred_matrix(couplings) - printed).max() < 1e-5
