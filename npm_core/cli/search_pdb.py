"""Ask the RCSB Search API for the protein chains to evaluate on, and freeze its answer.

The output is a sorted list of polymer entities (1ABC_1); its sha256 is recorded in the lock file
and enforced from then on. `select-structures --hits` keeps the entries of the list.
"""

import argparse

from npm_core.cli._arguments import OutputFile
from npm_core.cli._fetch import register_lock
from npm_core.cli._structures import criteria, register_criteria


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", required=True, help="of the service")
    register_criteria(parser)
    register_lock(parser)
    parser.add_argument("--output", type=OutputFile, required=True, help="list of polymer entities")


def run(args: argparse.Namespace) -> None:
    """Ask, check, write."""
    from npm_core.pdb_search import search
    from npm_core.progress import note

    count = search(args.url, criteria(args), args.output, lock=args.lock)
    note(f"{args.output}: {count} polymer entities")
