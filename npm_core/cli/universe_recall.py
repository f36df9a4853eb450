"""Recall of the generated families by a search: which share of a family its alignments hold.

Written is one row a family: queries, members, mean recall, and the mean number of rows from other
families of the clan and from strangers.
"""

import argparse
from pathlib import Path

from npm_core.arguments import OutputFile


def register(parser: argparse.ArgumentParser) -> None:
    """Arguments of `universe-recall`."""
    parser.add_argument("--truth", type=Path, required=True, metavar="DIR", help="truth/ folder")
    parser.add_argument(
        "--msas", nargs="+", required=True, metavar="PREFIX", help="shards written by `search`"
    )
    parser.add_argument("--output", type=OutputFile, required=True, metavar="TSV")
    parser.add_argument(
        "--minimum", type=float, default=0.0, help="fail if the mean over families is below"
    )


def run(args: argparse.Namespace) -> None:
    """Measure, write and judge."""
    from npm_core.errors import DataError
    from npm_core.files import write_text
    from npm_core.progress import note
    from npm_core.universe.recall import family_recall, recall_table

    table = recall_table(family_recall(args.truth, args.msas))
    if table.empty:
        raise DataError(f"none of {', '.join(args.msas)} has a query of the universe's families")
    write_text(args.output, table.to_csv(sep="\t", index=False, float_format="%.4g"))
    mean = table["recall"].mean()
    note(f"mean recall {mean:.3f} over {len(table)} families, least {table['recall'].min():.3f}")
    if mean < args.minimum:
        raise DataError(f"mean recall is {mean:.3f}, expected at least {args.minimum}")
