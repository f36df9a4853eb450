"""Sequence weights: each row counts once for all rows that are nearly the same."""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from npm_core.arrays import Float64, States
from npm_core.errors import DataError
from npm_core.parallel import map_in_order

IDENTITY_THRESHOLD = 0.8
"""Neighbours agree in at least 80 % of the columns (Morcos et al. 2011, paper, section 2)."""

_ROWS_PER_TASK = 256

_GROUP = 128
"""Rows compared at a time; twice as many or half of them are as fast."""


def sequence_weights(
    residues: States,
    *,
    identity_threshold: float = IDENTITY_THRESHOLD,
    threads: int = 1,
) -> Float64:
    r"""One over the number of rows that agree with a row in enough columns.

    .. math:: w^m = 1 / \#\{n : \mathrm{identities}(m, n) \ge t L\}

    The row itself is counted, gap against gap is an identity, and L is the full length. Meff is
    the sum of the weights.

    Args:
        residues: (M, L) uint8, states 0..20.
        identity_threshold: t, in (0, 1].
        threads: How many threads count; the result does not depend on it.

    Returns:
        (M,) float64, in (0, 1].

    Raises:
        DataError: The residues have no rows or columns, or the threshold is outside (0, 1].
    """
    return 1 / _neighbours(residues, identity_threshold, threads)


def ccmpred_weights(
    residues: States,
    *,
    identity_threshold: float = IDENTITY_THRESHOLD,
    threads: int = 1,
) -> Float64:
    """CCMpred's rule: identities must EXCEED ceil(t L), so one more than `sequence_weights`.

    Args and returns are those of `sequence_weights`; the row itself always counts.
    """
    return 1 / _neighbours(residues, identity_threshold, threads, more=1)


def _neighbours(
    residues: States, identity_threshold: float, threads: int, more: int = 0
) -> NDArray[np.int64]:
    """How many rows, itself included, agree with each row in enough columns, and `more`."""
    if not 0 < identity_threshold <= 1:
        raise DataError(f"identity threshold {identity_threshold} is outside (0, 1]")
    if residues.ndim != 2 or residues.size == 0:
        raise DataError(f"weights need rows and columns, found residues of {residues.shape}")
    depth, length = residues.shape
    planes = _bit_planes(residues)
    # 0.8 x 35 columns are 28, not 28.000000000000004.
    allowed = length - math.ceil(round(identity_threshold * length, 9)) - more

    def count(first: int) -> NDArray[np.int64]:
        return _count_pairs(planes, allowed, first, min(first + _ROWS_PER_TASK, depth))

    total = np.ones(depth, dtype=np.int64)
    for counts in map_in_order(count, range(0, depth, _ROWS_PER_TASK), workers=threads):
        total += counts
    return total


def _bit_planes(residues: States) -> NDArray[np.uint64]:
    """(words, 5, M): bit p of 64 columns' states in one word, so that a pair compares by XOR."""
    depth, length = residues.shape
    words = -(-length // 64)
    padded = np.zeros((depth, words * 64), dtype=np.uint8)
    padded[:, :length] = residues
    planes = np.empty((words, 5, depth), dtype=np.uint64)
    for bit in range(5):
        packed = np.packbits((padded >> bit) & 1, axis=1, bitorder="little")
        planes[:, bit] = packed.view("<u8").T
    return planes


@njit(nogil=True, cache=True)
def _set_bits(bits):  # type: ignore[no-untyped-def]
    """How many bits of a uint64 are set; LLVM makes vectors of it."""
    bits -= (bits >> np.uint64(1)) & np.uint64(0x5555555555555555)
    bits = (bits & np.uint64(0x3333333333333333)) + (
        (bits >> np.uint64(2)) & np.uint64(0x3333333333333333)
    )
    bits = (bits + (bits >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((bits * np.uint64(0x0101010101010101)) >> np.uint64(56))


@njit(nogil=True, cache=True)
def _count_pairs(planes, allowed, first, last):  # type: ignore[no-untyped-def]
    """Rows m in [first, last) against n > m: (M,) counts, for both rows of each pair.

    Words of 64 columns are compared until every row of a group differs in more than the allowed
    number of columns: most groups need one word.
    """
    words, _, depth = planes.shape
    counts = np.zeros(depth, dtype=np.int64)
    different = np.empty(_GROUP, dtype=np.int64)
    for m in range(first, last):
        here = 0
        for start in range(m + 1, depth, _GROUP):
            end = min(start + _GROUP, depth)
            different[:] = 0
            least = np.int64(0)
            for word in range(words):
                p0, p1, p2, p3, p4 = planes[word]
                q0, q1, q2, q3, q4 = p0[m], p1[m], p2[m], p3[m], p4[m]
                least = np.int64(64 * words)
                for n in range(start, end):
                    bits = (p0[n] ^ q0) | (p1[n] ^ q1) | (p2[n] ^ q2) | (p3[n] ^ q3) | (p4[n] ^ q4)
                    different[n - start] += _set_bits(bits)
                    least = min(least, different[n - start])
                if least > allowed:
                    break
            if least <= allowed:
                for n in range(start, end):
                    near = different[n - start] <= allowed
                    counts[n] += near
                    here += near
        counts[m] += here
    return counts
