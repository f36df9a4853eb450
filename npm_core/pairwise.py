"""Which residues of two sequences of one protein are the same: a global alignment, ends free."""

from dataclasses import dataclass

import numpy as np
from Bio.Align import PairwiseAligner
from numpy.typing import NDArray

from npm_core import alphabet
from npm_core.arrays import Bools, States
from npm_core.errors import DataError

MIN_IDENTITY = 0.9
"""Two sequences that agree less than this are not of one protein."""


@dataclass(frozen=True, eq=False)
class Match:
    """Which residues of two sequences are side by side, and how far these agree.

    A residue that is not known (X) agrees with any and counts nowhere: neither among those that
    agree, nor among those that differ, nor in the length of its sequence.

    Attributes:
        sequence: Letters, upper case.
        other: Likewise.
        here: (n,) 0-based positions of `sequence`, increasing.
        there: (n,) positions of `other` beside them.
    """

    sequence: str
    other: str
    here: NDArray[np.integer]
    there: NDArray[np.integer]

    @property
    def known(self) -> int:
        """How many of the pairs are of two known residues."""
        return int(np.count_nonzero(self._known()))

    @property
    def agree(self) -> int:
        """How many of these are of one amino acid."""
        one, other = self._states()
        return int(np.count_nonzero(self._known() & (one == other)))

    @property
    def identity(self) -> float | None:
        """Share of the known pairs that agree; None where none is known."""
        return self.agree / self.known if self.known else None

    def require_one_protein(self, cure: str) -> None:
        """Raise unless the two are of one protein, of which each may be another part.

        They are if half of the known residues of the one that has fewer are beside known ones of
        the other, one pair at least, and 90 % of these pairs agree.

        Args:
            cure: Ends the message.

        Raises:
            DataError: They are not.
        """
        fewer = min(_count_known(self.sequence), _count_known(self.other))
        if 2 * self.known < max(1, fewer) or self.agree < MIN_IDENTITY * self.known:
            raise DataError(
                f"{len(self.there)} of {len(self.other)} residues align to the "
                f"{len(self.sequence)} of the structure; {self.known} pairs are of known residues, "
                f"expected {max(1, (fewer + 1) // 2)} at least, and {self.agree} of these agree, "
                f"expected {MIN_IDENTITY:.0%}. {cure}"
            )

    def _states(self) -> tuple[States, States]:
        return alphabet.encode(self.sequence)[self.here], alphabet.encode(self.other)[self.there]

    def _known(self) -> Bools:
        one, other = self._states()
        return (one != alphabet.GAP) & (other != alphabet.GAP)


def _count_known(sequence: str) -> int:
    return int(np.count_nonzero(alphabet.encode(sequence) != alphabet.GAP))


def aligned_positions(sequence: str, other: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions of `sequence` and of `other` that a global alignment puts side by side.

    Ends are free, so that `other` may be a part of `sequence`. The scores are for two copies of
    one protein (tags, unresolved loops, a few mutations), not for homologs. An X goes with any.

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
    aligner.wildcard = "X"
    blocks = aligner.align(sequence, other)[0].aligned
    pairs = [
        (left + step, right + step)
        for (left, end), (right, _) in zip(blocks[0], blocks[1], strict=True)
        for step in range(end - left)
    ]
    both = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def match(sequence: str, other: str) -> Match:
    """Align two sequences; what names no single amino acid (X, B, Z, `-`) is not known.

    Raises:
        DataError: A letter is no amino acid.
    """
    plain = (alphabet.decode(alphabet.encode(text)).replace("-", "X") for text in (sequence, other))
    return Match(sequence, other, *aligned_positions(*plain))


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
        DataError: The two are not of one protein, as `Match.require_one_protein` tells.
    """
    found = match(sequence, query)
    found.require_one_protein("Are these two files of one protein?")
    moved = np.full((len(query), len(query)), np.nan)
    moved[np.ix_(found.there, found.there)] = matrix[np.ix_(found.here, found.here)]
    return moved, len(found.here)


def domain(columns: NDArray[np.int32]) -> slice:
    """The stretch of a chain from its first to its last residue with a column (not -1)."""
    covered = np.flatnonzero(columns >= 0)
    return slice(int(covered[0]), int(covered[-1]) + 1)
