"""Means over proteins and models compared on them, with their intervals (paper, Figure 5)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import ndtri

from npm_core.errors import DataError

DRAWS = 10_000
"""Resamples of a bootstrap."""

CONFIDENCE = 0.95
"""Of every interval."""

FEWEST = 5
"""Of fewer proteins no interval is told: they say little of others."""


@dataclass(frozen=True)
class Interval:
    """A mean over proteins with its interval.

    Attributes:
        mean, low, high: The mean, or the share of proteins, and the bounds of the interval.
        n: Proteins in the mean.
    """

    mean: float
    low: float
    high: float
    n: int


def bootstrap(values: ArrayLike, *, seed: int) -> Interval:
    """Percentile bootstrap of a mean over proteins.

    Args:
        values: (n,) one number a protein.
        seed: The interval depends on it and on `values` alone.

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
            sample[rng.integers(sample.size, size=(min(chunk, DRAWS - done), sample.size))].mean(1)
            for done in range(0, DRAWS, chunk)
        ]
    )
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, (tail, 1 - tail))
    return Interval(float(sample.mean()), float(low), float(high), sample.size)


def win_rate(wins: ArrayLike) -> Interval:
    r"""Share of proteins on which a model wins, with Wilson's score interval.

    A bootstrap of wins alone, or of none, would give an interval of no width, however few they are.
    With p the share of wins in n and z the normal quantile, the bounds are the two roots x of

    .. math:: (x - p)^2 = z^2 x (1 - x) / n.

    Args:
        wins: (n,) bool, at least one.
    """
    won = np.asarray(wins, dtype=bool)
    share = float(won.mean())
    unit = float(ndtri((1 + CONFIDENCE) / 2)) ** 2 / won.size
    low, high = _smaller_root(share, unit), 1 - _smaller_root(1 - share, unit)
    return Interval(share, low, high, won.size)


def _smaller_root(share: float, unit: float) -> float:
    """Of Wilson's equation, with `unit` for z^2 / n; exactly 0 without wins.

    p^2 over the larger root of (1 + unit) x^2 - (2 p + unit) x + p^2, as nothing is subtracted.
    """
    spread = math.sqrt(unit**2 + 4 * unit * share * (1 - share))
    return 2 * share**2 / (2 * share + unit + spread)


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


def compare(first: ArrayLike, second: ArrayLike, *, seed: int) -> Comparison:
    """Paired bootstrap of the difference, and the win rate, of two models.

    Args:
        first: (n,) precision of each protein.
        second: (n,) the other model's, in the same order.
        seed: As in `bootstrap`.

    Raises:
        DataError: The shapes differ, or as in `bootstrap`.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape:
        raise DataError(f"paired values differ in number: {a.shape} and {b.shape}")
    difference = bootstrap(a - b, seed=seed)
    return Comparison(difference, win_rate(a > b), float(np.mean(a == b)))


def summarise(table: pd.DataFrame, by: Sequence[str], *, seed: int) -> pd.DataFrame:
    """Mean precision of each group of a precision table with its bootstrap interval.

    Args:
        table: Rows of `tabulate-precision`.
        by: Columns that make a group, e.g. ("model", "split", "range", "cutoff").
        seed: As in `bootstrap`; a group's interval does not depend on the other groups.

    Returns:
        `by`, mean, low, high, n; one row a group, in sorted order.
    """
    rows = [
        {**dict(zip(by, key, strict=True)), **vars(bootstrap(group, seed=seed))}
        for key, group in table.groupby(list(by), observed=True)["precision"]
    ]
    return pd.DataFrame(rows, columns=[*by, "mean", "low", "high", "n"])


def paired(table: pd.DataFrame, first: str, second: str, on: Sequence[str]) -> pd.DataFrame:
    """Precisions of two models side by side.

    Args:
        table: Rows of `tabulate-precision`.
        first: A model.
        second: Another.
        on: Columns that name a pair.

    Returns:
        `on`, then a column by the name of each model; NaN where that one has no such row.

    Raises:
        DataError: A model has two rows for one pair.
    """
    sides = []
    for model in (first, second):
        side = table.loc[table["model"] == model, [*on, "precision"]]
        twice = side.duplicated(list(on))
        if twice.any():
            raise DataError(
                f"{model}: {int(twice.sum())} rows share their {', '.join(on)} with another; "
                "name the columns that tell them apart"
            )
        sides.append(side.rename(columns={"precision": model}))
    return sides[0].merge(sides[1], on=list(on), how="outer")


def compare_models(
    table: pd.DataFrame,
    first: str,
    second: str,
    by: Sequence[str],
    *,
    pair_on: Sequence[str] = ("id",),
    seed: int,
) -> pd.DataFrame:
    """`compare` of two models in each group, on the proteins both have.

    Args:
        table: Rows of `tabulate-precision`.
        first: Model whose wins are counted, e.g. "npm".
        second: The model it is compared with, e.g. "potts".
        by: Columns that make a group, e.g. ("split", "range", "cutoff").
        pair_on: Columns that name a pair inside a group.
        seed: As in `bootstrap`.

    Returns:
        `by`, difference, low, high, win_rate, win_low, win_high, ties, n, unpaired (rows of
        either model without a partner).

    Raises:
        DataError: A group holds two rows of one model for one pair.
    """
    both = paired(table, first, second, [*by, *pair_on])
    bounds = ["difference", "low", "high", "win_rate", "win_low", "win_high"]
    rows = []
    for key, group in both.groupby(list(by), observed=True):
        pairs = group.dropna(subset=[first, second])
        if pairs.empty:
            continue
        found = compare(pairs[first], pairs[second], seed=seed)
        difference, wins = found.difference, found.win_rate
        rows.append(
            [
                *key,
                *(difference.mean, difference.low, difference.high),
                *(wins.mean, wins.low, wins.high),
                *(found.ties, difference.n, len(group) - len(pairs)),
            ]
        )
    return pd.DataFrame(rows, columns=[*by, *bounds, "ties", "n", "unpaired"])


def over_rounds(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Mean and standard deviation over cross-validation rounds (paper, C.3).

    Args:
        table: Rows of `tabulate-precision` with a column "round".
        by: Columns that make a group, e.g. ("model", "range", "cutoff").

    Returns:
        `by`, mean (of the rounds' means), sd (sample SD over rounds; missing where there is one
        round only), rounds, n (rows in all).
    """
    rounds = table.groupby([*by, "round"], observed=True)["precision"].agg(["mean", "size"])
    return (
        rounds.groupby(list(by), observed=True)
        .agg(
            mean=("mean", "mean"),
            sd=("mean", "std"),
            rounds=("mean", "size"),
            n=("size", "sum"),
        )
        .reset_index()
    )
