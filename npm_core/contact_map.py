"""A picture of one protein's contact scores, beside the contacts of its structure if it has one."""

from pathlib import Path

import numpy as np

from npm_core.arrays import Floats
from npm_core.files import atomic_path
from npm_core.precision import MIN_SEPARATION

UNDATED = {
    ".png": {"Software": None},
    ".pdf": {"CreationDate": None},
    ".svg": {"Date": None},
}
"""Suffixes of pictures, and what two of the same would differ in."""

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
    """Draw the scores (lower triangle) and the L strongest pairs (upper triangle).

    Without a structure the strongest pairs are black dots. With one its contacts are grey squares,
    the strongest pairs blue dots where they are contacts and red crosses where not; pairs with an
    unresolved residue are left out. Pairs fewer than 6 residues apart are not shown. Scores below
    zero are white, and the L/5 highest are equally dark.

    Args:
        path: File to write; by its suffix (`UNDATED`) PNG, PDF or SVG, without one PNG.
        title: Above the picture, as it is, up to 60 characters.
        scores: (L, L); i < j is read.
        first: Number of the first residue.
        distances: (L, L) angstrom, NaN where unresolved.
        contact_distance: angstrom; pairs this close or closer are contacts.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import MaxNLocator

    length = len(scores)
    i, j = np.triu_indices(length, k=MIN_SEPARATION)
    apart = np.zeros(len(i)) if distances is None else distances[i, j]
    order = np.argsort(-scores[i, j], kind="stable")
    ranked = order[~np.isnan(apart[order])][:length]
    hit = apart[ranked] <= contact_distance
    shown = np.full((length, length), np.nan)
    shown[j, i] = scores[i, j]
    start, end = first - 0.5, first + length - 0.5
    figure, axes = pyplot.subplots(figsize=(6, 6.4), layout="constrained")
    # Zero, the mean after the average product correction, is white; the L/5 strongest are darkest.
    strong = scores[i, j][order[: max(1, length // 5)]]
    darkest = max(0.0, strong.min()) if len(strong) else 1.0
    axes.imshow(shown, cmap="Blues", vmin=0, vmax=darkest, extent=(start, end, end, start))
    size = max(2, 600 / length)
    strongest = f"{len(ranked)} strongest pairs"
    if distances is None:
        kinds = [(ranked, "black", "o", 1, strongest)]
        told = f"{strongest}, separation {MIN_SEPARATION} and up"
    else:
        close = np.flatnonzero(apart <= contact_distance)
        kinds = [
            (close, TRUTH, "s", 2, "contacts of the structure"),
            (ranked[hit], HIT, "o", 1, "strongest pairs: contacts"),
            (ranked[~hit], MISS, "x", 1, "strongest pairs: no contacts"),
        ]
        told = f"{hit.sum()} of the {strongest} (separation {MIN_SEPARATION} and up) are contacts"
    for pairs, color, mark, times, label in kinds:
        place = j[pairs] + first, i[pairs] + first
        axes.scatter(*place, s=times * size, color=color, marker=mark, label=label)
    axes.set(xlim=(start, end), ylim=(end, start), xlabel="residue", ylabel="residue")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    shown_title = title if len(title) <= 60 else f"{title[:59]}…"
    axes.set_title(f"{shown_title}\n{told}", parse_math=False, fontsize="medium")
    if distances is not None:
        figure.legend(loc="outside lower center", ncols=3, fontsize="small", frameon=False)
    suffix = path.suffix.lower() or ".png"
    # The layout alone makes no room for a wide title or, where there is a legend, for a high one.
    with atomic_path(path) as temporary, matplotlib.rc_context({"svg.hashsalt": "npm"}):
        figure.savefig(
            temporary, dpi=120, format=suffix[1:], metadata=UNDATED[suffix], bbox_inches="tight"
        )
    pyplot.close(figure)
