"""Score each target's contacts by the Potts model of its nearest training family (paper, C.3).

The model is fitted to the family's alignment under a random member; the rows and columns of its
contact scores that align to the target are the target's. Pairs that do not align rank last.
Targets without a hit, or without two aligned residues, get no scores and are counted.
"""

import argparse
from pathlib import Path

from npm_core.cli._arguments import OutputFile, positive_int, whole
from npm_core.cli._contacts import register_centre
from npm_core.cli._neighbours import register_inputs
from npm_core.cli._potts import fitter_of, register_objective


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--neighbours",
        type=Path,
        required=True,
        metavar="FILE.parquet",
        help="of `find-neighbours` or `find-clan-neighbours`",
    )
    register_inputs(parser)
    register_objective(parser)
    register_centre(parser)
    parser.add_argument("--seed", type=whole, required=True, help="of the reference members")
    parser.add_argument("--workers", type=positive_int, default=1, help="processes")
    parser.add_argument(
        "--output",
        type=OutputFile,
        required=True,
        metavar="FILE.parquet",
        help="table of contact scores",
    )


def run(args: argparse.Namespace) -> None:
    """Fit each neighbour once, carry its scores over, and write them."""
    from npm_core.nearest import transfer_table

    transfer_table(
        fitter_of(args, "nearest"),
        neighbours=args.neighbours,
        targets=args.targets,
        families=args.families,
        seed=args.seed,
        workers=args.workers,
        output=args.output,
    )
