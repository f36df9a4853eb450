"""Masked language modelling of single sequences: how the trunk learns before the MSAs come.

After Rives et al. (2019): 15 % of the residues are asked for; of these 80 % are masked, 10 %
replaced by a random amino acid and 10 % left as they are.
"""

import dataclasses
import hashlib
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from npm_core import alphabet
from npm_core.arrays import States
from npm_core.draws import VALIDATION_SEED, generator
from npm_core.errors import DataError
from npm_core.model import MASK, PAD, MaskedLanguageModel
from npm_core.order import Order
from npm_core.queries import read_encoded
from npm_core.task import Task
from npm_core.training_settings import LoopSettings, PretrainSettings

NOT_ASKED = -100
"""Target of a position that does not count in the loss."""

VALIDATED_TOGETHER = 1024
"""Sequences whose masks are drawn at a time; another number draws others."""


@dataclass(frozen=True, eq=False)
class Sequences:
    """Unaligned sequences in one array.

    Attributes:
        residues: Of all sequences, one after the other, uint8 states.
        starts: (count + 1,), where each begins; the last entry is the end.
    """

    residues: States
    starts: NDArray[np.int64]

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.diff(self.starts)


def read_sequences(paths: Iterable[Path | str]) -> Sequences:
    """Sequences of FASTA files, gzipped or not.

    Raises:
        DataError: As `queries.read_encoded`, or no sequence holds an amino acid to ask for.
    """
    paths = list(paths)
    # Of tens of millions of sequences, as an array each, what they are kept with is most of it.
    residues, starts = bytearray(), array("q", [0])
    teaches = False
    for path in paths:
        for _, states in read_encoded(path):
            teaches = teaches or bool((states < alphabet.GAP).any())
            residues += states.data
            starts.append(len(residues))
    if not teaches:
        raise DataError(
            f"{', '.join(map(str, paths))}: nothing to learn from: {len(starts) - 1} sequences, "
            "none with a letter that names one amino acid"
        )
    return Sequences(np.frombuffer(residues, np.uint8), np.frombuffer(starts, np.int64))


def mask_residues(
    states: States, rng: np.random.Generator, *, asked: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Choose residues to ask for and hide most of them.

    Args:
        states: (B, L) of sequences, PAD after their ends.
        rng: Of this batch alone.
        asked: Share of residues; at least one amino acid of a sequence is asked for if it has any.

    Returns:
        Tokens and targets (B, L); targets are NOT_ASKED except at asked positions.
    """
    known = states < alphabet.GAP
    count = known.sum(1)
    wanted = np.where(count > 0, np.maximum(1, np.rint(asked * count)), 0).astype(np.int64)
    lots = np.where(known, rng.random(states.shape), np.inf)
    last = np.take_along_axis(np.sort(lots, axis=1), np.maximum(wanted - 1, 0)[:, None], axis=1)
    chosen = known & (lots <= last) & (wanted > 0)[:, None]
    states = states.astype(np.int64)
    targets = np.where(chosen, states, NOT_ASKED)
    fate = np.where(chosen, rng.random(states.shape), 1.0)
    other = rng.integers(alphabet.GAP, size=states.shape)
    tokens = np.select([fate < 0.8, fate < 0.9], [MASK, other], states)
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


def _batch(
    tokens: NDArray[np.int64], targets: NDArray[np.int64], lengths: NDArray[np.int64]
) -> MaskedBatch:
    """Cut to the longest."""
    longest = lengths.max()
    return MaskedBatch(
        torch.from_numpy(tokens[:, :longest]),
        torch.from_numpy(targets[:, :longest]),
        torch.from_numpy(lengths),
    )


class MaskedLanguageTask(Task):
    """A trunk that learns to fill in masked residues."""

    model: MaskedLanguageModel
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

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.model.parameters()), "lr": self.settings.learning_rate}]

    def batches(self, step: int, rank: int, world: int) -> list[MaskedBatch]:
        items = np.array([item for _, item in self.order.items(step)])
        hidden = self._hidden(self.sequences, items, generator(self.loop.seed, "masks", step))
        size = self.loop.micro_batch
        return [
            _batch(*(part[rank::world][start : start + size] for part in hidden))
            for start in range(0, len(items[rank::world]), size)
        ]

    def _hidden(
        self, sequences: Sequences, items: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Tokens and targets (B, longest) of some sequences, and their lengths."""
        # Not `sequences.lengths`, which are those of all sequences.
        whole = sequences.starts[items + 1] - sequences.starts[items]
        lengths = np.minimum(whole, self.settings.max_length)
        starts = sequences.starts[items] + rng.integers(whole - lengths + 1)
        places = np.arange(lengths.max())
        inside = places < lengths[:, None]
        states = sequences.residues[np.where(inside, starts[:, None] + places, 0)]
        states = np.where(inside, states, PAD).astype(np.uint8)
        return (*mask_residues(states, rng, asked=self.settings.asked), lengths)

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

    def validate(self) -> dict[str, float]:
        if self.validation is None:
            return {}
        device = next(self.model.parameters()).device
        count, total, size = len(self.validation.lengths), 0.0, self.loop.micro_batch
        for first in range(0, count, VALIDATED_TOGETHER):
            items = np.arange(first, min(first + VALIDATED_TOGETHER, count))
            hidden = self._hidden(
                self.validation, items, generator(VALIDATION_SEED, "validation", first)
            )
            for start in range(0, len(items), size):
                batch = _batch(*(part[start : start + size] for part in hidden))
                total += float(self(batch.to(device))[0])
        return {"validation_loss": total / count}

    def facts(self) -> dict[str, Any]:
        return {
            "pretrain": dataclasses.asdict(self.settings),
            "sequences": len(self.sequences.lengths),
            "residues": hashlib.sha256(self.sequences.residues.data).hexdigest(),
        }

    def watched_facts(self) -> str:
        watched = self.validation
        return "" if watched is None else hashlib.sha256(watched.residues.data).hexdigest()
