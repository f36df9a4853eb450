"""Write one experiment's report: one HTML file that opens anywhere and asks no network.

Ledgers and audits are tab-separated with the columns status and reason; metrics are CSV with a
column step. With reduced depths (pfam_clan) each precision table names the scores it was made
from; metrics and alignments given in the order of the precision tables take their clan, round and
depth. @FILE stands for the lines of a file, one argument a line.
"""

import argparse
import sys
from pathlib import Path

from npm_core.arguments import OutputFile, whole


def register(parser: argparse.ArgumentParser) -> None:
    """Arguments of `report`."""
    add_inputs(parser)
    parser.add_argument(
        "--output", required=True, type=OutputFile, metavar="FILE.html", help="the page"
    )


def add_inputs(parser: argparse.ArgumentParser) -> None:
    """What a page is built from."""
    parser.add_argument(
        "--experiment", required=True, choices=("uniref50", "pfam_clan"), help="which of the two"
    )
    for flag, what in (
        ("--precision", "tabulate-precision's tables"),
        ("--targets", "structures of the targets"),
        ("--scores", "contact scores, for the maps"),
        ("--alignments", "families the independent Potts models were fitted to, for links"),
        ("--families", "families trained on, for their depths"),
        ("--ledgers", "what each step dropped, and why"),
        ("--metrics", "trajectories of the trainings"),
        ("--timed", "further tables with a column of seconds: reports of fits, other trainings"),
    ):
        needed = flag in ("--precision", "--targets")
        parser.add_argument(
            flag, required=needed, default=[], nargs="+", type=Path, metavar="FILE", help=what
        )
    parser.add_argument(
        "--coverage-sweep",
        type=Path,
        metavar="FILE.parquet",
        help="coverage-sweep's table, for Figure 7",
    )
    parser.add_argument("--leakage", type=Path, metavar="FILE.tsv", help="count-leakage's audit")
    parser.add_argument(
        "--settings",
        required=True,
        type=Path,
        metavar="FILE.yaml",
        help="of the run, as `record-settings` writes them",
    )
    parser.add_argument("--seed", type=whole, default=1, help="of the bootstrap")
    parser.add_argument("--cards", type=whole, default=300, help="most targets with a card")


def run(args: argparse.Namespace) -> None:
    """Read, build the page, write it."""
    from npm_core.files import write_text
    from npm_core.report.build import Files, build, record
    from npm_core.report.page import render

    files = Files.of(args)
    command = ["python", "-m", "npm_core", *sys.argv[1:]]
    page = build(files, seed=args.seed, max_cards=args.cards)
    write_text(args.output, render(page, record(files, seed=args.seed, command=command)))
