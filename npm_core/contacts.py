"""Contact scores of couplings J (C.2): Frobenius norm and average product correction."""

from typing import Literal, get_args

import numpy as np

from npm_core.alphabet import GAP, STATES
from npm_core.arrays import Float32, Float64
from npm_core.errors import DataError, SettingsError

Centre = Literal["none", "mean", "zero_sum"]
"""What leaves each J_ij before its norm."""


def contact_scores(couplings: Float32, *, centre: Centre = "none") -> Float32:
    """The paper's contact score (C.2): drop the gap, Frobenius norm, average product correction.

    Args:
        couplings: (L, L, 21, 21), gap last.
        centre: What is subtracted from each J_ij first: nothing (the paper), its "mean" (CCMpred),
            or all that the "zero_sum" gauge moves to the fields.

    Returns:
        (L, L) float32, unitless, symmetric, zero diagonal; higher is a stronger contact.

    Raises:
        DataError: The couplings have another shape or are not finite.
        SettingsError: `centre` is none of the three.
    """
    return average_product_correction(frobenius_norms(couplings, centre=centre)).astype(np.float32)


def frobenius_norms(couplings: Float32, *, centre: Centre) -> Float64:
    """(L, L) float64: norms of J_ij over the 20 x 20 amino acids, after centring (C.2, step 2)."""
    if centre not in get_args(Centre):
        raise SettingsError(f"centre {centre!r} is none of {', '.join(get_args(Centre))}")
    length = len(couplings)
    if couplings.shape != (length, length, STATES, STATES) or length == 0:
        raise DataError(f"couplings are {couplings.shape}, expected (L, L, {STATES}, {STATES})")
    norms = np.zeros((length, length))
    for i in range(length):
        block = couplings[i].astype(np.float64)
        if centre == "mean":
            block -= block.mean((1, 2), keepdims=True)
        elif centre == "zero_sum":
            mean = block.mean((1, 2), keepdims=True)
            block += mean - block.mean(1, keepdims=True) - block.mean(2, keepdims=True)
        kept = block[:, :GAP, :GAP]
        norms[i] = np.sqrt(np.einsum("jab,jab->j", kept, kept))
    return norm_matrix(norms)


def norm_matrix(norms: Float64) -> Float64:
    """(L, L) norms as scores are made of them: symmetric, zero on the diagonal.

    Raises:
        DataError: One off the diagonal is not finite.
    """
    symmetric = (norms + norms.T) / 2
    np.fill_diagonal(symmetric, 0.0)
    if not np.isfinite(symmetric).all():
        raise DataError("the couplings hold NaN or infinity; the model that made them has diverged")
    return symmetric


def average_product_correction(norms: Float64) -> Float64:
    """F_ij - F_i F_j / F with the means of rows and of all (Dunn et al. 2008).

    As CCMpred and ESM take them, the zero of the diagonal among them (docs/decisions.md).

    Norms that are all zero have nothing to correct and stay zero.
    """
    rows = norms.sum(1)
    total = rows.sum()
    corrected = norms - np.outer(rows, rows) / total if total > 0 else norms.copy()
    np.fill_diagonal(corrected, 0.0)
    return corrected


def ccmpred_matrix(couplings: Float32) -> Float64:
    """The (L, L) matrix that CCMpred prints: mean centring, then its smallest score becomes 0."""
    scores = average_product_correction(frobenius_norms(couplings, centre="mean"))
    off_diagonal = ~np.eye(len(scores), dtype=bool)
    if off_diagonal.any():
        scores[off_diagonal] -= scores[off_diagonal].min()
    return scores
