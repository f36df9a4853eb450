"""Command line arguments of the verbs that score the contacts of Potts models."""

import argparse
from typing import get_args


def register_centre(
    parser: argparse.ArgumentParser, *, default: str | None = "none", more: str = ""
) -> None:
    """How couplings become contact scores; `more` ends the help."""
    from npm_core.potts import Centre

    parser.add_argument(
        "--centre",
        choices=get_args(Centre),
        default=default,
        help="what leaves each J_ij before its norm: nothing (the paper), its mean (CCMpred), or "
        f"all that the zero-sum gauge moves to the fields{more}",
    )
