"""Count a sample's rows after HHfilter -cov 0, 20, 30, ... 80: the table behind Figure 7.

The alignments are A3M texts in one or more FFindexes. The table has the columns id, coverage (per
cent of the query that each row must cover) and depth (rows kept, the query counted).
"""

import argparse

from npm_core.cli._arguments import OutputFile, positive_int, whole
from npm_core.hhsuite import FilterSettings
from npm_core.settings import add_flags, overridden


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--msas", required=True, nargs="+", metavar="FILE.ffdata", help="A3M texts")
    parser.add_argument(
        "--alignments", type=positive_int, default=1000, help="size of the random sample"
    )
    parser.add_argument(
        "--coverages",
        type=whole,
        nargs="+",
        default=[0, *range(20, 90, 10)],
        help="hhfilter -cov, per cent",
    )
    add_flags(parser, FilterSettings, "filter-", grouped=False)
    parser.add_argument("--seed", type=whole, default=1, help="of the sample")
    parser.add_argument(
        "--workers", type=positive_int, default=1, help="calls of hhfilter at a time"
    )
    parser.add_argument(
        "--output", type=OutputFile, required=True, metavar="FILE.parquet", help="table of depths"
    )


def run(args: argparse.Namespace) -> None:
    """Filter, count, write."""
    from npm_core.coverage_sweep import sweep

    sweep(
        [name.removesuffix(".ffdata") for name in args.msas],
        args.output,
        coverages=args.coverages,
        alignments=args.alignments,
        settings=overridden(FilterSettings(), args),
        seed=args.seed,
        workers=args.workers,
    )
