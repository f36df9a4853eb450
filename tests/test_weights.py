"""Sequence weights against counts by hand and by the definition."""

import numpy as np
import pytest

from npm_core.alphabet import encode
from npm_core.errors import DataError
from npm_core.weights import ccmpred_weights, sequence_weights


def rows(*sequences):
    return np.stack([encode(sequence) for sequence in sequences])


def by_definition(residues, threshold):
    same = (residues[:, None] == residues[None]).sum(-1)
    return 1 / (same >= threshold * residues.shape[1] - 1e-9).sum(1)


def test_rows_at_the_threshold_are_neighbours():
    family = rows("AAAAA", "AAAAR", "AAARR", "VVVVV")
    assert sequence_weights(family).tolist() == [1 / 2, 1 / 3, 1 / 2, 1.0]


def test_a_threshold_that_is_a_whole_number_of_columns_is_not_rounded_up():
    # 0.55 times 100 is 55.00000000000001 in floating point.
    family = rows("A" * 100, "A" * 55 + "V" * 45, "A" * 54 + "W" * 46)
    assert sequence_weights(family, identity_threshold=0.55).tolist() == [1 / 2, 1 / 2, 1.0]


def test_ccmpred_asks_for_more_than_the_threshold():
    family = rows("AAAAA", "AAAAR", "AAARR", "AAAAA")
    assert ccmpred_weights(family).tolist() == [1 / 2, 1.0, 1.0, 1 / 2]


def test_at_a_threshold_between_two_columns_ccmpred_still_asks_for_more():
    # 0.8 times 6 is 4.8: five identities reach it, but do not exceed its next whole number.
    family = rows("AAAAAA", "AAAAAR")
    assert sequence_weights(family).tolist() == [1 / 2, 1 / 2]
    assert ccmpred_weights(family).tolist() == [1.0, 1.0]


def test_ccmpreds_rule_goes_by_the_threshold_that_it_is_given():
    # Of 5 columns 3 reach 0.5 and 4 exceed that; all 5 are needed at 0.8.
    family = rows("AAAAA", "AAAAR", "AAARR")
    found = ccmpred_weights(family, identity_threshold=0.5)
    assert found.tolist() == [1 / 2, 1 / 3, 1 / 2]


def test_a_gap_under_a_gap_is_an_identity():
    assert sequence_weights(rows("AC---", "AC---", "-----")).tolist() == [1 / 2, 1 / 2, 1.0]


def test_a_single_row_has_weight_one_by_both_rules():
    for weigh in (sequence_weights, ccmpred_weights):
        assert weigh(rows("ACDEFGH")).tolist() == [1.0]


@pytest.mark.parametrize("length", [1, 35, 63, 64, 65, 130])
@pytest.mark.parametrize("threshold", [0.3, 0.62, 0.8, 1.0])
def test_bit_planes_count_as_the_definition_does(rng, length, threshold):
    ancestor = rng.integers(0, 21, length)
    changed = rng.random((70, length)) < rng.random((70, 1))
    family = np.where(changed, rng.integers(0, 21, (70, length)), ancestor).astype(np.uint8)
    expected = by_definition(family, threshold)
    assert np.array_equal(sequence_weights(family, identity_threshold=threshold), expected)


@pytest.mark.parametrize("threads", [1, 3])
def test_every_row_of_a_deep_alignment_is_compared_with_every_other(threads):
    family = np.zeros((700, 5), np.uint8)
    assert sequence_weights(family, threads=threads).tolist() == [1 / 700] * 700


def test_threads_change_nothing(rng):
    family = rng.integers(0, 3, (700, 10)).astype(np.uint8)
    assert np.array_equal(sequence_weights(family), sequence_weights(family, threads=3))


@pytest.mark.parametrize("threshold", [0.0, 1.1])
def test_a_threshold_outside_its_range_is_refused(threshold):
    for weigh in (sequence_weights, ccmpred_weights):
        with pytest.raises(DataError, match="outside"):
            weigh(rows("AC"), identity_threshold=threshold)


def test_residues_without_columns_are_refused():
    with pytest.raises(DataError, match="rows and columns"):
        sequence_weights(np.zeros((3, 0), dtype=np.uint8))


@pytest.mark.parametrize("name", ["tinyU", "UPI0003108055"])
def test_weights_equal_those_of_ccmpred(golden, name):
    from npm_core.msa import read_alignment

    residues = read_alignment(golden / f"{name}.aln.gz").residues
    expected = np.loadtxt(golden / f"{name}.weights.txt")
    assert np.array_equal(ccmpred_weights(residues), expected)
