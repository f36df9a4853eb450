"""Command line arguments of the verbs that fit Potts models."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from npm_core.cli._arguments import OutputFile, positive, positive_int, register_identity_threshold
from npm_core.cli._contacts import register_centre, register_test_rows
from npm_core.descent import Stop

if TYPE_CHECKING:
    from npm_core.family_fitting import FamilyFitter


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


def register_objective(parser: argparse.ArgumentParser) -> None:
    """What the fit of a family minimises and where it stops."""
    from npm_core.potts import ObjectiveName

    parser.add_argument(
        "--objective",
        choices=get_args(ObjectiveName),
        default="ccmpred",
        help="sequence weights and regularisation: CCMpred's, or those of the paper's eq. (3); "
        "`fit-potts --help` has their numbers",
    )
    register_identity_threshold(
        parser, "share of identical columns from which rows share their weight, by either objective"
    )
    parser.add_argument(
        "--stop-rel",
        type=positive,
        default=Stop.rel,
        help="stop when three iterations together gained less than this share of the objective",
    )


def fitter_of(args: argparse.Namespace, model: str) -> "FamilyFitter":
    """What `register_objective` and `register_centre` asked for; the scores call it `model`."""
    from npm_core.family_fitting import FamilyFitter
    from npm_core.plm import Objective

    objective = Objective(args.objective, identity_threshold=args.identity_threshold)
    return FamilyFitter(objective, Stop(args.stop_rel), args.centre, model)
