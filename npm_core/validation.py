"""How well a model in training does on families and targets that it does not learn from."""

from collections.abc import Sequence

import numpy as np

from npm_core.batching import collate, sample_example
from npm_core.draws import VALIDATION_SEED, generator
from npm_core.errors import DataError
from npm_core.families import Families
from npm_core.model import NeuralPottsModel
from npm_core.npm_loss import npm_loss
from npm_core.precision import RANGES, rank_pairs, scorable_pairs
from npm_core.predict import target_scores
from npm_core.tables import Target
from npm_core.training_settings import ObjectiveSettings

MEASURES = {"long_P@L": 1, "long_P@L/5": 5}
"""Long-range P@L/k by its name in metrics: k."""


def validation_loss(
    model: NeuralPottsModel,
    families: Families,
    objective: ObjectiveSettings,
    *,
    rows: int,
    max_length: int,
) -> float:
    """Pseudolikelihood loss in nats a residue on rows of families, their first row as query.

    The sampled rows are the same at every call; every family counts the same.

    Args:
        model: In evaluation mode.
        families: At least one.
        objective: The form of the loss; its penalty is left out.
        rows: M, sampled from each.
        max_length: Longer queries are cropped to this many positions.
    """
    device = next(model.parameters()).device
    losses = []
    for index in range(len(families)):
        example = sample_example(
            families[index],
            generator(VALIDATION_SEED, "validation", index),
            rows=rows,
            max_length=max_length,
            random_query=False,
        )
        batch = collate([example]).to(device)
        fields, couplings = model(batch.tokens[0])
        loss = npm_loss(fields, couplings, batch.rows[0], objective)
        losses.append(float(loss.pseudolikelihood) / len(example.query))
    return float(np.mean(losses))


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
