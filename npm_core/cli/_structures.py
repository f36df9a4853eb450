"""Command line arguments of the verbs that select structures."""

import argparse
from datetime import date

from npm_core.cli._arguments import positive, whole
from npm_core.pdb_selection import Criteria


def register_criteria(parser: argparse.ArgumentParser) -> None:
    """What an entry and a chain must meet."""
    parser.add_argument(
        "--max-resolution",
        type=positive,
        default=Criteria.max_resolution,
        help="angstrom; resolutions below this",
    )
    parser.add_argument(
        "--min-length",
        type=whole,
        default=Criteria.min_length,
        help="residues; chains longer than this",
    )
    parser.add_argument(
        "--deposited-before",
        type=date.fromisoformat,
        default=Criteria.deposited_before,
        metavar="YYYY-MM-DD",
        help="first day that is too late",
    )
    parser.add_argument(
        "--methods",
        nargs="+",
        default=list(Criteria.methods),
        metavar="METHOD",
        help='experimental methods, e.g. "X-RAY DIFFRACTION", one of which an entry must have; any '
        "when not given",
    )


def criteria(args: argparse.Namespace) -> Criteria:
    """What `register_criteria` asked for."""
    return Criteria(
        max_resolution=args.max_resolution,
        min_length=args.min_length,
        deposited_before=args.deposited_before,
        methods=tuple(method.upper() for method in args.methods),
    )
