"""Unpack a published HH-suite database (UniClust30) under one prefix."""

import argparse
from pathlib import Path


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--archive", type=Path, required=True, metavar="FILE.tar.gz", help="as it is published"
    )
    parser.add_argument(
        "--output", required=True, type=Path, metavar="PREFIX", help="of the database's files"
    )


def run(args: argparse.Namespace) -> None:
    """Stream the database's files out of the archive."""
    from npm_core.archives import unpack_database
    from npm_core.progress import note

    for path in unpack_database(args.archive, args.output):
        note(f"{path}: {path.stat().st_size / 1e9:.2f} GB")
