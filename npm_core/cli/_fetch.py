"""Command line arguments of the verbs that fetch files."""

import argparse

from npm_core.source_lock import SourceLock


def register_lock(parser: argparse.ArgumentParser) -> None:
    """The flag --lock of every verb that fetches."""
    parser.add_argument(
        "--lock",
        type=SourceLock,
        metavar="FILE.tsv",
        help="sha256 of everything fetched: what is on record must be the same, the rest is added; "
        "omit to check nothing",
    )
