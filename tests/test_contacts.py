"""Contact scores by hand and against CCMpred's own."""

import gzip

import numpy as np
import pytest
from potts_inputs import random_model

from npm_core import contacts, potts
from npm_core.alphabet import GAP, STATES
from npm_core.errors import DataError, SettingsError


@pytest.fixture
def model(rng):
    return random_model(rng)


def test_scores_are_norms_without_gaps_corrected_for_their_means():
    couplings = np.zeros((3, 3, STATES, STATES), np.float32)
    for i, j, norm in ((0, 1, 5.0), (0, 2, 1.0), (1, 2, 2.0)):
        couplings[i, j, 0, 1] = couplings[j, i, 1, 0] = norm * 0.6
        couplings[i, j, 2, 2] = couplings[j, i, 2, 2] = norm * 0.8
        couplings[i, j, GAP, 3] = couplings[j, i, 3, GAP] = 100.0
    scores = contacts.contact_scores(couplings)
    expected = [5 - 6 * 7 / 16, 1 - 6 * 3 / 16, 2 - 7 * 3 / 16]
    assert np.allclose([scores[0, 1], scores[0, 2], scores[1, 2]], expected, atol=1e-6)
    assert np.array_equal(scores, scores.T)
    assert not scores.diagonal().any()
    assert scores.dtype == np.float32
    couplings[1, 1] = 9.0
    assert np.array_equal(contacts.contact_scores(couplings), scores)


@pytest.mark.parametrize(
    ("centre", "norm"), [("none", np.sqrt(401)), ("mean", 1.0), ("zero_sum", 0.0)]
)
def test_centring_takes_its_part_out_of_each_block(centre, norm):
    # Over 20 x 20 amino acids: 1 everywhere (norm 20) and +-1 / sqrt(40) in two rows (norm 1).
    block = np.ones((STATES, STATES), np.float32)
    block[:2] += np.array([[1], [-1]]) / np.sqrt(np.float32(40))
    couplings = potts.full_couplings(block[None], 2)
    assert contacts.frobenius_norms(couplings, centre=centre)[0, 1] == pytest.approx(norm, abs=1e-5)


@pytest.mark.parametrize("centre", ["mean", "zero_sum"])
def test_the_gap_has_its_part_in_what_is_taken_out_of_a_block(centre):
    # Its coupling 441 has the mean 1 over 21 x 21: the 20 x 20 left become -1, or 1 after +1 - 2.
    block = np.zeros((STATES, STATES), np.float32)
    block[GAP, GAP] = 441
    couplings = potts.full_couplings(block[None], 2)
    assert contacts.frobenius_norms(couplings, centre=centre)[0, 1] == pytest.approx(20)


def test_an_unknown_centre_is_refused(model):
    with pytest.raises(SettingsError, match="none, mean, zero_sum"):
        contacts.contact_scores(model.couplings, centre="median")


def test_one_position_has_one_score_of_zero():
    couplings = np.zeros((1, 1, 21, 21), np.float32)
    assert contacts.contact_scores(couplings).tolist() == [[0.0]]
    assert contacts.ccmpred_matrix(couplings).tolist() == [[0.0]]


def test_couplings_that_are_all_zero_score_zero():
    assert not contacts.contact_scores(np.zeros((4, 4, 21, 21), np.float32)).any()


def test_the_smallest_pair_is_zero_in_ccmpreds_matrix_though_all_are_above_the_diagonal():
    # Three equal norms F are each corrected to F - 2F 2F / 6F = F / 3.
    block = np.zeros((3, STATES, STATES), np.float32)
    block[:, :2, 0] = 1, -1
    couplings = potts.full_couplings(block, 3)
    assert contacts.contact_scores(couplings)[0, 1] == pytest.approx(np.sqrt(2) / 3)
    assert not contacts.ccmpred_matrix(couplings).any()


def test_what_all_couplings_of_two_positions_have_in_common_is_not_in_ccmpreds_matrix(rng, model):
    common = np.triu(rng.normal(size=(6, 6)), 1).astype(np.float32)
    shifted = model.couplings + (common + common.T)[:, :, None, None]
    expected = contacts.ccmpred_matrix(model.couplings)
    assert np.allclose(contacts.ccmpred_matrix(shifted), expected, atol=1e-4)


@pytest.mark.parametrize("shape", [(0, 0, 21, 21), (2, 3, 21, 21), (2, 2, 20, 20)], ids=str)
def test_couplings_of_another_shape_have_no_scores(shape):
    with pytest.raises(DataError, match=r"expected \(L, L, 21, 21\)"):
        contacts.contact_scores(np.zeros(shape, np.float32))


def test_couplings_that_are_not_finite_are_refused(model):
    model.couplings[1, 2, 3, 4] = np.nan
    with pytest.raises(DataError, match="diverged"):
        contacts.contact_scores(model.couplings)


@pytest.mark.parametrize("name", ["tinyU", "UPI0003108055"])
def test_scores_of_ccmpreds_parameters_are_those_it_prints(golden, name):
    found = np.load(golden / f"{name}.stock.params.npz")
    couplings = potts.full_couplings(found["w_upper"].astype(np.float32), len(found["v"]))
    with gzip.open(golden / f"{name}.stock.mat.gz", "rt") as stream:
        printed = np.loadtxt(stream)
    assert np.abs(contacts.ccmpred_matrix(couplings) - printed).max() < 1e-5
