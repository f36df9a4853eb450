"""What a report is made from: ledgers, training metrics, alignments' depths, cards."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

import pandas as pd

from npm_core.errors import DataError
from npm_core.files import numbered_tsv, open_text
from npm_core.leakage import UNKNOWN
from npm_core.metrics import read_metrics
from npm_core.progress import track
from npm_core.report import protein_cards
from npm_core.report.summary import STAMPS, cumulative, read_frame
from npm_core.tables import (
    DEPTHS,
    Scores,
    Target,
    count_rows,
    read_metadata,
    read_scores,
    read_table,
    read_targets,
)

REASONS_SHOWN = 12
"""Of one step and status; the rarer ones are counted together."""


@dataclass(frozen=True, eq=False)
class Inputs:
    """Everything a page is built from, read and checked.

    Attributes:
        precision: As `summary.read_precision` gives it, with a column `condition`.
        variants: Rows of NPM's other architectures; may be empty.
        runs: Training metrics: the stamps, run, step, quantity, value.
        depths: Depth of each alignment trained on.
        sweep: Depth by HHfilter's coverage: id, coverage, depth; None where it was not run.
        leakage: Test sequences in training alignments: status, set, count; None as before.
        cards: Packed cards by target id.
        settings: The run's settings; empty where none were given.
        seed: Of the bootstrap.
    """

    precision: pd.DataFrame
    variants: pd.DataFrame
    runs: pd.DataFrame
    depths: Sequence[int]
    sweep: pd.DataFrame | None
    leakage: pd.DataFrame | None
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
        for number, row in numbered_tsv(path, ("status", "reason")):
            reasons = counts.setdefault((step, row["status"]), Counter())
            reasons[row["reason"]] += _count(row.get("count") or "1", f"{path}, line {number}")
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
    return "/".join([part for part in parts if not re.fullmatch(r"\d+|full|results|/", part)][-3:])


def _model(path: PurePath) -> str:
    """What was trained, from the metrics' path: the folder in results/models."""
    place = path.parts.index("models") + 1 if "models" in path.parts else len(path.parts) - 2
    return path.parts[max(0, place)]


def read_runs(
    paths: Sequence[Path | str], precision_stamps: Sequence[Mapping[str, str]]
) -> pd.DataFrame:
    """Training metrics under one another, one row a value.

    Args:
        paths: CSV files with a column `step`; every other column is a quantity.
        precision_stamps: Stamps of the precision tables. Where they tell of a clan, round or
            depth, the run is that of the table in the same place, variants of NPM apart; without
            (UniRef50) one training serves all tables.

    Returns:
        The stamps (if any), run, step, quantity, value.

    Raises:
        DataError: A file is no table of metrics, or there are not as many as stamped tables.
    """
    frames = []
    main = _of_npm_itself(precision_stamps)
    stamps = _one_each(main, paths, "files of metrics") if any(main) else [{}] * len(paths)
    for path, stamped in zip(paths, stamps, strict=True):
        table = read_metrics(path)
        long = table.melt("step", var_name="quantity").dropna(subset=["value"])
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
    """What `tabulate-precision --column` wrote into each precision table, e.g. clan and round.

    Raises:
        DataError: A table does not record it.
    """
    found = []
    for path in paths:
        columns = read_metadata(path).get("columns")
        if not isinstance(columns, dict):
            raise DataError(f"{path}: not a table of tabulate-precision; it records no columns")
        found.append({name: columns[name] for name in STAMPS if name in columns})
    return found


def read_depths(paths: Sequence[Path | str]) -> list[int]:
    """Depth of each alignment of families tables."""
    depths: list[int] = []
    for path in paths:
        depths += [row["depth"] for row in read_table(path, ["depth"])]
    return depths


def read_sweep(path: Path | str) -> pd.DataFrame:
    """Depth of each alignment of a sample at each HHfilter coverage (paper, Figure 7).

    Returns:
        id, coverage (per cent of the query), depth.

    Raises:
        DataError: Not such a table, or a depth is below 1: the query itself counts.
    """
    table = read_frame(path, DEPTHS.names)
    if not (table["depth"] > 0).all():
        row = table[~(table["depth"] > 0)].iloc[0].to_dict()
        raise DataError(f"{path}: depth {row['depth']} of {row['id']}; the query itself counts")
    return table


def read_leakage(path: Path | str) -> pd.DataFrame:
    """Test sequences that are rows of training alignments and those that are not, by set.

    Returns:
        set, status, count, share (of those of the set that could be looked for; None for others).

    Raises:
        DataError: A column is missing or a count is no number.
    """
    columns = ["status", "reason", "count"]
    rows = [
        row | {"count": _count(row["count"], f"{path}, line {number}")}
        for number, row in numbered_tsv(path, columns)
    ]
    table = pd.DataFrame(rows, columns=columns).astype({"count": int})
    table = table.rename(columns={"reason": "set"})
    known = table["count"].where(table["status"] != UNKNOWN)
    totals = known.groupby(table["set"]).transform("sum")
    share = (known / totals.where(totals > 0)).astype(object)
    return table.assign(share=share.where(share.notna(), None))[["set", "status", "count", "share"]]


def _count(text: str, where: str) -> int:
    if not text.isdecimal():
        raise DataError(f"{where}: count is {text!r}, expected a whole number")
    return int(text)


def _table(path: Path | str) -> pd.DataFrame:
    with open_text(path) as stream:
        try:
            return pd.read_csv(stream, sep="\t")
        except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
            raise DataError(f"{path}: not a table ({error})") from error


def read_hours(paths: Sequence[Path | str]) -> list[dict[str, object]]:
    """Wall-clock hours by step, of those tables that record seconds.

    Ledgers and reports of fits have a row and its seconds for each family (columns that start
    with "seconds" are summed); training metrics count from the start of the training, so that
    their last row is the whole.

    Returns:
        step, count (families, or trainings), hours.
    """
    found: dict[str, tuple[int, float]] = {}
    for path in paths:
        training = PurePath(path).suffix == ".csv"
        table = read_metrics(path) if training else _table(path)
        columns = [name for name in table.columns if name.startswith("seconds")]
        if not columns:
            continue
        if training:
            step, count = f"training {_model(PurePath(path))}", 1
            seconds = float(table[columns].max().sum())
        else:
            step, count = _step(PurePath(path)), len(table)
            seconds = float(table[columns].sum().sum())
        before = found.get(step, (0, 0.0))
        found[step] = (before[0] + count, before[1] + seconds / 3600)
    return [{"step": step, "count": n, "hours": hours} for step, (n, hours) in found.items()]


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
                conditions = found.setdefault(made_from, [])
                if values["reduced_depth"] not in conditions:  # tables of variants share scores
                    conditions.append(values["reduced_depth"])
        else:
            found.update({str(made_from): [""] for made_from in scores})
    missing = [str(path) for path in scores if str(path) not in found]
    if missing:
        raise DataError(
            f"{missing[0]}: no precision table says that it was made from these scores; "
            f"expected one of {sorted(found)[:3]}"
        )
    return {str(path): found[str(path)] for path in scores}


def alignment_conditions(
    precision: Sequence[Path | str], alignments: Sequence[Path | str]
) -> dict[str, str]:
    """Reduced depth of each alignments file, given in the order of the precision tables.

    Raises:
        DataError: There are not as many as precision tables without variants of NPM.
    """
    main = _of_npm_itself(table_stamps(precision))
    stamps = _one_each(main, alignments, "tables of alignments")
    return {
        str(path): stamped.get("reduced_depth", "")
        for path, stamped in zip(alignments, stamps, strict=True)
    }


def _of_npm_itself(precision_stamps: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """The stamps without those of variants, which share metrics and alignments with NPM."""
    return [stamped for stamped in precision_stamps if not stamped.get("variant")]


def _one_each(
    stamps: list[Mapping[str, str]], paths: Sequence[Path | str], what: str
) -> list[Mapping[str, str]]:
    """The stamps, if there are as many as files; none for no files."""
    if paths and len(paths) != len(stamps):
        raise DataError(
            f"{len(paths)} {what} for {len(stamps)} precision tables; "
            "give one for each, in the same order, or none"
        )
    return stamps if paths else []


def _listed(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


def build_cards(
    precision: pd.DataFrame,
    ids: Sequence[str],
    *,
    targets: Sequence[Path | str],
    scores: Mapping[str, Sequence[str]],
    alignments: Mapping[str, str],
    contact_distance: float,
    folder: Path,
) -> dict[str, str]:
    """Packed cards of the targets named; a target whose structure is not there has none.

    Args:
        precision: With a column `condition`.
        ids: Targets that get a card.
        targets: Target tables.
        scores: Conditions by path of each scores table.
        alignments: Condition by path of each table of families that Potts models were fitted to.
        contact_distance: angstrom.
        folder: Of the page, from which it links to the scores.
    """
    wanted = set(ids)
    known: dict[str, Target] = {}
    links: dict[str, dict[str, dict[str, str]]] = {}

    def link(path: Path | str) -> str:
        return quote(os.path.relpath(path, folder))

    structures: dict[str, str] = {}
    for path in targets:
        for target in read_targets(path):
            if target.id in wanted:
                known[target.id] = target
                structures[target.id] = link(path)
    for path, condition in alignments.items():
        for row in read_table(path, ["id"]):
            if row["id"] in wanted:
                of_target = links.setdefault(row["id"], {}).setdefault(condition, {})
                of_target["alignment"] = link(path)

    def read() -> Iterator[tuple[Sequence[str], Scores]]:
        for path, conditions in scores.items():
            for score in read_scores(path):
                for condition in conditions:
                    of_target = links.setdefault(score.id, {}).setdefault(condition, {})
                    of_target[score.model] = link(path)
                yield conditions, score

    total = sum(map(count_rows, scores))
    maps = protein_cards.rank_scores(track(read(), total=total, what="contact maps read"), known)
    rows = dict(list(precision[precision["id"].isin(known)].groupby("id")))
    for name, path in structures.items():
        for of_condition in links.get(name, {}).values():
            of_condition["structure"] = path
    return {
        name: protein_cards.pack(
            protein_cards.card(
                target,
                maps[name],
                protein_cards.nested(rows[name]),
                links.get(name, {}),
                contact_distance=contact_distance,
            )
        )
        for name, target in known.items()
        if name in rows
    }
