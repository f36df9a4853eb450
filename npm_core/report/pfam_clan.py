"""The clan report: NPM, Potts and nearest neighbour at reduced depths (paper, Section 4.1)."""

from collections import Counter
from collections.abc import Sequence

import pandas as pd

from npm_core.errors import DataError
from npm_core.precision import RANGES
from npm_core.report import contents
from npm_core.report.figures import (
    Figure,
    labelled,
    loss_by_depth,
    precision_by_depth,
    variant_bars,
)
from npm_core.report.inputs import Inputs
from npm_core.report.models import CONTROLS, MODELS
from npm_core.report.page import Absent, Page
from npm_core.report.summary import (
    Verdict,
    depth_order,
    listed,
    losses,
    pairs,
    round_differences,
    rounds,
    signed,
)

TITLE = "Pfam clans: Neural Potts Model on families reduced in depth"
RANGE, CUTOFF = "long", "L"
METRIC = contents.metric_name(RANGE, CUTOFF)
SPREAD = "Whiskers are one standard deviation over the cross-evaluation rounds"


def page(inputs: Inputs) -> Page:
    """The page without what the command adds: drops, provenance, inputs.

    Raises:
        DataError: The precision table lacks the columns clan, round or reduced_depth.
    """
    table = inputs.precision
    missing = [name for name in ("clan", "round", "reduced_depth") if name not in table.columns]
    if missing:
        raise DataError(
            f"the precision table has no column {missing[0]}; the clan report needs "
            "`tabulate-precision --column` for clan, round and reduced_depth"
        )
    metric = {"range": RANGE, "cutoff": CUTOFF}
    if table.empty:
        return contents.empty_page(TITLE, inputs, metric)
    clans = list(dict.fromkeys(table["clan"]))
    depths = depth_order(table["reduced_depth"].tolist())
    main = contents.among(table, range=RANGE, cutoff=CUTOFF)
    verdicts = _verdicts(main, clans, depths[0], "potts")
    controls = [found for name in CONTROLS for found in _verdicts(main, clans, depths[0], name)]
    by_clan = {
        one.group: [one, *(found for found in controls if found.group == one.group)]
        for one in verdicts
    }
    others = [
        *_verdicts(main, clans, depths[0], "npm_shuffled"),
        *(_verdicts(main, clans, depths[-1], "potts") if len(depths) > 1 else []),
    ]
    shown = [one for clan in clans for one in (*verdicts, *others) if one.group == clan]
    shallowest = contents.among(main, reduced_depth=depths[0])
    targets, columns = contents.target_table(main, split_label="clan", condition="reduced to")
    sections = [
        _figure_3(table, clans[0], depths),
        _figure_4(inputs),
        _generalisation(losses(table), clans, depths),
        contents.maps(
            shallowest,
            inputs.cards,
            metric=METRIC,
            top=f"top {CUTOFF} {RANGE}-range pairs",
            where=f", MSAs reduced to depth {depths[0]}",
        ),
        _figure_8(inputs, clans),
        _figure_9(table, clans, depths),
        contents.scatter(
            shallowest,
            metric=METRIC,
            splits=list(dict.fromkeys(shallowest["split"])),
            title=f"Family by family · MSAs reduced to depth {depths[0]}",
        ),
        _controls(main, clans, depths),
    ]
    return Page(
        title=TITLE,
        headline=_headline(verdicts, depths[0]),
        explanation=contents.explanation(
            by_clan,
            metric=METRIC,
            where=f"MSAs {_at(depths[0])}; two models are told apart where Student's 95 % interval "
            "of the mean over the rounds leaves zero out",
        ),
        tiles=[contents.verdict_tile(verdict) for verdict in shown],
        sections=[section for section in sections if section is not None],
        targets=targets,
        target_columns=columns,
        targets_caption=f"{contents.sentence_case(METRIC)} of each target and model at each "
        "depth; depth and Meff are those of the reduced MSA the independent Potts model was "
        f"fitted to. A target's name opens its card ({len(inputs.cards)} have one).",
        cards=inputs.cards,
        metric=metric,
        models=list(table["model"].unique()),
        methods=[
            *contents.methods(inputs.settings),
            (
                "deviation",
                "mean over the targets of each round, then mean and sample standard deviation "
                "over the rounds; each round reduces another bucket of families",
            ),
        ],
    )


def _verdicts(
    main: pd.DataFrame, clans: Sequence[str], depth: str, baseline: str, *, metric: str = METRIC
) -> list[Verdict]:
    """NPM against another model at one depth, clan by clan."""
    rows = contents.among(main, reduced_depth=depth)
    if pairs(rows, baseline).empty:
        return []
    found = round_differences(rows, ["clan"], baseline=baseline).to_dict("records")
    by_clan = {row["clan"]: row for row in found}
    return [
        Verdict(
            where=f"{row['n']} families of {clan} {_at(depth)}",
            baseline=contents.named(contents.among(rows, clan=clan), baseline),
            short=MODELS[baseline].name,
            metric=metric,
            n=row["n"],
            difference=row["difference"],
            low=row["low"],
            high=row["high"],
            spread=f"95 % t-interval over {row['rounds']} rounds",
            group=clan,
        )
        for clan in clans
        if (row := by_clan.get(clan))
    ]


def _at(depth: str) -> str:
    return f"reduced to depth {depth}" if depth.isdigit() else f"at {depth} depth"


def _headline(verdicts: Sequence[Verdict], depth: str) -> str:
    if not verdicts:
        return "No target has both an NPM and an independent Potts prediction."
    if len(verdicts) == 1:
        return verdicts[0].finding
    outcomes = Counter(verdict.outcome for verdict in verdicts)
    clauses = [
        f"is more precise than the independent Potts model in {outcomes['better'] or 'none'} of "
        f"{len(verdicts)} clans"
    ]
    if outcomes["worse"]:
        clauses.append(f"is less precise in {outcomes['worse']}")
    if outcomes["open"]:
        clauses.append(f"cannot be told from it in {outcomes['open']}")
    if outcomes["few"]:
        clauses.append(f"has too few targets to be compared with it in {outcomes['few']}")
    return f"With MSAs {_at(depth)}, NPM {listed(clauses)}."


def _by_depth(
    table: pd.DataFrame, clans: Sequence[str], depths: Sequence[str]
) -> tuple[pd.DataFrame, str]:
    """Mean and deviation of P@L by clan, range and depth, and how many targets each clan has."""
    rows = contents.among(table, cutoff=CUTOFF)
    rows = rows[rows["clan"].isin(list(clans))]
    found = labelled(rounds(rows, ["clan", "range", "reduced_depth"]))
    levels = {"clan": clans, "range": tuple(RANGES), "reduced_depth": depths}
    columns = ["model", "label", "n", "rounds", "mean", "sd", "low", "high"]
    counts = rows.drop_duplicates(["clan", "id"]).groupby("clan").size()
    targets = ", ".join(f"{clan} {counts[clan]}" for clan in clans)
    return contents.completed(found, levels, [*levels, *columns]), targets


def _figure_3(table: pd.DataFrame, clan: str, depths: Sequence[str]) -> Figure:
    found, targets = _by_depth(table, [clan], depths)
    return Figure(
        id="figure-3",
        short="Figure 3",
        title=f"Figure 3 · Precision by depth of the reduced MSAs, {clan}",
        caption=f"Mean P@{CUTOFF} at short, medium and long range against the depth to which the "
        f"evaluation families' MSAs were reduced; targets: {targets}. {SPREAD}. "
        "NPM is trained on the reduced MSAs and reads the target's sequence alone; the "
        "independent Potts model is fitted to the reduced MSA.",
        alt=f"Lines of mean P@L against MSA depth for each model and range in {clan}; the data "
        "table below holds every value.",
        chart=precision_by_depth(found, clans=[clan], depths=depths, y_title=f"mean P@{CUTOFF}"),
        table=found,
        verb="tabulate-precision",
    )


def _figure_9(table: pd.DataFrame, clans: Sequence[str], depths: Sequence[str]) -> Figure | Absent:
    title = "Figure 9 · Precision by depth, every clan"
    if len(clans) == 1:
        return Absent(
            id="figure-9",
            short="Figure 9",
            title=title,
            reason=f"This run has one clan, {clans[0]}, which Figure 3 shows. Name more under "
            "pfam_clan.clans in the settings.",
            command="snakemake reports/pfam_clan.html --configfile config/paper.yaml",
        )
    found, targets = _by_depth(table, clans, depths)
    return Figure(
        id="figure-9",
        short="Figure 9",
        title=title,
        caption=f"As Figure 3, one row a clan; targets: {targets}. {SPREAD}.",
        alt="Lines of mean P@L against MSA depth for each model, clan and range; the data table "
        "below holds every value.",
        chart=precision_by_depth(found, clans=clans, depths=depths, y_title=f"mean P@{CUTOFF}"),
        table=found,
        verb="tabulate-precision",
    )


def _figure_4(inputs: Inputs) -> Figure | Absent:
    title = "Figure 4 · Trajectories of training"
    found = None
    if {"clan", "reduced_depth"} <= set(inputs.runs.columns):
        found = contents.training(
            inputs.runs,
            row="clan",
            line="reduced_depth",
            title=title,
            caption="Mean over the rounds' trainings by step, shaded one standard deviation; "
            "colour is the depth of the reduced MSAs. Evaluation loss and precision are those of "
            "the evaluation families, the loss on their whole MSAs and on the reduced ones.",
        )
    return found or Absent(
        id="training",
        short="Figure 4",
        title=title,
        reason="This report was not given the metrics of every round's training.",
        command="snakemake reports/pfam_clan.html",
    )


def _generalisation(
    rows: pd.DataFrame, clans: Sequence[str], depths: Sequence[str]
) -> Figure | Absent:
    title = "Generalisation · Loss of rows that no model was made from"
    if rows.empty:
        return Absent(
            id="generalisation",
            short="Generalisation",
            title=title,
            reason="No reduction left a row out: the MSAs are no deeper than pfam_clan.depths in "
            "the settings.",
            command="snakemake reports/pfam_clan.html",
        )
    reduced = [depth for depth in depths if depth in set(rows["reduced_depth"])]
    found = labelled(rounds(rows, ["clan", "reduced_depth"]))
    levels = {"clan": clans, "reduced_depth": reduced}
    columns = ["model", "label", "n", "rounds", "mean", "sd", "low", "high"]
    found = contents.completed(found, levels, [*levels, *columns])
    differences = _verdicts(rows, clans, reduced[0], "potts", metric="generalisation loss")
    told = "; ".join(f"{one.group} {signed(one.difference)} ({one.bounds})" for one in differences)
    gain = (
        f" With MSAs {_at(reduced[0])} NPM's less that of the independent Potts model is: {told}. "
        "Below zero is the inductive generalisation gain that Figure 2 draws."
    )
    return Figure(
        id="generalisation",
        short="Generalisation",
        title=title,
        caption="Mean pseudolikelihood loss, in nats a residue, of those rows of the evaluation "
        "families' MSAs that the reduction left out (section 3; below is better), against the "
        f"depth to which the MSAs were reduced.{gain if differences else ''} {SPREAD}.",
        alt="Lines of mean loss against MSA depth for each model in each clan; the data table "
        "below holds every value.",
        chart=loss_by_depth(found, clans=clans, depths=reduced),
        table=found,
        verb="tabulate-precision",
    )


def _figure_8(inputs: Inputs, clans: Sequence[str]) -> Figure | Absent:
    """Variants of NPM beside NPM itself, at the depths the variants have."""
    title = "Figure 8 · Variants of the architecture"
    if inputs.variants.empty:
        return Absent(
            id="figure-8",
            short="Figure 8",
            title=title,
            reason="This run trained no other head of NPM than its own: name some under "
            "pfam_clan.ablations, and depths under pfam_clan.ablation_depths, in the settings.",
            command="snakemake reports/pfam_clan.html",
        )
    depths = depth_order(inputs.variants["reduced_depth"].tolist())
    both = pd.concat([inputs.variants, inputs.precision])
    rows = both[
        (both["model"] == "npm") & (both["cutoff"] == CUTOFF) & both["reduced_depth"].isin(depths)
    ]
    rows = rows.assign(variant=rows["variant"].replace("", "NPM of this report"))
    variants = list(dict.fromkeys(rows["variant"]))
    levels = {
        "clan": clans,
        "reduced_depth": depths,
        "range": tuple(RANGES),
        "variant": variants,
    }
    found = rounds(rows, list(levels))
    columns = ["n", "rounds", "mean", "sd", "low", "high"]
    found = contents.completed(found, levels, [*levels, *columns])
    return Figure(
        id="figure-8",
        short="Figure 8",
        title=title,
        caption=f"Mean P@{CUTOFF} of variants of NPM by range, at the depths of reduction they "
        f"were trained at. {SPREAD}.",
        alt=f"Bars of mean precision of {', '.join(variants)} by range and depth.",
        chart=variant_bars(found, variants=variants, clans=clans, depths=depths),
        table=found,
        verb="tabulate-precision",
    )


def _controls(main: pd.DataFrame, clans: Sequence[str], depths: Sequence[str]) -> Figure | None:
    levels = {"clan": clans, "reduced_depth": depths}
    return contents.controls(
        main,
        lambda baseline: round_differences(main, list(levels), baseline=baseline),
        expected=CONTROLS,
        levels=levels,
        metric=METRIC,
        spread="whiskers are Student's 95 % intervals over the rounds",
        x_title="depth of the reduced MSAs",
    )
