"""How well a model in training predicts the contacts of validation targets."""

from collections.abc import Sequence

import numpy as np

from npm_core.errors import DataError
from npm_core.model import NeuralPottsModel
from npm_core.precision import RANGES, scorable_pairs, top_precision
from npm_core.predict import target_scores
from npm_core.tables import Target


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
        contact_distance: In Angstrom; C-beta atoms nearer than this are in contact.
        window: Positions read at a time; the length the model is trained at.

    Raises:
        DataError: No target has one.
    """
    found: dict[str, list[float]] = {"long_P@L": [], "long_P@L/5": []}
    scorable = [
        target for target in targets if scorable_pairs(target.distances, RANGES["long"])[0].size
    ]
    for target, scores in zip(scorable, target_scores(model, scorable, window=window), strict=True):
        for label, k in (("long_P@L", 1), ("long_P@L/5", 5)):
            found[label].append(
                top_precision(
                    scores.matrix,
                    target.distances,
                    k=k,
                    separation=RANGES["long"],
                    contact_distance=contact_distance,
                )
            )
    if not found["long_P@L"]:
        raise DataError(f"none of {len(targets)} targets has a long-range pair of residues")
    return {label: float(np.mean(values)) for label, values in found.items()}
