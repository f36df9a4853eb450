"""Cut a FASTA file into a fixed number of shards, DIR/0000.fasta and on.

Where a sequence goes depends on its id alone. Shards may be empty.
"""

import argparse
from pathlib import Path

from npm_core.cli._arguments import OutputFolder, positive_int


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--fasta", type=Path, required=True, help="sequences, gzipped or not")
    parser.add_argument(
        "--shards", required=True, type=positive_int, help="how many files, exactly"
    )
    parser.add_argument(
        "--max-queries", type=positive_int, help="use only this many, chosen by hash (default: all)"
    )
    parser.add_argument(
        "--may-be-empty", action="store_true", help="no sequence at all is no error"
    )
    parser.add_argument("--output", required=True, type=OutputFolder, help="for the shards")


def run(args: argparse.Namespace) -> None:
    """Read the sequences twice: once to choose, once to deal."""
    from npm_core.progress import note
    from npm_core.queries import shard_queries

    counts = shard_queries(
        args.fasta,
        args.output,
        shards=args.shards,
        max_queries=args.max_queries,
        may_be_empty=args.may_be_empty,
    )
    note(
        f"{args.output}: {sum(counts)} queries in {len(counts)} shards "
        f"of {min(counts)} to {max(counts)}"
    )
