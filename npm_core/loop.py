"""The optimisation loop: updates, checkpoints, exact resume, roll-back from a loss that explodes.

A training stopped by a signal, a crash or a full disk goes on from its last checkpoint to the
same weights, bit for bit on a CPU, as one that was never stopped: batches are a function of
their number, and the checkpoint holds the weights, both moments of Adam and the counters.
"""

import csv
import dataclasses
import hashlib
import io
import json
import math
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from npm_core.batching import Prefetch
from npm_core.errors import DataError, NpmError, SettingsError
from npm_core.files import atomic_path, write_text
from npm_core.progress import note, track
from npm_core.settings import knob, require_positive

MAX_ROLLBACKS = 5


class TrainingError(NpmError):
    """The optimisation cannot go on."""


class Stopped(NpmError):
    """A signal ended the training; it resumes when it is started again."""


@dataclass(frozen=True)
class LoopSettings:
    """How long and how fast to optimise."""

    steps: int = knob(1000, "Updates of the weights.")
    batch: int = knob(64, "Proteins (or sequences) of one update, over all processes.")
    micro_batch: int = knob(64, "At most this many of them at a time; gradients are summed.")
    warm_up: int = knob(100, "Updates over which the learning rates rise from zero.")
    decay: str = knob(
        "none",
        "What the learning rates do after the warm-up.",
        choices=("none", "linear", "cosine"),
    )
    weight_decay: float = knob(0.0, "AdamW's decay of matrices.")
    clip: float = knob(0.0, "Largest norm of a gradient; 0 leaves gradients as they are.")
    precision: str = knob(
        "float32", "Of the matrix products; sums are float32.", choices=("float32", "bfloat16")
    )
    seed: int = knob(0, "Of initial weights and of every draw.")
    max_seconds: float = knob(
        0.0, "End after this wall time, with the weights there are; 0 is no limit. Not repeatable."
    )
    log_every: int = knob(20, "Updates from one row of metrics to the next.")
    validate_every: int = knob(200, "Updates from one validation to the next.")
    checkpoint_every: int = knob(200, "Updates from one checkpoint to the next.")

    def __post_init__(self) -> None:
        require_positive(
            self, "steps", "batch", "micro_batch", "log_every", "validate_every", "checkpoint_every"
        )

    def learning_rate(self, step: int) -> float:
        """Factor of the learning rates in update `step` (0-based)."""
        rise = min(1.0, (step + 1) / (self.warm_up + 1))
        left = 1 - min(1.0, max(0, step - self.warm_up) / max(1, self.steps - self.warm_up))
        fall = {"none": 1.0, "linear": left, "cosine": (1 - math.cos(math.pi * left)) / 2}
        return rise * fall[self.decay]


class Task(nn.Module):
    """What is optimised: a module whose call gives a loss, and the data it is fed with."""

    measures: tuple[str, ...] = ()
    """Names of what `forward` reports beside the loss."""

    validation_measures: tuple[str, ...] = ()
    """Names of what `validate` reports."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Weights that are trained, with a learning rate "lr" each group."""
        raise NotImplementedError

    def batches(self, step: int, rank: int, world: int) -> list[Any]:
        """Micro-batches of update `step` for one of `world` processes."""
        raise NotImplementedError

    def forward(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Loss, and (measures,), each summed over the members of a micro-batch."""
        raise NotImplementedError

    def epoch(self, step: int) -> float:
        """Epochs before update `step`."""
        raise NotImplementedError

    def validate(self) -> dict[str, float]:
        """Validation measures of the present weights."""
        return {}

    def facts(self) -> dict[str, Any]:
        """Settings and data: together with the initial weights they name this training."""
        raise NotImplementedError


@dataclass(frozen=True)
class Workers:
    """This process among those that train together (`torchrun`)."""

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        return self.rank == 0


@contextmanager
def workers(device: str) -> Iterator[Workers]:
    """Join the processes that `torchrun` started, or be the only one.

    Raises:
        SettingsError: The device is not there.
    """
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise SettingsError(f"device {device!r}: no GPU can be reached; use --device cpu")
    if "RANK" not in os.environ:
        yield Workers(device=torch.device(device))
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    place = torch.device("cuda", local) if device.startswith("cuda") else torch.device(device)
    if place.type == "cuda":
        torch.cuda.set_device(place)
    distributed.init_process_group("nccl" if place.type == "cuda" else "gloo")
    try:
        yield Workers(distributed.get_rank(), distributed.get_world_size(), place)
    finally:
        distributed.destroy_process_group()


@dataclass
class Progress:
    """Counters of a training; with weights and moments they are its whole state."""

    step: int = 0
    seconds: float = 0.0
    rate: float = 1.0
    rollbacks: int = 0
    sums: list[float] = field(default_factory=list)
    summed: int = 0


@dataclass(frozen=True)
class Outcome:
    """How a training ended.

    Attributes:
        steps: Updates done.
        seconds: Wall time, over all starts.
        waiting: Share of the last start's time spent waiting for data.
        ended_by: "steps" or "max_seconds".
        rollbacks: How often a loss that was not finite sent it back to a checkpoint.
    """

    steps: int
    seconds: float
    waiting: float
    ended_by: str
    rollbacks: int


def fit(
    task: Task, settings: LoopSettings, *, scratch: Path, metrics: Path, team: Workers
) -> Outcome:
    """Optimise the weights of a task, in place.

    Args:
        task: Model and data, on the CPU.
        settings: Of the loop.
        scratch: Folder of checkpoints. A checkpoint is named by a digest of settings, data and
            initial weights: another training never resumes from it.
        metrics: CSV, one row every `log_every` updates.
        team: This process and its peers.

    Raises:
        TrainingError: The loss is still not finite after MAX_ROLLBACKS roll-backs.
        Stopped: SIGTERM came; a checkpoint is written.
        SettingsError: The batch cannot be shared by so many processes.
    """
    if settings.batch % team.world:
        raise SettingsError(f"batch {settings.batch} cannot be shared by {team.world} processes")
    path = scratch / f"{_name(task, settings)}.safetensors"
    task.to(team.device)
    optimizer = _optimizer(task, settings)
    run = _Run(task, optimizer, settings, path, metrics, team)
    with _sigterm() as stopping:
        outcome = run.go(stopping)
    path.unlink(missing_ok=True)
    return outcome


class _Run:
    """One start of a training."""

    def __init__(
        self,
        task: Task,
        optimizer: torch.optim.Optimizer,
        settings: LoopSettings,
        path: Path,
        metrics: Path,
        team: Workers,
    ) -> None:
        self.task, self.optimizer, self.settings = task, optimizer, settings
        self.path, self.team = path, team
        self.rates = [group["lr"] for group in optimizer.param_groups]
        self.wrapped: nn.Module = task
        if team.world > 1:
            self.wrapped = DistributedDataParallel(task)
        self.table = MetricsTable(
            metrics,
            (
                *("step", "epoch", "seconds", "waiting", "learning_rate", "gradient_norm", "loss"),
                *(*task.measures, *task.validation_measures),
            ),
        )
        if path.is_file():
            self.progress = load_checkpoint(path, task, optimizer)
            if team.first:
                note(f"resuming after {self.progress.step} updates from {path}")
            self.table.keep_until(self.progress.step)
        else:
            self.progress = Progress()
            self.table.keep_until(-1)
            self._checkpoint()

    def go(self, stopping: list[int]) -> Outcome:
        settings, progress = self.settings, self.progress
        before, started = progress.seconds, time.monotonic()
        if not self.table.rows:
            self._row(validation=self._validated())
        steps = range(progress.step, settings.steps)
        rank, world = self.team.rank, self.team.world
        ahead = Prefetch(lambda step: self.task.batches(step, rank, world), steps)
        stream: Iterator[tuple[int, list[Any]]] = iter(ahead)
        if self.team.first:
            stream = iter(track(stream, total=len(steps), what="updates"))
        ended_by = "steps"
        for step, batches in stream:
            norm = self._update(step, batches)
            progress.step = step + 1
            progress.seconds = before + time.monotonic() - started
            last = progress.step == settings.steps
            stop = self._agreed(
                2 if stopping else int(0 < settings.max_seconds <= progress.seconds)
            )
            if stop == 1:
                last, ended_by = True, "max_seconds"
            validating = last or progress.step % settings.validate_every == 0
            if validating or progress.step % settings.log_every == 0:
                waiting = ahead.waited / max(time.monotonic() - started, 1e-9)
                self._row(
                    validation=self._validated() if validating else {},
                    gradient_norm=norm,
                    waiting=waiting,
                )
            if stop == 2 or (not last and progress.step % settings.checkpoint_every == 0):
                self._checkpoint()
            if stop == 2:
                raise Stopped(
                    f"stopped by a signal after {progress.step} updates; the same command resumes"
                )
            if last:
                break
        ahead.close()
        return Outcome(
            progress.step,
            progress.seconds,
            ahead.waited / max(time.monotonic() - started, 1e-9),
            ended_by,
            progress.rollbacks,
        )

    def _update(self, step: int, batches: list[Any]) -> float:
        """One update; returns the norm of its gradient."""
        settings, progress, device = self.settings, self.progress, self.team.device
        self.task.train()
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * settings.learning_rate(step) * progress.rate
        self.optimizer.zero_grad(set_to_none=True)
        share = settings.batch // self.team.world
        sums = torch.zeros(1 + len(self.task.measures), dtype=torch.float64, device=device)
        for number, batch in enumerate(batches):
            with (
                nullcontext() if number == len(batches) - 1 else self._unsynchronised(),
                torch.autocast(
                    device.type, torch.bfloat16, enabled=settings.precision == "bfloat16"
                ),
            ):
                loss, measures = self.wrapped(batch.to(device))
                (loss / share).backward()
            sums += torch.cat([loss.detach()[None], measures.detach()]).double() / share
        trained = [w for group in self.optimizer.param_groups for w in group["params"]]
        norm = float(nn.utils.clip_grad_norm_(trained, settings.clip or math.inf))
        if not math.isfinite(norm):
            self._roll_back(step)
            return norm
        self.optimizer.step()
        if self.team.world > 1:
            distributed.all_reduce(sums)
            sums /= self.team.world
        values = sums.tolist()
        progress.sums = [
            a + b for a, b in zip(progress.sums or [0.0] * len(values), values, strict=True)
        ]
        progress.summed += 1
        return norm

    def _roll_back(self, step: int) -> None:
        """Go back to the last checkpoint's weights at half the rate; the data go on."""
        rollbacks, rate = self.progress.rollbacks + 1, self.progress.rate / 2
        if rollbacks > MAX_ROLLBACKS:
            raise TrainingError(
                f"the loss is not finite in update {step + 1}, after {MAX_ROLLBACKS} roll-backs at "
                f"ever lower learning rates. Lower the learning rates (now times {rate * 2:g}), "
                "lengthen the warm-up or set a clip"
            )
        found = load_checkpoint(self.path, self.task, self.optimizer)
        note(
            f"update {step + 1}: the loss is not finite; back to the weights of update "
            f"{found.step}, learning rates times {rate:g}"
        )
        self.progress.rollbacks, self.progress.rate = rollbacks, rate

    def _unsynchronised(self) -> Any:
        wrapped = self.wrapped
        return wrapped.no_sync() if isinstance(wrapped, DistributedDataParallel) else nullcontext()

    def _agreed(self, stop: int) -> int:
        """The strongest wish to stop of any process, so that all stop after the same update."""
        if self.team.world == 1:
            return stop
        wish = torch.tensor(stop, device=self.team.device)
        distributed.all_reduce(wish, distributed.ReduceOp.MAX)
        return int(wish)

    def _validated(self) -> dict[str, float]:
        self.task.eval()
        with torch.no_grad():
            return self.task.validate()

    def _row(self, *, validation: Mapping[str, float], **values: float) -> None:
        progress = self.progress
        row: dict[str, float] = {
            "step": progress.step,
            "epoch": self.task.epoch(progress.step),
            "seconds": progress.seconds,
            **values,
            **validation,
        }
        if progress.summed:
            means = [total / progress.summed for total in progress.sums]
            row |= dict(zip(("loss", *self.task.measures), means, strict=True))
            row["learning_rate"] = self.settings.learning_rate(progress.step - 1) * progress.rate
        progress.sums, progress.summed = [], 0
        if self.team.first:
            self.table.append(row)

    def _checkpoint(self) -> None:
        if self.team.first:
            save_checkpoint(self.path, self.task, self.optimizer, self.progress)
        if self.team.world > 1:
            distributed.barrier()


def _optimizer(task: Task, settings: LoopSettings) -> torch.optim.Optimizer:
    """AdamW; vectors (norms, biases) do not decay."""
    groups = []
    for group in task.parameter_groups():
        for is_matrix in (True, False):
            weights = [w for w in group["params"] if (w.ndim > 1) == is_matrix]
            if weights:
                decay = settings.weight_decay if is_matrix else 0.0
                groups.append({"params": weights, "lr": group["lr"], "weight_decay": decay})
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)


def _name(task: Task, settings: LoopSettings) -> str:
    """Digest of everything that decides which weights come out."""
    loop = dataclasses.asdict(settings)
    for free in ("max_seconds", "log_every", "checkpoint_every"):
        del loop[free]
    digest = hashlib.sha256(json.dumps([loop, task.facts()], sort_keys=True, default=str).encode())
    for name, weight in sorted(task.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def save_checkpoint(
    path: Path, task: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress
) -> None:
    """Write weights, moments and counters; the checkpoint before survives a failure."""
    tensors = {f"weight/{name}": value for name, value in task.state_dict().items()}
    for name, weight in _trained(task, optimizer):
        for key, value in optimizer.state[weight].items():
            tensors[f"{key}/{name}"] = value
    tensors = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    metadata = {"progress": json.dumps(dataclasses.asdict(progress))}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata=metadata)


def load_checkpoint(path: Path, task: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    """Put a checkpoint's weights and moments in place and return its counters.

    Raises:
        DataError: The file is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            progress = Progress(**json.loads(file.metadata()["progress"]))
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: not a whole checkpoint ({error}); delete it to start anew"
        ) from error
    weights = {
        key.removeprefix("weight/"): value
        for key, value in tensors.items()
        if key.startswith("weight/")
    }
    task.load_state_dict(weights)
    optimizer.state.clear()
    for name, weight in _trained(task, optimizer):
        keys = [
            key for key in tensors if key.endswith(f"/{name}") and key.split("/")[0] != "weight"
        ]
        if keys:
            state = {key.split("/")[0]: tensors[key] for key in keys}
            optimizer.state[weight] = {
                key: value if key == "step" and not weight.is_cuda else value.to(weight.device)
                for key, value in state.items()
            }
    return progress


def _trained(task: nn.Module, optimizer: torch.optim.Optimizer) -> list[tuple[str, nn.Parameter]]:
    trained = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
    return [(name, weight) for name, weight in task.named_parameters() if id(weight) in trained]


@contextmanager
def _sigterm() -> Iterator[list[int]]:
    """A list that is no longer empty once SIGTERM came."""
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: received.append(number))
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, before)


class MetricsTable:
    """A CSV that is whole after each row."""

    def __init__(self, path: Path, columns: tuple[str, ...]) -> None:
        self.path, self.columns = path, columns
        self.rows: list[dict[str, str]] = []

    def keep_until(self, step: int) -> None:
        """Take over the rows of an earlier start, up to this update."""
        if step >= 0 and self.path.is_file():
            with self.path.open(newline="", encoding="utf-8") as stream:
                self.rows = [row for row in csv.DictReader(stream) if int(row["step"]) <= step]

    def append(self, row: Mapping[str, float]) -> None:
        self.rows.append(
            {key: f"{value:.6g}" for key, value in row.items()} | {"step": f"{row['step']:.0f}"}
        )
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.path, text.getvalue())
