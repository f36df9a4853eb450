"""The figures: one tidy table in, one Vega-Lite chart that reads its data as "table"."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import altair as alt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from npm_core.precision import RANGES
from npm_core.report.models import (
    BLUE,
    COMPARED,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    known_models,
)
from npm_core.report.summary import BINS

Chart = alt.Chart | alt.LayerChart | alt.FacetChart

DATA = alt.NamedData(name="table")

THEME: dict[str, Any] = {
    "aria": False,
    "mark": {"aria": False},
    "background": None,
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "grid": True,
        "gridOpacity": 0.25,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
    },
    "axisX": {"grid": False, "labelAngle": 0},
    "header": {"labelFontSize": 13, "titleFontSize": 13, "labelFontWeight": "bold"},
    "headerRow": {"labelOrient": "right", "labelAngle": 90},
    "legend": {
        "orient": "top",
        "title": None,
        "labelFontSize": 12.5,
        "labelLimit": 280,
        "symbolOpacity": 1,
        "columnPadding": 16,
        "columns": 4,
    },
}


@dataclass(frozen=True, eq=False)
class Figure:
    """One figure of a page.

    Attributes:
        id: Anchor in the page and stem of the downloaded files.
        short: Its name in the navigation.
        title: Heading; names the figure of the paper it answers to.
        caption: What was computed, on how many, and how.
        alt: What a reader who does not see the chart should know.
        chart: Vega-Lite; reads the dataset "table".
        table: What the chart draws and the data table shows.
        verb: Of `python -m npm_core`, that made the numbers this table sums up.
        opens: Whether a click on a mark opens the card of the target in its `id`.
    """

    id: str
    short: str
    title: str
    caption: str
    alt: str
    chart: Chart
    table: pd.DataFrame
    verb: str
    opens: bool = field(default=False)

    def spec(self) -> dict[str, Any]:
        """Vega-Lite specification without its data."""
        spec = self.chart.to_dict(validate=False)
        spec["config"] = THEME
        return spec

    def parquet(self) -> bytes:
        """The table as a Parquet file that says what it is."""
        facts = {"title": self.title, "caption": self.caption, "verb": self.verb}
        table = pa.Table.from_pandas(self.table, preserve_index=False)
        written = io.BytesIO()
        pq.write_table(table.replace_schema_metadata(facts), written, compression="zstd")
        return written.getvalue()


def shades(count: int) -> list[str]:
    """Colours from blue to vermillion for an ordered quantity, readable on black and white."""
    ends = [tuple(int(color[k : k + 2], 16) for k in (1, 3, 5)) for color in (SKY, VERMILLION)]
    steps = [k / max(1, count - 1) for k in range(count)]
    mixed = [[round(a + (b - a) * t) for a, b in zip(*ends, strict=True)] for t in steps]
    return ["#" + "".join(f"{value:02X}" for value in color) for color in mixed]


def _scales(present: Sequence[str]) -> tuple[alt.Color, alt.Shape, list[str]]:
    shown = known_models(present).values()
    names = [model.name for model in shown]
    color = alt.Color("label:N").scale(domain=names, range=[model.color for model in shown])
    shape = alt.Shape("label:N").scale(domain=names, range=[model.shape for model in shown])
    return color, shape, names


def labelled(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the models' names in a column `label`."""
    shown = known_models([name for name in table["model"].unique() if name])
    names = {name: model.name for name, model in shown.items()}
    return table.assign(label=table["model"].map(lambda name: names.get(name, "")))


def binned_bars(
    table: pd.DataFrame,
    *,
    row: str,
    column: str,
    rows: Sequence[str],
    columns: Sequence[str],
    y_title: str,
    width: int,
    height: int,
) -> Chart:
    """Mean precision with its interval by Meff bin; one panel for each row and column.

    The independent Potts model and NPM are bars, the controls points; a bin without targets
    says so.

    Args:
        table: `row`, `column`, bin, model, label, n, mean, low, high.
        row, column: Columns that make the panels.
        rows, columns: Their values in order.
        y_title: Of the ordinate.
        width, height: Of a panel, pixels.
    """
    models = [model for model in table["model"].unique() if model]
    color, shape, names = _scales(models)
    main = [shown.name for model, shown in known_models(models).items() if model in COMPARED]
    x = alt.X("bin:N", sort=list(BINS)).scale(domain=list(BINS)).title("Meff of the MSA")
    x = x.axis(labelFontSize=12 if width > 400 else 10)
    offset = alt.XOffset("label:N").scale(domain=names)
    base = alt.Chart().encode(x=x, xOffset=offset)
    tip = ["label:N", "bin:N", "n:Q", *(alt.Tooltip(f"{c}:Q", format=".3f") for c in STATISTICS)]
    bars = (
        base.transform_filter(alt.FieldOneOfPredicate("label", main))
        .mark_bar(opacity=0.5)
        .encode(y=alt.Y("mean:Q").title(y_title).axis(tickCount=5), color=color, tooltip=tip)
    )
    whiskers = (
        base.transform_filter("datum.n > 0")
        .mark_rule(strokeWidth=1.5)
        .encode(y=alt.Y("low:Q"), y2="high:Q", color=color)
    )
    points = (
        base.transform_filter("datum.n > 0")
        .mark_point(filled=True, opacity=1, size=45)
        .encode(y="mean:Q", color=color, shape=shape, tooltip=tip)
    )
    return (
        alt.layer(bars, whiskers, points, _counts(x, ["bin", row, column]), data=DATA)
        .properties(width=width, height=height)
        .facet(
            row=alt.Row(f"{row}:N", sort=list(rows)).title(None),
            column=alt.Column(f"{column}:N", sort=list(columns)).title(None),
        )
    )


STATISTICS = ("mean", "low", "high")


def _counts(x: alt.X, groups: Sequence[str]) -> alt.Chart:
    """The number of targets above each place of the abscissa, or that there are none."""
    return (
        alt.Chart()
        .transform_aggregate(n="max(n)", groupby=list(groups))
        .transform_calculate(text="datum.n > 0 ? 'n = ' + datum.n : 'no targets'")
        .mark_text(baseline="bottom", fontSize=11, dy=-7)
        .encode(x=x, y=alt.value(0), text="text:N")
    )


def paired_scatter(table: pd.DataFrame, *, splits: Sequence[str]) -> Chart:
    """Precision of NPM against the independent Potts model, one point a target.

    Args:
        table: id, split, potts, npm, difference, meff, depth, length.
        splits: One panel each, in order.
    """
    unit = alt.Scale(domain=[0, 1], nice=False)
    ticks = alt.Axis(tickCount=5, grid=True, format=".1f")
    line = alt.Chart(alt.InlineData([{"a": 0, "b": 0}, {"a": 1, "b": 1}]))
    diagonal = line.mark_line(color=GREY, strokeDash=[4, 4]).encode(x="a:Q", y="b:Q")
    points = (
        alt.Chart()
        .mark_circle(size=50, opacity=0.85, stroke="black", strokeWidth=0.4, cursor="pointer")
        .encode(
            x=alt.X("potts:Q", scale=unit, axis=ticks).title("Independent Potts"),
            y=alt.Y("npm:Q", scale=unit, axis=ticks).title("NPM"),
            color=alt.Color("meff:Q")
            .scale(type="log", scheme="viridis")
            .legend(
                title="Meff of the MSA",
                orient="top",
                direction="horizontal",
                gradientLength=220,
                format=",.0f",
            ),
            tooltip=["id:N", "depth:Q", alt.Tooltip("meff:Q", format=".1f"), "length:Q"]
            + [alt.Tooltip(f"{name}:Q", format=".3f") for name in ("potts", "npm", "difference")],
        )
    )
    return (
        alt.layer(diagonal, points, data=DATA)
        .properties(width=420, height=380)
        .facet(alt.Facet("split:N", sort=list(splits)).title(None), columns=2)
    )


def win_rates(table: pd.DataFrame, *, splits: Sequence[str]) -> Chart:
    """Share of targets on which NPM is strictly more precise, with its interval, by Meff bin.

    Args:
        table: split, bin ("all" or one of BINS), n, win_rate, win_low, win_high, ties, paper (the
            paper's win rate, where it has one).
        splits: One panel each, in order.
    """
    order = ["all", *BINS]
    base = alt.Chart().encode(
        x=alt.X("bin:N", sort=order).scale(domain=order).title("Meff of the MSA"),
        color=alt.value(VERMILLION),
        tooltip=["bin:N", "n:Q"]
        + [
            alt.Tooltip(f"{name}:Q", format=".1%")
            for name in ("win_rate", "win_low", "win_high", "ties", "paper")
        ],
    )
    y = alt.Y("win_rate:Q").scale(domain=[0, 1]).axis(format="%").title("NPM more precise on")
    paper = base.transform_filter("isValid(datum.paper)")
    reference = paper.mark_tick(thickness=2, size=44).encode(
        y="paper:Q", color=alt.value("currentColor")
    )
    named = paper.mark_text(text="paper", align="left", dx=26, fontSize=11).encode(
        y="paper:Q", color=alt.value("currentColor")
    )
    half = alt.Chart().mark_rule(color=GREY, strokeDash=[4, 4]).encode(y=alt.datum(0.5))
    whiskers = base.mark_rule(strokeWidth=1.5).encode(y=alt.Y("win_low:Q"), y2="win_high:Q")
    points = base.mark_point(filled=True, opacity=1, size=70, shape="triangle-up").encode(y=y)
    layers = [half, whiskers, points, reference, named]
    return _panels(layers, order, "split", splits, x="bin")


def control_differences(
    table: pd.DataFrame,
    *,
    panel: str,
    panels: Sequence[str],
    x: str,
    order: Sequence[str],
    x_title: str,
) -> Chart:
    """Mean paired difference NPM minus each control with its interval.

    Args:
        table: `panel`, `x`, model (the control), label, n, difference, low, high.
        panel, panels: Column that makes the panels, its values in order.
        x, order, x_title: Column on the abscissa, its values in order, its title.
    """
    color, shape, names = _scales([model for model in table["model"].unique() if model])
    base = (
        alt.Chart()
        .transform_filter("datum.n > 0")
        .encode(
            x=alt.X(f"{x}:N", sort=list(order)).scale(domain=list(order)).title(x_title),
            xOffset=alt.XOffset("label:N").scale(domain=names),
            color=color,
            tooltip=["label:N", f"{x}:N", "n:Q"]
            + [alt.Tooltip(f"{name}:Q", format="+.3f") for name in ("difference", "low", "high")],
        )
    )
    zero = alt.Chart().mark_rule(color=GREY, strokeDash=[4, 4]).encode(y=alt.datum(0))
    y = alt.Y("difference:Q").title("NPM minus the other")
    whiskers = base.mark_rule(strokeWidth=1.5).encode(y=alt.Y("low:Q"), y2="high:Q")
    points = base.mark_point(filled=True, opacity=1, size=60).encode(y=y, shape=shape)
    return _panels([zero, whiskers, points], order, panel, panels, x=x)


def _panels(
    layers: Sequence[alt.Chart],
    order: Sequence[str],
    panel: str,
    panels: Sequence[str],
    *,
    x: str,
) -> Chart:
    """The layers with their numbers of targets, two panels beside one another."""
    counts = _counts(alt.X(f"{x}:N", sort=list(order)), [x, panel])
    wide = {"width": 480 if len(panels) > 1 else 720, "height": 220}
    chart = alt.layer(*layers, counts, data=DATA).properties(**wide)
    return chart.facet(alt.Facet(f"{panel}:N", sort=list(panels)).title(None), columns=2)


def leakage_bars(table: pd.DataFrame, *, sets: Sequence[str]) -> Chart:
    """Share of test sequences that are rows of training alignments.

    Args:
        table: set, status, count, share; of those with a share, status is one of two.
        sets: One bar each, in order.
    """
    return (
        alt.Chart(DATA)
        .mark_bar()
        .encode(
            y=alt.Y("set:N", sort=list(sets)).title(None).axis(labelLimit=420),
            x=alt.X("share:Q").axis(format="%").title("share of the set"),
            color=alt.Color("status:N", sort="descending").scale(range=[VERMILLION, SKY]),
            order=alt.Order("status:N", sort="descending"),
            tooltip=["set:N", "status:N", "count:Q", alt.Tooltip("share:Q", format=".1%")],
        )
        .transform_filter("isValid(datum.share)")
        .properties(width=560, height=40 * len(sets))
    )


def cumulative_depth(
    table: pd.DataFrame, *, sets: Sequence[str], colors: Sequence[str] | None = None
) -> Chart:
    """Share of alignments at most so deep, one curve a set of alignments.

    Args:
        table: set, depth, share.
        sets: In order.
        colors: As many as sets, in an order of their own; Okabe and Ito's with dashes if None.
    """
    dashes: dict[str, Any] = {}
    if colors is None:
        colors = [BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY]
        dash = alt.StrokeDash("set:N", sort=list(sets)).scale(domain=list(sets))
        dashes = {"strokeDash": dash}
    return (
        alt.Chart(DATA)
        .mark_line(interpolate="step-after", strokeWidth=2)
        .encode(
            x=alt.X("depth:Q").scale(type="log").title("MSA depth (sequences)"),
            y=alt.Y("share:Q").scale(domain=[0, 1]).axis(format="%").title("MSAs at most so deep"),
            color=alt.Color("set:N", sort=list(sets))
            .scale(domain=list(sets), range=list(colors))
            .legend(symbolType="stroke"),
            **dashes,
            tooltip=["set:N", "depth:Q", alt.Tooltip("share:Q", format=".1%")],
        )
        .properties(width=860, height=280)
    )


def precision_by_depth(
    table: pd.DataFrame, *, clans: Sequence[str], depths: Sequence[str], y_title: str
) -> Chart:
    """Precision against the depth of the reduced alignments, mean and SD over the rounds.

    Args:
        table: clan, range, reduced_depth, model, label, n, rounds, mean, sd, low, high.
        clans: One row of panels each.
        depths: Reduced depths, shallow to deep.
        y_title: Of the ordinate.
    """
    layers = _lines_by_depth(table, depths, alt.Y("mean:Q").title(y_title))
    return layers.properties(width=300, height=230 if len(clans) == 1 else 180).facet(
        row=alt.Row("clan:N", sort=list(clans)).title(None),
        column=alt.Column("range:N", sort=list(RANGES)).title(None),
    )


def loss_by_depth(table: pd.DataFrame, *, clans: Sequence[str], depths: Sequence[str]) -> Chart:
    """Generalisation loss against the depth of the reduced alignments, mean and SD over the rounds.

    Args:
        table: clan, reduced_depth, model, label, n, rounds, mean, sd, low, high.
        clans: One panel each.
        depths: Reduced depths, shallow to deep.
    """
    y = alt.Y("mean:Q").title("nats a residue").scale(zero=False)
    layers = _lines_by_depth(table, depths, y)
    return layers.properties(width=420, height=230).facet(
        alt.Facet("clan:N", sort=list(clans)).title(None), columns=2
    )


def _lines_by_depth(table: pd.DataFrame, depths: Sequence[str], y: alt.Y) -> alt.LayerChart:
    """A line a model with its whiskers beside the others', against the depth of the reduction."""
    color, shape, names = _scales(list(table["model"].unique()))
    base = alt.Chart().encode(
        x=alt.X("reduced_depth:O", sort=list(depths))
        .scale(domain=list(depths), paddingInner=0.6, paddingOuter=0.3)
        .axis(labelAngle=0)
        .title("depth of the reduced MSAs"),
        xOffset=alt.XOffset("label:N").scale(domain=names),
        color=color,
        tooltip=["label:N", "reduced_depth:N", "n:Q", "rounds:Q"]
        + [alt.Tooltip(f"{name}:Q", format=".3f") for name in ("mean", "sd")],
    )
    return alt.LayerChart(
        layer=[
            base.mark_line(strokeWidth=2).encode(y=y),
            base.mark_rule(strokeWidth=1.5).encode(y=alt.Y("low:Q"), y2="high:Q"),
            base.mark_point(filled=True, opacity=1, size=60).encode(y=y, shape=shape),
        ],
        data=DATA,
    )


def variant_bars(
    table: pd.DataFrame,
    *,
    variants: Sequence[str],
    clans: Sequence[str],
    depths: Sequence[str],
) -> Chart:
    """Precision of variants of NPM by range, mean and SD over the rounds.

    Args:
        table: clan, reduced_depth, range, variant, n, rounds, mean, sd, low, high.
        variants: Each in its own colour, in order.
        clans: One row of panels each.
        depths: One column of panels each.
    """
    colors = [VERMILLION, BLUE, GREEN, PURPLE, ORANGE, SKY, GREY]
    base = (
        alt.Chart()
        .transform_filter("datum.n > 0")
        .encode(
            x=alt.X("range:N", sort=list(RANGES)).scale(domain=list(RANGES)).title("range"),
            xOffset=alt.XOffset("variant:N", sort=list(variants)).scale(domain=list(variants)),
            color=alt.Color("variant:N", sort=list(variants)).scale(
                domain=list(variants), range=colors
            ),
            tooltip=["variant:N", "range:N", "n:Q", "rounds:Q"]
            + [alt.Tooltip(f"{name}:Q", format=".3f") for name in ("mean", "sd")],
        )
    )
    bars = base.mark_bar(opacity=0.75).encode(y=alt.Y("mean:Q").title("mean precision"))
    whiskers = base.mark_rule(strokeWidth=1.5, color="currentColor").encode(
        y=alt.Y("low:Q"), y2="high:Q", color=alt.value("currentColor")
    )
    return (
        alt.layer(bars, whiskers, data=DATA)
        .properties(width=420, height=200)
        .facet(
            row=alt.Row("clan:N", sort=list(clans)).title(None),
            column=alt.Column("reduced_depth:N", sort=list(depths)).title("reduced to depth"),
        )
    )


def trajectories(
    table: pd.DataFrame, *, quantities: Sequence[str], rows: Sequence[str], lines: Sequence[str]
) -> Chart:
    """Logged quantities of trainings against their step, with a band where runs were averaged.

    Args:
        table: row, quantity, line, step, value, low, high.
        quantities: One column of panels each.
        rows: One row of panels each.
        lines: Lines of a panel, each in its own colour and dash.
    """
    colors = [VERMILLION, BLUE, GREEN, PURPLE, ORANGE, SKY]
    base = alt.Chart().encode(
        x=alt.X("step:Q").axis(tickCount=4),
        color=alt.Color("line:N", sort=list(lines))
        .scale(domain=list(lines), range=colors)
        .legend(symbolType="stroke"),
    )
    y = alt.Y("value:Q").scale(zero=False).title(None)
    band = base.transform_filter("isValid(datum.low)").mark_area(opacity=0.15)
    curve = base.mark_line(strokeWidth=2).encode(
        y=y,
        strokeDash=alt.StrokeDash("line:N", sort=list(lines)).scale(domain=list(lines)),
        tooltip=["line:N", "quantity:N", "step:Q", alt.Tooltip("value:Q", format=".4g")],
    )
    averaged = table["low"].notna().any()
    bands = [band.encode(y=alt.Y("low:Q"), y2="high:Q")] if averaged else []
    layers = alt.layer(*bands, curve, data=DATA)
    width = min(440, (1000 - 45 * len(quantities)) // len(quantities))
    return (
        layers.properties(width=width, height=180)
        .facet(
            row=alt.Row("row:N", sort=list(rows)).title(None),
            column=alt.Column("quantity:N", sort=list(quantities)).title(None),
        )
        .resolve_scale(y="independent")
    )


def contact_map(models: Sequence[str]) -> dict[str, Any]:
    """The map of one protein in the convention of the paper's Figure 6; the page fills its data.

    Datasets: truth (x, y), predictions (x, y, model, hit), unresolved (start, end), band (x,
    low, high); parameters: length (residues), cell (pixels a residue). Residues count from 1;
    x is a column, y a row that grows downwards, so y > x is the lower triangle.

    Args:
        models: That may be drawn.
    """
    scale = alt.Scale(domain=alt.ExprRef("[0.5, length + 0.5]"), nice=False, zero=False)
    down = alt.Scale(
        domain=alt.ExprRef("[0.5, length + 0.5]"),
        nice=False,
        zero=False,
        reverse=True,
    )
    grid = alt.Axis(grid=False, tickMinStep=1, format="d")
    x = alt.X("x:Q", scale=scale, axis=grid).title("residue")
    y = alt.Y("y:Q", scale=down, axis=grid).title("residue")
    gaps = alt.Chart(alt.NamedData(name="unresolved")).mark_rect(color=GREY, opacity=0.35)
    columns = gaps.encode(x=alt.X("start:Q", scale=scale), x2="end:Q")
    rows = gaps.encode(y=alt.Y("start:Q", scale=down), y2="end:Q")
    band = (
        alt.Chart(alt.NamedData(name="band"))
        .mark_area(color=GREY, opacity=0.18)
        .encode(x=x, y=alt.Y("low:Q", scale=down), y2="high:Q")
    )
    truth = (
        alt.Chart(alt.NamedData(name="truth"))
        .mark_square(
            color="currentColor", opacity=1, size=alt.ExprRef("cell * cell"), description="truth"
        )
        .encode(x=x, y=y)
    )
    shown = known_models(models).values()
    predictions = alt.Chart(alt.NamedData(name="predictions")).encode(
        x=x,
        y=y,
        color=alt.Color("model:N")
        .scale(domain=[one.name for one in shown], range=[one.color for one in shown])
        .legend(None),
        tooltip=["model:N", "i:Q", "j:Q", "outcome:N"],
    )
    size = alt.ExprRef("max(34, 2.6 * cell * cell)")
    hits = predictions.transform_filter("datum.hit").mark_circle(opacity=1, size=size)
    misses = predictions.transform_filter("!datum.hit").mark_point(
        shape="cross", angle=45, filled=True, opacity=1, size=size
    )
    chart = (
        alt.layer(columns, rows, band, truth, hits, misses)
        .add_params(alt.param(name="length", value=100), alt.param(name="cell", value=4))
        .properties(width=440, height=440)
    )
    spec = chart.to_dict(validate=False)
    spec["config"] = THEME
    return spec
