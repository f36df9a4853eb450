"""Download one file from the first mirror that has it, resumably, and check its digest.

The first download of a URL records its sha256 in the lock file; every later one must have the same.
"""

import argparse

from npm_core.cli._arguments import OutputFile, positive, positive_int
from npm_core.cli._fetch import register_lock


def register(parser: argparse.ArgumentParser) -> None:
    from npm_core.fetch import PATIENT

    parser.add_argument(
        "--url",
        required=True,
        nargs="+",
        action="extend",
        help="https://, http:// or file://, then its mirrors, best first",
    )
    parser.add_argument(
        "--output",
        type=OutputFile,
        required=True,
        metavar="FILE",
        help="the file, whole or not at all",
    )
    register_lock(parser)
    parser.add_argument(
        "--attempts",
        type=positive_int,
        default=PATIENT.attempts,
        help="downloads tried of each mirror",
    )
    parser.add_argument(
        "--timeout",
        type=positive,
        default=PATIENT.timeout,
        help="seconds without a byte that end an attempt",
    )


def run(args: argparse.Namespace) -> None:
    """Download."""
    from npm_core.fetch import Patience, download
    from npm_core.progress import note

    patience = Patience(args.attempts, args.timeout)
    digest = download(args.url, args.output, lock=args.lock, patience=patience)
    note(f"{args.output}: sha256 {digest}")
