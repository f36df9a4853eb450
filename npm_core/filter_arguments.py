"""Command line arguments of the verbs that filter alignments with HHfilter."""

import argparse

from npm_core.arguments import whole
from npm_core.hhsuite import FilterSettings


def register_filter(parser: argparse.ArgumentParser) -> None:
    """HHfilter's settings, but for the coverage."""
    parser.add_argument(
        "--filter-identity",
        type=whole,
        default=FilterSettings.identity,
        help="hhfilter -id, per cent",
    )
    parser.add_argument(
        "--filter-diff",
        type=whole,
        default=FilterSettings.difference,
        help="hhfilter -diff, 0 for all",
    )
