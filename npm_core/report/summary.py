"""What a report says in numbers: means, paired differences and win rates of the precision table."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from npm_core.comparison import CONFIDENCE, FEWEST, compare_models, over_rounds, paired, summarise
from npm_core.errors import DataError
from npm_core.precision import AUC, CUTOFFS, RANGES, meff_bin, meff_bins
from npm_core.tables import open_table, reading

COLUMNS = (
    "model",
    "id",
    "split",
    "length",
    "depth",
    "meff",
    "generalisation_loss",
    "range",
    "cutoff",
    "precision",
)
STAMPS = ("clan", "variant", "reduced_depth", "round")
"""Columns a workflow may add; the rows of one target and model are told apart by them. A variant
is another architecture of NPM (paper, Figure 8); the main one has none."""

BINS = meff_bins()


def read_precision(*paths: Path | str) -> pd.DataFrame:
    """Precision tables under one another, checked, with the Meff bin of each row added.

    A row without an alignment (no Meff) has no bin and is in no binned figure. Chance is left
    out for targets that no model has scores for: it is known for all of them. The column
    `condition` is the reduced depth, or empty; `variant` is empty for NPM itself.

    Raises:
        DataError: A file is missing or no Parquet, a column is missing, a range, cutoff or
            precision is none, or a model has two rows for the same target and condition.
    """
    table = pd.concat([_read(path) for path in paths], ignore_index=True)
    table["variant"] = table["variant"].fillna("") if "variant" in table.columns else ""
    for stamp in stamps(table):
        table[stamp] = table[stamp].map(_plain)
    key = ["model", "id", "split", *stamps(table), "range", "cutoff"]
    twice = table.duplicated(key)
    if twice.any():
        raise DataError(f"two precisions for {table[twice][key].iloc[0].to_dict()}; expected one")
    table = _with_scores(table)
    table["bin"] = [None if pd.isna(meff) else meff_bin(meff) for meff in table["meff"]]
    table["condition"] = table["reduced_depth"] if "reduced_depth" in table.columns else ""
    return table


def read_frame(path: Path | str, columns: Collection[str]) -> pd.DataFrame:
    """A table that has these columns among its own.

    Raises:
        DataError: The file is missing, no Parquet, or lacks a column.
    """
    with reading(path):
        return open_table(path, columns).read().to_pandas()


def _read(path: Path | str) -> pd.DataFrame:
    frame = read_frame(path, COLUMNS)
    for column, known in (("range", tuple(RANGES)), ("cutoff", (*CUTOFFS, AUC))):
        strange = sorted(set(frame[column]) - set(known))
        if strange:
            raise DataError(f"{path}: {column} {strange[0]!r}, expected one of {known}")
    if not frame["precision"].between(0, 1).all():
        raise DataError(f"{path}: a precision lies outside 0..1 or is missing")
    return frame


def _with_scores(table: pd.DataFrame) -> pd.DataFrame:
    key = ["id", "split", *stamps(table)]
    scored = table.loc[table["model"] != "chance", key].drop_duplicates()
    return table.merge(scored, on=key)


def _plain(value: object) -> str:
    """A stamp as text: 10, 10.0 and "10" are the same depth."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def stamps(table: pd.DataFrame) -> list[str]:
    """The workflow's own columns that this table has."""
    return [name for name in STAMPS if name in table.columns]


def depth_order(depths: Sequence[str]) -> list[str]:
    """Reduced depths from shallow to deep; "full" and other words come last."""
    return sorted(set(depths), key=lambda depth: (not depth.isdigit(), len(depth), depth))


def losses(table: pd.DataFrame) -> pd.DataFrame:
    """The generalisation loss of each model and target, in nats a residue, summed up as precisions.

    Returns:
        The table's rows that have one, one a model, target and condition, with the loss as their
        `precision` in no range.
    """
    rows = table.dropna(subset=["generalisation_loss"])
    rows = rows.drop_duplicates(["model", "id", "split", *stamps(rows)])
    return rows.assign(precision=rows["generalisation_loss"], range="", cutoff="")


def means(table: pd.DataFrame, by: Sequence[str], *, seed: int) -> pd.DataFrame:
    """Mean precision of each model in each group with its 95 % bootstrap interval over targets.

    Returns:
        `by`, model, n, mean, low, high; one row a group that has targets. low and high are None
        of fewer than FEWEST targets.
    """
    found = summarise(table.dropna(subset=list(by)), [*by, "model"], seed=seed)
    return _objects(found, n="n", fewest=FEWEST, optional=("low", "high"))


def differences(
    table: pd.DataFrame, by: Sequence[str], *, baseline: str, seed: int
) -> pd.DataFrame:
    """NPM against `baseline` on the targets both have: mean paired difference and win rate.

    Returns:
        `by`, model (the baseline), n, difference, low, high, win_rate, win_low, win_high (95 %
        intervals as in `comparison.compare`, None of fewer than FEWEST targets), ties (share),
        unpaired (targets that only one of them has).
    """
    found = compare_models(
        table.dropna(subset=list(by)),
        "npm",
        baseline,
        list(by),
        pair_on=["id", *(stamp for stamp in stamps(table) if stamp not in by)],
        seed=seed,
    )
    found.insert(len(by), "model", baseline)
    bounds = ("low", "high", "win_low", "win_high")
    return _objects(found, n="n", fewest=FEWEST, optional=bounds)


def rounds(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Mean precision of each round, then mean and standard deviation over the rounds (C.3).

    Returns:
        `by`, model, mean, sd, low, high = mean -+ sd, rounds, n (targets of all rounds); sd and
        the bounds are None where a single round gives none.
    """
    found = over_rounds(table.dropna(subset=list(by)), [*by, "model"])
    found["low"], found["high"] = found["mean"] - found["sd"], found["mean"] + found["sd"]
    return _objects(found, n="rounds", fewest=2, optional=("sd", "low", "high"))


def round_differences(table: pd.DataFrame, by: Sequence[str], *, baseline: str) -> pd.DataFrame:
    """As `rounds`, of the paired difference NPM minus `baseline`.

    Returns:
        `by`, model (the baseline), difference, sd, rounds, n, and low, high: Student's 95 %
        interval of the mean over the rounds, which two rounds make very wide; None of one round
        and of fewer than FEWEST targets.
    """
    both = pairs(table, baseline)
    both = both.assign(model=baseline, precision=both["difference"])
    found = rounds(both, by).rename(columns={"mean": "difference"})
    several = (found["rounds"] > 1) & (found["n"] >= FEWEST)
    found.loc[~several, ["low", "high"]] = None
    count = found.loc[several, "rounds"].astype(float)
    sd = found.loc[several, "sd"].astype(float)
    reach = sd / np.sqrt(count) * stdtrit(count - 1, (1 + CONFIDENCE) / 2)
    found.loc[several, "low"] = found.loc[several, "difference"] - reach
    found.loc[several, "high"] = found.loc[several, "difference"] + reach
    return found


def pairs(table: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Targets that NPM and `baseline` both predicted, their precisions side by side.

    Returns:
        The table's columns without model and precision, then npm, `baseline`, difference.
    """
    key = ["id", "split", *stamps(table), "range", "cutoff"]
    own = ["model", "precision", "pairs", "contacts", "tied"]
    rows = table[table["model"] == "npm"].drop(columns=own, errors="ignore")
    both = rows.merge(paired(table, "npm", baseline, key).dropna(), on=key)
    return both.assign(difference=both["npm"] - both[baseline])


def _objects(table: pd.DataFrame, *, n: str, fewest: int, optional: Sequence[str]) -> pd.DataFrame:
    """The table with None in its `optional` columns where fewer than `fewest` make them."""
    table = table.astype(object)
    table.loc[table[n] < fewest, list(optional)] = None
    return table


@dataclass(frozen=True)
class Verdict:
    """One paired difference, NPM minus a baseline, and the sentence about it.

    Attributes:
        where: The targets compared, e.g. "the 12 test proteins with Meff in (0, 15]".
        baseline: What NPM is compared with, in words.
        short: The same in fewer.
        metric: E.g. "long-range P@L/5".
        n: Number of targets.
        difference: Mean of NPM minus baseline.
        low: Lower bound of its interval; None where there is none.
        high: Upper bound.
        spread: What the interval is, e.g. "95 % interval".
        group: Clan or split, by which verdicts stand together.
    """

    where: str
    baseline: str
    short: str
    metric: str
    n: int
    difference: float
    low: float | None
    high: float | None
    spread: str
    group: str = ""

    @property
    def outcome(self) -> str:
        """better, worse or open: whether the interval leaves zero out, and on which side.

        few: there is no interval.
        """
        if self.low is None or self.high is None:
            return "few"
        if self.low <= 0 <= self.high:
            return "open"
        return "better" if self.low > 0 else "worse"

    @property
    def bounds(self) -> str:
        if self.low is None or self.high is None:
            return f"too few for a {self.spread}"
        return f"{self.spread} {signed(self.low)} to {signed(self.high)}"

    @property
    def finding(self) -> str:
        """The sentence."""
        return f"On {self.where}, NPM {VERBS[self.outcome]} {self.baseline}."


VERBS = {
    "better": "is more precise than",
    "worse": "is less precise than",
    "open": "cannot be told from",
    "few": "has too few targets to be compared with",
}


def headline(verdicts: Sequence[Verdict]) -> str:
    """One sentence on verdicts against the same baseline, those that tell the models apart first.

    Verdicts with the same outcome share a clause, e.g. "On A, NPM is more precise than the
    independent Potts model; on B it cannot be told from it."
    """
    by_outcome = {
        outcome: [verdict for verdict in verdicts if verdict.outcome == outcome]
        for outcome in VERBS
    }
    clauses: list[str] = []
    for outcome, found in by_outcome.items():
        if found:
            where = " and on ".join(verdict.where for verdict in found)
            what = found[0].baseline if not clauses else "it"
            who = "it" if clauses else "NPM"
            clauses.append(f"on {where}, {who} {VERBS[outcome]} {what}")
    text = "; ".join(clauses)
    return text[0].upper() + text[1:] + "."


def controls_clause(verdicts: Sequence[Verdict]) -> str:
    """Which controls NPM is told from, e.g. "; of the controls, it is more precise than chance"."""
    clauses = []
    for outcome, verb in VERBS.items():
        names = [verdict.baseline for verdict in verdicts if verdict.outcome == outcome]
        if names:
            clauses.append(f"{verb} {listed(names)}")
    return f"; of the controls, it {listed(clauses)}" if clauses else ""


def listed(words: Sequence[str]) -> str:
    """Words as a sentence lists them: "a", "a and b", "a, b and c"."""
    return " and ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)


def signed(value: float) -> str:
    """Three decimals with a typographic sign."""
    return f"{value:+.3f}".replace("-", "−")


def evenly(count: int, most: int) -> list[int]:
    """At most so many numbers from 0 to below `count`, evenly spaced; first and last are kept."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist()


def cumulative(depths: Sequence[float]) -> list[tuple[float, float]]:
    """Steps of the cumulative distribution, thinned to about 200 of them.

    Returns:
        (depth, share of values at most this) in increasing order; the last share is 1.
    """
    values, counts = np.unique(np.asarray(depths, dtype=float), return_counts=True)
    shares = counts.cumsum() / counts.sum()
    return [(float(values[k]), float(shares[k])) for k in evenly(len(values), 200)]
