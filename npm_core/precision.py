"""Contact precision of one protein: P@L/k and AUC by separation range (paper, C.2)."""

import itertools
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from npm_core.arrays import Bools, Floats
from npm_core.errors import DataError

RANGES = {
    "short": range(6, 12),
    "medium": range(12, 24),
    "long": range(24, sys.maxsize),
}
"""Separations j - i of the three ranges (paper, C.2): [6, 12), [12, 24), [24, inf)."""

MIN_SEPARATION = RANGES["short"].start
"""Pairs closer along the chain are in no range: what is near in sequence is near in space."""

CUTOFFS = {"L": 1, "L/2": 2, "L/5": 5}
"""Divisors k of P@L/k by the name the tables use."""

AUC = "AUC"
AUC_STEPS = 10

MEFF_EDGES = (15.0, 50.0, 100.0, 500.0)
"""Right-closed bins of Fig. 5: (0, 15], (15, 50], (50, 100], (100, 500], > 500."""


@dataclass(frozen=True)
class Scorable:
    """Residue pairs of one protein in one separation range.

    Attributes:
        length: L, the full sequence length, unresolved residues included.
        pairs: How many pairs of the range can be scored (both residues resolved).
        true_contacts: How many of them are contacts.
    """

    length: int
    pairs: int
    true_contacts: int

    def ranked(self, k: int) -> int:
        """T = max(1, floor(L/k)), or all pairs where there are fewer."""
        return min(max(1, self.length // k), self.pairs)

    def chance(self) -> float:
        """Expected precision, at any cutoff, of pairs drawn at random: contacts / pairs."""
        return self.true_contacts / self.pairs


@dataclass(frozen=True, eq=False)
class Ranking(Scorable):
    """The same, sorted by score.

    Attributes:
        scores: Of the first min(L + 1, pairs) pairs, the strongest first.
        contacts: Whether each of them is a contact.
    """

    scores: Floats
    contacts: Bools

    def precision(self, k: int) -> float:
        """P@L/k: the share of contacts among the T strongest pairs."""
        return float(self.contacts[: self.ranked(k)].mean())

    def tied(self, k: int) -> int:
        """How many of the T strongest pairs tie with the best one left out: their order decided."""
        ranked = self.ranked(k)
        if ranked == self.pairs or self.scores[ranked] != self.scores[ranked - 1]:
            return 0
        return int((self.scores[:ranked] == self.scores[ranked]).sum())

    def auc(self) -> float:
        """Mean of P@(m L/10), m = 1..10 ("stepwise per L/10 increment up to L", C.2).

        The number of pairs of step m is floor(m L / 10) in integers, at least 1.
        """
        hits = np.cumsum(self.contacts)
        steps = np.maximum(1, np.arange(1, AUC_STEPS + 1) * self.length // AUC_STEPS)
        ranked = np.minimum(steps, self.pairs)
        return float(np.mean(hits[ranked - 1] / ranked))


def scorable_pairs(
    distances: Floats, separation: range
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices i < j, row by row, with j - i in `separation` and both residues resolved."""
    i, j = np.triu_indices(len(distances), k=separation.start)
    scorable = (j - i < separation.stop) & ~np.isnan(distances[i, j])
    return i[scorable], j[scorable]


def count_pairs(distances: Floats, *, contact_distance: float) -> dict[str, Scorable]:
    """The pairs of every range in RANGES that has any to score; arguments as in `rank_pairs`."""
    found = {}
    for name, separation in RANGES.items():
        apart = distances[scorable_pairs(distances, separation)]
        if apart.size:
            contacts = int((apart <= contact_distance).sum())
            found[name] = Scorable(len(distances), apart.size, contacts)
    return found


def rank_pairs(
    scores: Floats, distances: Floats, *, separation: range, contact_distance: float
) -> Ranking:
    """Sort the pairs of one separation range by score, ties in the order of (i, j).

    Args:
        scores: (L, L), unitless. Higher is a stronger contact; only i < j is read.
        distances: (L, L), angstrom. C-beta to C-beta; NaN where a residue has no coordinates.
        separation: Allowed j - i, e.g. RANGES["long"].
        contact_distance: angstrom. Pairs this close or closer are contacts.

    Raises:
        DataError: The shapes differ, a score is not finite, or no pair qualifies.
    """
    _check_shapes(scores, distances)
    i, j = scorable_pairs(distances, separation)
    if i.size == 0:
        raise DataError(
            f"none of {len(scores)} residues pair up at separations from {separation.start} on"
        )
    return _rank(scores, distances, i, j, contact_distance)


def rank_ranges(
    scores: Floats, distances: Floats, *, contact_distance: float
) -> dict[str, Ranking]:
    """`rank_pairs` of every range in RANGES that has a pair to score; the others are absent.

    Args:
        scores: As in `rank_pairs`.
        distances: As in `rank_pairs`.
        contact_distance: As in `rank_pairs`.

    Raises:
        DataError: The shapes differ, or a score is not finite.
    """
    _check_shapes(scores, distances)
    pairs = {name: scorable_pairs(distances, separation) for name, separation in RANGES.items()}
    return {
        name: _rank(scores, distances, i, j, contact_distance)
        for name, (i, j) in pairs.items()
        if i.size
    }


def _check_shapes(scores: Floats, distances: Floats) -> None:
    if scores.shape != distances.shape or scores.ndim != 2 or len(scores) != scores.shape[1]:
        raise DataError(
            f"scores are {scores.shape} but distances are {distances.shape}; expected (L, L) both"
        )


def _rank(
    scores: Floats,
    distances: Floats,
    i: NDArray[np.intp],
    j: NDArray[np.intp],
    contact_distance: float,
) -> Ranking:
    values = scores[i, j]
    if not np.isfinite(values).all():
        raise DataError("scores hold NaN or infinity; the model that made them has diverged")
    contacts = distances[i, j] <= contact_distance
    first = strongest(values, len(scores) + 1)
    return Ranking(len(scores), int(i.size), int(contacts.sum()), values[first], contacts[first])


def strongest(values: Floats, count: int) -> NDArray[np.intp]:
    """The first `count` of a stable descending argsort, without sorting the rest."""
    if count >= len(values):
        return np.argsort(-values, kind="stable")
    threshold = np.partition(values, len(values) - count)[len(values) - count]
    candidates = np.flatnonzero(values >= threshold)
    return candidates[np.argsort(-values[candidates], kind="stable")[:count]]


def top_precision(
    scores: Floats, distances: Floats, *, k: int, separation: range, contact_distance: float
) -> float:
    r"""Precision of the L/k strongest residue pairs in one separation range.

    .. math:: P@L/k = \frac{1}{T} \sum_{(i,j) \in \mathrm{top}\,T} [d_{ij} \le d_c]

    with T = max(1, floor(L/k)) over pairs i < j. Residues without coordinates cannot be
    scored, but count in L. If fewer than T pairs qualify, all of them are used.

    Args:
        scores: (L, L), unitless. Higher is a stronger contact; only i < j is read.
        distances: (L, L), angstrom. C-beta to C-beta; NaN where a residue has no coordinates.
        k: Divisor of L; k=5 asks for P@L/5.
        separation: Allowed j - i, e.g. RANGES["long"].
        contact_distance: angstrom. Pairs this close or closer are contacts (d_c).

    Raises:
        DataError: The shapes differ, a score is not finite, or no pair qualifies.
    """
    return rank_pairs(
        scores, distances, separation=separation, contact_distance=contact_distance
    ).precision(k)


@dataclass(frozen=True)
class Measure:
    """One number of one protein: a row of the precision table.

    Attributes:
        range: "short", "medium" or "long".
        cutoff: A key of CUTOFFS, or "AUC".
        precision: In [0, 1]; for "AUC" the mean over its ten thresholds.
        pairs: Pairs ranked; for "AUC" those of its last threshold, L.
        contacts: Contacts among them; None for "AUC" and for an expectation.
        tied: How many of them have the score of a pair left out; None likewise.
    """

    range: str
    cutoff: str
    precision: float
    pairs: int
    contacts: int | None
    tied: int | None


def measure(ranking: Ranking, range_name: str) -> Iterator[Measure]:
    """P@L, P@L/2, P@L/5 and AUC of one ranking."""
    for cutoff, k in CUTOFFS.items():
        ranked = ranking.ranked(k)
        found = int(ranking.contacts[:ranked].sum())
        yield Measure(range_name, cutoff, ranking.precision(k), ranked, found, ranking.tied(k))
    yield Measure(range_name, AUC, ranking.auc(), ranking.ranked(1), None, None)


def measure_chance(pairs: Scorable, range_name: str) -> Iterator[Measure]:
    """What `measure` gives on average for scores that know nothing; exact, no draws."""
    for cutoff in (*CUTOFFS, AUC):
        ranked = pairs.ranked(CUTOFFS.get(cutoff, 1))
        yield Measure(range_name, cutoff, pairs.chance(), ranked, None, None)


def meff_bin(meff: float) -> str:
    """Bin of Fig. 5 that holds `meff`, e.g. "(15, 50]"; the bins are right-closed.

    Raises:
        DataError: `meff` is not positive.
    """
    if not meff > 0:
        raise DataError(f"Meff is {meff}; an alignment's sequence weights sum to more than 0")
    return meff_bins()[int(np.searchsorted(MEFF_EDGES, meff, side="left"))]


def meff_bins() -> tuple[str, ...]:
    """Labels of the bins in increasing order."""
    edges = (0.0, *MEFF_EDGES)
    closed = (f"({low:g}, {high:g}]" for low, high in itertools.pairwise(edges))
    return (*closed, f"> {edges[-1]:g}")
