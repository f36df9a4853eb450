"""What a report is made from: ledgers, training metrics, alignments' depths, cards."""

import csv
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

import pandas as pd
import pyarrow.parquet as pq

from npm_core.errors import DataError
from npm_core.files import open_text
from npm_core.progress import track
from npm_core.report import cards
from npm_core.report.summary import cumulative, stamps
from npm_core.tables import Scores, read_metadata, read_scores, read_targets

REASONS_SHOWN = 12
"""Of one step and status; the rarer ones are counted together."""


@dataclass(frozen=True, eq=False)
class Inputs:
    """Everything a page is built from, read and checked.

    Attributes:
        precision: As `summary.read_precision` gives it, with a column `condition`.
        variants: Rows of NPM's other architectures; may be empty.
        runs: Training metrics: the stamps, run, step, quantity, value.
        depths: Cumulative depths of alignments: set, depth, share; may be empty.
        cards: Packed cards by target id.
        settings: The run's settings; empty where none were given.
        seed: Of the bootstrap.
    """

    precision: pd.DataFrame
    variants: pd.DataFrame
    runs: pd.DataFrame
    depths: pd.DataFrame
    cards: Mapping[str, str]
    settings: Mapping[str, Any]
    seed: int


def read_drops(paths: Sequence[Path | str]) -> list[dict[str, object]]:
    """Rows of ledgers and audits counted by step, status and reason, in the order given.

    Shards of one step count together. A table with a column `count` has counted already.

    Raises:
        DataError: A table has no column `status` or `reason`, or a count is no number.
    """
    counts: dict[tuple[str, str], Counter[str]] = {}
    for path in paths:
        step = _step(PurePath(path))
        with open_text(path) as stream:
            reader = csv.DictReader(stream, dialect="excel-tab")
            missing = {"status", "reason"} - set(reader.fieldnames or ())
            if missing:
                raise DataError(f"{path}: columns {sorted(missing)} are missing")
            for line, row in enumerate(reader, start=2):
                key = (step, row["status"])
                try:
                    counts.setdefault(key, Counter())[row["reason"]] += int(row.get("count") or 1)
                except ValueError as error:
                    raise DataError(f"{path}:{line}: count {row['count']!r}") from error
    rows = []
    for (step, status), reasons in counts.items():
        common = reasons.most_common()
        for reason, count in common[:REASONS_SHOWN]:
            rows.append({"step": step, "status": status, "reason": reason, "count": count})
        if rest := common[REASONS_SHOWN:]:
            other = f"{len(rest)} other reasons"
            total = sum(count for _, count in rest)
            rows.append({"step": step, "status": status, "reason": other, "count": total})
    return rows


def _step(path: PurePath) -> str:
    """A ledger's step from its path: "results/msas/train/0003.ledger.tsv" is "msas/train"."""
    parts = [*path.parts[:-1], path.name.split(".")[0]]
    return "/".join([part for part in parts if not re.fullmatch(r"\d{4}|results|/", part)][-3:])


def read_runs(
    paths: Sequence[Path | str], precision_stamps: Sequence[Mapping[str, str]]
) -> pd.DataFrame:
    """Training metrics under one another, one row a value.

    Args:
        paths: CSV files with a column `step`; every other number column is a quantity.
        precision_stamps: Stamps of the precision tables; where there is one for each metrics
            file, variants of NPM apart, the run is that of the table in the same place.

    Returns:
        The stamps (if any), run, step, quantity, value.

    Raises:
        DataError: A file has no column `step`.
    """
    frames = []
    main = [stamped for stamped in precision_stamps if not stamped.get("variant")]
    paired = len(paths) == len(main)
    for place, path in enumerate(paths):
        with open_text(path) as stream:
            try:
                table = pd.read_csv(stream)
            except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
                raise DataError(f"{path}: not a CSV table ({error})") from error
        if "step" not in table.columns:
            raise DataError(f"{path}: column 'step' is missing, found {list(table.columns)}")
        quantities = [name for name in table.select_dtypes("number").columns if name != "step"]
        long = table.melt("step", quantities, "quantity", "value").dropna(subset=["value"])
        stamped = dict(main[place]) if paired else {}
        run = " ".join(stamped.values()) or PurePath(path).parent.name or PurePath(path).stem
        frames.append(long.assign(run=run, **stamped))
    if not frames:
        return pd.DataFrame(columns=["run", "step", "quantity", "value"])
    return pd.concat(frames, ignore_index=True)


def left_out(paths: Sequence[Path | str]) -> list[dict[str, object]]:
    """What the precision tables' own metadata count as not in them, as rows of `read_drops`."""
    counts: Counter[tuple[str, str]] = Counter()
    for path in paths:
        recorded = read_metadata(path).get("left_out")
        if isinstance(recorded, dict):
            for name, count in recorded.get("unscorable", {}).items():
                counts["not scorable", f"no resolved pair in the {name} range"] += count
            for name, count in recorded.get("unscored", {}).items():
                counts["not scored", f"no prediction by {name}"] += count
    return [
        {"step": "precision", "status": status, "reason": reason, "count": count}
        for (status, reason), count in counts.items()
        if count
    ]


def table_stamps(paths: Sequence[Path | str]) -> list[dict[str, str]]:
    """Stamps that hold for the whole of each precision table, e.g. its clan, round and depth."""
    found = []
    for path in paths:
        table = pq.read_table(path).to_pandas()
        values = {name: table[name].astype(str).unique() for name in stamps(table)}
        found.append({name: value[0] for name, value in values.items() if len(value) == 1})
    return found


def read_depths(paths: Sequence[Path | str], name: str) -> pd.DataFrame:
    """Cumulative depth of the alignments of families tables: set, depth, share."""
    depths: list[int] = []
    for path in paths:
        try:
            depths += pq.read_table(path, columns=["depth"])["depth"].to_pylist()
        except (FileNotFoundError, OSError, KeyError) as error:
            raise DataError(f"{path}: not a families table ({error})") from error
    return depth_curve(depths, name)


def read_depth_sets(path: Path | str) -> pd.DataFrame:
    """Cumulative depths of a table with the columns set and depth, one row an alignment.

    Raises:
        DataError: A column is missing or a depth is no positive number.
    """
    with open_text(path) as stream:
        table = pd.read_csv(stream, sep="\t", dtype={"set": str})
    missing = [name for name in ("set", "depth") if name not in table.columns]
    if missing:
        raise DataError(f"{path}: columns {missing} are missing")
    depths = pd.to_numeric(table["depth"], errors="coerce")
    if not (depths > 0).all():
        row = int((~(depths > 0)).to_numpy().argmax())
        raise DataError(f"{path}:{row + 2}: depth {table['depth'].iloc[row]!r}")
    groups = depths.groupby(table["set"], sort=False)
    return pd.concat([depth_curve(group.tolist(), str(name)) for name, group in groups])


def depth_curve(depths: Sequence[float], name: str) -> pd.DataFrame:
    """One curve of the depth figure; empty without depths."""
    rows = [(name, depth, share) for depth, share in cumulative(depths)] if len(depths) else []
    return pd.DataFrame(rows, columns=["set", "depth", "share"])


def score_conditions(
    precision: Sequence[Path | str], scores: Sequence[Path | str]
) -> dict[str, list[str]]:
    """Reduced depths each scores file belongs to, told by the precision tables made from it.

    Without reduced depths the one condition of every file is empty.

    Raises:
        DataError: No precision table with reduced depths names the file among its inputs.
    """
    found: dict[str, list[str]] = {}
    for path, values in zip(precision, table_stamps(precision), strict=True):
        if "reduced_depth" in values:
            for made_from in _listed(read_metadata(path).get("scores")):
                found.setdefault(made_from, []).append(values["reduced_depth"])
        else:
            found.update({str(made_from): [""] for made_from in scores})
    missing = [str(path) for path in scores if str(path) not in found]
    if missing:
        raise DataError(
            f"{missing[0]}: no precision table says that it was made from these scores; "
            f"expected one of {sorted(found)[:3]}"
        )
    return {str(path): found[str(path)] for path in scores}


def _listed(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


def build_cards(
    precision: pd.DataFrame,
    ids: Sequence[str],
    *,
    targets: Sequence[Path | str],
    scores: Mapping[str, Sequence[str]],
    contact_distance: float,
    folder: Path,
) -> dict[str, str]:
    """Packed cards of the targets named; a target whose structure is not there has none.

    Args:
        precision: With a column `condition`.
        ids: Targets that get a card.
        targets: Target tables.
        scores: Conditions by path of each scores table.
        contact_distance: angstrom.
        folder: Of the page, from which it links to the scores.
    """
    wanted = set(ids)
    known = {target.id: target for target in read_targets(*targets) if target.id in wanted}
    links: dict[str, dict[str, dict[str, str]]] = {}

    def read() -> Iterator[tuple[Sequence[str], Scores]]:
        for path, conditions in scores.items():
            link = quote(os.path.relpath(path, folder))
            for score in read_scores(path):
                for condition in conditions:
                    of_target = links.setdefault(score.id, {}).setdefault(condition, {})
                    of_target[score.model] = link
                yield conditions, score

    total = sum(pq.read_metadata(path).num_rows for path in scores)
    maps = cards.rank_scores(track(read(), total=total, what="contact maps read"), known)
    rows = dict(list(precision[precision["id"].isin(known)].groupby("id")))
    return {
        name: cards.pack(
            cards.card(
                target,
                maps[name],
                cards.nested(rows[name]),
                links.get(name, {}),
                contact_distance=contact_distance,
            )
        )
        for name, target in known.items()
        if name in rows
    }
