"""Run by torchrun in test_team.py: whole and interrupted trainings, weights copied or sharded.

python -m torch.distributed.run --nproc-per-node=2 tests/two_processes.py SHARD FOLDER
"""

import dataclasses
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from unittest.mock import patch

import torch
from safetensors.torch import save_file
from training_inputs import Interrupted, averaged_loop, make_task

from npm_core.loop import fit
from npm_core.team import Team, join, whole_weights


def main(shard: Path, folder: Path) -> None:
    torch.set_num_threads(1)
    with join("cpu", sharded=True) as sharing:
        for name in ("copied", "sharded"):
            team = dataclasses.replace(sharing, sharded=name == "sharded")
            for run in ("whole", "resumed"):
                weights = trained(shard, folder / name / run, team, interrupted=run == "resumed")
                if team.first:
                    save_file(weights, folder / name / f"{run}.safetensors")


def trained(shard: Path, folder: Path, team: Team, *, interrupted: bool) -> dict[str, torch.Tensor]:
    loop = averaged_loop()
    go = partial(fit, team=team, scratch=folder, metrics=folder.with_suffix(".csv"))
    if interrupted:
        task = make_task(shard, loop)
        with patch.object(task, "batches", dies_at(5, task.batches)), suppress(Interrupted):
            go(task)
    task = make_task(shard, loop)
    # When another process looks, the first may have written its first checkpoint already.
    sees_it = nullcontext() if team.first else patch.object(Path, "is_file", return_value=True)
    with sees_it:
        go(task)
    return whole_weights(task)


def dies_at(fatal: int, batches: Callable) -> Callable:
    """`batches`, but for one step."""

    def until(step: int, rank: int, world: int) -> object:
        if step == fatal:
            raise Interrupted
        return batches(step, rank, world)

    return until


if __name__ == "__main__":
    assert "RANK" in os.environ
    main(*map(Path, sys.argv[1:]))
