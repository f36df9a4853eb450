"""The loss of rows that a model was not made from: by hand, and by its definition."""

import numpy as np
import pytest
from plm_inputs import random_model

from npm_core.alphabet import GAP, encode
from npm_core.errors import DataError
from npm_core.generalisation import generalisation_loss, given_gaps
from npm_core.potts import Potts
from npm_core.tables import Family


def rows_of(*rows, weights=None):
    residues = np.stack([encode(row) for row in rows])
    weights = np.ones(len(rows)) if weights is None else np.array(weights)
    return Family("f", residues, weights.astype(np.float32))


def empty_model(length):
    couplings = np.zeros((length, length, 21, 21), np.float32)
    return Potts(np.zeros((length, 21), np.float32), couplings)


def test_a_model_of_zeros_costs_log_21_at_each_position_where_rows_have_residues():
    loss = generalisation_loss(empty_model(4), rows_of("A-D-", "ACD-", weights=[1, 0.5]))
    assert loss == pytest.approx(np.log(21), rel=1e-12)


def test_rows_count_by_their_weight():
    model = empty_model(1)
    model.fields[0, encode("A")] = np.log(20)  # A has half of the probability, others a fortieth
    loss = generalisation_loss(model, rows_of("A", "C", weights=[1, 0.25]))
    assert loss == pytest.approx((np.log(2) + 0.25 * np.log(40)) / 1.25, rel=1e-6)


def test_a_column_of_gaps_bears_on_the_others_and_does_not_count(rng):
    residues = rng.integers(0, 21, (12, 9)).astype(np.uint8)
    residues[:, [2, 5, 8]] = GAP
    residues[0, [0, 1, 3, 4, 6, 7]] = 0
    weights = (rng.random(12) + 0.1).astype(np.float32)
    model = random_model(rng, 9)
    total = 0.0
    for row, weight in zip(residues, weights, strict=True):
        for i in (0, 1, 3, 4, 6, 7):
            logits = model.fields[i].astype(float)
            logits += sum(model.couplings[i, j, :, row[j]].astype(float) for j in range(9))
            total += weight * (np.log(np.exp(logits).sum()) - logits[row[i]])
    expected = total / (weights.sum(dtype=float) * 6)
    found = generalisation_loss(model, Family("f", residues, weights))
    assert found == pytest.approx(expected, rel=1e-6)


def test_a_model_without_gaps_to_be_given_is_itself(rng):
    model = random_model(rng, 3)
    assert given_gaps(model, np.zeros(3, dtype=bool)) is model


def test_a_model_of_another_length_is_refused():
    with pytest.raises(DataError, match="a model of length 3 for an alignment of 2 columns"):
        generalisation_loss(empty_model(3), rows_of("AC"))
    with pytest.raises(DataError, match="a model of length 3 for an alignment of 2 columns"):
        generalisation_loss(empty_model(3), rows_of("A-"))
