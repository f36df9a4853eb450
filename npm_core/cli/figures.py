"""Write one experiment's figures as SVG and PDF files, for a paper, and their numbers as tables.

Arguments are those of `report`. Beside FIGURE.svg and FIGURE.pdf stands FIGURE.parquet, the tidy
table that the figure draws.
"""

import argparse

from npm_core.cli._arguments import OutputFolder
from npm_core.cli._report import add_inputs

FORMATS = ("svg", "pdf", "parquet")


def register(parser: argparse.ArgumentParser) -> None:
    add_inputs(parser)
    parser.add_argument(
        "--formats",
        nargs="+",
        choices=FORMATS,
        default=list(FORMATS),
        help="files of each figure; all by default",
    )
    parser.add_argument("--output", required=True, type=OutputFolder, help="for the figures")


def run(args: argparse.Namespace) -> None:
    """Build the report's page, and write its figures alone."""
    from npm_core.progress import note
    from npm_core.report.build import Files, build
    from npm_core.report.static import write_figures

    files = Files.of(args)
    page = build(files, seed=args.seed, max_cards=args.cards)
    count = write_figures(page, args.output, args.formats)
    note(f"{args.output}: {count} files")
