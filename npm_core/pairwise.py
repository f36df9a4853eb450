"""Which residues of two sequences of one protein are the same: a global alignment, ends free."""

import numpy as np
from Bio.Align import PairwiseAligner
from numpy.typing import NDArray


def aligned_positions(sequence: str, other: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions of `sequence` and of `other` that a global alignment puts side by side.

    Ends are free, so that `other` may be a part of `sequence`. The scores are for two copies of
    one protein (tags, unresolved loops, a few mutations), not for homologs.

    Args:
        sequence: Letters, e.g. a chain's full sequence.
        other: Letters, e.g. the query of its alignment.

    Returns:
        Two (n,) arrays of 0-based positions, increasing.
    """
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


def domain(columns: NDArray[np.int32]) -> slice:
    """The stretch of a chain from its first to its last residue with a column (not -1)."""
    covered = np.flatnonzero(columns >= 0)
    return slice(int(covered[0]), int(covered[-1]) + 1)
