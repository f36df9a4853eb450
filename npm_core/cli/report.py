"""Write one experiment's report: one HTML file that opens anywhere and asks no network.

Ledgers and audits are tab-separated with the columns status and reason; metrics are CSV with a
column step. With reduced depths (pfam_clan) each precision table names the scores it was made
from; metrics and alignments given in the order of the precision tables take their clan, round and
depth. @FILE stands for the lines of a file, one argument a line.
"""

import argparse
import sys

from npm_core.cli._arguments import OutputFile
from npm_core.cli._report import add_inputs


def register(parser: argparse.ArgumentParser) -> None:
    add_inputs(parser)
    parser.add_argument(
        "--output", required=True, type=OutputFile, metavar="FILE.html", help="the page"
    )


def run(args: argparse.Namespace) -> None:
    """Read, build the page, write it."""
    from npm_core.files import write_text
    from npm_core.report.build import Files, build, record
    from npm_core.report.page import render

    files = Files.of(args)
    command = ["python", "-m", "npm_core", *sys.argv[1:]]
    page = build(files, seed=args.seed, max_cards=args.cards)
    write_text(args.output, render(page, record(files, seed=args.seed, command=command)))
