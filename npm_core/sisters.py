"""The sister control: what NPM predicts for a target from the query of its nearest family."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from npm_core.contacts import Centre
from npm_core.errors import DataError
from npm_core.model import NeuralPottsModel
from npm_core.neighbours import Neighbour, by_family, reference_member, transfer
from npm_core.predict import predict_windows, window_scores
from npm_core.tables import Family, Scores

MODEL = "npm_sister"


def sister_scores(
    model: NeuralPottsModel,
    neighbours: Sequence[Neighbour],
    families: Iterable[Family],
    lengths: Mapping[str, int],
    *,
    seed: int,
    window: int,
    centre: Centre = "none",
) -> Iterator[Scores]:
    """Contact scores of each target by the model reading a sister's sequence.

    The model reads the random member of the nearest training family that is the reference of the
    nearest-neighbour baseline (C.3, step 2); its scores are carried to the target through the same
    alignment (step 3). A target without a neighbour, or without two aligned residues, has none.

    Args:
        model: In evaluation mode.
        neighbours: One a target.
        families: Those that the neighbours lead to, and others.
        lengths: L by target.
        seed: Of the reference members.
        window: Positions read at a time.
        centre: As in `contacts.contact_scores`.

    Raises:
        DataError: A neighbour is of no target, or leads to a family that is not there.
    """
    if strays := [one.target for one in neighbours if one.target not in lengths]:
        raise DataError(f"neighbours of {strays[0]}, which is not among the targets")
    missing = by_family(neighbours)
    for family in families:
        led_here = missing.pop(family.id, [])
        if not led_here:
            continue
        member, columns = reference_member(family, seed=seed)
        windows = predict_windows(model, family.residues[member, columns], window=window)
        matrix = window_scores(windows, centre=centre)
        for one in led_here:
            carried = transfer(matrix, columns, one, lengths[one.target])
            if carried is not None:
                yield Scores(one.target, MODEL, carried)
    if missing:
        raise DataError(f"nearest family {min(missing)} is not among the families")
