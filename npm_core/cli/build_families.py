"""Make families of alignments: HHfilter, encoding, sequence weights, one table.

The alignments are A3M texts in an FFindex; their keys become the ids of the families. The ledger
has the search's columns and found (rows before the filter), length, meff and nonstandard (letters
replaced by a parent amino acid or a gap).
"""

import argparse

from npm_core.cli._arguments import (
    OutputFile,
    positive_int,
    register_identity_threshold,
    register_max_failed,
    whole,
)
from npm_core.hhsuite import FilterSettings
from npm_core.settings import add_flags, overridden


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--msas", required=True, metavar="PREFIX", help="FFindex of A3M texts")
    parser.add_argument(
        "--output", type=OutputFile, required=True, metavar="FILE.parquet", help="table of families"
    )
    parser.add_argument(
        "--ledger",
        type=OutputFile,
        required=True,
        metavar="FILE.tsv",
        help="what became of each alignment",
    )
    register_identity_threshold(parser)
    add_flags(parser, FilterSettings, "filter-", grouped=False)
    parser.add_argument(
        "--filter-coverage",
        type=whole,
        default=FilterSettings.coverage,
        help="hhfilter -cov, per cent",
    )
    register_max_failed(parser, "alignments")
    parser.add_argument("--workers", type=positive_int, default=1, help="alignments at a time")


def run(args: argparse.Namespace) -> None:
    """Build the table."""
    from npm_core.family_building import build_families

    build_families(
        args.msas,
        args.output,
        args.ledger,
        settings=overridden(FilterSettings(coverage=args.filter_coverage), args),
        identity_threshold=args.identity_threshold,
        workers=args.workers,
        max_failed_share=args.max_failed_share,
    )
