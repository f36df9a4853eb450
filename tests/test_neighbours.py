"""What is carried over from the nearest family, against pairs checked by hand."""

import numpy as np
import pytest
from family_inputs import family, neighbour

from npm_core.errors import DataError
from npm_core.neighbours import (
    Neighbour,
    by_family,
    read_neighbours,
    reference_member,
    transfer,
    under_reference,
    write_neighbours,
)


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


def test_positions_and_columns_come_in_pairs():
    with pytest.raises(DataError, match="2 positions meet 1 columns"):
        neighbour([0, 2], [5])


def test_targets_are_listed_by_the_family_they_lead_to():
    nothing = np.zeros(0, np.int32)
    first, second, third, none = (
        Neighbour(target, family, None, None, nothing, nothing)
        for target, family in (("t", "f"), ("u", "g"), ("v", "f"), ("w", None))
    )
    assert by_family([first, second, third, none]) == {"f": [first, third], "g": [second]}


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
