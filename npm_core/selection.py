"""Settings chosen on validation families: a small grid, one training each, the best taken."""

import dataclasses
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from npm_core.errors import DataError, SettingsError
from npm_core.files import open_text
from npm_core.metrics import read_metrics
from npm_core.settings import from_mapping

Choice = Mapping[str, Any]

LOWER_IS_BETTER = {
    "validation_pseudolikelihood": True,
    "long_P@L": False,
    "long_P@L/5": False,
}
"""Measures of a validation by which settings can be chosen."""


def grid(values: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    """Every combination of the values, the last setting changing fastest.

    Raises:
        TypeError: The values of a setting are no list.
    """
    for name, choices in values.items():
        if not isinstance(choices, list):
            raise TypeError(f"{name} is {choices!r}, expected a list")
    return [
        dict(zip(values, combination, strict=True))
        for combination in itertools.product(*values.values())
    ]


def final_measure(metrics: Path | str, measure: str) -> float:
    """A validation measure of the finished training.

    Args:
        metrics: CSV of its trajectory.
        measure: A key of LOWER_IS_BETTER.

    Raises:
        DataError: The file is no table of metrics, or does not end with a finite value of it.
    """
    rows = read_metrics(metrics)
    value = float(rows[measure].iloc[-1]) if measure in rows and len(rows) else math.nan
    if not math.isfinite(value):
        raise DataError(
            f"{metrics}: {measure} is {value} at the end; was there anything to validate on?"
        )
    return value


def choose(
    candidates: Sequence[Choice], values: Sequence[float], *, measure: str
) -> tuple[int, Choice]:
    """Number and settings of the best candidate; of equals the first.

    Raises:
        SettingsError: The measure is none, or there is not one value a candidate.
    """
    if measure not in LOWER_IS_BETTER:
        raise SettingsError(f"measure {measure!r}; expected one of {', '.join(LOWER_IS_BETTER)}")
    if len(candidates) != len(values) or not values:
        raise SettingsError(f"{len(values)} trainings for {len(candidates)} candidates")
    sign = 1 if LOWER_IS_BETTER[measure] else -1
    best = min(range(len(values)), key=lambda number: sign * values[number])
    return best, candidates[best]


def read_choice(path: Path | str) -> Choice:
    """The chosen settings, as `choose-settings` wrote them.

    Raises:
        DataError: The file is no such record.
    """
    with open_text(path) as stream:
        try:
            record = json.load(stream)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}: not JSON ({error})") from error
    if not isinstance(record, dict) or not isinstance(record.get("chosen"), dict):
        raise DataError(f"{path}: expected a record with the settings `chosen`")
    return record["chosen"]


def with_choice(choice: Choice, *settings: Any) -> tuple[Any, ...]:
    """Each settings object with the chosen values of its own fields.

    Raises:
        SettingsError: A chosen setting is of none of them, or of another type.
    """
    left = dict(choice)
    changed = []
    for part in settings:
        names = [field.name for field in dataclasses.fields(part) if field.name in left]
        own = {name: left.pop(name) for name in names}
        values = {field.name: getattr(part, field.name) for field in dataclasses.fields(part)}
        changed.append(from_mapping(type(part), values | own, "the chosen settings"))
    if left:
        raise SettingsError(f"the chosen settings have {sorted(left)}, which no training has")
    return tuple(changed)
