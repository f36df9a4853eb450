"""Score the contacts of a Potts model: drop the gap, Frobenius norm, average product correction.

The score is the paper's (C.2) unless --centre asks for another. A .mat file is what CCMpred
prints under its own convention (mean centring, then the smallest score becomes 0).
"""

import argparse
from pathlib import Path

from npm_core.arguments import OutputFile


def register(parser: argparse.ArgumentParser) -> None:
    """Arguments of `score`."""
    parser.add_argument(
        "--potts", type=Path, required=True, metavar="FILE", help="any format that `convert` reads"
    )
    parser.add_argument(
        "--output",
        type=OutputFile,
        required=True,
        metavar="FILE",
        help=".mat (CCMpred's), .npy, .npz or .rr",
    )
    parser.add_argument(
        "--centre",
        choices=("none", "mean", "zero_sum"),
        help="what leaves each J_ij first; default none, for .mat mean",
    )


def run(args: argparse.Namespace) -> None:
    """Read, score, write."""
    from pathlib import Path

    from npm_core import formats
    from npm_core.errors import SettingsError
    from npm_core.potts import ccmpred_matrix, contact_scores

    model = formats.read_model(args.potts)
    if Path(args.output).suffix == ".mat":
        if args.centre not in (None, "mean"):
            raise SettingsError(
                f"--centre {args.centre} has no .mat file: CCMpred's has the mean subtracted; "
                "write .npy or .npz"
            )
        formats.write_scores(args.output, ccmpred_matrix(model.couplings))
        return
    scores = contact_scores(model.couplings, centre=args.centre or "none")
    formats.write_scores(args.output, scores, query=formats.query_of(model))
