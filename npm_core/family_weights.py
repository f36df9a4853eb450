"""Families of which the rows are at hand: their weights are counted."""

import numpy as np

from npm_core.arrays import States
from npm_core.tables import Family
from npm_core.weights import sequence_weights


def weighted(name: str, residues: States, *, identity_threshold: float) -> Family:
    """A family with the weights of the rows it has.

    Args:
        name: Its id.
        residues: (M, L) states.
        identity_threshold: Share of the columns from which rows count as neighbours.
    """
    weights = sequence_weights(residues, identity_threshold=identity_threshold)
    return Family(name, residues, weights.astype(np.float32))
