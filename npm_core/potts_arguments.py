"""Command line arguments of the verbs that fit Potts models or score their contacts."""

import argparse
from pathlib import Path
from typing import get_args

from npm_core.arguments import OutputFile, positive_int, share

OBJECTIVES = ("ccmpred", "paper")


def register_family_fits(parser: argparse.ArgumentParser, *, model: str) -> None:
    """Of a fit of each family of a table; `model` is what the scores call them."""
    parser.add_argument(
        "--families",
        type=Path,
        required=True,
        nargs="+",
        metavar="FILE.parquet",
        help="to fit a model to",
    )
    parser.add_argument(
        "--targets",
        type=Path,
        nargs="+",
        metavar="FILE.parquet",
        help="fit only families with these ids",
    )
    register_objective(parser)
    register_centre(parser)
    parser.add_argument("--model", default=model, help="name of the model in the scores")
    parser.add_argument("--workers", type=positive_int, default=1, help="processes")
    parser.add_argument(
        "--output",
        type=OutputFile,
        required=True,
        metavar="FILE.parquet",
        help="table of contact scores",
    )
    parser.add_argument(
        "--report",
        type=OutputFile,
        required=True,
        metavar="FILE.tsv",
        help="one line a family: cost, convergence",
    )


def register_objective(parser: argparse.ArgumentParser) -> None:
    """What the fit of a family minimises and where it stops."""
    parser.add_argument(
        "--objective",
        choices=OBJECTIVES,
        default="ccmpred",
        help="sequence weights and regularisation: CCMpred's, or those of the paper's eq. (3); "
        "`fit-potts --help` has their numbers",
    )
    parser.add_argument(
        "--identity-threshold",
        type=share,
        default=0.8,
        help="share of identical columns from which rows share their weight, by either objective",
    )
    parser.add_argument(
        "--stop-rel",
        type=float,
        default=1e-4,
        help="stop when three iterations together gained less than this share of the objective",
    )


def register_centre(
    parser: argparse.ArgumentParser,
    *,
    default: str | None = "none",
    text: str = "what leaves each J_ij before its norm: nothing (the paper), its mean (CCMpred), "
    "or all that the zero-sum gauge moves to the fields",
) -> None:
    """How couplings become contact scores."""
    from npm_core.potts import Centre

    parser.add_argument("--centre", choices=get_args(Centre), default=default, help=text)
