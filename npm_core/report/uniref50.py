"""The UniRef50 report: NPM against independent Potts models by MSA depth (paper, Section 4.2)."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from npm_core.comparison import DRAWS, FEWEST
from npm_core.leakage import UNKNOWN
from npm_core.precision import AUC, RANGES
from npm_core.report import contents
from npm_core.report.figures import (
    Figure,
    binned_bars,
    cumulative_depth,
    labelled,
    leakage_bars,
    shades,
    win_rates,
)
from npm_core.report.inputs import Inputs, depth_curve
from npm_core.report.models import CONTROLS, MODELS
from npm_core.report.page import Absent, Page, Tile
from npm_core.report.summary import (
    BINS,
    Verdict,
    differences,
    headline,
    means,
    pairs,
)

TITLE = "UniRef50: Neural Potts Model against independent Potts models"
RANGE, CUTOFF = "long", "L/5"
METRIC = contents.metric_name(RANGE, CUTOFF)
IMPORTED = ("local", "packages")
"""Sources whose alignments are given, not searched for."""

SPLITS = ("train", "test")
PAPER_WINS = {"train": 0.223, "test": 0.227}
"""Share of proteins on which the paper's NPM has the higher long-range P@L/5 (4.2)."""

ALL = "all"
MEANS = ("model", "label", "n", "mean", "low", "high")
INTERVALS = (
    f"Whiskers are 95 % percentile bootstrap intervals over targets ({DRAWS:,} draws), of {FEWEST} "
    "targets or more. In a bin where models have different numbers of targets, n is the largest; "
    "the data table has each."
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
        _depths(inputs),
        _figure_10(table, splits, inputs.seed),
        _controls(main, splits, inputs.seed),
        _leakage(inputs),
        contents.training(
            inputs.runs,
            row=None,
            line="run",
            title="Training of NPM",
            caption="Trajectory of the training that made this report's NPM.",
        ),
    ]
    return Page(
        title=TITLE,
        headline=_headline(verdicts),
        explanation=contents.explanation(
            verdicts, metric=METRIC, where="in the lowest bin of Meff"
        ),
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
                f"95 % percentile bootstrap over targets, {DRAWS:,} draws, seed "
                f"{inputs.seed}; differences are paired by target, win rates have Wilson's score "
                "intervals. Of few targets those of the bootstrap are too narrow: of 5 about one "
                "in six leaves out the mean of all there might be, of 10 one in ten, not one in "
                "twenty",
            ),
        ],
    )


def _verdicts(main: pd.DataFrame, splits: Sequence[str], seed: int) -> dict[str, list[Verdict]]:
    """NPM against Potts, then against each control, in each split's shallowest bin.

    A split with enough targets for an interval stands before one without, test before training.
    """
    found: dict[str, list[Verdict]] = {}
    for split in reversed(splits):
        rows = contents.among(main, split=split)
        bins = set(pairs(rows, "potts")["bin"].dropna())
        shallowest = next((name for name in BINS if name in bins), None)
        if shallowest is None:
            continue
        rows = contents.among(rows, bin=shallowest)
        found[split] = [
            _verdict(rows, split, other, seed)
            for other in ("potts", *CONTROLS)
            if len(pairs(rows, other))
        ]
    return dict(sorted(found.items(), key=lambda item: item[1][0].low is None))


def _verdict(rows: pd.DataFrame, split: str, model: str, seed: int) -> Verdict:
    row = differences(rows, ["bin"], baseline=model, seed=seed).iloc[0]
    proteins = "protein" if row["n"] == 1 else "proteins"
    return Verdict(
        where=f"{row['n']} {split} {proteins} with Meff in {row['bin']}",
        baseline=contents.named(rows, model),
        short=MODELS[model].name,
        metric=METRIC,
        n=row["n"],
        difference=row["difference"],
        low=row["low"],
        high=row["high"],
        spread="95 % interval",
    )


def _headline(verdicts: dict[str, list[Verdict]]) -> str:
    if not verdicts:
        return "No target has both an NPM and an independent Potts prediction."
    return headline([found[0] for found in verdicts.values()])


def _tiles(verdicts: dict[str, list[Verdict]], main: pd.DataFrame, seed: int) -> list[Tile]:
    """A row of tiles for each split: against Potts, against the shuffled query, win rate."""
    tiles = []
    whole = differences(main, ["split"], baseline="potts", seed=seed)
    for split, found in verdicts.items():
        tiles += [contents.verdict_tile(verdict) for verdict in found[:2]]
        for row in contents.among(whole, split=split).to_dict("records"):
            bounds = (
                f"too few for an interval (n = {row['n']})"
                if row["win_low"] is None
                else f"95 % interval {row['win_low']:.1%} to {row['win_high']:.1%}"
            )
            paper = f"; the paper: {PAPER_WINS[split]:.1%}" if split in PAPER_WINS else ""
            where = f"{METRIC}; {row['n']} {split} targets of every depth{paper}"
            what = "NPM wins over independent Potts"
            tiles.append(Tile(what, f"{row['win_rate']:.1%}", bounds, where))
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
            y_title=f"mean P@{CUTOFF}",
            width=475,
            height=210,
        ),
        table=found,
        verb="tabulate-precision",
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
            y_title="mean",
            width=318,
            height=120,
        ),
        table=found,
        verb="tabulate-precision",
    )


def _wins(main: pd.DataFrame, splits: Sequence[str], seed: int) -> Figure | None:
    if pairs(main, "potts").empty:
        return None
    found = _with_all(main, splits, "potts", seed)
    found["paper"] = None
    for split, rate in PAPER_WINS.items():
        found.loc[(found["split"] == split) & (found["bin"] == ALL), "paper"] = rate
    levels = {"split": splits, "bin": (ALL, *BINS)}
    columns = ["n", "win_rate", "win_low", "win_high", "ties", "difference", "low", "high", "paper"]
    found = contents.completed(found, levels, [*levels, *columns])
    return Figure(
        id="wins",
        short="Win rates",
        title="Where NPM wins · Share of targets on which it is more precise",
        caption=f"Share of targets with a strictly higher {METRIC} by NPM than by the independent "
        "Potts model, by Meff bin, with Wilson's 95 % score intervals; ties count as no win and "
        "are in the data table. The line marked paper is the paper's own: 22.3 % of its training "
        "and 22.7 % of its test proteins.",
        alt="Points with intervals: share of targets on which NPM is more precise, by Meff bin.",
        chart=win_rates(found, splits=splits),
        table=found,
        verb="tabulate-precision",
    )


def _with_all(main: pd.DataFrame, splits: Sequence[str], baseline: str, seed: int) -> pd.DataFrame:
    """NPM against `baseline` in each split: all targets, then by bin."""
    whole = differences(main.assign(bin=ALL), ["split", "bin"], baseline=baseline, seed=seed)
    binned = differences(main, ["split", "bin"], baseline=baseline, seed=seed)
    return pd.concat([whole, binned], ignore_index=True)


def _controls(main: pd.DataFrame, splits: Sequence[str], seed: int) -> Figure | None:
    return contents.controls(
        main,
        lambda baseline: _with_all(main, splits, baseline, seed),
        expected=("npm_shuffled", "nearest", "chance"),
        levels={"split": splits, "bin": (ALL, *BINS)},
        metric=METRIC,
        spread="whiskers are 95 % percentile bootstrap intervals over targets",
        x_title="Meff of the MSA",
    )


def _figure_7(inputs: Inputs) -> Figure | Absent:
    title = "Figure 7 · Depth of the MSAs by the coverage demanded"
    if inputs.sweep is None:
        return Absent(
            id="figure-7",
            short="Figure 7",
            title=title,
            reason="This report was given no alignments filtered at each coverage.",
            command="snakemake results/depths/train.parquet",
        )
    sweep = inputs.sweep
    coverages = sorted(sweep["coverage"].unique())
    names = [f"coverage {coverage} %" for coverage in coverages]
    curves = pd.concat(
        depth_curve(contents.among(sweep, coverage=coverage)["depth"].tolist(), name)
        for coverage, name in zip(coverages, names, strict=True)
    )
    shares = "; ".join(
        f"at {coverage} %: {_share(depths, 10)} at most 10 deep, {_share(depths, 100)} at most 100"
        for coverage in dict.fromkeys([coverages[0], coverages[-1]])
        for depths in [contents.among(sweep, coverage=coverage)["depth"]]
    )
    count = sweep["id"].nunique()
    return Figure(
        id="figure-7",
        short="Figure 7",
        title=title,
        caption=f"Cumulative share of a random sample of n = {count} MSAs of training sequences "
        "by depth (rows HHfilter keeps, the query counted), one curve for each share of the query "
        f"that a row must cover (-cov). {contents.sentence_case(shares)}. The paper, of 1,000 "
        "MSAs of UniRef50: 19 % and 30 % without such a demand, 38 % and 55 % at 80 %.",
        alt=f"Cumulative curves of MSA depth by coverage. {shares}.",
        chart=cumulative_depth(curves, sets=names, colors=shades(len(names))),
        table=curves.reset_index(drop=True),
        verb="coverage-sweep",
    )


def _share(depths: Iterable[float], limit: int) -> str:
    """Share of alignments at most `limit` deep; of all of them, as a curve is thinned."""
    return f"{np.mean([depth <= limit for depth in depths]):.0%}"


def _depths(inputs: Inputs) -> Figure | None:
    once = inputs.precision.drop_duplicates("id").dropna(subset=["depth"])
    known = {
        "families trained on": inputs.depths,
        "targets of this report": once["depth"].tolist(),
    }
    sets = {name: depths for name, depths in known.items() if depths}
    if not sets:
        return None
    curves = [depth_curve(depths, name) for name, depths in sets.items()]
    table = pd.concat(curves, ignore_index=True)
    shares = "; ".join(
        f"{name}: {_share(depths, 10)} at most 10 deep" for name, depths in sets.items()
    )
    return Figure(
        id="depths",
        short="Depths",
        title="Depth of this run's MSAs · Trained on, and evaluated on",
        caption="Cumulative share of MSAs by depth (rows after HHfilter, the query counted), "
        f"n = {len(once)} targets. {contents.sentence_case(shares)}.",
        alt=f"Cumulative curves of MSA depth. {shares}.",
        chart=cumulative_depth(table, sets=list(sets)),
        table=table,
        verb="build-families",
    )


def _leakage(inputs: Inputs) -> Figure | Absent:
    title = "Test in training · Test sequences in the MSAs of training sequences"
    if inputs.leakage is None and inputs.settings.get("source") in IMPORTED:
        return Absent(
            id="leakage",
            short="Leakage",
            title=title,
            reason="Not counted for imported alignments: they come without the sequences they "
            "were searched among.",
        )
    if inputs.leakage is None:
        return Absent(
            id="leakage",
            short="Leakage",
            title=title,
            reason="This report was not told which test sequences are rows of MSAs that NPM was "
            "trained on; the paper says that there may be some (C.4).",
            command="snakemake results/leakage/train_msas.audit.tsv",
        )
    found = inputs.leakage
    known = found[found["status"] != UNKNOWN]
    totals = known.groupby("set", sort=False)["count"].sum()
    shares = "; ".join(
        f"{row['set']}: {row['count']} of {totals[row['set']]} ({row['status']})"
        for row in known.drop_duplicates("set").to_dict("records")
    )
    for row in contents.among(found, status=UNKNOWN).to_dict("records"):
        shares += f"; {row['count']} more {row['status']}"
    return Figure(
        id="leakage",
        short="Leakage",
        title=title,
        caption=f"{contents.sentence_case(shares)}. A test sequence is never an input of the "
        "training, but the database the training sequences were searched against holds it, so "
        "that it can be a row of their MSAs (the paper, C.4, says so of its own split). Gains on "
        "test targets hold for sequences NPM never read, not for families it never saw.",
        alt=f"Bars: {shares}.",
        chart=leakage_bars(found, sets=list(totals.index)),
        table=found,
        verb="count-leakage",
    )
