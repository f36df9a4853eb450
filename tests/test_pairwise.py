"""Two copies of one protein, residue by residue."""

import numpy as np
import pytest

from npm_core.errors import DataError
from npm_core.pairwise import aligned_positions, onto_query

SEQUENCE = "MKVLAWHDEG"
DISTANCES = np.abs(np.subtract.outer(np.arange(10.0), np.arange(10.0)))


@pytest.mark.parametrize(
    ("query", "places"),
    [
        (SEQUENCE[2:8], [2, 3, 4, 5, 6, 7]),
        ("KVLAXHD", [1, 2, 3, 4, 5, 6, 7]),
        ("KVLA-HD", [1, 2, 3, 4, 5, 6, 7]),
        ("RRMKVLAWHDEG", [None, None, *range(10)]),
        ("MKVLAWHDEGRR", [*range(10), None, None]),
        ("PPPPMKVLAW", [None, None, None, None, 0, 1, 2, 3, 4, 5]),
    ],
)
def test_distances_go_where_the_query_has_their_residues(query, places):
    moved, matched = onto_query(DISTANCES, SEQUENCE, query)
    assert matched == sum(place is not None for place in places)
    expected = [[np.nan if None in (i, j) else abs(i - j) for j in places] for i in places]
    np.testing.assert_array_equal(moved, expected)


def test_ends_are_free_so_that_no_part_is_torn_open_to_reach_them():
    # A stands beside D, at -3, as what is left out before it costs nothing; beside A, at 2, it
    # would cost a gap of two residues, 6.5.
    here, there = aligned_positions("ACDEFGHIKL", "AEFGHIKL")
    assert here.tolist() == [2, 3, 4, 5, 6, 7, 8, 9]
    assert there.tolist() == [0, 1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("MKVLAYHDEY", "are these two files of one protein"),
        ("PPPPPPPPPPMK", "2 of 12 residues align to the 10"),
    ],
)
def test_another_protein_is_refused(query, message):
    with pytest.raises(DataError, match=message):
        onto_query(DISTANCES, SEQUENCE, query)
