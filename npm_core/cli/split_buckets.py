"""Partition a clan's families into equal buckets; families that share a structure stay together.

Written is a TSV of family and bucket, 0-based.
"""

import argparse
from pathlib import Path

from npm_core.cli._arguments import OutputFile, positive_int, whole


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--families", type=Path, required=True, nargs="+", help="tables of families"
    )
    parser.add_argument(
        "--targets",
        type=Path,
        required=True,
        metavar="FILE.parquet",
        help="table of the clan's targets, which name their structures",
    )
    parser.add_argument("--buckets", type=positive_int, default=5, help="how many (C.3)")
    parser.add_argument("--seed", type=whole, required=True, help="of the partition")
    parser.add_argument(
        "--output",
        type=OutputFile,
        required=True,
        metavar="FILE.tsv",
        help="table of family and bucket",
    )


def run(args: argparse.Namespace) -> None:
    """Read ids and targets, deal the buckets and write them."""
    from npm_core.buckets import split_buckets, write_buckets
    from npm_core.progress import note
    from npm_core.tables import read_family_queries, read_targets

    targets = list(read_targets(args.targets))
    families = list(read_family_queries(*args.families))
    buckets = split_buckets(families, targets, buckets=args.buckets, seed=args.seed)
    write_buckets(args.output, buckets)
    with_target = {target.id for target in targets}
    for bucket in range(args.buckets):
        own = {family for family, number in buckets.items() if number == bucket}
        note(f"bucket {bucket}: {len(own)} families, {len(own & with_target)} with a target")
