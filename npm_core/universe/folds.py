"""Folds: relaxed C-alpha traces with C-beta atoms, built from secondary-structure templates."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from npm_core.arrays import Float64
from npm_core.errors import DataError

BOND = 3.8
"""angstrom, between consecutive C-alpha atoms (trans peptide)."""

BOND_TOLERANCE = 0.02

CLASH = 4.1
"""angstrom; no two C-alpha atoms that are not consecutive come closer."""

CONTACT = 8.0
"""angstrom, C-beta to C-beta (the paper's contact distance)."""

STRAND_SPACING = 4.8
LAYER_SPACING = 10.0
HELIX_RISE, HELIX_RADIUS, HELIX_TURN = 1.5, 2.3, np.deg2rad(100.0)
STRAND_RISE, STRAND_PLEAT = 3.3, 0.9
LONGEST_ANGLE = 7.2
"""angstrom from residue i to i + 2: a chain this bent still has a plane, so a C-beta direction."""

MIDDLE, LONGEST = 16, 32
"""Offset of the middle residue of a helix or strand, and the number of offsets there are."""

CLASSES = ("alpha-beta", "alpha-alpha", "beta-beta")

SHEETS: tuple[tuple[tuple[int, ...], int | None], ...] = (
    ((2, 1, 0, 3, 4), None),
    ((1, 4, 3, 2, 0), None),
    ((3, 0, 1, 2, 4), None),
    ((0, 1, 3, 2, 4), 0),
)
"""Place in the sheet of each strand in chain order, and the strand that a hairpin instead of a
helix follows: 32145 (Rossmann), 51432 (P-loop), one more, and 12435 that starts with a hairpin."""


@dataclass(frozen=True)
class Element:
    """One helix ("H") or strand ("E") along the y axis, and the loop after it.

    Attributes:
        centre: angstrom.
        direction: +1 or -1 along y.
        slack: Residues of the following loop beyond those that span the gap.
    """

    kind: str
    length: int
    centre: tuple[float, float, float]
    direction: int
    slack: int


@dataclass(frozen=True, eq=False)
class Fold:
    """A C-alpha trace and where its residues stand in the clan's template.

    Attributes:
        alphas: (L, 3) angstrom.
        places: (L, 2) int: element (loops are odd, helices and strands even) and offset within
            it. Residues of two families of a clan correspond when their places are equal.
    """

    alphas: Float64
    places: NDArray[np.int64]

    @property
    def length(self) -> int:
        return len(self.alphas)

    @property
    def in_loop(self) -> NDArray[np.bool_]:
        return self.places[:, 0] % 2 == 1

    @property
    def contacts(self) -> NDArray[np.bool_]:
        """(L, L), C-beta atoms at most 8 angstrom apart; the diagonal is False."""
        betas = beta_atoms(self.alphas)
        close = pair_distances(betas) <= CONTACT
        np.fill_diagonal(close, False)
        return close


def pair_distances(points: Float64) -> Float64:
    """(L, L) angstrom."""
    return np.sqrt(_squared_distances(points))


def template(kind: str, variant: int, rng: np.random.Generator) -> tuple[Element, ...]:
    """Helices and strands of a new fold.

    Args:
        kind: One of CLASSES.
        variant: Chooses the order of strands in a sheet or the number of helices.
    """
    if kind == "alpha-beta":
        return _alpha_beta(*SHEETS[variant % len(SHEETS)], rng)
    if kind == "alpha-alpha":
        return _alpha_alpha(4 + variant % 2, rng)
    if kind == "beta-beta":
        return _beta_beta(6 + variant % 2, rng)
    raise DataError(f"unknown class of folds {kind!r}; expected one of {', '.join(CLASSES)}")


def _alpha_beta(
    order: Sequence[int], hairpin: int | None, rng: np.random.Generator
) -> tuple[Element, ...]:
    """One sheet; between two strands a helix packs on either face, or the chain just turns."""
    middle = (len(order) - 1) / 2
    sheet = [STRAND_SPACING * (place - middle) for place in order]
    slots = [(side, x) for side in (1, -1) for x in (-9.6, 0.0, 9.6)]
    elements = []
    direction = 1
    for index, x in enumerate(sheet):
        elements.append(Element("E", int(rng.integers(5, 7)), (x, 0.0, 0.0), direction, 0))
        if index == hairpin:
            direction = -direction
        elif index + 1 < len(sheet):
            between = (x + sheet[index + 1]) / 2
            nearest = int(np.argmin([abs(place - between) for _, place in slots]))
            side, slot = slots.pop(nearest)
            centre = (slot, 0.0, side * LAYER_SPACING)
            elements.append(Element("H", int(rng.integers(9, 12)), centre, -direction, 0))
    return _with_slack(elements, rng)


def _alpha_alpha(helices: int, rng: np.random.Generator) -> tuple[Element, ...]:
    """A bundle: helices around a square (a fifth across its top), up and down in turn."""
    corners = [(0.0, 0.0), (9.0, 0.0), (9.0, 9.0), (0.0, 9.0), (-7.8, 4.5)]
    elements = [
        Element("H", int(rng.integers(12, 16)), (x, 0.0, z), 1 if index % 2 == 0 else -1, 0)
        for index, (x, z) in enumerate(corners[:helices])
    ]
    return _with_slack(elements, rng)


def _beta_beta(strands: int, rng: np.random.Generator) -> tuple[Element, ...]:
    """A sandwich of two antiparallel sheets; hairpins and crossings as in a Greek key."""
    places = [(0, 0), (0, 1), (1, 1), (1, 0), (1, 2), (0, 2), (0, 3)][:strands]
    elements = [
        Element(
            "E",
            int(rng.integers(6, 9)),
            (STRAND_SPACING * place, 0.0, LAYER_SPACING * sheet),
            1 if index % 2 == 0 else -1,
            0,
        )
        for index, (sheet, place) in enumerate(places)
    ]
    return _with_slack(elements, rng)


def _with_slack(elements: list[Element], rng: np.random.Generator) -> tuple[Element, ...]:
    return tuple(replace(element, slack=int(rng.integers(0, 3))) for element in elements)


def relative(elements: Sequence[Element], rng: np.random.Generator) -> tuple[Element, ...]:
    """A related fold: the same topology with moved, longer or shorter elements and loops."""
    moved = rng.normal(0.0, 0.5, (len(elements), 3))
    family = []
    for element, shift in zip(elements, moved, strict=True):
        x, y, z = (float(at + by) for at, by in zip(element.centre, shift, strict=True))
        length = element.length + int(rng.integers(-1, 2))
        slack = max(0, element.slack + int(rng.integers(-1, 3)))
        family.append(replace(element, length=length, centre=(x, y, z), slack=slack))
    return tuple(family)


def build(elements: Sequence[Element], rng: np.random.Generator) -> Fold:
    """Trace the chain through its elements, close the loops and relax.

    Raises:
        DataError: No trace without clashes was found (a template that cannot be built).
    """
    segments = [_segment(element) for element in elements]
    points: list[Float64] = []
    places: list[tuple[int, int]] = []
    hold: list[float] = []
    for index, segment in enumerate(segments):
        points.append(segment)
        first = MIDDLE - len(segment) // 2
        places += [(2 * index, first + offset) for offset in range(len(segment))]
        hold += [1.0] * len(segment)
        if index + 1 < len(segments):
            element = elements[index]
            loop = _loop(segment[-1], segments[index + 1][0], element.direction, element.slack, rng)
            points.append(loop)
            places += [(2 * index + 1, offset) for offset in range(len(loop))]
            hold += [0.0] * len(loop)
    alphas = relax(np.concatenate(points), hold=np.array(hold))
    return Fold(alphas, np.array(places))


def _segment(element: Element) -> Float64:
    """(length, 3) ideal C-alpha positions of a helix or strand."""
    # Counted from the middle: a residue keeps its place and side when an element grows.
    steps = np.arange(element.length) - element.length // 2
    if element.kind == "H":
        angles = HELIX_TURN * steps
        offsets = np.stack(
            [HELIX_RADIUS * np.cos(angles), steps * HELIX_RISE, HELIX_RADIUS * np.sin(angles)], 1
        )
    else:
        pleat = STRAND_PLEAT * (1 - 2 * (steps % 2))
        offsets = np.stack([np.zeros(element.length), steps * STRAND_RISE, pleat], 1)
    # A half turn about x for elements that run down keeps the helix right-handed.
    offsets *= (1.0, element.direction, element.direction)
    # Rounded: the last bits of a cosine differ between processors; relaxation would spread them.
    return np.round(offsets + element.centre, 6)


def _loop(
    start: Float64, end: Float64, direction: int, slack: int, rng: np.random.Generator
) -> Float64:
    """(n, 3) positions on an arc that bulges away from the element the chain comes from."""
    gap = float(np.sqrt(((end - start) ** 2).sum()))
    count = max(2, int(np.ceil(gap * 1.05 / BOND)) - 1) + slack
    excess = max((BOND * (count + 1)) ** 2 - gap**2, 0.0)
    control = (start + end) / 2 + np.array([0.0, direction * 0.8 * np.sqrt(excess), 0.0])
    t = (np.arange(1, count + 1) / (count + 1))[:, None]
    arc = (1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * end
    return np.round(arc + rng.normal(0.0, 0.3, arc.shape), 6)


def thread(
    fold: Fold, kept: NDArray[np.bool_], inserts: dict[int, int], left: int, right: int
) -> Float64:
    """Trace of one protein of the family: deletions closed, inserts and ends of tails added.

    Args:
        kept: (L,), the columns this protein has.
        inserts: Residues inserted after a column.
        left: Residues of the left tail to place, walking away from the domain.
        right: The same for the right tail.

    Returns:
        (left + domain + right, 3) angstrom.

    Raises:
        DataError: No trace without clashes was found.
    """
    centre = fold.alphas.mean(0)
    points: list[Float64] = []
    hold: list[float] = []
    columns = np.flatnonzero(kept)
    for place, column in enumerate(columns):
        points.append(fold.alphas[column])
        hold.append(1.0)
        following = columns[min(place + 1, len(columns) - 1)]
        # An insert after a deleted column bulges from the last column before it.
        count = sum(
            inserts.get(between, 0) for between in range(column, max(following, column + 1))
        )
        outward = _unit(fold.alphas[column] - centre)
        for number in range(1, count + 1):
            share = number / (count + 1)
            chord = (1 - share) * fold.alphas[column] + share * fold.alphas[following]
            points.append(chord + 8.0 * share * (1 - share) * outward)
            hold.append(0.0)
    before = _walk(fold.alphas[columns[0]], centre, left)[::-1]
    after = _walk(fold.alphas[columns[-1]], centre, right)
    hold = [0.0] * left + hold + [0.0] * right
    return relax(np.array([*before, *points, *after]), hold=np.array(hold))


def _walk(end: Float64, centre: Float64, count: int) -> list[Float64]:
    """Positions of `count` residues that leave the domain at `end`."""
    outward = _unit(end - centre)
    across = _unit(np.cross(outward, np.array([0.3, 0.5, 0.8])))
    return [
        end + STRAND_RISE * step * outward + STRAND_PLEAT * (step % 2) * across
        for step in range(1, count + 1)
    ]


def relax(start: Float64, *, hold: Float64, rounds: int = 600) -> Float64:
    """Bring bonds to 3.8 angstrom and clashing residues apart, near the starting positions.

    Every round pulls held residues home (less and less, in the first 200), pushes clashing pairs
    apart, keeps residues i and i + 2 at a bent distance, then restores the bonds. Only sums,
    products and square roots are used, so that every processor finds the same coordinates.

    Args:
        start: (L, 3) angstrom.
        hold: (L,) in [0, 1], how strongly each residue is kept where it started.
        rounds: Most rounds; fewer when nothing is left to mend.

    Returns:
        (L, 3) angstrom, to 3 decimals.

    Raises:
        DataError: Bonds or clashes remain.
    """
    points = start.copy()
    near = CLASH + 0.3
    for step in range(rounds):
        points += 0.2 * max(0.0, 1 - step / 200) * hold[:, None] * (start - points)
        i, j = np.nonzero(np.triu(_squared_distances(points) < near**2, 2))
        difference = points[i] - points[j]
        distance = np.maximum(np.sqrt((difference * difference).sum(-1)), 0.1)
        push = 0.3 * ((near - distance) / distance)[:, None] * difference
        np.add.at(points, i, push)
        np.add.at(points, j, -push)
        for spacing, low, high in ((2, near, LONGEST_ANGLE), (1, BOND, BOND)):
            for first in range(2 * spacing):
                _project(points, first, spacing, low, high)
        if step >= 200 and step % 20 == 0 and not _strain(points):
            break
    problem = _strain(points)
    if problem:
        raise DataError(f"a chain of {len(points)} residues cannot be traced: {problem}")
    return np.round(points, 3)


def _squared_distances(points: Float64) -> Float64:
    """(L, L) square angstrom."""
    x, y, z = (np.subtract.outer(axis, axis) for axis in points.T)
    return x * x + y * y + z * z


def _project(points: Float64, first: int, spacing: int, low: float, high: float) -> None:
    """Set distances of disjoint pairs (first, first + spacing), ... to within [low, high]."""
    left = np.arange(first, len(points) - spacing, 2 * spacing)
    if left.size == 0:
        return
    right = left + spacing
    difference = points[right] - points[left]
    distance = np.maximum(np.sqrt((difference * difference).sum(-1)), 0.1)
    shift = 0.5 * (np.clip(distance, low, high) / distance - 1)[:, None] * difference
    points[left] -= shift
    points[right] += shift


def _strain(points: Float64) -> str:
    """What is wrong with a trace; empty when nothing is."""
    distance = pair_distances(points)
    bonds = np.diagonal(distance, 1)
    worst = float(np.abs(bonds - BOND).max())
    if worst > BOND_TOLERANCE:
        return f"a bond is {worst:.2f} angstrom from {BOND}"
    near = float(distance[np.triu_indices(len(points), 2)].min())
    return f"two residues are {near:.2f} angstrom apart" if near < CLASH else ""


def beta_atoms(alphas: Float64) -> Float64:
    """(L, 3) C-beta positions, 1.53 angstrom from each C-alpha, from the trace alone.

    The C-beta points away from the two neighbours and to the left of the chain's plane, as in
    L-amino acids.
    """
    before, after = _chords(alphas)
    outward = _unit(before - after)
    normal = _unit(np.cross(before, after))
    return alphas + 1.53 * (0.816 * outward + 0.577 * normal)


def backbone(alphas: Float64) -> dict[str, Float64]:
    """(L, 3) positions of N, CA, C and O, about where a peptide plane puts them."""
    before, after = _chords(alphas)
    normal = _unit(np.cross(before, after))
    side = _unit(np.cross(after, normal))
    behind = _unit(np.cross(before, normal))
    return {
        "N": alphas - 1.40 * _unit(before) + 0.42 * behind,
        "CA": alphas,
        "C": alphas + 1.43 * _unit(after) - 0.52 * side,
        "O": alphas + 1.75 * _unit(after) - 1.70 * side,
    }


def _chords(alphas: Float64) -> tuple[Float64, Float64]:
    """Vectors from the previous and to the next C-alpha.

    At an end of the chain, or of what is placed of it (NaN beyond), the bend is that of the
    neighbour.
    """
    bonds = alphas[1:] - alphas[:-1]
    beyond = np.full((1, 3), np.nan)
    before, after = np.concatenate([beyond, bonds]), np.concatenate([bonds, beyond])
    first = np.flatnonzero(np.isnan(before[:, 0]))
    before[first] = bonds[np.minimum(first + 1, len(bonds) - 1)]
    last = np.flatnonzero(np.isnan(after[:, 0]))
    after[last] = bonds[np.maximum(last - 2, 0)]
    return before, after


def _unit(vectors: Float64) -> Float64:
    return vectors / np.maximum(np.sqrt((vectors * vectors).sum(-1, keepdims=True)), 1e-9)
