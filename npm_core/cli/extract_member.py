"""Copy one file out of a tar (nested tars included) or zip archive, without unpacking the rest."""

import argparse
from pathlib import Path

from npm_core.cli._arguments import OutputFile


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--archive", type=Path, required=True, metavar="FILE", help="tar, compressed or not, or zip"
    )
    parser.add_argument("--member", required=True, help="file name, without folders")
    parser.add_argument("--output", required=True, type=OutputFile, metavar="FILE", help="the copy")


def run(args: argparse.Namespace) -> None:
    """Stream the member to its place."""
    from npm_core.archives import extract_member
    from npm_core.progress import note

    note(f"{args.output}: {extract_member(args.archive, args.member, args.output)}")
