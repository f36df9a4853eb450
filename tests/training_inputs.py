"""Small trainings that stop or go on, and what they leave."""

import csv
import dataclasses
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from npm_core.architecture import HeadSettings, TrunkSettings
from npm_core.batching import Batch
from npm_core.families import Families
from npm_core.loop import fit
from npm_core.model import NeuralPottsModel
from npm_core.task import Task
from npm_core.team import Team
from npm_core.training import NpmTask
from npm_core.training_settings import LoopSettings, ObjectiveSettings, TrainSettings
from npm_core.trunks import build_trunk

TINY = TrunkSettings("rotary", layers=1, width=8, attention_heads=2, feed_forward=2)
LOOP = LoopSettings(
    steps=8, batch=4, micro_batch=4, warm_up=2, log_every=2, validate_every=4, checkpoint_every=3
)
ALONE = Team()


def make_task(shard: Path, loop: LoopSettings = LOOP, *, kind="untied", **changes) -> NpmTask:
    torch.manual_seed(loop.seed)
    model = NeuralPottsModel(build_trunk(TINY), HeadSettings(kind, rank=2))
    settings = {"rows": 3, "head_learning_rate": 1e-2, "trunk_learning_rate": 1e-2} | changes
    return NpmTask(
        model,
        Families([shard]),
        train=TrainSettings(**settings),
        objective=ObjectiveSettings(),
        loop=loop,
        validation=Families([shard]),
    )


def weights(task: Task) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in task.state_dict().items()}


def train(task: Task, folder: Path):
    return fit(task, scratch=folder / "scratch", metrics=folder / "m.csv", team=ALONE)


class Interrupted(Exception):
    pass


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def killed(task: NpmTask, *, at: int) -> NpmTask:
    made = task.batches

    def dies(step: int, rank: int, world: int) -> list[Batch]:
        if step == at:
            raise Interrupted
        return made(step, rank, world)

    task.batches = dies  # type: ignore[method-assign]
    return task


def averaged_loop() -> LoopSettings:
    return dataclasses.replace(LOOP, ema=0.8, micro_batch=1, clip=1.0)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
