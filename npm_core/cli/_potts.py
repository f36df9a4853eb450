"""Command line arguments of the verbs that fit Potts models."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from npm_core.cli._arguments import OutputFile, positive, positive_int, share
from npm_core.cli._contacts import register_centre, register_test_rows
from npm_core.descent import Stop
from npm_core.settings import overridden

if TYPE_CHECKING:
    from npm_core.family_fitting import FamilyFitter
    from npm_core.plm import Objective


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
    register_test_rows(parser)
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


def register_objective(
    parser: argparse.ArgumentParser, more: str = "; `fit-potts --help` has their numbers"
) -> None:
    """What the fit of a family minimises and where it stops; `more` ends the objectives' help."""
    from npm_core.potts import ObjectiveName

    parser.add_argument(
        "--objective",
        choices=get_args(ObjectiveName),
        default="ccmpred",
        help="sequence weights and regularisation: CCMpred's, or those of the paper's eq. (3)"
        f"{more}",
    )
    parser.add_argument(
        "--identity-threshold",
        dest="Objective.identity_threshold",
        type=share,
        default=argparse.SUPPRESS,
        help="share of identical columns from which rows share their weight, by either objective; "
        "default 0.8",
    )
    parser.add_argument(
        "--stop-rel",
        dest="Stop.rel",
        type=positive,
        default=argparse.SUPPRESS,
        help="stop when three iterations together gained less than this share of the objective; "
        f"default {Stop.rel}",
    )


def objective_and_stop(args: argparse.Namespace) -> "tuple[Objective, Stop]":
    """What `register_objective` asked for."""
    from npm_core.plm import Objective

    return overridden(Objective(args.objective), args), overridden(Stop(), args)


def fitter_of(args: argparse.Namespace, model: str) -> "FamilyFitter":
    """What `register_objective` and `register_centre` asked for; the scores call it `model`."""
    from npm_core.family_fitting import FamilyFitter

    return FamilyFitter(*objective_and_stop(args), args.centre, model)
