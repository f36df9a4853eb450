"""A picture of one protein's contact scores, beside the contacts of its structure if it has one."""

from pathlib import Path

import numpy as np

from npm_core.arrays import Floats
from npm_core.files import atomic_path
from npm_core.formats import RR_SEPARATION

HIT, MISS, TRUTH = "tab:blue", "tab:red", "#BBBBBB"


def draw_contact_map(
    path: Path,
    title: str,
    scores: Floats,
    *,
    first: int = 1,
    distances: Floats | None = None,
    contact_distance: float = 8.0,
) -> None:
    """Draw the scores (lower triangle) and the L strongest pairs (upper triangle) as PNG.

    With a structure its contacts are grey squares, and of the strongest pairs those that are
    contacts are blue dots, others red crosses, and those with an unresolved residue are left out.
    Pairs fewer than 6 residues apart are not shown.

    Args:
        path: File to write.
        title: Above the picture, as it is.
        scores: (L, L); i < j is read.
        first: Number of the first residue.
        distances: (L, L) angstrom, NaN where unresolved.
        contact_distance: angstrom; pairs this close or closer are contacts.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    length = len(scores)
    i, j = np.triu_indices(length, k=RR_SEPARATION)
    apart = np.zeros(len(i)) if distances is None else distances[i, j]
    ranked = np.argsort(-scores[i, j], kind="stable")
    ranked = ranked[~np.isnan(apart[ranked])][:length]
    hit = apart[ranked] <= contact_distance
    shown = np.full((length, length), np.nan)
    shown[j, i] = scores[i, j]
    start, end = first - 0.5, first + length - 0.5
    figure, axes = pyplot.subplots(figsize=(6, 6), layout="constrained")
    axes.imshow(shown, cmap="Blues", origin="upper", extent=(start, end, end, start))
    size = max(2, 600 / length)
    if distances is None:
        axes.scatter(j[ranked] + first, i[ranked] + first, s=size, color=MISS)
        told = "scores | L strongest"
    else:
        close = apart <= contact_distance
        axes.scatter(j[close] + first, i[close] + first, s=2 * size, color=TRUTH, marker="s")
        for right, color, mark in ((hit, HIT, "o"), (~hit, MISS, "x")):
            pairs = ranked[right]
            axes.scatter(j[pairs] + first, i[pairs] + first, s=size, color=color, marker=mark)
        told = f"scores | {hit.sum()} of {len(hit)} strongest are contacts"
    axes.set(xlim=(start, end), ylim=(end, start), xlabel="residue", ylabel="residue")
    axes.set_title(f"{title[:60]}: {told}", parse_math=False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png", metadata={"Software": None})
    pyplot.close(figure)
