"""Potts models: energies by hand, and what is a model."""

import numpy as np
import pytest
from potts_inputs import random_model

from npm_core import potts
from npm_core.alphabet import GAP, STATES, encode
from npm_core.errors import DataError
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
