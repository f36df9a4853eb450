"""Protein cards: what a page needs to draw one target's contact map, packed small."""

import base64
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from npm_core.arrays import Float32
from npm_core.errors import DataError
from npm_core.precision import CUTOFFS, MIN_SEPARATION, RANGES, scorable_pairs, strongest
from npm_core.report.models import MODELS
from npm_core.report.summary import evenly
from npm_core.tables import Scores, Target

Maps = dict[str, dict[str, list[int]]]
"""Strongest pairs by model and range, each pair as i * L + j with i < j from 0."""


def strongest_pairs(scores: Float32, distances: Float32) -> dict[str, list[int]]:
    """The L strongest scorable pairs of each range, strongest first, ties in order of (i, j).

    A range without a scorable pair has an empty list.

    Args:
        scores: (L, L), unitless.
        distances: (L, L), angstrom, NaN where unresolved.
    """
    length = len(scores)
    found = {}
    for name, separation in RANGES.items():
        i, j = scorable_pairs(distances, separation)
        order = strongest(scores[i, j], length)
        found[name] = (i[order] * length + j[order]).tolist()
    return found


def contacts(distances: Float32, *, contact_distance: float) -> list[int]:
    """Pairs in contact at separation 6 and more, as i * L + j, increasing."""
    i, j = scorable_pairs(distances, range(MIN_SEPARATION, len(distances)))
    near = distances[i, j] <= contact_distance
    return (i[near] * len(distances) + j[near]).tolist()


def unresolved(distances: Float32) -> list[tuple[int, int]]:
    """Stretches of residues without coordinates: first and last, counted from 1."""
    missing = np.isnan(np.diag(distances)).astype(int)
    edges = np.diff(np.concatenate([[0], missing, [0]]))
    starts, ends = np.flatnonzero(edges == 1) + 1, np.flatnonzero(edges == -1)
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


def rank_scores(
    scores: Iterable[tuple[Sequence[str], Scores]], targets: Mapping[str, Target]
) -> dict[str, dict[str, Maps]]:
    """Strongest pairs by target, condition and model, of those scores that have a target.

    Args:
        scores: (conditions, scores); conditions tell apart scores of one model and target.
        targets: The targets by id.

    Raises:
        DataError: Scores do not fit their target's length.
    """
    found: dict[str, dict[str, Maps]] = {name: {} for name in targets}
    for conditions, score in scores:
        target = targets.get(score.id)
        if target is None:
            continue
        if len(score.matrix) != target.length:
            raise DataError(
                f"scores of {score.id} by {score.model} are {score.matrix.shape}, "
                f"but the target has {target.length} residues"
            )
        ranked = strongest_pairs(score.matrix, target.distances)
        for condition in conditions:
            found[score.id].setdefault(condition, {})[score.model] = ranked
    return found


def card(
    target: Target,
    maps: dict[str, Maps],
    precision: dict[str, Any],
    links: dict[str, dict[str, str]],
    *,
    contact_distance: float,
) -> dict[str, Any]:
    """Everything one card shows that the table of targets does not.

    Args:
        target: Its structure.
        maps: Strongest pairs by condition and model.
        precision: Precision by condition, model, range and cutoff.
        links: Where the scores are, by condition and model.
        contact_distance: angstrom.
    """
    distances = target.distances
    return {
        "source": target.source,
        "length": target.length,
        "unresolved": unresolved(distances),
        "contacts": contacts(distances, contact_distance=contact_distance),
        "maps": maps,
        "precision": precision,
        "links": links,
    }


def pack(card: Mapping[str, Any]) -> str:
    """A card as JSON, deflated (zlib), in base64: what the page inflates when it is opened.

    Pairs are sorted, which makes them half the size: those of a ranking only between two
    cut-offs, where their order shows nowhere.
    """
    ends = [max(1, card["length"] // k) for k in sorted(CUTOFFS.values(), reverse=True)]

    def ranking(pairs: Sequence[int]) -> list[int]:
        parts = [pairs[start:end] for start, end in zip([0, *ends], ends, strict=False)]
        return _steps([pair for part in parts for pair in sorted(part)])

    compact = {
        **card,
        "contacts": _steps(card["contacts"]),
        "maps": {
            condition: {
                model: {name: ranking(pairs) for name, pairs in ranges.items()}
                for model, ranges in models.items()
            }
            for condition, models in card["maps"].items()
        },
    }
    text = json.dumps(compact, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(zlib.compress(text.encode(), level=9)).decode("ascii")


def unpack(packed: str) -> dict[str, Any]:
    """The card that `pack` packed; between two cut-offs the pairs of a ranking are sorted."""
    card = json.loads(zlib.decompress(base64.b64decode(packed)))
    card["contacts"] = np.cumsum(card["contacts"], dtype=int).tolist()
    for models in card["maps"].values():
        for ranges in models.values():
            for name, steps in ranges.items():
                ranges[name] = np.cumsum(steps, dtype=int).tolist()
    return card


def _steps(values: Sequence[int]) -> list[int]:
    """First value, then differences."""
    return np.diff(values, prepend=0).tolist() if values else []


def map_datasets(
    card: Mapping[str, Any],
    *,
    condition: str,
    range_name: str,
    cutoff: str,
    lower: str,
    upper: str,
) -> dict[str, list[dict[str, Any]]]:
    """Data of `figures.contact_map`: what the page's script makes when a card is opened.

    Args:
        card: As `card` made it or `unpack` gives it.
        condition: One of its conditions.
        range_name: Range of the pairs shown.
        cutoff: "L", "L/2" or "L/5".
        lower: Model of the lower triangle.
        upper: Model of the upper triangle.
    """
    length = card["length"]
    count = max(1, length // CUTOFFS[cutoff])
    near = card["contacts"]
    contact = set(near)
    cells = [(pair // length + 1, pair % length + 1) for pair in near]
    predictions = []
    for model, below in ((upper, False), (lower, True)):
        ranked = card["maps"].get(condition, {}).get(model, {}).get(range_name, [])
        for pair in ranked[:count]:
            i, j = pair // length + 1, pair % length + 1
            x, y = (i, j) if below else (j, i)
            predictions.append(
                {"x": x, "y": y, "model": MODELS[model].name, "hit": pair in contact}
            )
    ends = (0.5, length + 0.5)
    return {
        "truth": [{"x": a, "y": b} for i, j in cells for a, b in ((i, j), (j, i))],
        "predictions": predictions,
        "unresolved": [{"start": a - 0.5, "end": b + 0.5} for a, b in card["unresolved"]],
        "band": [
            {"x": x, "low": max(ends[0], x - 5.5), "high": min(ends[1], x + 5.5)} for x in ends
        ],
    }


def nested(rows: pd.DataFrame) -> dict[str, Any]:
    """Precision by condition, model, range and cutoff, four decimals."""
    found: dict[str, Any] = {}
    for row in rows.to_dict("records"):
        by_range = found.setdefault(row["condition"], {}).setdefault(row["model"], {})
        by_range.setdefault(row["range"], {})[row["cutoff"]] = round(row["precision"], 4)
    return found


def choose(differences: pd.Series, limit: int) -> list[str]:
    """At most `limit` targets spread evenly from the worst to the best difference.

    Args:
        differences: NPM minus independent Potts, by target id.
        limit: How many cards a page may hold.
    """
    ordered = differences.sort_values(kind="stable").index
    return [ordered[place] for place in evenly(len(ordered), limit)]


def within(packed: Mapping[str, str], differences: pd.Series, *, characters: int) -> dict[str, str]:
    """So many of the cards that they fit, spread as `choose` spreads them.

    Args:
        packed: Cards by target id.
        differences: NPM minus independent Potts, by target id.
        characters: That all cards together may have.
    """
    kept = dict(packed)
    while (size := sum(map(len, kept.values()))) > characters:
        count = min(len(kept) - 1, len(kept) * characters // size)
        kept = {name: kept[name] for name in choose(differences[list(kept)], count)}
    return kept
