"""How well a model in training predicts the contacts of validation targets."""

from collections.abc import Sequence

import numpy as np

from npm_core.errors import DataError
from npm_core.model import NeuralPottsModel
from npm_core.precision import RANGES, rank_pairs, scorable_pairs
from npm_core.predict import target_scores
from npm_core.tables import Target

MEASURES = {"long_P@L": 1, "long_P@L/5": 5}
"""Long-range P@L/k by its name in metrics: k."""


def long_range_precision(
    model: NeuralPottsModel,
    targets: Sequence[Target],
    *,
    contact_distance: float,
    window: int,
) -> dict[str, float]:
    """Mean long-range P@L and P@L/5 over targets that have a pair to score.

    Args:
        model: In evaluation mode.
        targets: With their structures.
        contact_distance: In Angstrom; C-beta atoms this close or closer are in contact.
        window: Positions read at a time; the length the model is trained at.

    Raises:
        DataError: No target has one.
    """
    long = RANGES["long"]
    scorable = [target for target in targets if scorable_pairs(target.distances, long)[0].size]
    if not scorable:
        raise DataError(f"none of {len(targets)} targets has a long-range pair of residues")
    scored = target_scores(model, scorable, window=window)
    rankings = [
        rank_pairs(
            scores.matrix, target.distances, separation=long, contact_distance=contact_distance
        )
        for target, scores in zip(scorable, scored, strict=True)
    ]
    return {
        name: float(np.mean([ranking.precision(k) for ranking in rankings]))
        for name, k in MEASURES.items()
    }
