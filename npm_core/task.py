"""What the optimisation loop is given: a model, its data and its loss."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from npm_core.model import MaskedLanguageModel, NeuralPottsModel
from npm_core.order import Order
from npm_core.training_settings import LoopSettings


class Task(nn.Module, ABC):
    """What is optimised: a module whose call gives a loss, and the data it is fed with."""

    model: NeuralPottsModel | MaskedLanguageModel
    """The part of it that is the outcome."""

    loop: LoopSettings
    """How it is optimised; the batches are those of this batch size and seed."""

    order: Order
    """Which of the data comes when."""

    measures: tuple[str, ...] = ()
    """Names of what `forward` reports beside the loss."""

    validation_measures: tuple[str, ...] = ()
    """Names of what `validate` reports."""

    def layers(self) -> Iterable[nn.Module]:
        """The Transformer's layers: what is compiled, and gathered one by one if sharded."""
        return self.model.trunk.transformer_layers()

    def epoch(self, step: int) -> float:
        """Epochs before update `step`."""
        return self.order.epoch(step)

    @abstractmethod
    def parameter_groups(self) -> list[dict[str, Any]]:
        """Weights that are trained, with a learning rate "lr" each group."""

    @abstractmethod
    def batches(self, step: int, rank: int, world: int) -> list[Any]:
        """Micro-batches of update `step` for one of `world` processes."""

    @abstractmethod
    def forward(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Loss, and (measures,), each summed over the members of a micro-batch."""

    @abstractmethod
    def validate(self) -> dict[str, float]:
        """Validation measures of the present weights."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """Settings and data: together with the initial weights they name this training."""

    def watched_facts(self) -> Any:
        """What `validate` looks at: rows of metrics on other data are of another table."""
        return None
