"""One report as one HTML file: what it shows, and how it is written so that it runs alone."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import jinja2
import pandas as pd
import vl_convert
from markupsafe import Markup

from npm_core.report.figures import Figure, contact_map
from npm_core.report.models import known_models


@dataclass(frozen=True)
class Tile:
    """One number of the first screen: what it is, its value, interval, and where it was seen."""

    what: str
    value: str
    interval: str
    detail: str
    outcome: str = "open"


@dataclass(frozen=True)
class Example:
    """One target whose contact map is drawn on the page itself."""

    id: str
    condition: str
    detail: str


@dataclass(frozen=True)
class Maps:
    """A row of contact maps on the page itself, in the convention of the paper's Figure 6."""

    title: str
    caption: str
    examples: Sequence[Example]
    id: str = "maps"
    short: str = "Figure 6"


@dataclass(frozen=True)
class Absent:
    """A figure that this run has no table for: why, and the command that makes it, if one does."""

    id: str
    short: str
    title: str
    reason: str
    command: str = ""


@dataclass(frozen=True)
class Column:
    """One column of the table of targets."""

    key: str
    label: str
    number: bool


@dataclass(frozen=True, eq=False)
class Page:
    """What a report says, in the order of the page.

    Attributes:
        title: Name of the experiment.
        headline: The verdict in one sentence.
        explanation: Its numbers in one more.
        tiles: The numbers of the first screen.
        sections: Figures, maps and what is absent, in the paper's order.
        targets: One row a target and condition; columns `target_columns`.
        target_columns: Of the table of targets; the first is the id.
        targets_caption: What its numbers are.
        cards: Packed cards by target id.
        metric: Range and cutoff a card opens with.
        models: Models at hand.
        methods: Name and value of every option of the metrics.
    """

    title: str
    headline: str
    explanation: str
    tiles: Sequence[Tile]
    sections: Sequence[Figure | Maps | Absent]
    targets: pd.DataFrame
    target_columns: Sequence[Column]
    targets_caption: str
    cards: Mapping[str, str]
    metric: Mapping[str, str]
    models: Sequence[str]
    methods: Sequence[tuple[str, str]]

    @property
    def figures(self) -> list[Figure]:
        return [section for section in self.sections if isinstance(section, Figure)]

    @property
    def examples(self) -> list[Example]:
        maps = [section for section in self.sections if isinstance(section, Maps)]
        return [example for section in maps for example in section.examples]


@dataclass(frozen=True)
class Record:
    """How the run went that a page is about.

    Attributes:
        drops: step, status, reason, count.
        settings: The run's settings, YAML.
        provenance: Name and value: versions, commit, command, seed.
        inputs: path, digest and provenance of each input.
        hours: step, count, hours that the steps recorded.
        command: That makes this page.
    """

    drops: Sequence[Mapping[str, object]]
    settings: str
    provenance: Sequence[tuple[str, str]]
    inputs: Sequence[Mapping[str, str]]
    hours: Sequence[Mapping[str, object]]
    command: str


def render(page: Page, record: Record) -> str:
    """The page as HTML: no request leaves it, and no script but the two it holds may run."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("npm_core"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    vega, script = _vega(), _template_text("report.js")
    policy = (
        f"default-src 'none'; script-src {_allowed(vega)} {_allowed(script)}; "
        "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    )
    return environment.get_template("report.html.j2").render(
        page=page,
        record=record,
        policy=policy,
        style=Markup(_template_text("report.css")),
        data=_inline_json(_data(page)),
        cards=_inline_json(dict(page.cards)),
        vega=Markup(vega),
        script=Markup(script),
    )


def _data(page: Page) -> dict[str, Any]:
    models = [*page.models, "npm", "potts"]
    return {
        "figures": [
            {
                "id": figure.id,
                "spec": figure.spec(),
                "columns": list(figure.table.columns),
                "rows": table_rows(figure.table),
                "opens": figure.opens,
                "parquet": base64.b64encode(figure.parquet()).decode("ascii"),
            }
            for figure in page.figures
        ],
        "map": contact_map(models),
        "metric": dict(page.metric),
        "models": {
            name: {"name": model.name, "color": model.color}
            for name, model in known_models(models).items()
        },
        "targets": {
            "columns": [vars(column) for column in page.target_columns],
            "rows": table_rows(page.targets[[column.key for column in page.target_columns]]),
        },
    }


def table_rows(table: pd.DataFrame) -> list[list[Any]]:
    """Rows of a table as JSON can hold them: what is undefined is None, floats have six digits."""

    def plain(value: Any) -> Any:
        if value is None or value is pd.NA or value != value:
            return None
        value = value.item() if hasattr(value, "item") else value
        return float(f"{value:.6g}") if isinstance(value, float) else value

    return [[plain(value) for value in row] for row in table.itertuples(index=False, name=None)]


def _inline_json(value: object) -> Markup:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for letter, escape in (("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026")):
        text = text.replace(letter, escape)
    return Markup(text)


def _allowed(script: str) -> str:
    """A script as the page's policy names it: by the digest of its text."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


@cache
def _vega() -> str:
    """Vega, Vega-Lite and vega-embed in one script that leaves only `vegaEmbed` behind."""
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return "(() => {" + bundle.replace("</script", "<\\/script") + "\n})();"


def _template_text(name: str) -> str:
    source, _, _ = jinja2.PackageLoader("npm_core").get_source(jinja2.Environment(), name)
    return source
