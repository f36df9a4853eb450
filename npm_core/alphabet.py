"""The 21 states of a Potts model: 20 amino acids and the gap. THE order; every border converts."""

import numpy as np

from npm_core.arrays import States
from npm_core.errors import DataError

ALPHABET = "ARNDCQEGHILKMFPSTWYV-"
"""CCMpred's order, gap last."""

STATES = len(ALPHABET)
GAP = ALPHABET.index("-")

PARENTS = {"U": "C", "O": "K"}
"""Selenocysteine and pyrrolysine stand in for the amino acid they derive from."""

UNKNOWN = "BJZX*"
"""Letters that name no single amino acid become gaps, and are counted."""


def _byte_table() -> States:
    table = np.full(256, 255, dtype=np.uint8)
    for index, letter in enumerate(ALPHABET):
        table[ord(letter)] = index
    for letter, parent in PARENTS.items():
        table[ord(letter)] = ALPHABET.index(parent)
    for letter in UNKNOWN + ".":
        table[ord(letter)] = GAP
    return table


_FROM_BYTE = _byte_table()
_TO_BYTE = np.frombuffer(ALPHABET.encode(), dtype=np.uint8)


def encode(sequence: str) -> States:
    """States of one aligned or unaligned upper-case sequence.

    Args:
        sequence: L letters: amino acids, `U`, `O`, `B`, `J`, `Z`, `X`, `*`, `-` or `.`.

    Returns:
        (L,), states 0..20 in the order of ALPHABET.

    Raises:
        DataError: A character is none of these; lower case included (strip inserts before).
    """
    try:
        letters = np.frombuffer(sequence.encode("ascii"), dtype=np.uint8)
    except UnicodeEncodeError as error:
        raise DataError(
            f"character {sequence[error.start]!r} at position {error.start + 1} is no amino acid"
        ) from error
    states = _FROM_BYTE[letters]
    wrong = np.flatnonzero(states == 255)
    if wrong.size:
        raise DataError(
            f"character {sequence[wrong[0]]!r} at position {wrong[0] + 1} is no amino acid; "
            f"expected one of {ALPHABET} or {''.join(PARENTS)}{UNKNOWN}"
        )
    return states


def decode(states: States) -> str:
    """Letters of (L,) states; the inverse of `encode` on the 21 states."""
    return _TO_BYTE[states].tobytes().decode("ascii")


def count_nonstandard(sequence: str) -> int:
    """How many letters `encode` replaces: by a parent amino acid or by a gap."""
    return sum(sequence.count(letter) for letter in (*PARENTS, *UNKNOWN))
