"""Which residues of two sequences of one protein are the same: a global alignment, ends free."""

import numpy as np
from Bio.Align import PairwiseAligner
from numpy.typing import NDArray

from npm_core.errors import DataError

MIN_IDENTITY = 0.9
"""Two sequences that agree less than this are not of one protein."""


def aligned_positions(sequence: str, other: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions of `sequence` and of `other` that a global alignment puts side by side.

    Ends are free, so that `other` may be a part of `sequence`. The scores are for two copies of
    one protein (tags, unresolved loops, a few mutations), not for homologs.

    Args:
        sequence: Letters, e.g. a chain's full sequence.
        other: Letters, e.g. the query of its alignment.

    Returns:
        Two (n,) arrays of 0-based positions, increasing; empty where a sequence is.
    """
    if not sequence or not other:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    aligner = PairwiseAligner(
        mode="global", match_score=2, mismatch_score=-3, open_gap_score=-6, extend_gap_score=-0.5
    )
    aligner.end_gap_score = 0
    blocks = aligner.align(sequence, other)[0].aligned
    pairs = [
        (left + step, right + step)
        for (left, end), (right, _) in zip(blocks[0], blocks[1], strict=True)
        for step in range(end - left)
    ]
    both = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def onto_query(
    matrix: NDArray[np.float64], sequence: str, query: str
) -> tuple[NDArray[np.float64], int]:
    """A matrix in the numbering of another copy of its protein.

    Args:
        matrix: (K, K), in the numbering of `sequence`.
        sequence: K letters, e.g. SEQRES.
        query: L letters, e.g. of an alignment; `-` and `X` are residues that are not known.

    Returns:
        (L, L), NaN where a residue of the query has no counterpart; and how many have one.

    Raises:
        DataError: Less than half of the shorter sequence is aligned, or less than 90 % of the known
            residues that are aligned agree.
    """
    query = query.replace("-", "X")
    here, there = aligned_positions(sequence, query)
    pairs = [(sequence[a], query[b]) for a, b in zip(here, there, strict=True)]
    known = [a == b for a, b in pairs if "X" not in (a, b)]
    if 2 * len(pairs) < min(len(sequence), len(query)) or sum(known) < MIN_IDENTITY * len(known):
        raise DataError(
            f"{len(pairs)} of {len(query)} residues align to the {len(sequence)} of the structure, "
            f"and {sum(known)} of {len(known)} agree, expected {MIN_IDENTITY:.0%}; are these two "
            "files of one protein?"
        )
    moved = np.full((len(query), len(query)), np.nan)
    moved[np.ix_(there, there)] = matrix[np.ix_(here, here)]
    return moved, len(pairs)


def domain(columns: NDArray[np.int32]) -> slice:
    """The stretch of a chain from its first to its last residue with a column (not -1)."""
    covered = np.flatnonzero(columns >= 0)
    return slice(int(covered[0]), int(covered[-1]) + 1)
