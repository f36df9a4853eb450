"""The precision table: one row a model, target, separation range and cut-off, as Parquet."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa

from npm_core.errors import DataError, told_where
from npm_core.precision import (
    RANGES,
    Measure,
    count_pairs,
    measure,
    measure_chance,
    rank_ranges,
)
from npm_core.tables import Scores, Target, read_table, write_rows

CHANCE = "chance"
ALIGNED = "potts"
"""The model whose alignment gives every row its depth and Meff."""

IDENTITY = [
    ("model", pa.string()),
    ("id", pa.string()),
    ("split", pa.string()),
    ("length", pa.int32()),
    ("depth", pa.int32()),
    ("meff", pa.float64()),
    ("generalisation_loss", pa.float64()),
]
MEASURE = [
    ("range", pa.string()),
    ("cutoff", pa.string()),
    ("precision", pa.float64()),
    ("pairs", pa.int32()),
    ("contacts", pa.int32()),
    ("tied", pa.int32()),
]

_ROWS_PER_GROUP = 50_000

Alignment = tuple[int | None, float | None]
"""Depth and Meff; None where a model was fitted to no alignment."""


@dataclass(frozen=True)
class LeftOut:
    """What the table does not hold, counted.

    Attributes:
        unscorable: Separation range to the targets without a pair of resolved residues in it.
        unscored: Model to the targets it has no scores for.
    """

    unscorable: dict[str, int]
    unscored: dict[str, int]


def schema(columns: Iterable[str] = ()) -> pa.Schema:
    """Layout of the table; stamped columns are text.

    Raises:
        DataError: A stamped column has the name of another.
    """
    stamped = [(name, pa.string()) for name in columns]
    names = Counter(name for name, _ in (*IDENTITY, *stamped, *MEASURE))
    taken = sorted(name for name, count in names.items() if count > 1)
    if taken:
        raise DataError(f"the table has a column {', '.join(taken)} already; choose another name")
    return pa.schema([*IDENTITY, *stamped, *MEASURE])


def index_scores(*paths: Path | str) -> dict[str, dict[str, Alignment]]:
    """Alignment of each model and target in tables of scores, without reading the scores.

    Raises:
        DataError: A file is no table of scores, or holds a model and target twice.
    """
    found: dict[str, dict[str, Alignment]] = {}
    for path in paths:
        for row in read_table(path, ["id", "model", "depth", "meff"]):
            models = found.setdefault(row["model"], {})
            if row["id"] in models:
                raise DataError(f"{path}: a second row of {row['id']} by {row['model']}")
            models[row["id"]] = (row["depth"], row["meff"])
    if CHANCE in found:
        raise DataError(f'a model is named "{CHANCE}"; that name is kept for the expectation')
    return found


def count_left_out(
    targets: Mapping[str, Target], scored: Mapping[str, Mapping[str, Alignment]]
) -> LeftOut:
    """What `precision_rows` will not give a row."""
    unscorable = Counter(dict.fromkeys(RANGES, 0))
    for target in targets.values():
        unscorable.update(RANGES.keys() - count_pairs(target.distances, contact_distance=0).keys())
    unscored = {model: len(targets.keys() - ids.keys()) for model, ids in scored.items()}
    return LeftOut(dict(unscorable), unscored)


def precision_rows(
    scores: Iterable[Scores],
    targets: Mapping[str, Target],
    alignments: Mapping[str, Alignment],
    *,
    contact_distance: float,
) -> Iterator[dict[str, object]]:
    """Rows of the table: chance for every target, then those of every score.

    Args:
        scores: Of any models, in any order.
        targets: By id.
        alignments: Depth and Meff by id; both are null for a target that is not in it.
        contact_distance: angstrom.

    Raises:
        DataError: Scores have no target, or another length than it.
    """

    def rows(
        model: str, target: Target, measures: Iterable[Measure], loss: float | None = None
    ) -> Iterator[dict]:
        depth, meff = alignments.get(target.id, (None, None))
        for found in measures:
            yield {
                "model": model,
                "id": target.id,
                "split": target.split,
                "length": target.length,
                "depth": depth,
                "meff": meff,
                "generalisation_loss": loss,
                **asdict(found),
            }

    for target in targets.values():
        found = count_pairs(target.distances, contact_distance=contact_distance)
        for name, pairs in found.items():
            yield from rows(CHANCE, target, measure_chance(pairs, name))
    for score in scores:
        if score.id not in targets:
            raise DataError(f"scores of {score.id} by {score.model}: no target has that id")
        target = targets[score.id]
        with told_where(f"scores of {score.id} by {score.model}"):
            rankings = rank_ranges(
                score.matrix, target.distances, contact_distance=contact_distance
            )
        for name, ranking in rankings.items():
            measures = measure(ranking, name)
            yield from rows(score.model, target, measures, score.generalisation_loss)


def write_precision(
    path: Path | str,
    rows: Iterable[dict[str, object]],
    *,
    columns: Mapping[str, str],
    metadata: Mapping[str, str],
    left_out: LeftOut,
) -> int:
    """Write the table, with `left_out` in its metadata, and return the number of rows."""
    layout = schema(columns).with_metadata({**metadata, "left_out": json.dumps(asdict(left_out))})
    stamped = ({**row, **columns} for row in rows)
    return write_rows(path, layout, stamped, _ROWS_PER_GROUP)
