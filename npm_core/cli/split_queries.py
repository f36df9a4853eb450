"""Split the sequences of a FASTA file into train and test by the hash of their ids.

The split of a sequence depends on its id and the salt alone: not on the order of the file, nor on
which other sequences are in it. With --held-out the test split is a published list of ids instead.
"""

import argparse
from pathlib import Path

from npm_core.cli._arguments import OutputFile, share_from_zero


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--fasta", type=Path, required=True, help="sequences, gzipped or not")
    parser.add_argument(
        "--test-share",
        type=share_from_zero,
        default=0.1,
        help="expected share of the test split (C.4)",
    )
    parser.add_argument(
        "--salt", default="", help="any text; another one makes another split (default: none)"
    )
    parser.add_argument(
        "--held-out", type=Path, help="file of ids, one a line: these are the test split"
    )
    parser.add_argument("--train", type=OutputFile, required=True, help="FASTA file to write")
    parser.add_argument("--test", type=OutputFile, required=True, help="FASTA file to write")


def run(args: argparse.Namespace) -> None:
    """Stream the sequences once."""
    from npm_core.progress import note
    from npm_core.queries import split_queries

    train, test = split_queries(
        args.fasta,
        train=args.train,
        test=args.test,
        share=args.test_share,
        salt=args.salt,
        held_out=args.held_out,
    )
    note(f"{args.fasta}: {train} train and {test} test sequences")
