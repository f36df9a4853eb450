"""Parts that both reports share: scatter, examples, trainings, table of targets, method card."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from npm_core.errors import DataError
from npm_core.report.figures import (
    Figure,
    control_differences,
    labelled,
    paired_scatter,
    trajectories,
)
from npm_core.report.inputs import Inputs
from npm_core.report.models import MODELS, known_models
from npm_core.report.page import Column, Example, Maps, Page, Tile
from npm_core.report.summary import Verdict, controls_clause, evenly, pairs, signed

QUANTITIES = {
    "pseudolikelihood": "training loss",
    "validation_pseudolikelihood": "evaluation loss",
    "reduced_pseudolikelihood": "loss, reduced MSAs",
    "long_P@L": "long-range P@L",
    "long_P@L/5": "long-range P@L/5",
}
"""What `train` logs and Figure 4 shows; losses are negative log-pseudolikelihoods, in
nats a residue."""

POINTS = 400
"""Of one training curve that are drawn at most."""

EXAMPLES = 3
"""Contact maps on the page of the best targets, and as many of the worst."""


def among(table: pd.DataFrame, **values: object) -> pd.DataFrame:
    """Rows whose columns have these values, e.g. range="long", cutoff="L/5"."""
    for column, value in values.items():
        table = table[table[column] == value]
    return table


def completed(
    table: pd.DataFrame, levels: Mapping[str, Sequence[str]], present: Sequence[str]
) -> pd.DataFrame:
    """The table with a row of n = 0 for each combination of `levels` that it lacks.

    Args:
        table: Has the columns of `levels`, and n.
        levels: Values of each column in the order shown.
        present: Columns that stay; the others of a new row are None.
    """
    index = pd.MultiIndex.from_product(list(levels.values()), names=list(levels))
    have = pd.MultiIndex.from_frame(table[list(levels)])
    empty = index.difference(have, sort=False).to_frame(index=False)
    empty = empty.reindex(columns=table.columns).astype(object).assign(n=0)
    empty[[c for c in ("model", "label") if c in empty]] = ""
    whole = pd.concat([table.astype(object), empty], ignore_index=True) if len(empty) else table
    for column, order in levels.items():
        whole[column] = pd.Categorical(whole[column], list(order), ordered=True)
    whole = whole.sort_values(list(levels), kind="stable")
    return whole.astype(object)[list(present)].reset_index(drop=True)


def metric_name(range_name: str, cutoff: str) -> str:
    return f"{range_name}-range {'AUC' if cutoff == 'AUC' else f'P@{cutoff}'}"


def empty_page(title: str, inputs: Inputs, metric: Mapping[str, str]) -> Page:
    """The page of a run in which no model has scores for any target: what was dropped, and why."""
    return Page(
        title=title,
        headline="No model has contact scores for any target.",
        explanation="There is nothing to compare; what was dropped, and why, stands below.",
        tiles=[],
        sections=[],
        targets=pd.DataFrame(columns=["id"]),
        target_columns=[Column("id", "target", False)],
        targets_caption="No targets.",
        cards={},
        metric=metric,
        models=[],
        methods=methods(inputs.settings),
    )


def sentence_case(text: str) -> str:
    return text[0].upper() + text[1:]


def verdict_tile(verdict: Verdict) -> Tile:
    """A verdict as one number of the first screen."""
    return Tile(
        f"NPM − {verdict.short}".replace("NPM, ", ""),
        signed(verdict.difference),
        verdict.bounds,
        f"{verdict.metric}; {verdict.where}",
        verdict.outcome,
    )


def explanation(verdicts: Mapping[str, Sequence[Verdict]], *, metric: str, where: str) -> str:
    """The headline's numbers: the difference from the independent Potts model, then the controls.

    Args:
        verdicts: By split or clan: against the independent Potts model, then each control.
        metric: In words.
        where: Of which MSAs, in words.
    """
    if not verdicts:
        return "There is nothing to compare; see what was dropped below."
    parts = [
        f"{sentence_case(name)}, n = {found[0].n}: {signed(found[0].difference)} "
        f"({found[0].bounds}){controls_clause(found[1:])}."
        for name, found in verdicts.items()
    ]
    return (
        f"Mean paired difference in {metric}, NPM minus {MODELS['potts'].words}, {where}. "
        f"{' '.join(parts)}"
    )


def controls(
    main: pd.DataFrame,
    compare: Callable[[str], pd.DataFrame],
    *,
    expected: Sequence[str],
    levels: Mapping[str, Sequence[str]],
    metric: str,
    spread: str,
    x_title: str,
) -> Figure | None:
    """NPM minus the independent Potts model and minus each control; None without any of them.

    Args:
        main: Rows of one range and cutoff.
        compare: The paired differences from one model, a row for each combination of `levels`.
        expected: Controls that this experiment has; those without scores are named.
        levels: Two columns and their values in order: the panels, then the abscissa.
        metric: In words.
        spread: What the whiskers are.
        x_title: What the abscissa is.
    """
    present = [name for name in ("potts", *expected) if len(pairs(main, name))]
    if not present:
        return None
    found = labelled(pd.concat([compare(name) for name in present], ignore_index=True))
    columns = ["model", "label", "n", "rounds", "difference", "sd", "low", "high"]
    columns += ["win_rate", "win_low", "win_high", "ties", "unpaired"]
    columns = [*levels, *(name for name in columns if name in found.columns)]
    found = completed(found, levels, columns)
    (panel, panels), (x, order) = levels.items()
    missing = [MODELS[name].name for name in expected if name not in present]
    ties = _ties(main, ["npm", *present])
    worth = " ".join(MODELS[name].worth for name in present if MODELS[name].worth)
    without = f" Not computed in this run: {'; '.join(missing)}." if missing else ""
    return Figure(
        id="controls",
        short="Controls",
        title="Controls · What NPM's precision is worth",
        caption=f"Mean paired difference in {metric}, NPM minus each other model; {spread}; n "
        f"targets. {worth}{without}{ties}",
        alt=f"Points with intervals: NPM minus independent Potts and minus each control by {x}.",
        chart=control_differences(
            found, panel=panel, panels=panels, x=x, order=order, x_title=x_title
        ),
        table=found,
        verb="tabulate-precision",
    )


def _tied(rows: pd.DataFrame, model: str) -> tuple[int, int]:
    """Predictions of a model whose ranking breaks off among pairs of one score, and all of its."""
    if "tied" not in rows.columns:
        return 0, 0
    ties = rows.loc[rows["model"] == model, "tied"]
    return int((ties > 0).sum()), len(ties)


def named(rows: pd.DataFrame, model: str) -> str:
    """A baseline in words, with a warning where the order of (i, j) decided all its rankings."""
    tied, predictions = _tied(rows, model)
    warned = 0 < tied == predictions
    return MODELS[model].words + (" (whose rankings all break off among ties)" if warned else "")


def _ties(main: pd.DataFrame, models: Sequence[str]) -> str:
    """Of which models the order of (i, j) chose among pairs of one score, in a sentence."""
    counts = {name: _tied(main, name) for name in models}
    told = [f"{MODELS[name].name} {tied} of {of}" for name, (tied, of) in counts.items() if tied]
    if not told:
        return ""
    return (
        " The ranking breaks off among pairs of one score, of which the order of (i, j) takes the "
        f"first, in these shares of the predictions: {', '.join(told)}. Where that is most of "
        "them, the comparison says little."
    )


def scatter(
    table: pd.DataFrame, *, metric: str, splits: Sequence[str], title: str
) -> Figure | None:
    """NPM against the independent Potts model, target by target; None where none has both.

    Args:
        table: Rows of one range and cutoff, with `condition`.
        metric: In words.
        splits: Panels.
        title: Heading.
    """
    both = pairs(table, "potts").sort_values(["split", "id"], kind="stable")
    if both.empty:
        return None
    columns = ["id", "split", "condition", "length", "depth", "meff", "potts", "npm", "difference"]
    several = (both["condition"] != "").any()
    counts = ", ".join(f"{(both['split'] == split).sum()} {split}" for split in splits)
    return Figure(
        id="scatter",
        short="Scatter",
        title=title,
        caption=f"{sentence_case(metric)} of NPM against the independent Potts model, one "
        f"point a target ({counts}); colour is Meff of the Potts model's MSA, the dashed line "
        "equality. A click opens the target's card; so does its name in the table of targets.",
        alt=f"Scatter of {metric}, NPM against independent Potts. NPM is more precise on "
        f"{(both['difference'] > 0).sum()} of {len(both)}.",
        chart=paired_scatter(both, splits=splits),
        table=both[[column for column in columns if column != "condition" or several]],
        verb="tabulate-precision",
        opens=True,
    )


def training(
    runs: pd.DataFrame, *, row: str | None, line: str, title: str, caption: str
) -> Figure | None:
    """Losses and validation precision against training steps; None where none were logged.

    Args:
        runs: The stamps, run, step, quantity, value.
        row: Column that makes rows of panels.
        line: Column that tells the lines apart; the other stamps are averaged over.
        title: Heading.
        caption: What was trained.
    """
    shown = runs[runs["quantity"].isin(list(QUANTITIES))]
    if shown.empty:
        return None
    groups = shown.assign(
        quantity=shown["quantity"].map(QUANTITIES),
        row=shown[row] if row else "",
        line=shown[line].map(lambda name: f"depth {name}" if row else name),
    ).groupby(["row", "quantity", "line", "step"], sort=False)
    table = groups["value"].agg(["mean", "std", "size"]).reset_index()
    table = table.rename(columns={"mean": "value", "std": "sd", "size": "runs"})
    table["low"], table["high"] = table["value"] - table["sd"], table["value"] + table["sd"]
    thin = [
        group.iloc[evenly(len(group), POINTS)]
        for _, group in table.groupby(["row", "quantity", "line"], sort=False)
    ]
    table = pd.concat(thin, ignore_index=True)
    quantities = [name for name in QUANTITIES.values() if name in set(table["quantity"])]
    lines = sorted(table["line"].unique(), key=_line_order)
    return Figure(
        id="training",
        short="Training" if row is None else "Figure 4",
        title=title,
        caption=f"{caption} Losses: negative log-pseudolikelihood, nats a residue; lower is "
        f"better. Trainings: n = {runs['run'].nunique()}.",
        alt=f"Lines against the training step: {', '.join(quantities)}.",
        chart=trajectories(
            table, quantities=quantities, rows=list(dict.fromkeys(table["row"])), lines=lines
        ),
        table=table if row else table.drop(columns=["runs", "sd"]),
        verb="train",
    )


def _line_order(name: str) -> tuple[bool, int, str]:
    """Depths by number, words such as "depth full" after them."""
    number = name.removeprefix("depth ")
    return not number.isdigit(), len(number), number


def maps(
    table: pd.DataFrame, cards: Mapping[str, str], *, metric: str, top: str, where: str = ""
) -> Maps | None:
    """Targets with the largest and the smallest difference NPM minus independent Potts.

    Args:
        table: Rows of one range and cutoff, with `condition`.
        cards: Those that have a card are chosen from.
        metric: In words.
        top: The pairs drawn, in words.
        where: Which condition, in words.
    """
    both = pairs(table, "potts").sort_values(["difference", "id"], kind="stable")
    both = both[both["id"].isin(list(cards))]
    best, worst = both.tail(EXAMPLES).iloc[::-1], both.head(EXAMPLES)
    chosen = pd.concat([best, worst]).drop_duplicates("id").to_dict("records")
    if not chosen:
        return None
    return Maps(
        title="Figure 6 · Contact maps of the best and the worst targets",
        caption=f"The targets with the largest and the smallest difference in {metric}, NPM minus "
        f"independent Potts{where}; {top}. These are extremes by choice, not typical targets.",
        examples=[
            Example(
                row["id"],
                row["condition"],
                f"{metric}: NPM {row['npm']:.2f}, independent Potts {row['potts']:.2f}; "
                f"Meff {row['meff']:.1f}, {row['length']} residues, {row['split']}",
            )
            for row in chosen
        ],
    )


def target_table(
    table: pd.DataFrame, *, split_label: str, condition: str | None
) -> tuple[pd.DataFrame, list[Column]]:
    """One row a target and condition: each model's precision side by side.

    Args:
        table: Rows of one range and cutoff.
        split_label: What `split` is called.
        condition: What `condition` is called where there are several; else None.
    """
    key = ["id", "split", "condition", "length", "depth", "meff"]
    wide = table.assign(**{name: table[name].fillna(-1) for name in ("depth", "meff")})
    wide = wide.pivot_table(index=key, columns="model", values="precision").reset_index()
    wide[["depth", "meff"]] = wide[["depth", "meff"]].replace(-1, float("nan"))
    shown = known_models(list(table["model"].unique()))
    columns = [Column("id", "target", False), Column("split", split_label, False)]
    columns.append(Column("condition", condition or "condition", False))
    columns += [Column("length", "L", True), Column("depth", "depth", True)]
    columns.append(Column("meff", "Meff", True))
    if {"npm", "potts"} <= set(shown):
        wide["difference"] = wide["npm"] - wide["potts"]
        columns.append(Column("difference", "NPM − Potts", True))
    columns += [Column(name, model.short, True) for name, model in shown.items()]
    if condition is None:
        columns = [column for column in columns if column.key != "condition"]
    return wide.sort_values(["split", "id", "condition"], kind="stable"), columns


def methods(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Every choice of the metrics, those of this run from its settings."""
    distance = setting(settings, "precision", "contact_distance")
    threshold = setting(settings, "families", "identity_threshold")
    return [
        ("contact", f"C-beta (C-alpha of glycine) at most {distance} Å apart"),
        ("ranges", "separation j − i: short 6–11, medium 12–23, long 24 and more"),
        ("numbering", "positions of the full SEQRES (or domain) sequence, from 1"),
        ("unresolved", "pairs with an unresolved residue are dropped before ranking"),
        (
            "P@L/k",
            "share of contacts among the max(1, ⌊L/k⌋) strongest pairs of one range; "
            "L counts unresolved residues; where fewer pairs can be scored, all of them",
        ),
        ("AUC", "mean of P@(m L/10), m = 1 … 10"),
        ("ties", "stable, in the order of (i, j)"),
        (
            "contact score",
            "couplings of the 20 amino acids, gap rows and columns zeroed; "
            "Frobenius norm; average product correction; one function for every model",
        ),
        ("Meff", f"sum of 1 / number of rows at least {threshold} identical over all columns"),
        ("bins", "of the Meff of the independent Potts model's MSA, right-closed"),
        ("chance", "exact expectation: contacts / pairs that can be scored"),
        (
            "shuffled query",
            "NPM on the target's residues in random order, scores left at their positions: what "
            "remains is a map that does not depend on the sequence",
        ),
        (
            "nearest neighbour",
            "the independent Potts model of the nearest training family, its scores carried over "
            "the alignment",
        ),
        ("win", "a strictly higher precision than the other model's on the same target"),
        ("centring of couplings", str(setting(settings, "potts", "centre"))),
        ("independent Potts objective", str(setting(settings, "potts", "objective"))),
        ("stops at relative gain", str(setting(settings, "potts", "stop_rel"))),
    ]


def setting(settings: Mapping[str, Any], *keys: str) -> Any:
    """One setting of the run.

    Raises:
        DataError: The settings do not have it.
    """
    value: Any = settings
    for key in keys:
        if not isinstance(value, Mapping) or key not in value:
            raise DataError(f"the settings have no {'.'.join(keys)}; give those of this run")
        value = value[key]
    return value
