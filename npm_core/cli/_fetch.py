"""Command line arguments of the verbs that fetch files."""

import argparse
from pathlib import Path

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


def register_archive(parser: argparse.ArgumentParser) -> None:
    """The flags --url-template, --lock and --cache of verbs that read entries of the PDB."""
    parser.add_argument(
        "--url-template",
        required=True,
        metavar="URL",
        help="place of an entry; {id} is the entry, {middle} the two characters before its last",
    )
    register_lock(parser)
    parser.add_argument("--cache", type=Path, required=True, metavar="DIR", help="of fetched files")
