"""Rows come by weight, crops and gaps as in the paper; what pads a batch."""

from collections import Counter

import pytest
import torch
from family_inputs import family

from npm_core import alphabet
from npm_core.batching import collate, sample_example
from npm_core.draws import generator
from npm_core.errors import DataError
from npm_core.model import MASK, PAD
from npm_core.tables import Family


def draw(made: Family, seed: int = 0, **changes):
    settings = {"rows": 50, "max_length": 512, "random_query": False} | changes
    return sample_example(made, generator(seed, "rows", 0), **settings)


def test_rows_are_drawn_by_weight():
    example = draw(family("A", "R", "N", weights=[1.0, 3.0, 0.0]), rows=4000)
    counts = Counter(alphabet.decode(example.rows[:, 0]))
    assert set(counts) == {"A", "R"}
    assert counts["R"] / 4000 == pytest.approx(0.75, abs=0.03)


def test_gap_columns_of_the_query_are_dropped_from_every_row():
    made = family("A-RN-", "CDEFG", weights=[1.0, 1.0])
    examples = [draw(made, seed, rows=20, random_query=True) for seed in range(20)]
    rows = {alphabet.decode(e.query): {alphabet.decode(row) for row in e.rows} for e in examples}
    assert rows == {"ARN": {"ARN", "CEF"}, "CDEFG": {"A-RN-", "CDEFG"}}


def test_a_letter_of_no_amino_acid_keeps_its_column_in_the_query_that_anchors_the_alignment():
    example = draw(family("AXRX", "CDEF"), rows=20)
    assert example.query.tolist() == [0, MASK, 1, MASK]
    assert {alphabet.decode(row) for row in example.rows} == {"A-R-", "CDEF"}


def test_any_row_with_a_residue_may_be_the_query():
    made = family("AR-", "---", "-CD")
    queries = {alphabet.decode(draw(made, seed, random_query=True).query) for seed in range(30)}
    assert queries == {"AR", "CD"}


def test_the_first_row_is_the_query_unless_asked_otherwise():
    assert all(alphabet.decode(draw(family("AR", "CD"), s).query) == "AR" for s in range(10))


def test_long_queries_are_cropped_to_contiguous_positions_anywhere():
    letters = alphabet.ALPHABET[:20]
    crops = {alphabet.decode(draw(family(letters), s, max_length=7).query) for s in range(200)}
    assert crops == {letters[start : start + 7] for start in range(14)}


def test_a_family_of_gaps_alone_is_refused():
    with pytest.raises(DataError, match="gaps alone"):
        draw(family("--", "AR"))


def test_padding_marks_the_end_and_rows_are_not_padded():
    batch = collate([draw(family("AR"), rows=3), draw(family("NDCQ"), rows=3)])
    assert batch.tokens.tolist()[0] == [0, 1, PAD, PAD]
    assert batch.lengths.tolist() == [2, 4]
    assert [tuple(rows.shape) for rows in batch.rows] == [(3, 2), (3, 4)]


def test_weights_of_examples_reach_the_batch():
    batch = collate([draw(family("AR"), weight=0.5), draw(family("AR"), weight=1.5)])
    torch.testing.assert_close(batch.weights, torch.tensor([0.5, 1.5]))
    assert collate([draw(family("AR"))]).weights.tolist() == [1.0], "unless asked otherwise"
