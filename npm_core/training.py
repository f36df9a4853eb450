"""Training of the Neural Potts Model: families in, eq. (8) down (Algorithm 1)."""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from npm_core.architecture import HeadSettings
from npm_core.batching import Batch, Example, collate, sample_example
from npm_core.draws import generator
from npm_core.errors import DataError, SettingsError
from npm_core.families import Families
from npm_core.model import NeuralPottsModel
from npm_core.npm_loss import npm_losses
from npm_core.order import Order
from npm_core.tables import Target
from npm_core.task import Task
from npm_core.training_settings import LoopSettings, ObjectiveSettings, TrainSettings
from npm_core.validation import MEASURES, long_range_precision, validation_loss


class NpmTask(Task):
    """The Neural Potts Model, its families and its loss."""

    model: NeuralPottsModel
    measures = ("pseudolikelihood", "penalty", "residues")

    def __init__(
        self,
        model: NeuralPottsModel,
        families: Families,
        *,
        train: TrainSettings,
        objective: ObjectiveSettings,
        loop: LoopSettings,
        validation: Families | None = None,
        reduced: Families | None = None,
        targets: Sequence[Target] | None = None,
        contact_distance: float = 8.0,
    ) -> None:
        """Tie a model to its data.

        Args:
            model: Initial weights.
            families: To train on.
            train, objective, loop: Settings.
            validation: Families whose loss is watched.
            reduced: The same families at the depth that is trained on; their loss is watched too.
            targets: Structures whose long-range P@L and P@L/5 are watched.
            contact_distance: In Angstrom, of a contact in these.

        Raises:
            DataError: There are no families to train or to validate on.
        """
        super().__init__()
        self.watched = {
            f"{name}_pseudolikelihood": watched
            for name, watched in (("validation", validation), ("reduced", reduced))
            if watched is not None
        }
        if not all(map(len, self.watched.values())):
            raise DataError("there are no families to validate on")
        if train.frozen:
            model.trunk.requires_grad_(False)
        self.model = model
        self.families, self.targets = families, targets
        self.contact_distance = contact_distance
        self.train_settings, self.objective, self.loop = train, objective, loop
        self.order = Order(families.lengths, batch=loop.batch, seed=loop.seed)
        weights = np.ones_like(families.meff)
        if train.weighting == "sqrt_meff":
            weights = np.sqrt(families.meff)
        self.weights = weights / weights.mean()
        self.validation_measures = (*self.watched, *(() if targets is None else MEASURES))

    def parameter_groups(self) -> list[dict[str, Any]]:
        settings, model = self.train_settings, self.model
        heads = [*model.fields.parameters(), *model.couplings.parameters()]
        groups: list[dict[str, Any]] = [{"params": heads, "lr": settings.head_learning_rate}]
        if not settings.frozen:
            trunk = [weight for weight in model.trunk.parameters() if weight.requires_grad]
            groups.append({"params": trunk, "lr": settings.trunk_learning_rate})
        return groups

    def batches(self, step: int, rank: int, world: int) -> list[Batch]:
        items = self.order.share(step, rank, world)
        size = self.loop.micro_batch
        return [
            collate([self._example(number, item) for number, item in items[i : i + size]])
            for i in range(0, len(items), size)
        ]

    def _example(self, number: int, item: int) -> Example:
        settings = self.train_settings
        return sample_example(
            self.families[item],
            generator(self.loop.seed, "rows", number),
            rows=settings.rows,
            max_length=settings.max_length,
            random_query=settings.query == "random",
            weight=float(self.weights[item]),
        )

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.train_settings.frozen):
            embeddings = self.model.embed(batch.tokens, batch.lengths)
        measures = embeddings.new_zeros(3, dtype=torch.float32)
        measures[2] = batch.lengths.sum()

        # Not those of the batch, which on a GPU wait for the Transformer.
        lengths = [rows.shape[1] for rows in batch.rows]

        def weighted_loss(proteins: Sequence[int], e: Tensor) -> Tensor:
            rows = [batch.rows[n] for n in proteins]
            losses = npm_losses(self.model.heads, e, rows, self.objective)
            both = torch.stack([losses.pseudolikelihood, losses.penalty]).detach()
            these = slice(proteins[0], proteins[-1] + 1)
            measures[:2] += (both / batch.lengths[these]).sum(1)
            return (batch.weights[these] * losses.total).sum()

        together = residues_together(embeddings.device, self.model.head_settings)
        heads = [*self.model.fields.parameters(), *self.model.couplings.parameters()]
        total = SumOverProteins.apply(
            weighted_loss, grouped(lengths, together), lengths, embeddings, *heads
        )
        return total, measures

    def validate(self) -> dict[str, float]:
        settings = self.train_settings
        found = {
            name: validation_loss(
                self.model,
                families,
                self.objective,
                rows=settings.rows,
                max_length=settings.max_length,
            )
            for name, families in self.watched.items()
        }
        if self.targets is not None:
            found |= long_range_precision(
                self.model,
                self.targets,
                contact_distance=self.contact_distance,
                window=settings.max_length,
            )
        return found

    def facts(self) -> dict[str, Any]:
        return {
            "train": dataclasses.asdict(self.train_settings),
            "objective": dataclasses.asdict(self.objective),
            "families": self.families.digest(),
        }

    def watched_facts(self) -> dict[str, Any]:
        targets = hashlib.sha256(str(self.contact_distance).encode())
        for target in self.targets or ():
            targets.update(f"{target.id} {target.sequence}".encode() + target.coordinates.tobytes())
        families = {name: watched.digest() for name, watched in self.watched.items()}
        return {**families, "targets": targets.hexdigest()}


def residues_together(device: torch.device, head: HeadSettings) -> int:
    """Residues of several proteins that the heads read together.

    On a GPU the products become fewer and larger, and gradients of the heads are added up less
    often. The conv head multiplies all residues with each other, so it reads one protein.
    """
    return 4096 if device.type == "cuda" and head.kind != "conv" else 1


def grouped(lengths: Sequence[int], residues: int) -> list[range]:
    """Proteins one after the other in groups of at most so many residues, or of one protein."""
    groups: list[range] = []
    start, total = 0, 0
    for n, length in enumerate(lengths):
        if n > start and total + length > residues:
            groups.append(range(start, n))
            start, total = n, 0
        total += length
    return [*groups, range(start, len(lengths))]


class SumOverProteins(torch.autograd.Function):
    """The sum of a loss over proteins, of which one group at a time is in memory.

    Autograd would keep what each protein's heads and J need until the last one is read. Here the
    gradient of a group is taken as soon as its loss is known; the backward pass hands out the
    sums. Without padding, too: the heads see the proteins' own positions alone.
    """

    @staticmethod
    def forward(
        ctx: Any,
        loss: Callable[[Sequence[int], Tensor], Tensor],
        groups: Sequence[Sequence[int]],
        lengths: Sequence[int],
        embeddings: Tensor,
        *weights: Tensor,
    ) -> Tensor:
        """Sum of loss(proteins, e) over groups; e is the embeddings (B, L, d) of a group's
        proteins, cut to their lengths and put end to end."""
        inputs = (embeddings, *weights)
        wanted = [n for n, needed in enumerate(ctx.needs_input_grad[3:]) if needed]
        sums = {n: torch.zeros_like(inputs[n]) for n in wanted}
        total = embeddings.new_zeros((), dtype=torch.float32)
        for group in groups:
            e = torch.cat([embeddings[n, : lengths[n]] for n in group]).detach()
            e.requires_grad_(0 in sums)
            with torch.set_grad_enabled(bool(sums)):
                term = loss(group, e)
            total += term.detach()
            if sums:
                with torch.autocast(e.device.type, enabled=False):
                    found = torch.autograd.grad(term, [(e, *weights)[n] for n in wanted])
                gradients = dict(zip(wanted, found, strict=True))
                if 0 in sums:
                    parts = gradients.pop(0).split([lengths[n] for n in group])
                    for n, part in zip(group, parts, strict=True):
                        sums[0][n, : lengths[n]] = part
                for n, gradient in gradients.items():
                    sums[n] += gradient
        ctx.save_for_backward(*(sums.get(n) for n in range(len(inputs))))
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        scaled = (None if part is None else part * gradients[0] for part in ctx.saved_tensors)
        return None, None, None, *scaled


def check_frozen(train: TrainSettings, init: str) -> None:
    """Refuse to freeze random weights."""
    if train.frozen and init == "random":
        raise SettingsError("--frozen with --init random would train heads on a random trunk")
