"""Two copies of one protein, residue by residue."""

import numpy as np
import pytest

from npm_core.errors import DataError
from npm_core.pairwise import aligned_positions, match, onto_query

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
        ("MKVLAYHDEY", "Are these two files of one protein"),
        ("PPPPPPPPPPMK", "2 of 12 residues align to the 10"),
        # Two sequences of 10 need 5 in common; HDEG are 4.
        ("HDEGPPPPPP", "4 pairs are of known residues, expected 5 at least"),
        ("XXXXXXXXXX", "0 pairs are of known residues, expected 1 at least"),
    ],
)
def test_another_protein_is_refused(query, message):
    with pytest.raises(DataError, match=message):
        onto_query(DISTANCES, SEQUENCE, query)


@pytest.mark.parametrize(
    ("one", "known", "agree"),
    [
        (SEQUENCE, 10, 10),
        # An X is aligned, and neither agrees nor differs.
        ("MKXLAXHDEG", 8, 8),
        ("MXXXXXXXEG", 3, 3),
        ("MKXLPWHDEG", 9, 8),
        ("MKBLAZHDEG", 8, 8),
    ],
)
def test_what_is_not_known_is_no_disagreement(one, known, agree):
    for found in (match(one, SEQUENCE), match(SEQUENCE, one)):
        assert found.here.tolist() == found.there.tolist() == list(range(10))
        assert (found.known, found.agree) == (known, agree)
        assert found.identity == agree / known


def test_selenocysteine_is_a_cysteine():
    assert match("MKVUAWHDEG", "MKVCAWHDEG").identity == 1.0


@pytest.mark.parametrize(
    ("sequence", "other"),
    [
        ("VLAWH", SEQUENCE),  # a domain's chain, or a query that is a domain of the chain
        ("PPPPP" + "MKVLA", SEQUENCE),  # half of both
        ("PPP" + "MKVLAW", SEQUENCE + "RRRRRRRRRR"),  # a tagged chain of a part of the query
        ("XXXXXXXXXX" + "MKVL", SEQUENCE),  # all that is known of the chain
    ],
)
def test_half_of_what_is_known_of_the_shorter_is_enough(sequence, other):
    match(sequence, other).require_one_protein("")
    match(other, sequence).require_one_protein("")
