"""The UniRef50 report: NPM against independent Potts models by MSA depth (paper, Section 4.2)."""

from collections.abc import Sequence

import pandas as pd

from npm_core.precision import AUC, RANGES
from npm_core.report import contents
from npm_core.report.figures import (
    CONTROLS,
    MODELS,
    Figure,
    binned_bars,
    control_differences,
    cumulative_depth,
    labelled,
    win_rates,
)
from npm_core.report.inputs import Inputs, depth_curve
from npm_core.report.page import Page, Tile
from npm_core.report.summary import BINS, Verdict, differences, means, pairs, signed

TITLE = "UniRef50: Neural Potts Model against independent Potts models"
RANGE, CUTOFF = "long", "L/5"
METRIC = contents.metric_name(RANGE, CUTOFF)
SPLITS = ("train", "test")
MEANS = ("model", "label", "n", "mean", "low", "high")
INTERVALS = (
    "Whiskers are 95 % percentile bootstrap intervals over targets (10,000 draws). In a bin where "
    "models have different numbers of targets, n is the largest; the data table has each."
)


def page(inputs: Inputs) -> Page:
    """The page without what the command adds: drops, provenance, inputs."""
    table = inputs.precision
    metric = {"range": RANGE, "cutoff": CUTOFF}
    if table.empty:
        return contents.empty_page(TITLE, inputs, metric)
    splits = sorted(
        table["split"].unique(), key=lambda split: (split not in SPLITS, split == "test")
    )
    main = contents.among(table, range=RANGE, cutoff=CUTOFF)
    verdicts = _verdicts(main, splits, inputs.seed)
    targets, columns = contents.target_table(main, split_label="set", condition=None)
    sections = [
        _figure_5(table, splits, inputs.seed),
        contents.scatter(
            main, metric=METRIC, splits=splits, title="Figure 5, right · Protein by protein"
        ),
        _wins(main, splits, inputs.seed),
        contents.maps(main, inputs.cards, metric=METRIC, top=f"top {CUTOFF} {RANGE}-range pairs"),
        _figure_7(inputs),
        _figure_10(table, splits, inputs.seed),
        _controls(main, splits, inputs.seed),
        contents.training(
            inputs.runs,
            row=None,
            line="run",
            title="Training of NPM",
            caption="Trajectory of the training that made this report's NPM.",
        ),
    ]
    headline, explanation = _headline(verdicts)
    return Page(
        title=TITLE,
        headline=headline,
        explanation=explanation,
        tiles=_tiles(verdicts, main, inputs.seed),
        sections=[section for section in sections if section is not None],
        targets=targets,
        target_columns=columns,
        targets_caption=f"{contents.sentence_case(METRIC)} of each target and model. A "
        f"target's name opens its card ({len(inputs.cards)} have one).",
        cards=inputs.cards,
        metric=metric,
        models=list(table["model"].unique()),
        methods=[
            *contents.methods(inputs.settings),
            (
                "intervals",
                f"95 % percentile bootstrap over targets, 10,000 draws, seed "
                f"{inputs.seed}; differences are paired by target",
            ),
        ],
    )


def _verdicts(main: pd.DataFrame, splits: Sequence[str], seed: int) -> dict[str, list[Verdict]]:
    """NPM against Potts, then against each control, in each split's shallowest bin."""
    found: dict[str, list[Verdict]] = {}
    for split in reversed(splits):
        rows = contents.among(main, split=split)
        bins = set(pairs(rows, "potts")["bin"].dropna())
        shallowest = next((name for name in BINS if name in bins), None)
        if shallowest is None:
            continue
        rows = contents.among(rows, bin=shallowest)
        found[split] = [
            _verdict(differences(rows, ["bin"], baseline=other, seed=seed), split, other)
            for other in contents.BASELINES
            if len(pairs(rows, other))
        ]
    return found


def _verdict(found: pd.DataFrame, split: str, model: str) -> Verdict:
    row = found.iloc[0]
    proteins = "protein" if row["n"] == 1 else "proteins"
    return Verdict(
        where=f"{row['n']} {split} {proteins} with Meff in {row['bin']}",
        baseline=contents.BASELINES[model],
        short=MODELS[model][0],
        metric=METRIC,
        n=row["n"],
        difference=row["difference"],
        low=row["low"],
        high=row["high"],
        spread="95 % interval",
    )


def _headline(verdicts: dict[str, list[Verdict]]) -> tuple[str, str]:
    if not verdicts:
        return (
            "No target has both an NPM and an independent Potts prediction.",
            "There is nothing to compare; see what was dropped below.",
        )
    chosen = next(iter(verdicts.values()))
    values = "; ".join(
        f"{signed(verdict.difference)} against {verdict.baseline} ({verdict.bounds})"
        for verdict in chosen
    )
    return chosen[0].finding, f"Paired differences in {METRIC}: {values}."


def _tiles(verdicts: dict[str, list[Verdict]], main: pd.DataFrame, seed: int) -> list[Tile]:
    tiles = [contents.verdict_tile(verdict) for found in verdicts.values() for verdict in found[:2]]
    for row in differences(main, ["split"], baseline="potts", seed=seed).to_dict("records"):
        bounds = (
            "one target, no interval"
            if row["win_low"] is None
            else f"95 % interval {row['win_low']:.1%} to {row['win_high']:.1%}"
        )
        where = f"{row['n']} {row['split']} targets of every depth"
        what = "NPM more precise than independent Potts"
        tiles.append(Tile(what, f"{row['win_rate']:.1%}", f"{METRIC}; {where}; {bounds}"))
    return tiles


def _figure_5(table: pd.DataFrame, splits: Sequence[str], seed: int) -> Figure:
    rows = contents.among(table, cutoff=CUTOFF)
    rows = rows[rows["range"].isin(["medium", "long"])]
    found = labelled(means(rows, ["split", "range", "bin"], seed=seed))
    levels = {"split": splits, "range": ("medium", "long"), "bin": BINS}
    found = contents.completed(found, levels, [*levels, *MEANS])
    return Figure(
        id="figure-5",
        short="Figure 5",
        title="Figure 5 · Precision by MSA depth",
        caption=f"Mean P@{CUTOFF} at medium and long range, by the Meff of the independent Potts "
        f"model's MSA; rows are targets assigned to training and test sequences. {INTERVALS} NPM "
        "sees the query alone; the independent Potts model sees the whole MSA.",
        alt="Bars of mean P@L/5 of NPM and independent Potts with controls as points, by Meff "
        "bin; the data table below holds every value.",
        chart=binned_bars(
            found,
            row="split",
            column="range",
            rows=splits,
            columns=("medium", "long"),
            width=430,
            height=200,
        ),
        table=found,
    )


def _figure_10(table: pd.DataFrame, splits: Sequence[str], seed: int) -> Figure:
    rows = table[table["cutoff"].isin(["L", "L/5", AUC])]
    found = labelled(means(rows, ["split", "cutoff", "range", "bin"], seed=seed))
    levels = {"split": splits, "cutoff": ("L", "L/5", AUC), "range": tuple(RANGES), "bin": BINS}
    found = contents.completed(found, levels, [*levels, *MEANS])
    name = {"L": "P@L", "L/5": "P@L/5", AUC: AUC}
    found.insert(0, "panel", found["split"] + ", " + found["cutoff"].map(name))
    return Figure(
        id="figure-10",
        short="Figure 10",
        title="Figure 10 · Every range and cut-off",
        caption="Mean P@L, P@L/5 and AUC by range (columns) and Meff bin, training targets above "
        f"test targets. {INTERVALS}",
        alt="Grid of bars of mean precision by range, cut-off and Meff bin; the data table below "
        "holds every value.",
        chart=binned_bars(
            found,
            row="panel",
            column="range",
            rows=list(dict.fromkeys(found["panel"])),
            columns=tuple(RANGES),
            width=315,
            height=120,
        ),
        table=found,
    )


def _wins(main: pd.DataFrame, splits: Sequence[str], seed: int) -> Figure | None:
    if pairs(main, "potts").empty:
        return None
    whole = differences(main.assign(bin="all"), ["split", "bin"], baseline="potts", seed=seed)
    binned = differences(main, ["split", "bin"], baseline="potts", seed=seed)
    found = pd.concat([whole, binned], ignore_index=True)
    levels = {"split": splits, "bin": ("all", *BINS)}
    columns = ["n", "win_rate", "win_low", "win_high", "ties", "difference", "low", "high"]
    found = contents.completed(found, levels, [*levels, *columns])
    return Figure(
        id="wins",
        short="Win rates",
        title="Where NPM wins · Share of targets on which it is more precise",
        caption=f"Share of targets with a strictly higher {METRIC} by NPM than by the independent "
        "Potts model, by Meff bin, with 95 % percentile bootstrap intervals over targets; ties "
        "count as no win and are in the data table. The paper reports 22.3 % of its training and "
        "22.7 % of its test proteins.",
        alt="Points with intervals: share of targets on which NPM is more precise, by Meff bin.",
        chart=win_rates(found, splits=splits),
        table=found,
    )


def _controls(main: pd.DataFrame, splits: Sequence[str], seed: int) -> Figure | None:
    present = [name for name in ("potts", *CONTROLS) if len(pairs(main, name))]
    if not present:
        return None
    found = pd.concat(
        [differences(main, ["split", "bin"], baseline=name, seed=seed) for name in present]
    )
    found = labelled(found)
    levels = {"split": splits, "bin": BINS}
    columns = ["model", "label", "n", "difference", "low", "high", "win_rate", "unpaired"]
    found = contents.completed(found, levels, [*levels, *columns])
    return Figure(
        id="controls",
        short="Controls",
        title="Controls · What NPM's precision is worth",
        caption=f"Mean paired difference in {METRIC}, NPM minus each other model, with 95 % "
        "percentile bootstrap intervals over targets. Above the shuffled query: NPM reads the "
        "order of the residues. Above the nearest neighbour: it does more than recall one "
        "family. Above chance: it predicts contacts at all.",
        alt="Points with intervals: NPM minus independent Potts and minus each control by bin.",
        chart=control_differences(
            found, panel="split", panels=splits, x="bin", order=BINS, x_title="Meff of the MSA"
        ),
        table=found,
    )


def _figure_7(inputs: Inputs) -> Figure | None:
    once = inputs.precision.drop_duplicates("id").dropna(subset=["depth"])
    sets = [inputs.depths, depth_curve(once["depth"].tolist(), "targets of this report")]
    curves = pd.concat([c for c in sets if len(c)]) if any(map(len, sets)) else inputs.depths
    if curves.empty:
        return None
    few = curves[curves["depth"] <= 10].groupby("set")["share"].max()
    shares = "; ".join(
        f"{name}: {few.get(name, 0.0):.0%} at most 10 deep" for name in curves["set"].unique()
    )
    return Figure(
        id="figure-7",
        short="Figure 7",
        title="Figure 7 · Depth of the MSAs",
        caption=f"Cumulative share of MSAs by depth (rows after HHfilter, the query counted). "
        f"{shares}. The paper finds 19 % of UniRef50 at depth 10 or less.",
        alt=f"Cumulative curves of MSA depth. {shares}.",
        chart=cumulative_depth(curves),
        table=curves.reset_index(drop=True),
    )
