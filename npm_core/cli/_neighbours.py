"""What the verbs on nearest families share: flags, and how the table of neighbours is written."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from npm_core.cli._arguments import OutputFile

if TYPE_CHECKING:
    from npm_core.neighbours import Neighbour


def register_inputs(parser: argparse.ArgumentParser) -> None:
    """The flags --targets, and --families that the nearest to each is one of."""
    parser.add_argument("--targets", type=Path, required=True, nargs="+", help="tables of targets")
    parser.add_argument(
        "--families", type=Path, required=True, nargs="+", help="tables of families"
    )


def register_output(parser: argparse.ArgumentParser) -> None:
    """The flag --output of their tables."""
    parser.add_argument(
        "--output",
        required=True,
        type=OutputFile,
        metavar="FILE.parquet",
        help="table of neighbours, one a target",
    )


def write_found(path: Path, found: "Sequence[Neighbour]", **facts: object) -> None:
    """Write the neighbours, with `facts` on how they were found, and say how many there are."""
    from npm_core.neighbours import write_neighbours
    from npm_core.progress import note
    from npm_core.provenance import provenance

    without = sum(neighbour.family is None for neighbour in found)
    counts = {"targets": len(found), "targets_without_hit": without}
    write_neighbours(path, found, provenance(**facts, **counts))
    note(f"{len(found)} targets, {without} without a hit")
