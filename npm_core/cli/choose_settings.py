"""Choose the settings of a training by what each candidate reached on validation families.

Candidates are all combinations of the grid, in the order in which the trainings' metrics are given.
The record (JSON) holds the chosen settings, the measure, and every candidate with its value.
"""

import argparse
from pathlib import Path

from npm_core.cli._arguments import OutputFile
from npm_core.selection import LOWER_IS_BETTER


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--grid",
        required=True,
        metavar="JSON",
        help='settings and the values tried of each, e.g. {"steps": [100, 200]}',
    )
    parser.add_argument(
        "--metrics",
        required=True,
        nargs="+",
        type=Path,
        help="what `train --metrics` wrote of each candidate",
    )
    parser.add_argument(
        "--measure",
        default="validation_pseudolikelihood",
        help=f"their column whose last value decides: {', '.join(LOWER_IS_BETTER)}",
    )
    parser.add_argument(
        "--output",
        required=True,
        type=OutputFile,
        metavar="FILE.json",
        help="the record, which `train` reads by --choice",
    )


def run(args: argparse.Namespace) -> None:
    """Read the last validation of each training, choose, write."""
    import json

    from npm_core.errors import SettingsError
    from npm_core.files import write_text
    from npm_core.progress import note
    from npm_core.selection import choose, final_measure, grid

    try:
        candidates = grid(json.loads(args.grid))
    except (json.JSONDecodeError, AttributeError, TypeError) as error:
        raise SettingsError(f"--grid: expected JSON of lists by setting ({error})") from error
    values = [final_measure(path, args.measure) for path in args.metrics]
    number, chosen = choose(candidates, values, measure=args.measure)
    record = {
        "chosen": chosen,
        "measure": args.measure,
        "candidates": [
            {"settings": settings, "value": value, "metrics": str(path)}
            for settings, value, path in zip(candidates, values, args.metrics, strict=True)
        ],
    }
    write_text(args.output, json.dumps(record, indent=2) + "\n")
    note(f"{args.output}: candidate {number} of {len(candidates)}, {chosen}")
