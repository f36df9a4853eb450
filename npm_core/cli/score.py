"""Score the contacts of a Potts model: drop the gap, Frobenius norm, average product correction.

The score is the paper's (C.2) unless --centre asks for another. A .mat file is what CCMpred
prints under its own convention (mean centring, then the smallest score becomes 0). Of a .rr file
p is the score over the largest one, not a probability; pairs fewer than 6 residues apart and
scores that are not above zero are left out.
"""

import argparse
from pathlib import Path

from npm_core.cli._arguments import OutputFile, register_map
from npm_core.cli._contacts import register_centre


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--potts", type=Path, required=True, metavar="FILE", help="any format that `convert` reads"
    )
    parser.add_argument(
        "--output",
        type=OutputFile,
        required=True,
        metavar="FILE",
        help=".mat (CCMpred's), .npy, .npz, .csv (EVcouplings) or .rr (CASP)",
    )
    register_map(parser)
    register_centre(parser, default=None, more="; default none, for .mat mean")


def run(args: argparse.Namespace) -> None:
    """Read, score, write."""
    from npm_core import potts_files
    from npm_core.contact_map import draw_contact_map
    from npm_core.progress import note

    model = potts_files.read_model(args.potts)
    written = potts_files.write_model_scores(args.output, model, centre=args.centre)
    note(f"{args.output}: contact scores of {model.length} residues")
    if args.map:
        whole, _ = written.whole()
        draw_contact_map(args.map, args.potts.name, whole.scores, first=int(whole.numbers[0]))
