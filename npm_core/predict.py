"""Fields, couplings and contact scores from one sequence, of any length."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from npm_core import alphabet, memory
from npm_core.arrays import Float32, States
from npm_core.checkpoints import kind_of, load_model
from npm_core.contacts import Centre, average_product_correction, contact_scores, norm_matrix
from npm_core.devices import usable_device, within_memory
from npm_core.errors import DataError
from npm_core.model import Couplings, NeuralPottsModel, pad_tokens
from npm_core.potts import Potts
from npm_core.tables import Family, Scores, Target

T = TypeVar("T")

RESIDUES_A_BATCH = 8192
"""The Transformer reads windows of so many residues together, padding included."""

SEQUENCES_AHEAD = 64
"""Of so many sequences those of similar length are read together."""

SHORTER = "read shorter windows (--window) or use --device cpu"
"""What helps where a GPU has too little memory."""


def load_predictor(folder: Path | str, device: str = "cpu") -> NeuralPottsModel:
    """A trained model, ready to predict.

    Raises:
        DataError: The checkpoint is damaged or no Neural Potts Model.
        SettingsError: The device is not there.
    """
    place = usable_device(device)
    model = load_model(folder)
    if not isinstance(model, NeuralPottsModel):
        kind = kind_of(model).replace("_", " ")
        raise DataError(f"{folder}: a {kind}; `train --init` makes a predictor of it")
    return model.to(place).eval()


@dataclass(frozen=True)
class Window:
    """What the model says of positions start .. start + L of a sequence."""

    start: int
    fields: Tensor
    couplings: Couplings

    @property
    def span(self) -> slice:
        return slice(self.start, self.start + len(self.fields))

    def among(self, positions: slice) -> Couplings:
        """Couplings among positions of the sequence that lie in the window."""
        start = self.start
        return self.couplings.among(slice(positions.start - start, positions.stop - start))


def window_starts(length: int, window: int) -> list[int]:
    """Where windows that overlap by half begin; the last ends with the sequence."""
    if length <= window:
        return [0]
    return [*range(0, length - window, max(1, window // 2)), length - window]


@dataclass(frozen=True, eq=False)
class Windows:
    """What the model says of one sequence, longer ones in overlapping windows.

    Fields and couplings are made while one iterates, anew each time: of a sequence of 5,000
    residues only the embeddings are held.

    Attributes:
        model: In evaluation mode.
        length: L.
        starts: Where the windows begin.
        embeddings: Of each window, (its length, d).
    """

    model: NeuralPottsModel
    length: int
    starts: list[int]
    embeddings: list[Tensor]

    def __iter__(self) -> Iterator[Window]:
        for start, e in zip(self.starts, self.embeddings, strict=True):
            with torch.no_grad():
                window = Window(start, *self.model.heads(e))
            yield window


def embed_sequences(
    model: NeuralPottsModel, sequences: Iterable[tuple[T, States]], *, window: int
) -> Iterator[tuple[T, Windows]]:
    """Read many sequences, those of similar length together; they come out in their order.

    Args:
        model: In evaluation mode.
        sequences: What each comes out with, and its (L,) states, a letter of no amino acid as 20.
        window: Positions read at a time; the length the model was trained at.

    Raises:
        DataError: A sequence is empty.
    """
    stream = iter(sequences)
    while chunk := list(islice(stream, SEQUENCES_AHEAD)):
        starts = [window_starts(len(states), window) for _, states in chunk]
        pieces = [
            states[start : start + window]
            for (_, states), begins in zip(chunk, starts, strict=True)
            for start in begins
        ]
        embeddings = iter(_embed(model, pieces))
        for (key, states), begins in zip(chunk, starts, strict=True):
            parts = list(islice(embeddings, len(begins)))
            yield key, Windows(model, len(states), begins, parts)


@within_memory(SHORTER)
@torch.no_grad()
def _embed(model: NeuralPottsModel, pieces: Sequence[States]) -> list[Tensor]:
    """Embeddings (length, d) of each piece, in minibatches of similar length."""
    device = next(model.parameters()).device
    found: dict[int, Tensor] = {}
    order = sorted(range(len(pieces)), key=lambda n: len(pieces[n]), reverse=True)
    while order:
        longest = max(1, len(pieces[order[0]]))
        count = max(1, RESIDUES_A_BATCH // longest)
        batch, order = order[:count], order[count:]
        tokens, lengths = pad_tokens([torch.from_numpy(pieces[n].astype(np.int64)) for n in batch])
        embedded = model.embed(tokens.to(device), lengths.to(device))
        for n, e in zip(batch, embedded, strict=True):
            found[n] = e[: len(pieces[n])].clone()
    return [found[n] for n in range(len(pieces))]


def predict_windows(model: NeuralPottsModel, states: States, *, window: int) -> Windows:
    """Read one sequence; arguments and errors are those of `embed_sequences`."""
    ((_, windows),) = embed_sequences(model, [(None, states)], window=window)
    return windows


def window_scores(windows: Windows, *, centre: Centre = "none") -> Float32:
    """The contact score (C.2) of (L, L) pairs; the paper's, without holding J of the sequence.

    Where windows overlap their couplings are averaged. Pairs that no window holds together have
    no coupling: their norm is zero. `centre` is that of `contacts.contact_scores`, which needs J.

    Raises:
        SettingsError: The scores, or J where it is needed, do not fit into memory.
        DataError: They are not finite.
    """
    if centre != "none":
        return contact_scores(potts_model(windows).couplings, centre=centre)
    memory.require(
        4 * 8 * windows.length**2,
        f"a table of {windows.length} x {windows.length} scores",
        "predict parts of the sequence",
    )
    norms = _squared_norms(windows).clamp(min=0).sqrt().cpu().numpy()
    return average_product_correction(norm_matrix(norms)).astype(np.float32)


@within_memory(SHORTER)
def _squared_norms(windows: Windows) -> Tensor:
    r"""(L, L): \sum_{kl} of the squared mean of J_ij(k, l) over the windows that hold i and j.

    The square of a sum is the sum of all products, so that only windows that overlap are in
    memory together.
    """
    device = windows.embeddings[0].device
    squares = torch.zeros(windows.length, windows.length, dtype=torch.float64, device=device)
    before: list[Window] = []
    for window in windows:
        before = [other for other in before if other.span.stop > window.start]
        squares[window.span, window.span] += _inner_products(window.couplings, window.couplings)
        for other in before:
            shared = slice(window.start, other.span.stop)
            one, two = (each.among(shared) for each in (other, window))
            squares[shared, shared] += 2 * _inner_products(one, two)
        before.append(window)
    if len(windows.starts) == 1:
        return squares
    return squares / _pair_counts(windows).to(squares).clamp(min=1) ** 2


def _inner_products(one: Couplings, other: Couplings) -> Tensor:
    """(L, L): sum over the 20 x 20 amino acids of J_ij(k, l) J'_ij(k, l); wrong for i = j."""
    parts = []
    for k in range(alphabet.GAP):
        row = one.blocks_from(k)
        products = row * (row if other is one else other.blocks_from(k))
        above = products[1:].sum(0)  # l > k; as J_ij(l, k) = J_ji(k, l), below is its transpose
        parts.append(products[0] + above + above.T)
    return torch.stack(parts).sum(0, dtype=torch.float64)


def _pair_counts(windows: Windows) -> Tensor:
    """(L, L), how many windows hold both positions."""
    counts = torch.zeros(windows.length, windows.length)
    for start, e in zip(windows.starts, windows.embeddings, strict=True):
        counts[start : start + len(e), start : start + len(e)] += 1
    return counts


@within_memory(SHORTER)
def potts_model(windows: Windows) -> Potts:
    """Fields and couplings of a sequence as a Potts model; overlapping windows are averaged.

    Raises:
        SettingsError: J does not fit into memory.
    """
    length = windows.length
    fields = np.zeros((length, alphabet.STATES), dtype=np.float32)
    memory.require(
        3 * length**2 * alphabet.STATES**2 * fields.itemsize,
        f"J of {length} residues",
        "ask for scores, which are made without it",
    )
    couplings = np.zeros((length, length, *fields.shape[1:], *fields.shape[1:]), dtype=np.float32)
    covered = np.zeros(length, dtype=np.float32)
    for window in windows:
        (blocks,) = window.couplings.blocks_of(1)
        fields[window.span] += window.fields.cpu().numpy()
        couplings[window.span, window.span] += blocks.permute(2, 3, 0, 1).cpu().numpy()
        covered[window.span] += 1
    fields /= covered[:, None]
    couplings /= _pair_counts(windows).clamp(min=1).numpy()[:, :, None, None]
    couplings += couplings.transpose(1, 0, 3, 2).copy()
    couplings *= 0.5
    return Potts(fields, couplings)


def target_scores(
    model: NeuralPottsModel,
    targets: Iterable[Target],
    *,
    name: str = "npm",
    window: int,
    shuffle_seed: int | None = None,
    centre: Centre = "none",
    test_rows: Mapping[str, Family] | None = None,
) -> Iterator[Scores]:
    """Contact scores of targets, and with a seed those of their shuffled sequences.

    Shuffled, the model reads the residues in random order. Scores of the shuffled positions stay
    where they are: a map that does not depend on the sequence scores as well as before.

    Args:
        model: In evaluation mode.
        targets: Whose sequences are read.
        name: Of the model in the scores; the shuffled control's ends in "_shuffled".
        window: Positions read at a time.
        shuffle_seed: Of the random orders.
        centre: As in `contacts.contact_scores`.
        test_rows: Of targets by id, of which the generalisation loss is taken, not of the control.

    Raises:
        SettingsError: J of a target with test rows does not fit into memory.
    """

    def queries() -> Iterator[tuple[tuple[str, str], States]]:
        for target in targets:
            states = alphabet.encode(target.sequence)
            yield (target.id, name), states
            if shuffle_seed is not None:
                rng = np.random.default_rng([shuffle_seed, *target.id.encode()])
                yield (target.id, f"{name}_shuffled"), rng.permutation(states)

    for label, windows in embed_sequences(model, queries(), window=window):
        target, reader = label
        rows = (test_rows or {}).get(target) if reader == name else None
        loss = None if rows is None else _generalisation_loss(windows, rows)
        matrix = window_scores(windows, centre=centre)
        yield Scores(target, reader, matrix, generalisation_loss=loss)


def _generalisation_loss(windows: Windows, rows: Family) -> float:
    # Numba takes a second to import, which those who only predict do not wait for.
    from npm_core.generalisation import generalisation_loss

    return generalisation_loss(potts_model(windows), rows)
