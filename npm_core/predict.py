"""Fields, couplings and contact scores from one sequence, of any length."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from npm_core import alphabet, potts
from npm_core.checkpoints import load_model
from npm_core.errors import DataError, SettingsError
from npm_core.files import atomic_path, write_text
from npm_core.model import Couplings, Factored, Held, NeuralPottsModel, Tied
from npm_core.potts import Potts, average_product_correction
from npm_core.potts import save as save_potts
from npm_core.precision import RANGES, scorable_pairs, top_precision
from npm_core.tables import Scores, Target

Floats = NDArray[np.float32]

CONTACT_DISTANCE = 8.0


def load_predictor(folder: Path | str, device: str = "cpu") -> NeuralPottsModel:
    """A trained model, ready to predict.

    Raises:
        DataError: The checkpoint is damaged or no Neural Potts Model.
        SettingsError: The device is not there.
    """
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise SettingsError(f"device {device!r}: no GPU can be reached; use --device cpu")
    model = load_model(folder)
    if not isinstance(model, NeuralPottsModel):
        raise DataError(
            f"{folder}: a masked language model; `train --init` makes a predictor of it"
        )
    return model.to(device).eval()


@dataclass(frozen=True)
class Window:
    """What the model says of positions start .. start + L of a sequence."""

    start: int
    fields: Tensor
    couplings: Couplings

    @property
    def span(self) -> slice:
        return slice(self.start, self.start + len(self.fields))


def window_starts(length: int, window: int) -> list[int]:
    """Where windows that overlap by half begin; the last ends with the sequence."""
    if length <= window:
        return [0]
    return [*range(0, length - window, max(1, window // 2)), length - window]


@torch.no_grad()
def predict_windows(
    model: NeuralPottsModel, states: NDArray[np.uint8], *, window: int
) -> list[Window]:
    """Read a sequence, longer ones in overlapping windows.

    Args:
        model: In evaluation mode.
        states: (L,), a letter of no amino acid as state 20.
        window: Positions read at a time; the length the model was trained at.
    """
    if not len(states):
        raise DataError("a sequence without residues has no couplings")
    device = next(model.parameters()).device
    tokens = torch.from_numpy(states.astype(np.int64)).to(device)
    return [
        Window(start, *model(tokens[start : start + window]))
        for start in window_starts(len(states), window)
    ]


def contact_scores(
    windows: Sequence[Window], length: int, *, centre: potts.Centre = "none"
) -> Floats:
    """The contact score (C.2) of (L, L) pairs; the paper's, without holding J of the sequence.

    Where windows overlap their couplings are averaged. Pairs that no window holds together have
    no coupling: their norm is zero. `centre` is that of `potts.contact_scores`, which needs J.
    """
    if centre != "none":
        return potts.contact_scores(potts_model(windows, length).couplings, centre=centre)
    squares = torch.zeros(length, length, dtype=torch.float64, device=windows[0].fields.device)
    if len(windows) == 1:
        squares = _squared_norms(windows[0].couplings).double()
    else:
        counts = _pair_counts(windows, length).to(squares)
        for k in range(alphabet.GAP):
            for l in range(alphabet.GAP):  # noqa: E741
                total = torch.zeros_like(squares)
                for window in windows:
                    total[window.span, window.span] += _block(window.couplings, k, l)
                squares += (total / counts.clamp(min=1)) ** 2
    norms = squares.sqrt().cpu().numpy()
    if not np.isfinite(norms).all():
        raise DataError("the couplings hold NaN or infinity; the model has diverged")
    norms = (norms + norms.T) / 2
    np.fill_diagonal(norms, 0.0)
    return average_product_correction(norms).astype(np.float32)


def _squared_norms(couplings: Couplings) -> Tensor:
    """(L, L): sum of J_ij(k, l)^2 over the 20 x 20 amino acids."""
    if isinstance(couplings, Held):
        return (couplings.tensor[: alphabet.GAP, : alphabet.GAP] ** 2).sum((0, 1))
    parts = [_row_of_blocks(couplings, k) for k in range(alphabet.GAP)]
    return torch.stack([(part[: alphabet.GAP] ** 2).sum(0) for part in parts]).sum(0)


def _row_of_blocks(couplings: Factored | Tied | Couplings, k: int) -> Tensor:
    """(K, L, L): [l, i, j] is J_ij(k, l), the diagonal not yet zero."""
    if isinstance(couplings, Factored):
        return torch.einsum("ilr,ljr->lij", couplings.left[k], couplings.right[:, :, k])
    assert isinstance(couplings, Tied)
    return torch.einsum("ir,ljr->lij", couplings.factor[k], couplings.factor)


def _block(couplings: Couplings, k: int, l: int) -> Tensor:  # noqa: E741
    """(L, L): [i, j] is J_ij(k, l), the diagonal not yet zero."""
    if isinstance(couplings, Factored):
        return couplings.left[k, :, l] @ couplings.right[l, :, k].T
    if isinstance(couplings, Tied):
        return couplings.factor[k] @ couplings.factor[l].T
    return couplings.blocks()[k, l]


def _pair_counts(windows: Sequence[Window], length: int) -> Tensor:
    counts = torch.zeros(length, length)
    for window in windows:
        counts[window.span, window.span] += 1
    return counts


def potts_model(windows: Sequence[Window], length: int) -> Potts:
    """Fields and couplings of a sequence as a Potts model; overlapping windows are averaged."""
    fields = np.zeros((length, alphabet.STATES), dtype=np.float32)
    couplings = np.zeros((length, length, *fields.shape[1:], *fields.shape[1:]), dtype=np.float32)
    covered = np.zeros(length)
    for window in windows:
        blocks = window.couplings.blocks()
        fields[window.span] += window.fields.cpu().numpy()
        couplings[window.span, window.span] += blocks.permute(2, 3, 0, 1).cpu().numpy()
        covered[window.span] += 1
    fields /= covered[:, None].astype(np.float32)
    couplings /= _pair_counts(windows, length).clamp(min=1).numpy()[:, :, None, None]
    couplings += couplings.transpose(1, 0, 3, 2).copy()
    couplings *= 0.5
    return Potts(fields, couplings)


def target_scores(
    model: NeuralPottsModel,
    target: Target,
    *,
    name: str = "npm",
    window: int = 512,
    shuffle_seed: int | None = None,
    centre: potts.Centre = "none",
) -> Iterator[Scores]:
    """Contact scores of one target, and with a seed those of its shuffled sequence.

    Shuffled, the model reads the residues in random order. Scores of the shuffled positions stay
    where they are: a map that does not depend on the sequence scores as well as before.
    """
    states = alphabet.encode(target.sequence)
    windows = predict_windows(model, states, window=window)
    scores = contact_scores(windows, len(states), centre=centre)
    yield Scores(target.id, name, scores)
    if shuffle_seed is not None:
        digest = [shuffle_seed, *target.id.encode()]
        shuffled = np.random.default_rng(digest).permutation(states)
        windows = predict_windows(model, shuffled, window=window)
        scores = contact_scores(windows, len(states), centre=centre)
        yield Scores(target.id, f"{name}_shuffled", scores)


def long_range_precision(
    model: NeuralPottsModel, targets: Sequence[Target], *, window: int = 512
) -> dict[str, float]:
    """Mean long-range P@L and P@L/5 over targets that have a pair to score.

    Raises:
        DataError: No target has one.
    """
    found: dict[str, list[float]] = {"long_P@L": [], "long_P@L/5": []}
    for target in targets:
        distances = target.distances
        if not scorable_pairs(distances, RANGES["long"])[0].size:
            continue
        (scores,) = target_scores(model, target, window=window)
        for label, k in (("long_P@L", 1), ("long_P@L/5", 5)):
            found[label].append(
                top_precision(
                    scores.matrix,
                    distances,
                    k=k,
                    separation=RANGES["long"],
                    contact_distance=CONTACT_DISTANCE,
                )
            )
    if not found["long_P@L"]:
        raise DataError(f"none of {len(targets)} targets has a long-range pair of residues")
    return {label: float(np.mean(values)) for label, values in found.items()}


# --- Files of one prediction --------------------------------------------------------------------

FORMATS = ("scores", "potts", "rr", "png")


def file_stem(name: str) -> str:
    """A file name for a sequence: its first word, and a digest if that is no safe or full name."""
    word = name.split()[0] if name.split() else ""
    safe = re.sub(r"[^A-Za-z0-9_.-]", "_", word)[:64].lstrip(".")
    if safe == word:
        return safe
    return f"{safe}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def write_prediction(
    folder: Path,
    name: str,
    sequence: str,
    windows: Sequence[Window],
    *,
    formats: Sequence[str],
    metadata: dict[str, str],
) -> list[Path]:
    """Write what was asked for of one sequence.

    Args:
        folder: Of the files.
        name: Of the sequence.
        sequence: Its letters, upper case.
        windows: From `predict_windows`.
        formats: Of FORMATS: "scores" (npz, array scores (L, L)), "potts" (safetensors, h and J),
            "rr" (CASP RR) and "png" (contact map).
        metadata: Provenance.

    Returns:
        The files written.
    """
    length, stem = len(sequence), file_stem(name)
    written = []
    if "potts" in formats:
        fitted = potts_model(windows, length)
        written.append(folder / f"{stem}.potts.safetensors")
        save_potts(written[-1], Potts(fitted.fields, fitted.couplings, metadata))
    if set(formats) - {"potts"}:
        scores = contact_scores(windows, length)
    if "scores" in formats:
        written.append(folder / f"{stem}.scores.npz")
        with atomic_path(written[-1]) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(stream, scores=scores, sequence=np.array(sequence))
    if "rr" in formats:
        written.append(folder / f"{stem}.rr")
        write_text(written[-1], casp_rr(name, sequence, scores))
    if "png" in formats:
        written.append(folder / f"{stem}.png")
        with atomic_path(written[-1]) as temporary:
            draw_contact_map(temporary, name, scores)
    return written


def casp_rr(name: str, sequence: str, scores: Floats, *, separation: int = 6) -> str:
    """CASP's RR format: pairs `i j 0 8 p`, 1-based, the strongest first.

    RR wants numbers of 0 to 1. Ours rank pairs and are no probabilities: the scores above zero
    are divided by the largest, the others become 0.

    Args:
        name: Of the target.
        sequence: L letters.
        scores: (L, L).
        separation: Pairs closer along the chain are left out.
    """
    i, j = np.triu_indices(len(sequence), k=separation)
    values = np.clip(scores[i, j], 0, None)
    if values.size and values.max() > 0:
        values = values / values.max()
    order = np.argsort(-values, kind="stable")
    lines = [
        "PFRMAT RR",
        f"TARGET {file_stem(name)}",
        "REMARK Numbers rank the pairs; they are no probabilities",
        "METHOD Neural Potts Model",
        "MODEL 1",
        *(sequence[start : start + 50] for start in range(0, len(sequence), 50)),
        *(f"{i[n] + 1} {j[n] + 1} 0 8 {values[n]:.6f}" for n in order),
        "END",
    ]
    return "\n".join(lines) + "\n"


def draw_contact_map(path: Path, name: str, scores: Floats, *, separation: int = 6) -> None:
    """A picture of the scores (lower triangle) and of the L strongest pairs (upper triangle)."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    length = len(scores)
    i, j = np.triu_indices(length, k=separation)
    strongest = np.argsort(-scores[i, j], kind="stable")[:length]
    shown = np.where(np.tri(length, k=-separation, dtype=bool), scores, np.nan)
    figure, axes = pyplot.subplots(figsize=(6, 6), layout="constrained")
    axes.imshow(shown, cmap="Blues", origin="upper", extent=(0.5, length + 0.5, length + 0.5, 0.5))
    axes.scatter(j[strongest] + 1, i[strongest] + 1, s=max(2, 600 / length), color="tab:red")
    axes.set(xlim=(0.5, length + 0.5), ylim=(length + 0.5, 0.5))
    axes.set(xlabel="residue", ylabel="residue", title=f"{name[:60]}: scores | L strongest")
    figure.savefig(path, dpi=120, format="png", metadata={"Software": None})
    pyplot.close(figure)
