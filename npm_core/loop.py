"""The optimisation loop: updates, checkpoints, exact resume, roll-back from a loss that explodes.

A training stopped by a signal, a crash or a full disk goes on from its last checkpoint to the
same weights, bit for bit on a CPU, as one that was never stopped: batches are a function of
their number, and the checkpoint holds the weights, their running mean, both moments of Adam and
the counters. It holds them whole, so that other numbers of processes may go on from it.
"""

import dataclasses
import hashlib
import json
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import distributed, nn

from npm_core.errors import NpmError, SettingsError
from npm_core.metrics import Metrics
from npm_core.parallel import map_in_order, stop_signals
from npm_core.progress import note, track
from npm_core.task import Task
from npm_core.team import Team, gradients_of, let_go, shared, whole
from npm_core.training_state import Counters, RunningMean, State

MAX_ROLLBACKS = 5

AHEAD = 4
"""Updates whose batches are made ahead of time."""


class TrainingError(NpmError):
    """The optimisation cannot go on."""


class Stopped(NpmError):
    """A signal ended the training; it resumes when it is started again."""


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
    task: Task,
    *,
    scratch: Path,
    metrics: Path,
    team: Team,
    tensorboard: Path | None = None,
    compiled: bool = False,
    save: Callable[[Outcome], None] = lambda _: None,
) -> Outcome:
    """Optimise the weights of a task, in place; with `ema` their running mean is what remains.

    Args:
        task: Model, data and settings of the loop, on the CPU.
        scratch: Folder of checkpoints and of their metrics. A checkpoint is named by a digest of
            settings, data and initial weights: another training never resumes from it.
        metrics: CSV, one row every `log_every` updates.
        team: This process and its peers.
        tensorboard: Folder to write the same measures for TensorBoard.
        compiled: Compile the Transformer's layers. Sums may come in another order.
        save: Called at the end by every process, to write the model. Only then the checkpoint is
            deleted: if it fails, the training goes on from there.

    Raises:
        TrainingError: The loss is still not finite after MAX_ROLLBACKS roll-backs, or another run
            is at this training.
        Stopped: A signal came; a checkpoint is written.
        SettingsError: The batch cannot be shared by so many processes, or TensorBoard is missing.
    """
    if task.loop.batch % team.world:
        raise SettingsError(f"batch {task.loop.batch} cannot be shared by {team.world} processes")
    columns = (
        *("step", "epoch", "seconds", "waiting", "learning_rate", "gradient_norm", "loss"),
        *(*task.measures, *task.validation_measures),
    )
    name = _name(task)
    watched = json.dumps([columns, task.watched_facts()], sort_keys=True)
    kept = scratch / f"{name}-{hashlib.sha256(watched.encode()).hexdigest()[:8]}.csv"
    board = tensorboard if team.first else None
    table = Metrics(metrics, columns, kept=kept, tensorboard=board)
    task.to(team.device)
    if compiled:
        for layer in task.layers():
            layer.compile(dynamic=True)
    with _alone(scratch / f"{name}.lock", team):
        run = _Run(task, scratch / f"{name}.safetensors", table, team)
        with _signals() as stopping:
            outcome = run.go(stopping)
        save(outcome)
        if team.first:
            # A process that was killed while it saved left a file whose name begins otherwise.
            for file in scratch.glob(f"*{name}*"):
                file.unlink()
    return outcome


class Wish(IntEnum):
    """What a process would do after an update; the strongest wish of any is done by all."""

    GO_ON = 0
    END = 1
    STOP = 2


class _Run:
    """One start of a training."""

    def __init__(self, task: Task, path: Path, table: Metrics, team: Team) -> None:
        self.task, self.path, self.table, self.team = task, path, table, team
        self.wrapped = shared(task, task.layers(), team)
        optimizer = _optimizer(task)
        self.rates = [group["lr"] for group in optimizer.param_groups]
        self.state = State(task, optimizer, RunningMean(task, task.loop.ema))
        self.progress = Counters()
        self.waited = 0.0
        # The first process decides for all: it may write a checkpoint before others look for one.
        if self.team.largest(int(team.first and path.is_file())):
            self.progress = self.state.load(path)
            if team.first:
                note(f"resuming after {self.progress.step} updates from {path}")
            self.table.start(after=self.progress.step, write=team.first)
        else:
            self.table.start(after=None)
            self._checkpoint()

    def go(self, stopping: list[int]) -> Outcome:
        settings, progress = self.task.loop, self.progress
        before, started = progress.seconds, time.monotonic()
        if not self.table.rows:
            self._row(validation=self._validated())
        ended_by = "steps"
        # The loop alone holds them: however it is left, they are closed.
        for step, batches in self._batches(range(progress.step, settings.steps)):
            norm = self._update(step, batches)
            progress.step = step + 1
            progress.seconds = before + time.monotonic() - started
            last = progress.step == settings.steps
            late = 0 < settings.max_seconds <= progress.seconds
            wish = self.team.largest(Wish.STOP if stopping else Wish.END if late else Wish.GO_ON)
            if wish == Wish.END:
                last, ended_by = True, "max_seconds"
            validating = last or progress.step % settings.validate_every == 0
            if validating or progress.step % settings.log_every == 0:
                waiting = self.waited / max(time.monotonic() - started, 1e-9)
                self._row(
                    validation=self._validated() if validating else {},
                    gradient_norm=norm,
                    waiting=waiting,
                )
            if wish == Wish.STOP or (not last and progress.step % settings.checkpoint_every == 0):
                self._checkpoint()
            if wish == Wish.STOP:
                raise Stopped(
                    f"stopped by a signal after {progress.step} updates; the same command resumes"
                )
            if last:
                break
        self.table.close()
        self.state.mean.replace_weights()
        return Outcome(
            progress.step,
            progress.seconds,
            self.waited / max(time.monotonic() - started, 1e-9),
            ended_by,
            progress.rollbacks,
        )

    def _batches(self, steps: range) -> Iterator[tuple[int, list[Any]]]:
        """Batches of each update, made in a thread while the model works on those before."""
        team = self.team
        make = partial(self.task.batches, rank=team.rank, world=team.world)
        with closing(map_in_order(make, steps, workers=1, held=AHEAD)) as made:
            for step in track(steps, total=len(steps), what="updates") if team.first else steps:
                asked = time.monotonic()
                batches = next(made)
                self.waited += time.monotonic() - asked
                yield step, batches

    def _update(self, step: int, batches: list[Any]) -> float:
        """One update; returns the norm of its gradient."""
        settings, progress, device = self.task.loop, self.progress, self.team.device
        optimizer = self.state.optimizer
        self.task.train()
        for group, rate in zip(optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * settings.learning_rate(step) * progress.rate
        optimizer.zero_grad(set_to_none=True)
        share = settings.batch // self.team.world
        sums = torch.zeros(1 + len(self.task.measures), dtype=torch.float64, device=device)
        for number, batch in enumerate(batches):
            with (
                gradients_of(self.wrapped, complete=number == len(batches) - 1),
                torch.autocast(
                    device.type, torch.bfloat16, enabled=settings.precision == "bfloat16"
                ),
            ):
                loss, measures = self.wrapped(batch.to(device))
                (loss / share).backward()
            sums += torch.cat([loss.detach()[None], measures.detach()]).double() / share
        trained = [w for group in optimizer.param_groups for w in group["params"]]
        norm = float(whole(nn.utils.clip_grad_norm_(trained, settings.clip or math.inf)))
        if not math.isfinite(norm):
            self._roll_back(step)
            return norm
        # Read before the step: the host need not wait for that to begin the next update.
        if self.team.world > 1:
            distributed.all_reduce(sums)
            sums /= self.team.world
        values = sums.tolist()
        optimizer.step()
        self.state.mean.update(step)
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
        found = self.state.load(self.path)
        note(
            f"update {step + 1}: the loss is not finite; back to the weights of update "
            f"{found.step}, learning rates times {rate:g}"
        )
        self.progress.rollbacks, self.progress.rate = rollbacks, rate

    def _validated(self) -> dict[str, float]:
        self.task.eval()
        with torch.no_grad(), self.state.mean.in_use():
            found = self.task.validate()
        let_go(self.task)
        return found

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
            row["learning_rate"] = self.task.loop.learning_rate(progress.step - 1) * progress.rate
        progress.sums, progress.summed = [], 0
        if self.team.first:
            self.table.append(row)

    def _checkpoint(self) -> None:
        self.state.save(self.path, self.progress, write=self.team.first)
        if self.team.world > 1:
            distributed.barrier()


def _optimizer(task: Task) -> torch.optim.Optimizer:
    """AdamW; vectors (norms, biases) do not decay."""
    groups = []
    for group in task.parameter_groups():
        for is_matrix in (True, False):
            weights = [w for w in group["params"] if (w.ndim > 1) == is_matrix]
            if weights:
                decay = task.loop.weight_decay if is_matrix else 0.0
                groups.append({"params": weights, "lr": group["lr"], "weight_decay": decay})
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)


def _name(task: Task) -> str:
    """Digest of everything that decides which weights come out.

    The micro-batch decides no more than how sums are rounded, as the number of processes does.
    """
    loop = dataclasses.asdict(task.loop)
    for free in ("max_seconds", "micro_batch", "log_every", "validate_every", "checkpoint_every"):
        del loop[free]
    digest = hashlib.sha256(json.dumps([loop, task.facts()], sort_keys=True, default=str).encode())
    for name, weight in sorted(task.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


@contextmanager
def _alone(path: Path, team: Team) -> Iterator[None]:
    """Two runs that shared a checkpoint would each go back to the other's weights."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=0)
    taken = False
    if team.first:
        try:
            lock.acquire()
        except Timeout:
            taken = True
    try:
        # All processes hear of it: the others would wait for the first for ever.
        if team.largest(int(taken)):
            raise TrainingError(
                f"another run is at this training and locks {path}; wait for its end or stop it, "
                "then give the command again"
            )
        yield
    finally:
        lock.release()


@contextmanager
def _signals() -> Iterator[list[int]]:
    """A list that is no longer empty once a signal came that stops a run."""
    received: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _frame: received.append(number))
        for number in stop_signals()
    }
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
