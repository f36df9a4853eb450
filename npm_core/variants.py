"""Effects of mutations on a protein by the Potts model of its family."""

import csv
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from npm_core.alphabet import ALPHABET, GAP, encode
from npm_core.arrays import Float64, Indices, States
from npm_core.errors import DataError
from npm_core.files import open_text
from npm_core.numbering import as_text
from npm_core.potts import Potts

AMINO_ACIDS = ALPHABET[:GAP]

Variant = tuple[NDArray[np.intp], States]
"""Mutated positions (m,), from 0, each once, and their new states (m,)."""

WILD_TYPE = "WT"

MISSING = ("", "na", "nan")
"""Cells without a number, as a spreadsheet, R and pandas write them."""

MAX_WRONG = 0.1
"""Share of the residues named that may be others in the query; more is another numbering."""

FEWEST = 5
"""Of fewer residues, none with a column, no other numbering is guessed: one fits somewhere."""

# No number of a residue is longer, and Python reads none of thousands of digits.
_MUTATION = re.compile(r"([A-Z])(-?[0-9]{1,10})([A-Z])")
_SEPARATORS = re.compile("[:,;]")


def places(numbers: Indices) -> dict[int, int]:
    """Position, from 0, of the residue of each number; `numbers` are (L,), each once."""
    return {number: position for position, number in enumerate(numbers.tolist())}


def parse_variant(text: str, query: str, place: Mapping[int, int]) -> Variant:
    """One or more mutations such as A23G or A23G:L40P; none, the query itself, if `text` is WT.

    Args:
        text: Letter of the query, its number, new letter; joined by colons, commas or semicolons.
        query: L letters.
        place: Of `places`, of its residues.

    Raises:
        DataError: That is no mutation of this query, or a position is mutated twice.
    """
    mutated: dict[int, str] = {}
    for part in [] if text == WILD_TYPE else _SEPARATORS.split(text):
        found = _MUTATION.fullmatch(part)
        if found is None or not {found[1], found[3]} <= set(AMINO_ACIDS):
            raise DataError(
                f"{part!r} is no mutation; expected such as A23G or A23G:L40P, "
                f"letters of {AMINO_ACIDS}"
            )
        number = int(found[2])
        if number not in place:
            raise DataError(
                f"{part}: residue {number} has no column in the model, which has "
                f"{as_text(np.array(list(place)))}"
            )
        position = place[number]
        if query[position] != found[1]:
            raise DataError(f"{part}: residue {number} of the query is {query[position]}")
        if position in mutated:
            raise DataError(f"{text}: residue {number} is mutated twice")
        mutated[position] = found[3]
    return np.array(list(mutated), dtype=np.intp), encode("".join(mutated.values()))


def single_mutants(query: str, numbers: Indices) -> Iterator[str]:
    """Every exchange of one residue for another, A1R first; none at an X."""
    for letter, number in zip(query, numbers.tolist(), strict=True):
        if letter in AMINO_ACIDS:
            yield from (f"{letter}{number}{new}" for new in AMINO_ACIDS if new != letter)


@dataclass(frozen=True)
class Agreement:
    """Whether the residues that mutants name, as A23, are those of a query.

    Attributes:
        residues: How many they name.
        named: How many of these have a column in the model.
        wrong: How many of those are another amino acid in the query.
        offset: What would have to be added to the query's numbers for most to be the query's.
        right: How many of all they name that then would be.
    """

    residues: int
    named: int
    wrong: int
    offset: int
    right: int


def agreement(texts: Iterable[str], query: str, numbers: Indices) -> Agreement:
    """Of mutants as in `parse_variant`, each residue counted once; what is no mutation, not."""
    parts = {part for text in texts for part in _SEPARATORS.split(text)}
    found = filter(None, map(_MUTATION.fullmatch, parts))
    named = {(match[1], int(match[2])) for match in found}
    letters = dict(zip(numbers.tolist(), query, strict=True))
    placed = [(letter, number) for letter, number in named if number in letters]
    wrong = sum(letters[number] != letter for letter, number in placed)
    offsets = Counter(
        number - place
        for letter, number in named
        for place, own in letters.items()
        if own == letter
    )
    # The smallest of those that are equally good.
    offset, right = min(offsets.items(), key=lambda item: (-item[1], abs(item[0])), default=(0, 0))
    return Agreement(len(named), len(placed), wrong, offset, right)


def numbering_misfit(
    mutants: Sequence[str], query: str, numbers: Indices, offset: int
) -> str | None:
    """That mutants are of another numbering than the query, and of which; None if they are not."""
    found = agreement(mutants, query, numbers)
    would = f"with --offset {offset + found.offset} {found.right} would be the query's"
    if not found.named and found.residues >= FEWEST and 2 * found.right > found.residues:
        return f"none of the {found.residues} residues that the mutants name has a column; {would}"
    if found.wrong <= MAX_WRONG * found.named:
        return None
    said = f"{found.wrong} of {found.named} residues that the mutants name are others in the query"
    if found.right <= found.named - found.wrong:
        return f"{said}, whatever is added to its numbers: is it the same protein?"
    return f"{said}; {would}"


def log_odds(model: Potts, query: str, variants: Iterable[Variant]) -> Float64:
    r"""Log-odds of each variant x against the query q, E(q) - E(x): EVmutation's Delta E.

    .. math:: \sum_k D_{i_k}(a_k) + \sum_{k<l} [J(a_k, a_l) - J(a_k, q_l) - J(q_k, a_l)
              + J(q_k, q_l)]

    over the mutated positions, with the effect of one mutation
    D_i(a) = h_i(a) - h_i(q_i) + \sum_j [J_ij(a, q_j) - J_ij(q_i, q_j)].

    Args:
        model: Length L.
        query: L letters.
        variants: Of `parse_variant`.

    Returns:
        (number of variants,) unitless; higher is more favourable.
    """
    native = encode(query)
    columns = np.arange(model.length)
    alone = model.fields.astype(np.float64)
    for i in columns:
        alone[i] += model.couplings[i, columns, :, native].sum(0, dtype=np.float64)
    alone -= alone[columns, native][:, None]

    def together(positions: NDArray[np.intp], states: States) -> float:
        """The second sum: half of that over all ordered pairs, as J_ii = 0."""
        rows, others = positions[:, None], native[positions]
        new = model.couplings[rows, positions, states[:, None], states]
        mixed = model.couplings[rows, positions, states[:, None], others]
        old = model.couplings[rows, positions, others[:, None], others]
        return float((new - 2 * mixed + old).sum(dtype=np.float64)) / 2

    return np.array(
        [
            alone[positions, states].sum()
            + (together(positions, states) if len(states) > 1 else 0.0)
            for positions, states in variants
        ],
        dtype=np.float64,
    )


@dataclass(frozen=True)
class Table:
    """A CSV.

    Attributes:
        header: Names of its columns.
        rows: The others.
        lines: On which each row ends.
    """

    header: list[str]
    rows: list[list[str]]
    lines: Sequence[int]

    def column(self, name: str) -> list[str]:
        place = self.header.index(name)
        return [row[place] for row in self.rows]


def read_table(path: Path, added: Sequence[str]) -> Table:
    """The mutants, with whatever else is known of them.

    Raises:
        DataError: That is no CSV with a column `mutant` and without those that will be added.
    """
    rows, lines = [], []
    with open_text(path) as stream:
        table = csv.reader(stream)
        header = next(table, None)
        if header is None:
            raise DataError(f"{path}: is empty, expected a CSV with a column mutant")
        if "mutant" not in header:
            parted = " (are they separated by commas?)" if len(header) == 1 else ""
            raise DataError(
                f"{path}: columns are {', '.join(header)}{parted}; expected one called mutant"
            )
        if already := set(added) & set(header):
            raise DataError(f"{path}: has a column {min(already)}, which would be there twice")
        for row in filter(None, table):
            if len(row) != len(header):
                raise DataError(
                    f"{path}, line {table.line_num}: {len(row)} cells, {len(header)} columns"
                )
            rows.append(row)
            lines.append(table.line_num)
    return Table(header, rows, lines)


def measured_numbers(table: Table, name: str, where: Path) -> list[float | None]:
    """The numbers of a column; None where a cell says that nothing was measured (`MISSING`).

    Raises:
        DataError: There is no such column, or something else in it.
    """
    if name not in table.header:
        raise DataError(f"{where}: no column {name}; there are {', '.join(table.header)}")
    found: list[float | None] = []
    for line, cell in zip(table.lines, table.column(name), strict=True):
        try:
            found.append(None if cell.strip().lower() in MISSING else float(cell))
        except ValueError as error:
            raise DataError(f"{where}, line {line}: {name} is {cell!r}, no number") from error
        if found[-1] is not None and not math.isfinite(found[-1]):
            raise DataError(f"{where}, line {line}: {name} is {cell}, expected a finite number")
    return found


def rank_correlation(
    name: str, measured: Sequence[float | None], deltas: Sequence[float | None]
) -> str:
    """Spearman's, over the rows that have both, in words."""
    from scipy.stats import spearmanr

    both = [
        (m, d) for m, d in zip(measured, deltas, strict=True) if m is not None and d is not None
    ]
    if min(map(len, map(set, zip(*both, strict=True))), default=0) < 2:
        return f"no Spearman correlation of delta with {name}: one of them has a single value"
    rho = spearmanr(*zip(*both, strict=True)).statistic
    return f"Spearman correlation of delta with {name}: {rho:.3f} (n = {len(both)})"
