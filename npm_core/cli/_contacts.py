"""Command line arguments of the verbs that score the contacts of Potts models."""

import argparse
from pathlib import Path
from typing import get_args


def register_centre(
    parser: argparse.ArgumentParser, *, default: str | None = "none", more: str = ""
) -> None:
    """How couplings become contact scores; `more` ends the help."""
    from npm_core.contacts import Centre

    parser.add_argument(
        "--centre",
        choices=get_args(Centre),
        default=default,
        help="what leaves each J_ij before its norm: nothing (the paper), its mean (CCMpred), or "
        f"all that the zero-sum gauge moves to the fields{more}",
    )


def register_test_rows(parser: argparse.ArgumentParser) -> None:
    """Rows that judge Potts models beside their contacts."""
    parser.add_argument(
        "--test-rows",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE.parquet",
        help="of `reduce-families`: rows of the targets' families that no model was made from; "
        "the table then has each model's loss on them",
    )
