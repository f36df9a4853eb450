"""Write the card of a trained model: data, cost, training curve, results, limits.

A Markdown file to stand beside the weights wherever they go.
"""

import argparse
from pathlib import Path

from npm_core.cli._arguments import OutputFile, whole


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", type=Path, required=True, metavar="DIR", help="of `train`")
    parser.add_argument(
        "--pretrained", type=Path, metavar="DIR", help="of `pretrain`, if it made the trunk"
    )
    parser.add_argument(
        "--precision", type=Path, nargs="+", required=True, help="tables of `tabulate-precision`"
    )
    parser.add_argument("--data", required=True, help="a sentence on what it was trained on")
    parser.add_argument("--licence", required=True, help="a sentence on weights and data")
    parser.add_argument("--seed", type=whole, default=1, help="of the bootstrap")
    parser.add_argument(
        "--output", type=OutputFile, required=True, metavar="FILE.md", help="the card"
    )


def run(args: argparse.Namespace) -> None:
    """Read the records, write the card."""
    from npm_core.files import write_text
    from npm_core.report.model_card import render
    from npm_core.report.summary import read_precision

    precision = read_precision(*args.precision)
    about = {"data": args.data, "licence": args.licence}
    card = render(
        args.checkpoint,
        pretrained=args.pretrained,
        precision=precision,
        about=about,
        seed=args.seed,
    )
    write_text(args.output, card)
