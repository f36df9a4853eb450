"""Potts models: energies by hand, and their file."""

import numpy as np
import pytest
from potts_inputs import random_model
from safetensors import safe_open
from safetensors.numpy import save_file

from npm_core import potts
from npm_core.alphabet import GAP, STATES, encode
from npm_core.errors import DataError
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


def test_a_scaled_model_has_fields_and_couplings_times_the_factor(model):
    scaled = potts.scaled(model, 0.25)
    assert np.array_equal(scaled.fields, model.fields / 4)
    assert np.array_equal(scaled.couplings, model.couplings / 4)
    assert scaled.metadata == model.metadata


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
