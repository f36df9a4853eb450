"""The card of a trained model: what it is, what it learned from, what that cost, what it can do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd

from npm_core.checkpoints import WEIGHTS, model_settings, read_config
from npm_core.comparison import FEWEST, compare_models
from npm_core.errors import DataError
from npm_core.flops import training_flops
from npm_core.metrics import read_metrics
from npm_core.precision import meff_bin, meff_bins
from npm_core.report.models import MODELS
from npm_core.report.summary import evenly

CURVE_ROWS = 12
"""Rows of a training curve on the card, at most."""

MEASURES = {
    "loss": "loss",
    "accuracy": "accuracy",
    "validation_loss": "validation loss",
    "pseudolikelihood": "negative log-pseudolikelihood",
    "validation_pseudolikelihood": "validation negative log-pseudolikelihood",
}
"""Columns of metrics.csv that a card shows, and how it heads them."""

BASELINES = ("potts", "prior", "npm_shuffled", "chance")
"""What NPM is compared with on the card."""


@dataclass(frozen=True)
class Stage:
    """One training.

    Attributes:
        name: What it learned.
        updates: Of the weights.
        batch: Proteins of one update.
        proteins: Distinct ones, as the number of epochs says.
        residues: Read in all updates.
        hours: Wall time.
        flops: Of its matrix products.
        curve: Column names, then rows of text.
    """

    name: str
    updates: int
    batch: int
    proteins: int
    residues: float
    hours: float
    flops: float
    curve: Sequence[Sequence[str]]


def stage(name: str, folder: Path) -> Stage:
    """The record of a training from its checkpoint's config.json and metrics.csv.

    Raises:
        DataError: A file is missing, or the metrics hold no update.
    """
    config = read_config(folder)
    facts = _facts(config, folder, "LoopSettings")
    path = folder / "metrics.csv"
    if not path.is_file():
        raise DataError(f"{path}: no such file; it is what `train --metrics` writes")
    rows = read_metrics(path)
    updates = rows.dropna(subset=["residues"]) if "residues" in rows else rows[:0]
    if updates.empty:
        raise DataError(f"{path}: no update with its number of residues; train anew")
    batch = int(facts["LoopSettings"]["batch"])
    # A row holds means over the updates since the row before.
    since = np.diff(updates["step"], prepend=0)
    proteins = batch * float(since.sum())
    residues = batch * float((since * updates["residues"]).sum())
    trunk, head = model_settings(config, str(folder))
    train = facts.get("TrainSettings", {})
    flops = proteins * training_flops(
        trunk,
        head,
        round(residues / proteins),
        int(train.get("rows", 0)),
        frozen=bool(train.get("frozen", False)),
    )
    last = updates.iloc[-1]
    return Stage(
        name=name,
        updates=int(last["step"]),
        batch=batch,
        proteins=round(batch * last["step"] / last["epoch"]),
        residues=residues,
        hours=float(last["seconds"]) / 3600,
        flops=flops,
        curve=_curve(rows),
    )


def _facts(config: Mapping[str, Any], folder: Path, *names: str) -> dict[str, Any]:
    """What a checkpoint records of its training, these parts at least."""
    facts: dict[str, Any] = config.get("facts", {})
    missing = [name for name in names if name not in facts]
    if missing:
        raise DataError(
            f"{folder}: config.json records no {', '.join(missing)}; a card tells of what `train` "
            "and `pretrain` wrote"
        )
    return facts


def _curve(rows: pd.DataFrame) -> list[list[str]]:
    """Losses and validation measures at evenly spaced updates, the last included."""
    measures = [name for name in MEASURES if name in rows and rows[name].notna().any()]
    watched = measures[-1]
    shown = rows[rows[watched].notna()]
    table = shown.iloc[evenly(len(shown), CURVE_ROWS)]
    cells = [["" if np.isnan(x) else f"{x:.3f}" for x in row] for row in table[measures].to_numpy()]
    return [
        ["update", *(MEASURES[name] for name in measures)],
        *([str(step), *row] for step, row in zip(table["step"], cells, strict=True)),
    ]


def results(table: pd.DataFrame, *, seed: int) -> list[list[str]]:
    """Long-range P@L/5 of NPM and of the baselines, NPM less each, by split and bin of Meff.

    The last column is what NPM as its prior adds to the independent Potts model. A target without
    an alignment has neither, and is in no row. A baseline that the table lacks has no column; one
    that shares no protein of a bin with NPM has a dash there.

    Args:
        table: Rows of `tabulate-precision`.
        seed: Of the bootstrap.

    Returns:
        Column names, then rows of text.
    """
    long = (table["range"] == "long") & (table["cutoff"] == "L/5")
    chosen = table[long & table["meff"].notna()]
    binned = chosen.assign(bin=chosen["meff"].map(meff_bin))
    chosen = pd.concat([binned, chosen.assign(bin="all")])
    chosen = pd.concat([chosen, chosen.assign(split="both")])

    def compared(first: str, second: str) -> dict[tuple[str, str], dict[str, Any]]:
        lines = compare_models(chosen, first, second, ["split", "bin"], seed=seed)
        return {(line["split"], line["bin"]): dict(line) for _, line in lines.iterrows()}

    baselines = [model for model in BASELINES if (chosen["model"] == model).any()]
    found = {model: compared("npm", model) for model in BASELINES}
    added = compared("prior", "potts")
    groups = chosen.groupby(["split", "bin", "model"], observed=True)["precision"]
    means, counts = groups.mean().to_dict(), groups.size().to_dict()
    head = ["split", "Meff", "n", "NPM", *(MODELS[model].name for model in baselines)]
    rows = [[*head, "NPM beats Potts in", "prior minus independent Potts"]]
    for here in product(("train", "test", "both"), [*meff_bins(), "all"]):
        if (*here, "npm") not in means:
            continue
        row = [*here, f"{counts[*here, 'npm']}", f"{means[*here, 'npm']:.3f}"]
        for model in baselines:
            line = found[model].get(here)
            row.append(f"{means[*here, model]:.3f}; {_interval(line)}" if line else "-")
        wins, gain = found["potts"].get(here), added.get(here)
        row += [f"{wins['win_rate']:.0%}" if wins else "-", _interval(gain) if gain else "-"]
        rows.append(row)
    return rows


def _interval(line: Mapping[str, Any]) -> str:
    """A difference with its interval."""
    if line["n"] < FEWEST:
        return f"{line['difference']:+.3f} (too few, n = {line['n']:.0f})"
    return f"{line['difference']:+.3f} ({line['low']:+.3f} to {line['high']:+.3f})"


def render(
    folder: Path,
    *,
    pretrained: Path | None,
    precision: pd.DataFrame,
    about: Mapping[str, Any],
    seed: int,
) -> str:
    """The card of the Neural Potts Model in `folder`, as Markdown.

    Args:
        folder: Checkpoint, with metrics.csv.
        pretrained: Checkpoint of its language model, with metrics.csv; None for a given trunk.
        precision: Rows of `tabulate-precision` of the model, its baselines and controls.
        about: "data" and "licence", as the user says them.
        seed: Of the bootstrap.

    Raises:
        DataError: A file is missing or damaged.
    """
    import safetensors

    config = read_config(folder)
    facts = _facts(config, folder, "TrainSettings", "ObjectiveSettings", "npm_core")
    trunk, head = model_settings(config, str(folder))
    with safetensors.safe_open(folder / WEIGHTS, framework="numpy") as file:
        shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("npm_core"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("model_card.md.j2").render(
        parameters=sum(int(np.prod(shape)) for shape in shapes),
        megabytes=(folder / WEIGHTS).stat().st_size / 1e6,
        sha256=config["sha256"],
        version=facts["npm_core"],
        trunk=trunk,
        head=head,
        settings={**facts["TrainSettings"], **facts["ObjectiveSettings"]},
        stages=[
            *([stage("masked language modelling", pretrained)] if pretrained else []),
            stage("Neural Potts Model", folder),
        ],
        results=results(precision, seed=seed),
        about=about,
        fewest=FEWEST,
    )
