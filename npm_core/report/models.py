"""The models and controls of a report: their names, their marks, what it is worth to beat them."""

from collections.abc import Sequence
from dataclasses import dataclass

VERMILLION, BLUE, GREEN, PURPLE = "#D55E00", "#0072B2", "#009E73", "#CC79A7"
ORANGE, SKY, GREY = "#E69F00", "#56B4E9", "#888888"
"""Okabe and Ito's colours; grey for what is no model."""


@dataclass(frozen=True)
class Model:
    """One model, or one control of NPM.

    Attributes:
        name: In legends and captions.
        color, shape: Of its marks; each model has both of its own.
        short: In the table of targets.
        words: In sentences, as what NPM is compared with.
        worth: What it means for NPM to be above it.
    """

    name: str
    color: str
    shape: str
    short: str
    words: str = ""
    worth: str = ""


MODELS = {
    "potts": Model(
        "Independent Potts", BLUE, "circle", "Potts", words="the independent Potts model"
    ),
    "npm": Model("NPM", VERMILLION, "triangle-up", "NPM"),
    "prior": Model("Potts with NPM as prior", ORANGE, "triangle-down", "with prior"),
    "nearest": Model(
        "Nearest neighbour Potts",
        GREEN,
        "square",
        "nearest",
        words="the nearest neighbour's Potts model",
        worth="Above the nearest neighbour: it does more than recall one family.",
    ),
    "npm_shuffled": Model(
        "NPM, shuffled query",
        PURPLE,
        "diamond",
        "shuffled",
        words="NPM on a shuffled query",
        worth="Above the shuffled query: NPM reads the order of the residues.",
    ),
    "npm_sister": Model(
        "NPM, sister family's query",
        SKY,
        "triangle-left",
        "sister",
        words="NPM on a sister family's query",
        worth="Above the sister family's query: it reads this sequence, not just its clan.",
    ),
    "npm_without": Model(
        "NPM without the evaluation bucket",
        "currentColor",
        "triangle-right",
        "without bucket",
        words="NPM trained without the evaluation bucket",
        worth="Above NPM without the evaluation bucket: the reduced alignments taught it.",
    ),
    "chance": Model(
        "Chance",
        GREY,
        "cross",
        "chance",
        words="chance",
        worth="Above chance: it predicts contacts at all.",
    ),
}
COMPARED = ("potts", "npm")
CONTROLS = ("npm_shuffled", "nearest", "npm_sister", "npm_without", "chance")

_SPARE = ((GREY, "wedge"), (GREY, "stroke"))


def known_models(present: Sequence[str]) -> dict[str, Model]:
    """The models at hand, those of the paper first, then the user's own."""
    shown = {name: model for name, model in MODELS.items() if name in present}
    for index, name in enumerate(sorted(set(present) - set(MODELS))):
        shown[name] = Model(name, *_SPARE[index % len(_SPARE)], short=name)
    return shown
