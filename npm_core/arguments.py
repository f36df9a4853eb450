"""Types of command line arguments that many verbs share, and the check of what they write."""

import argparse
import math
import os
from collections.abc import Iterable
from pathlib import Path, PosixPath

from npm_core.errors import OutputError


class OutputFile(PosixPath):
    """Type of an argument that names a file to write, which `check_outputs` looks for."""


def register_window(parser: argparse.ArgumentParser) -> None:
    """The flag --window; where it is not given, `checkpoints.trained_length` says it."""
    parser.add_argument(
        "--window",
        type=positive_int,
        help="Positions read at a time. Default: those of the longest crop the model was trained "
        "on.",
    )


def register_contact_distance(parser: argparse.ArgumentParser) -> None:
    """The flag --contact-distance, the same wherever contacts are counted."""
    parser.add_argument(
        "--contact-distance",
        type=positive,
        default=8.0,
        help="angstrom, C-beta to C-beta; pairs this close or closer are contacts",
    )


def positive_int(text: str) -> int:
    """A whole number from 1."""
    if not (text.isdecimal() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, found {text!r}")
    return int(text)


def positive(text: str) -> float:
    """A finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"expected a finite number above 0, found {text!r}")
    return value


def check_arguments(args: argparse.Namespace) -> None:
    """`check_outputs` on every OutputFile and every other path of a verb's arguments."""
    values = [one for value in vars(args).values() for one in _items(value)]
    outputs = [value for value in values if isinstance(value, OutputFile)]
    inputs = [
        value for value in values if isinstance(value, Path) and not isinstance(value, OutputFile)
    ]
    check_outputs(outputs, inputs)


def _items(value: object) -> Iterable[object]:
    return value if isinstance(value, list) else [value]


def check_outputs(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Refuse, before the work, files that cannot be written or would overwrite one another.

    A device or a pipe may be given more than once.

    Raises:
        OutputError: An output is a folder, lies in what is no folder, or is the same file as an
            input or another output.
    """
    taken = {os.path.realpath(path): "is an input too" for path in inputs}
    for path in outputs:
        if path.is_dir():
            raise OutputError(f"{path}: is a folder; name a file to write")
        parent = next(one for one in path.absolute().parents if one.exists())
        if not parent.is_dir():
            raise OutputError(f"{path}: {parent} is no folder; name another file to write")
        if path.exists() and not path.is_file():
            continue
        real = os.path.realpath(path)
        if real in taken:
            raise OutputError(f"{path}: {taken[real]}; name another file to write")
        taken[real] = "would be written twice"
