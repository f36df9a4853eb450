"""Residue numbers: an alignment may have columns for a part of its query, a model positions."""

import re

import numpy as np
from numpy.typing import ArrayLike

from npm_core.arrays import Indices
from npm_core.errors import DataError

_SHOWS_NOTHING = str.maketrans("", "", ". \t\r\n")
LONGEST = 100_000
"""No protein has as many residues."""

_RANGE = re.compile(r"/([0-9]{1,6})-([0-9]{1,6})$")


def from_one(length: int) -> Indices:
    """1 to L, where nothing else is known."""
    return np.arange(1, length + 1, dtype=np.int32)


def residue_numbers(name: str, row: str) -> Indices:
    """Number of the residue in each column of an aligned row; a gap has that of the one before it.

    Residues count from 1, or from FIRST where the name's first word ends in /FIRST-LAST and the row
    has LAST - FIRST + 1 of them (where it has not, `range_misfit` says so). Lower-case residues are
    counted, too, though they have no column.

    Args:
        name: Of the row; not empty.
        row: Not empty; as in an A3M: capitals and `-` are columns, lower case and `.` are not.
    """
    shown = np.array(list(row.translate(_SHOWS_NOTHING)), dtype="U1")
    numbers = np.cumsum(shown != "-").astype(np.int32)
    first, _ = _first_number(name, int(numbers[-1]))
    return (numbers + (first - 1))[~np.char.islower(shown)]


def range_misfit(name: str, row: str) -> str:
    """Why residues count from 1 although the name ends in /FIRST-LAST; "" where they do not.

    Args:
        name: As in `residue_numbers`.
        row: Likewise.
    """
    shown = row.translate(_SHOWS_NOTHING)
    return _first_number(name, len(shown) - shown.count("-"))[1]


def _first_number(name: str, count: int) -> tuple[int, str]:
    """Number of the first of so many residues, and why it is not the name's, if that has one."""
    found = _RANGE.search(name.split(maxsplit=1)[0])
    if not found:
        return 1, ""
    first, last = int(found[1]), int(found[2])
    told = f"{first}-{last} in the query's name"
    if last > LONGEST:
        return 1, f"{told} goes beyond {LONGEST}: numbered from 1"
    residues = max(last - first + 1, 0)
    if residues != count:
        return 1, f"{told} are {residues} residues, not {count}: numbered from 1"
    return first, ""


def missing_inside(numbers: Indices) -> int:
    """How many residues between the first and the last of `numbers` are not among them."""
    return int(numbers[-1] - numbers[0]) + 1 - len(numbers)


def as_text(numbers: Indices) -> str:
    """Stretches FIRST-LAST, separated by blanks: "24-79 81-286"."""
    ends = np.flatnonzero(np.diff(numbers) != 1)
    firsts, lasts = numbers[np.r_[0, ends + 1]], numbers[np.r_[ends, len(numbers) - 1]]
    return " ".join(f"{first}-{last}" for first, last in zip(firsts, lasts, strict=True))


def from_text(text: str, where: str) -> Indices:
    """The inverse of `as_text`.

    Raises:
        DataError: That is no such text.
    """
    try:
        stretches = [tuple(map(int, stretch.split("-"))) for stretch in text.split()]
        widths = [last - first + 1 for first, last in stretches]
        if min(widths, default=1) < 1:
            raise ValueError("a stretch ends before it begins")
    except ValueError as error:
        raise DataError(
            f"{where}: residue numbers {text[:40]!r}, expected such as 24-79"
        ) from error
    if sum(widths) > LONGEST:
        raise DataError(f"{where}: {sum(widths)} residue numbers, expected at most {LONGEST}")
    numbers = [
        first + step for (first, _), n in zip(stretches, widths, strict=True) for step in range(n)
    ]
    return checked(numbers, where)


def checked(numbers: ArrayLike, where: str) -> Indices:
    """Integers as residue numbers, if there are any, they increase and are of one protein.

    Raises:
        DataError: They are not.
    """
    try:
        numbers = np.asarray(numbers, dtype=np.int64)
    except OverflowError as error:
        raise DataError(f"{where}: a residue number is too large ({error})") from error
    if numbers.ndim != 1 or not len(numbers) or (np.diff(numbers) < 1).any():
        raise DataError(f"{where}: residue numbers do not increase")
    if missing_inside(numbers) > LONGEST:
        raise DataError(f"{where}: residue numbers from {numbers[0]} to {numbers[-1]}")
    if np.abs(numbers).max() > np.iinfo(np.int32).max:
        raise DataError(f"{where}: residue numbers up to {numbers[-1]}, expected some of a protein")
    return numbers.astype(np.int32)
