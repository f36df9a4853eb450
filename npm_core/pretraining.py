"""Masked language modelling of single sequences: how the trunk learns before the MSAs come.

After Rives et al. (2019): 15 % of the residues are asked for; of these 80 % are masked, 10 %
replaced by a random amino acid and 10 % left as they are.
"""

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from npm_core import alphabet
from npm_core.batching import Order, generator
from npm_core.errors import DataError
from npm_core.files import open_text
from npm_core.loop import LoopSettings, Task
from npm_core.model import MASK, MaskedLanguageModel, pad_tokens
from npm_core.msa import fasta_records
from npm_core.settings import knob, require_positive

NOT_ASKED = -100
"""Target of a position that does not count in the loss."""


@dataclass(frozen=True)
class PretrainSettings:
    """Masked language modelling (Table 2)."""

    learning_rate: float = knob(4e-4, "Of all weights.")
    asked: float = knob(0.15, "Share of the residues the model is asked for.")
    max_length: int = knob(512, "Longer sequences are cropped at random to so many residues.")

    def __post_init__(self) -> None:
        require_positive(self, "learning_rate", "asked", "max_length")


@dataclass(frozen=True, eq=False)
class Sequences:
    """Unaligned sequences in one array.

    Attributes:
        residues: Of all sequences, one after the other, uint8 states.
        starts: (count + 1,), where each begins; the last entry is the end.
    """

    residues: NDArray[np.uint8]
    starts: NDArray[np.int64]

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.diff(self.starts)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        return self.residues[self.starts[index] : self.starts[index + 1]]


def read_sequences(paths: Iterable[Path | str]) -> Sequences:
    """Sequences of FASTA files, gzipped or not.

    Raises:
        DataError: A sequence holds a character that is no amino acid, or is empty.
    """
    arrays: list[NDArray[np.uint8]] = []
    for path in paths:
        with open_text(path) as stream:
            for name, sequence in fasta_records(stream, str(path)):
                try:
                    states = alphabet.encode(sequence.upper())
                except DataError as error:
                    raise DataError(f"{path}: {name}: {error}") from error
                if not len(states):
                    raise DataError(f"{path}: {name} has no residues")
                arrays.append(states)
    if not arrays:
        raise DataError("no sequences to learn from")
    starts = np.cumsum([0, *(len(states) for states in arrays)], dtype=np.int64)
    return Sequences(np.concatenate(arrays), starts)


def mask_residues(
    residues: NDArray[np.uint8], rng: np.random.Generator, *, asked: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Choose residues to ask for and hide most of them.

    Args:
        residues: (L,) states.
        rng: Of this sequence alone.
        asked: Share of residues; at least one amino acid is asked for if there is any.

    Returns:
        Tokens and targets (L,); targets are NOT_ASKED except at asked positions.
    """
    tokens = residues.astype(np.int64)
    targets = np.full(len(residues), NOT_ASKED, dtype=np.int64)
    known = np.flatnonzero(residues != alphabet.GAP)
    if not known.size:
        return tokens, targets
    chosen = rng.permutation(known)[: max(1, round(asked * known.size))]
    targets[chosen] = tokens[chosen]
    fate = rng.random(chosen.size)
    tokens[chosen[fate < 0.8]] = MASK
    replaced = chosen[(fate >= 0.8) & (fate < 0.9)]
    tokens[replaced] = rng.integers(alphabet.GAP, size=replaced.size)
    return tokens, targets


@dataclass(frozen=True, eq=False)
class MaskedBatch:
    """Tokens and targets (B, longest) int64, and true lengths (B,)."""

    tokens: Tensor
    targets: Tensor
    lengths: Tensor

    def to(self, device: torch.device) -> "MaskedBatch":
        return MaskedBatch(
            self.tokens.to(device, non_blocking=True),
            self.targets.to(device, non_blocking=True),
            self.lengths.to(device, non_blocking=True),
        )


class MaskedLanguageTask(Task):
    """A trunk that learns to fill in masked residues."""

    measures = ("accuracy", "residues")

    def __init__(
        self,
        model: MaskedLanguageModel,
        sequences: Sequences,
        *,
        pretrain: PretrainSettings,
        loop: LoopSettings,
        validation: Sequences | None = None,
    ) -> None:
        """Tie a model to its sequences.

        Args:
            model: Initial weights.
            sequences: To learn from.
            pretrain, loop: Settings.
            validation: Sequences whose loss is watched.
        """
        super().__init__()
        self.model = model
        self.sequences, self.validation = sequences, validation
        self.settings, self.loop = pretrain, loop
        lengths = np.minimum(sequences.lengths, pretrain.max_length)
        self.order = Order(lengths, batch=loop.batch, seed=loop.seed, window=len(lengths))
        self.validation_measures = ("validation_loss",) if validation else ()

    def layers(self) -> Iterable[nn.Module]:
        return self.model.trunk.transformer_layers()

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.model.parameters()), "lr": self.settings.learning_rate}]

    def batches(self, step: int, rank: int, world: int) -> list[MaskedBatch]:
        items = self.order.items(step)[rank::world]
        size = self.loop.micro_batch
        return [
            self._batch(self.sequences, items[i : i + size], "masks")
            for i in range(0, len(items), size)
        ]

    def _batch(
        self, sequences: Sequences, items: Sequence[tuple[int, int]], purpose: str
    ) -> MaskedBatch:
        tokens: list[Tensor] = []
        targets: list[Tensor] = []
        for number, item in items:
            rng = generator(self.loop.seed, purpose, number)
            residues = sequences[item]
            excess = len(residues) - self.settings.max_length
            if excess > 0:
                start = int(rng.integers(excess + 1))
                residues = residues[start : start + self.settings.max_length]
            hidden, asked = mask_residues(residues, rng, asked=self.settings.asked)
            tokens.append(torch.from_numpy(hidden))
            targets.append(torch.from_numpy(asked))
        padded, lengths = pad_tokens(tokens)
        expected = torch.nn.utils.rnn.pad_sequence(
            targets, batch_first=True, padding_value=NOT_ASKED
        )
        return MaskedBatch(padded, expected, lengths)

    def forward(self, batch: MaskedBatch) -> tuple[Tensor, Tensor]:
        """Sum over sequences of the mean cross-entropy at asked positions, in nats."""
        logits = self.model(batch.tokens, batch.lengths).float()
        asked = batch.targets != NOT_ASKED
        entropy = functional.cross_entropy(
            logits.transpose(1, 2), batch.targets, reduction="none", ignore_index=NOT_ASKED
        )
        count = asked.sum(1).clamp(min=1)
        right = (logits.argmax(-1) == batch.targets) & asked
        accuracy = (right.sum(1) / count).sum()
        return (entropy.sum(1) / count).sum(), torch.stack([accuracy, batch.lengths.sum()])

    def epoch(self, step: int) -> float:
        return self.order.epoch(step)

    def validate(self) -> dict[str, float]:
        if self.validation is None:
            return {}
        device = next(self.model.parameters()).device
        count, total, size = len(self.validation.lengths), 0.0, self.loop.micro_batch
        for start in range(0, count, size):
            items = [(item, item) for item in range(start, min(start + size, count))]
            batch = self._batch(self.validation, items, "validation").to(device)
            total += float(self(batch)[0])
        return {"validation_loss": total / count}

    def facts(self) -> dict[str, Any]:
        return {
            "pretrain": dataclasses.asdict(self.settings),
            "sequences": len(self.sequences.lengths),
            "residues": hashlib.sha256(self.sequences.residues.data).hexdigest(),
        }
