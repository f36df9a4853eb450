"""All that a training is made of at one moment, in memory and on the disk."""

import dataclasses
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from npm_core.errors import DataError
from npm_core.files import write_tensors
from npm_core.team import own_share, placed_like, whole


@dataclass
class Counters:
    """Counters of a training; with weights and moments they are its whole state."""

    step: int = 0
    seconds: float = 0.0
    rate: float = 1.0
    rollbacks: int = 0
    sums: list[float] = field(default_factory=list)
    summed: int = 0


class RunningMean:
    """An exponential running mean of a module's weights; with decay 0 there is none.

    Its decay grows from 0.1 in the first update to the one asked for, so that the initial weights
    are soon forgotten.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        trained = {name: w for name, w in module.named_parameters() if w.requires_grad}
        self.decay = decay
        self.weights = trained if decay else {}
        self.values = {name: weight.detach().clone() for name, weight in self.weights.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after update `step` (0-based)."""
        if self.values:
            decay = min(self.decay, (1 + step) / (10 + step))
            values = [own_share(value) for value in self.values.values()]
            weights = [own_share(weight.detach()) for weight in self.weights.values()]
            get_ema_multi_avg_fn(decay)(values, weights, step)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """The mean stands in the weights' place, which come back as they were."""
        kept = {name: weight.detach().clone() for name, weight in self.weights.items()}
        self.replace_weights()
        try:
            yield
        finally:
            self._write(kept)

    def replace_weights(self) -> None:
        """Put the mean in the weights' place."""
        self._write(self.values)

    @torch.no_grad()
    def _write(self, values: Mapping[str, Tensor]) -> None:
        for name, weight in self.weights.items():
            weight.copy_(values[name])


@dataclass(frozen=True)
class State:
    """What a training is made of beside its counters; all processes save and load it together."""

    task: nn.Module
    optimizer: torch.optim.Optimizer
    mean: RunningMean

    def save(self, path: Path, progress: Counters, *, write: bool) -> None:
        """Gather weights, their mean and moments; one process writes them.

        Raises:
            OutputError: There is no room. The checkpoint before is still whole.
        """
        tensors = {}
        for key, value in self._tensors().items():
            gathered = whole(value.detach())
            if write:
                tensors[key] = gathered.cpu().contiguous()
        if write:
            metadata = {"progress": json.dumps(dataclasses.asdict(progress))}
            write_tensors(path, tensors, metadata)

    def load(self, path: Path) -> Counters:
        """Put a checkpoint's weights, their mean and moments in place; return its counters.

        Raises:
            DataError: The file is damaged.
        """
        parts: dict[str, dict[str, Tensor]] = defaultdict(dict)
        try:
            with safe_open(path, framework="pt") as file:
                for key in file.keys():  # noqa: SIM118
                    kind, name = key.split("/", 1)
                    parts[kind][name] = file.get_tensor(key)
                progress = Counters(**json.loads(file.metadata()["progress"]))
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{path}: not a whole checkpoint ({error}); delete it to start anew"
            ) from error
        weights, means = parts.pop("weight"), parts.pop("mean", {})
        shapes = self.task.state_dict()
        self.task.load_state_dict({n: placed_like(w, shapes[n]) for n, w in weights.items()})
        for name, value in self.mean.values.items():
            value.copy_(placed_like(means[name], value))
        self.optimizer.state.clear()
        for name, weight in self._trained().items():
            moments = {kind: named[name] for kind, named in parts.items() if name in named}
            if moments:
                self.optimizer.state[weight] = {
                    kind: value.to(weight.device) if kind == "step" else placed_like(value, weight)
                    for kind, value in moments.items()
                }
        return progress

    def _tensors(self) -> dict[str, Tensor]:
        found = {f"weight/{name}": value for name, value in self.task.state_dict().items()}
        found |= {f"mean/{name}": value for name, value in self.mean.values.items()}
        for name, weight in self._trained().items():
            for kind, value in self.optimizer.state[weight].items():
                found[f"{kind}/{name}"] = value
        return found

    def _trained(self) -> dict[str, nn.Parameter]:
        groups = self.optimizer.param_groups
        trained = {id(weight) for group in groups for weight in group["params"]}
        return {name: w for name, w in self.task.named_parameters() if id(w) in trained}
