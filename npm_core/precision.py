"""Contact precision: P@L/k and AUC by separation range, with bootstrap intervals (paper, C.2)."""

import itertools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from npm_core.arrays import Bools, Floats
from npm_core.errors import DataError

RANGES = {
    "short": range(6, 12),
    "medium": range(12, 24),
    "long": range(24, sys.maxsize),
}
"""Separations j - i of the three ranges (paper, C.2): [6, 12), [12, 24), [24, inf)."""

CUTOFFS = {"L": 1, "L/2": 2, "L/5": 5}
"""Divisors k of P@L/k by the name the tables use."""

AUC = "AUC"
AUC_STEPS = 10

FEWEST = 5
"""Of fewer proteins no interval is told: their bootstrap says little of others."""

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
        """How many of the T strongest pairs have the score of one left out: (i, j) chose them."""
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
        yield Measure(range_name, cutoff, found / ranked, ranked, found, ranking.tied(k))
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


@dataclass(frozen=True)
class Interval:
    """A mean over proteins with its percentile bootstrap interval.

    Attributes:
        mean, low, high: The mean and the bounds of the interval.
        count: Proteins in the mean.
    """

    mean: float
    low: float
    high: float
    count: int


def bootstrap(
    values: ArrayLike, *, seed: int, draws: int = 10_000, confidence: float = 0.95
) -> Interval:
    """Percentile bootstrap of a mean over proteins.

    Args:
        values: (n,) one number a protein.
        seed: The interval depends on it and on `values` alone.
        draws: Resamples of n proteins with replacement.
        confidence: Share of the resampled means inside the interval.

    Raises:
        DataError: There are no values, or one is not finite.
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or sample.size == 0:
        raise DataError(f"a mean needs at least one value, found {sample.shape}")
    if not np.isfinite(sample).all():
        raise DataError(f"{np.count_nonzero(~np.isfinite(sample))} of {sample.size} values are NaN")
    rng = np.random.default_rng(seed)
    chunk = max(1, 1_000_000 // sample.size)
    means = np.concatenate(
        [
            sample[rng.integers(sample.size, size=(min(chunk, draws - done), sample.size))].mean(1)
            for done in range(0, draws, chunk)
        ]
    )
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, (tail, 1 - tail))
    return Interval(float(sample.mean()), float(low), float(high), sample.size)


@dataclass(frozen=True)
class Comparison:
    """Two models on the same proteins.

    Attributes:
        difference: Of the precisions, first minus second, paired by protein.
        win_rate: Share of proteins on which the first is strictly better.
        ties: Share of proteins on which both are equal.
    """

    difference: Interval
    win_rate: Interval
    ties: float


def compare(
    first: ArrayLike,
    second: ArrayLike,
    *,
    seed: int,
    draws: int = 10_000,
) -> Comparison:
    """Paired bootstrap of the difference, and the win rate, of two models.

    Args:
        first: (n,) precision of each protein.
        second: (n,) the other model's, in the same order.
        seed: As in `bootstrap`.
        draws: As in `bootstrap`.

    Raises:
        DataError: The shapes differ, or as in `bootstrap`.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape:
        raise DataError(f"paired values differ in number: {a.shape} and {b.shape}")
    difference = bootstrap(a - b, seed=seed, draws=draws)
    wins = bootstrap(a > b, seed=seed, draws=draws)
    return Comparison(difference, wins, float(np.mean(a == b)))


_COMPARED = (
    "difference",
    "low",
    "high",
    "win_rate",
    "win_low",
    "win_high",
    "ties",
    "count",
    "unpaired",
)


def summarise(
    table: pd.DataFrame, by: Sequence[str], *, seed: int, draws: int = 10_000
) -> pd.DataFrame:
    """Mean precision of each group of a precision table with its bootstrap interval.

    Args:
        table: Rows of `tabulate-precision`.
        by: Columns that make a group, e.g. ("model", "split", "range", "cutoff").
        seed: As in `bootstrap`; a group's interval does not depend on the other groups.
        draws: As in `bootstrap`.

    Returns:
        `by`, mean, low, high, count; one row a group, in sorted order.
    """
    rows = [
        {**dict(zip(by, key, strict=True)), **vars(bootstrap(group, seed=seed, draws=draws))}
        for key, group in table.groupby(list(by), observed=True)["precision"]
    ]
    return pd.DataFrame(rows, columns=[*by, "mean", "low", "high", "count"])


def compare_models(
    table: pd.DataFrame,
    first: str,
    second: str,
    by: Sequence[str],
    *,
    pair_on: Sequence[str] = ("id",),
    seed: int,
    draws: int = 10_000,
) -> pd.DataFrame:
    """`compare` of two models in each group, on the proteins both have.

    Args:
        table: Rows of `tabulate-precision`.
        first: Model whose wins are counted, e.g. "npm".
        second: The model it is compared with, e.g. "potts".
        by: Columns that make a group, e.g. ("split", "range", "cutoff").
        pair_on: Columns that name a pair inside a group.
        seed: As in `bootstrap`.
        draws: As in `bootstrap`.

    Returns:
        `by`, difference, low, high, win_rate, win_low, win_high, ties, count, unpaired (rows of
        either model without a partner).

    Raises:
        DataError: A group holds two rows of one model for one pair.
    """
    keys = [*by, *pair_on]
    sides = []
    for model in (first, second):
        side = table.loc[table["model"] == model, [*keys, "precision"]]
        twice = side.duplicated(keys)
        if twice.any():
            raise DataError(
                f"{model}: {int(twice.sum())} rows share their {', '.join(keys)} with another; "
                "name the columns that tell them apart"
            )
        sides.append(side)
    both = sides[0].merge(sides[1], on=keys, how="outer", suffixes=("_first", "_second"))
    rows = []
    for key, group in both.groupby(list(by), observed=True):
        pairs = group.dropna(subset=["precision_first", "precision_second"])
        if pairs.empty:
            continue
        found = compare(pairs["precision_first"], pairs["precision_second"], seed=seed, draws=draws)
        rows.append(
            {
                **dict(zip(by, key, strict=True)),
                "difference": found.difference.mean,
                "low": found.difference.low,
                "high": found.difference.high,
                "win_rate": found.win_rate.mean,
                "win_low": found.win_rate.low,
                "win_high": found.win_rate.high,
                "ties": found.ties,
                "count": found.difference.count,
                "unpaired": len(group) - len(pairs),
            }
        )
    return pd.DataFrame(rows, columns=[*by, *_COMPARED])


def over_rounds(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Mean and standard deviation over cross-validation rounds (paper, C.3).

    Args:
        table: Rows of `tabulate-precision` with a column "round".
        by: Columns that make a group, e.g. ("model", "range", "cutoff").

    Returns:
        `by`, mean (of the rounds' means), deviation (sample SD over rounds; missing where there
        is one round only), rounds, count (rows in all).
    """
    rounds = table.groupby([*by, "round"], observed=True)["precision"].agg(["mean", "size"])
    return (
        rounds.groupby(list(by), observed=True)
        .agg(
            mean=("mean", "mean"),
            deviation=("mean", "std"),
            rounds=("mean", "size"),
            count=("size", "sum"),
        )
        .reset_index()
    )
