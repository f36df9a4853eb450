"""Command line arguments of the verbs that build a report's page."""

import argparse
from pathlib import Path

from npm_core.cli._arguments import whole


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
