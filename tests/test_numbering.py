"""Residue numbers of columns, counted by hand."""

import numpy as np
import pytest

from npm_core.errors import DataError
from npm_core.numbering import (
    as_text,
    from_text,
    missing_inside,
    range_misfit,
    residue_numbers,
)


@pytest.mark.parametrize(
    ("name", "row", "numbers"),
    [
        ("q", "ACD", [1, 2, 3]),
        ("q", "aC-dE.f", [2, 2, 4]),
        ("BLAT/24-28 lactamase", "aC-dE.f", [25, 25, 27]),
        # As many residues as there are, or the range is not that of this row
        ("BLAT/24-29", "aC-dE.f", [2, 2, 4]),
        ("P1/99998-100000", "ACD", [99_998, 99_999, 100_000]),
        ("P1/99999-100001", "ACD", [1, 2, 3]),
        ("P1/3000000000-3000000002", "ACD", [1, 2, 3]),
        (f"P1/1-{'9' * 5000}", "ACD", [1, 2, 3]),
        ("P1/1-0", "--", [0, 0]),
    ],
)
def test_residues_without_a_column_are_counted(name, row, numbers):
    assert residue_numbers(name, row).tolist() == numbers


@pytest.mark.parametrize(
    ("numbers", "text", "missing"),
    [([24], "24-24", 0), ([1, 2, 3], "1-3", 0), ([24, 25, 29, 31], "24-25 29-29 31-31", 4)],
)
def test_numbers_are_written_as_stretches(numbers, text, missing):
    numbers = np.array(numbers, np.int32)
    assert as_text(numbers) == text
    assert from_text(text, "here").tolist() == numbers.tolist()
    assert missing_inside(numbers) == missing


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "do not increase"),
        ("1-3 3-5", "do not increase"),
        ("1:3", "expected such as 24-79"),
        ("1-2-3", "expected such as 24-79"),
        ("1-99999999999", "99999999999 residue numbers"),
        ("1-10 20-15 30-40", "expected such as 24-79"),
        ("99999999999-99999999999", "expected some of a protein"),
        ("99999999999999999999-99999999999999999999", "is too large"),
    ],
)
def test_text_that_numbers_no_protein_is_refused(text, message):
    with pytest.raises(DataError, match=message):
        from_text(text, "here")


@pytest.mark.parametrize(
    ("name", "row", "told"),
    [
        ("q", "ACD", ""),
        ("q/1-2", "aC", ""),
        ("BLAT/24-28 x", "aC-dE.f", ""),
        ("BLAT/24-103", "aC-dE.f", "24-103 in the query's name are 80 residues, not 5"),
        ("q/9-7", "ACD", "9-7 in the query's name are 0 residues, not 3"),
        ("P1/99999-100001", "ACD", "99999-100001 in the query's name goes beyond 100000"),
    ],
)
def test_a_range_that_does_not_fit_is_told(name, row, told):
    assert range_misfit(name, row) == (told and f"{told}: numbered from 1")
