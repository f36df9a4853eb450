"""Command line arguments of verbs of any kind: flags, and the types of their values."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path, PosixPath


class OutputFile(PosixPath):
    """Type of an argument that names a file to write, which `check_outputs` looks for."""


class OutputFolder(PosixPath):
    """Type of an argument that names a folder to write to, which `check_folders` looks for."""


def output_file(*suffixes: str) -> Callable[[str], OutputFile]:
    """Type of an argument that names a file to write, whose suffix, if it has any, is of these."""

    def named(text: str) -> OutputFile:
        path = OutputFile(text)
        if path.suffix.lower() not in ("", *suffixes):
            raise argparse.ArgumentTypeError(
                f"expected a name that ends in {' or '.join(suffixes)}, found {text!r}"
            )
        return path

    return named


def whole(text: str) -> int:
    """A whole number from 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number from 0, found {text!r}")
    return int(text)


def positive_int(text: str) -> int:
    """A whole number from 1."""
    if not (text.isdecimal() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, found {text!r}")
    return int(text)


def positive(text: str) -> float:
    """A finite number above 0."""
    value = _number(text)
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"expected a finite number above 0, found {text!r}")
    return value


def share(text: str) -> float:
    """A number above 0 and at most 1."""
    value = _number(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number above 0, at most 1, found {text!r}")
    return value


def share_from_zero(text: str) -> float:
    """A number from 0 to 1."""
    value = _number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, found {text!r}")
    return value


def gibibytes(text: str) -> float:
    """A finite number from 1: HHblits takes no less, and 0 would be all memory to MMseqs2."""
    value = _number(text)
    if not 1 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a finite number from 1, found {text!r}")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def register_window(parser: argparse.ArgumentParser) -> None:
    """The flag --window; where it is not given, `checkpoints.trained_length` says it."""
    parser.add_argument(
        "--window",
        type=positive_int,
        help="positions read at a time; default: as many as in the longest crop of its training",
    )


def register_map(parser: argparse.ArgumentParser, more: str = "") -> None:
    """The flag --map, a picture for the eye beside the numbers; `more` ends its help."""
    parser.add_argument(
        "--map",
        type=output_file(".png", ".pdf", ".svg"),
        metavar="FILE",
        help="picture (.png, .pdf or .svg) of the scores (lower triangle) and the L strongest "
        f"pairs 6 or more residues apart (upper triangle){more}",
    )


def register_search_outputs(parser: argparse.ArgumentParser, *, scratch: str, each: str) -> None:
    """The flags --scratch, --output and --ledger of a search; `scratch` and `each` say of what."""
    parser.add_argument("--scratch", type=OutputFolder, required=True, help=scratch)
    parser.add_argument(
        "--output",
        type=OutputFile,
        required=True,
        metavar="PREFIX",
        help="of the FFindex of alignments",
    )
    parser.add_argument(
        "--ledger",
        type=OutputFile,
        required=True,
        metavar="FILE.tsv",
        help=f"what became of each {each}",
    )


def register_structure(
    parser: argparse.ArgumentParser, others: argparse._MutuallyExclusiveGroup | None = None
) -> None:
    """The flags --structure, required or one of `others`, and --chain; `read_target` reads them."""
    (others or parser).add_argument(
        "--structure",
        type=Path,
        required=others is None,
        help="mmCIF or PDB file, gzipped or not",
    )
    parser.add_argument(
        "--chain", help="author's name of the chain, else its label; needed if there are several"
    )


def register_contact_distance(parser: argparse.ArgumentParser) -> None:
    """The flag --contact-distance, the same wherever contacts are counted."""
    parser.add_argument(
        "--contact-distance",
        type=positive,
        default=8.0,
        help="angstrom, C-beta to C-beta; pairs this close or closer are contacts",
    )


def register_min_resolved(parser: argparse.ArgumentParser) -> None:
    """The flag --min-resolved, the same wherever targets are made."""
    parser.add_argument(
        "--min-resolved",
        type=share,
        default=0.5,
        help="share of a target's residues that must be resolved",
    )


def register_identity_threshold(parser: argparse.ArgumentParser) -> None:
    """The flag --identity-threshold of verbs that weight the rows of families."""
    parser.add_argument(
        "--identity-threshold",
        type=share,
        default=0.8,
        help="rows that agree in this share of columns share their weight",
    )


def register_max_failed(parser: argparse.ArgumentParser, what: str) -> None:
    """The flag --max-failed-share of verbs that go on where one of many fails; `what` they are."""
    parser.add_argument(
        "--max-failed-share",
        type=share_from_zero,
        default=0.05,
        help=f"share of the {what} that may fail; if more do, the verb fails",
    )


def register_max_memory(parser: argparse.ArgumentParser, *, default: float) -> None:
    """The flag --max-memory-gib of verbs whose only search or clustering is MMseqs2's."""
    parser.add_argument(
        "--max-memory-gib",
        type=gibibytes,
        default=default,
        help="GiB of MMseqs2's index; it decides hits and clusters",
    )


def register_threads(parser: argparse.ArgumentParser, text: str = "of the CPU") -> None:
    """The flag --threads; `text` says whose they are."""
    parser.add_argument("--threads", type=positive_int, default=1, help=text)


def register_device(parser: argparse.ArgumentParser) -> None:
    """The flag --device, which `devices.usable_device` checks."""
    parser.add_argument("--device", default="cpu", help="cpu, cuda or, of several GPUs, cuda:1")
