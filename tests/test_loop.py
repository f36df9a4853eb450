"""Trainings resume to the bit, survive explosions, and end as they are told."""

import dataclasses
import os
import signal
import sys
import threading
from types import SimpleNamespace
from unittest.mock import Mock, call

import numpy as np
import pytest
import torch
from training_inputs import ALONE, LOOP, Interrupted, killed, make_task, table, train, weights

from npm_core import loop as loop_module
from npm_core.batching import Batch
from npm_core.cli import main
from npm_core.errors import SettingsError
from npm_core.families import Families
from npm_core.loop import Stopped, TrainingError, fit
from npm_core.tables import Family, Target, write_families
from npm_core.team import Team
from npm_core.training import NpmTask
from npm_core.training_settings import ObjectiveSettings


@pytest.mark.parametrize("at", [2, 5, 7])
def test_a_training_that_was_killed_resumes_to_the_same_weights(shard, tmp_path, at):
    whole = make_task(shard)
    train(whole, tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(killed(make_task(shard), at=at), tmp_path / "killed")
    # As Snakemake does with what a failed job declared.
    (tmp_path / "killed" / "m.csv").unlink()
    resumed = make_task(shard)
    train(resumed, tmp_path / "killed")
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(resumed)[name]), name
    rows = [table(tmp_path / name / "m.csv") for name in ("whole", "killed")]
    for timed in ("seconds", "waiting"):
        for row in (*rows[0], *rows[1]):
            del row[timed]
    assert rows[0] == rows[1]


def signalled(task: NpmTask, *, update: int, number: int) -> NpmTask:
    forward, calls = task.forward, []

    def watched(batch: Batch):
        calls.append(batch)
        if len(calls) == update:
            os.kill(os.getpid(), number)
        return forward(batch)

    task.forward = watched  # type: ignore[method-assign]
    return task


@pytest.mark.usefixtures("hangs_up")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_a_checkpoint_that_the_same_command_resumes(shard, tmp_path, number):
    whole = make_task(shard)
    train(whole, tmp_path / "whole")
    with pytest.raises(Stopped, match="after 5 updates"):
        train(signalled(make_task(shard), update=5, number=number), tmp_path / "stopped")
    resumed = make_task(shard)
    train(resumed, tmp_path / "stopped")
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(resumed)[name]), name


def test_however_a_training_ends_no_thread_makes_more_batches(shard, tmp_path):
    before = set(threading.enumerate())
    with pytest.raises(Interrupted) as caught:
        train(killed(make_task(shard), at=2), tmp_path / "killed")
    assert set(threading.enumerate()) <= before
    stops = signalled(make_task(shard), update=2, number=signal.SIGTERM)
    with pytest.raises(Stopped) as stopped:
        train(stops, tmp_path / "stopped")
    assert set(threading.enumerate()) <= before
    train(make_task(shard, dataclasses.replace(LOOP, max_seconds=1e-9)), tmp_path / "late")
    assert set(threading.enumerate()) <= before
    # Until now these held on to the frames of the trainings.
    assert caught.tb
    assert stopped.tb


def test_stopped_in_its_last_update_a_training_resumes_to_all_rows_of_metrics(shard, tmp_path):
    with pytest.raises(Stopped, match="after 8 updates"):
        train(signalled(make_task(shard), update=8, number=signal.SIGTERM), tmp_path)
    (tmp_path / "m.csv").unlink()
    train(make_task(shard), tmp_path)
    assert [row["step"] for row in table(tmp_path / "m.csv")] == ["0", "2", "4", "6", "8"]


def test_a_training_that_another_run_is_at_is_not_begun(shard, tmp_path):
    refused = []

    def again(outcome) -> None:
        with pytest.raises(TrainingError, match="another run is at this training") as caught:
            train(make_task(shard), tmp_path)
        refused.append(caught.value)

    files = {"scratch": tmp_path / "scratch", "metrics": tmp_path / "m.csv", "team": ALONE}
    fit(make_task(shard), save=again, **files)
    assert len(refused) == 1


def test_what_a_kill_left_half_saved_goes_with_the_checkpoint(shard, tmp_path):
    files = {"scratch": tmp_path / "scratch", "metrics": tmp_path / "m.csv", "team": ALONE}

    def half_saved(outcome) -> None:
        (checkpoint,) = (tmp_path / "scratch").glob("*.safetensors")
        (tmp_path / "scratch" / f".{checkpoint.name}.x1y2.part").touch()

    fit(make_task(shard), save=half_saved, **files)
    assert not list((tmp_path / "scratch").iterdir())


def test_another_training_does_not_resume_from_the_checkpoint(shard, tmp_path):
    fails = make_task(shard)
    fails.batches = lambda step, rank, world: (_ for _ in ()).throw(Interrupted)
    with pytest.raises(Interrupted):
        train(fails, tmp_path)
    other = dataclasses.replace(LOOP, seed=1)
    train(make_task(shard, other), tmp_path)
    assert len(list((tmp_path / "scratch").glob("*.safetensors"))) == 1


def test_a_checkpoint_is_named_by_all_that_decides_which_weights_come_out(shard, tmp_path, rng):
    def with_loop(**changes) -> NpmTask:
        return make_task(shard, dataclasses.replace(LOOP, **changes))

    penalised, moved = make_task(shard), make_task(shard)
    penalised.objective = ObjectiveSettings(lambda_couplings=0.5)
    with torch.no_grad():
        next(moved.parameters()).add_(1)
    family = Family("f0", np.zeros((2, 9), np.uint8), np.ones(2, np.float32))
    write_families(tmp_path / "other.parquet", [family], {})
    tasks = [
        make_task(shard),
        with_loop(warm_up=3),
        make_task(shard, rows=4),
        penalised,
        moved,
        make_task(tmp_path / "other.parquet"),
    ]
    names = [loop_module._name(task) for task in tasks]
    assert len(set(names)) == len(tasks)
    free = {"max_seconds": 60.0, "log_every": 1, "validate_every": 1, "checkpoint_every": 1}
    assert names[0] == loop_module._name(with_loop(micro_batch=1, **free))


def test_resumed_with_other_intervals_a_training_comes_to_the_same_weights(shard, tmp_path):
    whole = make_task(shard)
    train(whole, tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(killed(make_task(shard), at=5), tmp_path / "killed")
    resumed = make_task(shard, dataclasses.replace(LOOP, validate_every=1, checkpoint_every=2))
    train(resumed, tmp_path / "killed")
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(resumed)[name]), name
    # Gone on after update 3; the rows before stay.
    rows = table(tmp_path / "killed" / "m.csv")
    assert [row["step"] for row in rows] == ["0", "2", "4", "5", "6", "7", "8"]
    validated = [row["step"] for row in rows if row["validation_pseudolikelihood"]]
    assert validated == ["0", "4", "5", "6", "7", "8"]


def test_resumed_with_other_validation_data_the_rows_begin_anew(shard, tmp_path):
    with pytest.raises(Interrupted):
        train(killed(make_task(shard), at=5), tmp_path)
    other = make_task(shard)
    target = Target("t", "test", "A" * 30, np.zeros((30, 3), np.float32), "x")
    resumed = NpmTask(
        other.model,
        other.families,
        train=other.train_settings,
        objective=other.objective,
        loop=LOOP,
        targets=[target],
    )
    train(resumed, tmp_path)
    rows = table(tmp_path / "m.csv")
    assert [row["step"] for row in rows] == ["3", "4", "6", "8"]
    assert "validation_pseudolikelihood" not in rows[0]
    assert not list((tmp_path / "scratch").iterdir())


def test_resumed_with_other_families_to_validate_on_the_rows_begin_anew(shard, tmp_path):
    with pytest.raises(Interrupted):
        train(killed(make_task(shard), at=5), tmp_path)
    family = Family("v", np.zeros((2, 9), np.uint8), np.ones(2, np.float32))
    write_families(tmp_path / "other.parquet", [family], {})
    resumed = make_task(shard)
    (name,) = resumed.watched
    resumed.watched[name] = Families([tmp_path / "other.parquet"])
    train(resumed, tmp_path)
    assert [row["step"] for row in table(tmp_path / "m.csv")] == ["3", "4", "6", "8"]


def test_a_model_that_cannot_be_saved_leaves_the_checkpoint_of_its_training(shard, tmp_path):
    def fails(outcome) -> None:
        raise Interrupted

    files = {"scratch": tmp_path / "scratch", "metrics": tmp_path / "m.csv", "team": ALONE}
    with pytest.raises(Interrupted):
        fit(make_task(shard), save=fails, **files)
    (checkpoint,) = (tmp_path / "scratch").glob("*.safetensors")
    seen = []
    fit(make_task(shard), save=lambda _: seen.append(checkpoint.is_file()), **files)
    assert seen == [True]
    assert not list((tmp_path / "scratch").iterdir())


@pytest.fixture
def optimizers(monkeypatch) -> list[torch.optim.Optimizer]:
    made: list[torch.optim.Optimizer] = []
    make = loop_module._optimizer

    def noted(*to) -> torch.optim.Optimizer:
        made.append(make(*to))
        return made[-1]

    monkeypatch.setattr(loop_module, "_optimizer", noted)
    return made


@pytest.mark.parametrize(("update", "checkpoint"), [(2, 0), (5, 3)])
def test_a_loss_that_explodes_goes_back_to_the_checkpoint_at_half_the_rate(
    shard, tmp_path, optimizers, update, checkpoint
):
    task = make_task(shard)
    forward = task.forward
    before: list[dict[str, torch.Tensor]] = []

    def explodes(batch: Batch):
        loss, measures = forward(batch)
        before.append(weights(task))
        return (loss * float("nan") if len(before) == update else loss), measures

    task.forward = explodes
    outcome = train(task, tmp_path)
    assert outcome.rollbacks == 1
    saved = before[checkpoint]
    assert all(torch.equal(before[update][name], value) for name, value in saved.items())
    assert not all(torch.equal(before[update - 1][name], value) for name, value in saved.items())
    assert all(torch.isfinite(value).all() for value in weights(task).values())
    assert float(table(tmp_path / "m.csv")[-1]["learning_rate"]) == 0.5
    assert [group["lr"] for group in optimizers[0].param_groups] == 3 * [0.5e-2]
    # Adam's moments are those of the updates up to the checkpoint and since.
    counted = {int(moments["step"]) for moments in optimizers[0].state.values()}
    assert counted == {checkpoint + LOOP.steps - update}


def test_heads_and_trunk_learn_at_their_own_rates_and_only_matrices_decay(shard):
    loop = dataclasses.replace(LOOP, weight_decay=0.3)
    task = make_task(shard, loop, head_learning_rate=0.1, trunk_learning_rate=0.2)
    found = {
        id(weight): (group["lr"], group["weight_decay"])
        for group in loop_module._optimizer(task).param_groups
        for weight in group["params"]
    }
    for name, weight in task.named_parameters():
        rate = 0.2 if name.startswith("model.trunk.") else 0.1
        assert found[id(weight)] == (rate, 0.3 if weight.ndim > 1 else 0.0), name


def test_an_update_follows_the_mean_over_its_batch_at_the_rate_of_its_step(
    shard, tmp_path, optimizers
):
    loop = dataclasses.replace(LOOP, steps=1, log_every=1, micro_batch=2, warm_up=3)
    task = make_task(shard, loop)
    mean = sum(task(batch)[0] for batch in task.batches(0, 0, 1)) / 4
    learned = [weight for group in task.parameter_groups() for weight in group["params"]]
    gradient = torch.cat([part.flatten() for part in torch.autograd.grad(mean, learned)])
    train(task, tmp_path)
    row = table(tmp_path / "m.csv")[-1]
    assert float(row["loss"]) == pytest.approx(float(mean.detach()), rel=1e-4)
    assert float(row["gradient_norm"]) == pytest.approx(float(gradient.norm()), rel=1e-4)
    # The first of three updates of warm-up and one after: a quarter of 1e-2.
    assert optimizers[0].param_groups[0]["lr"] == pytest.approx(1e-2 / 4)
    assert optimizers[0].param_groups[0]["betas"] == (0.9, 0.98)


def test_a_row_of_metrics_is_the_mean_since_the_one_before(shard, tmp_path):
    losses = {}
    for every in (1, 2):
        loop = dataclasses.replace(LOOP, steps=4, log_every=every)
        train(make_task(shard, loop), tmp_path / str(every))
        losses[every] = [float(row["loss"]) for row in table(tmp_path / str(every) / "m.csv")[1:]]
    first, second, third, fourth = losses[1]
    assert losses[2] == pytest.approx([(first + second) / 2, (third + fourth) / 2], rel=1e-5)


def test_a_gradient_is_cut_to_the_clip(shard, tmp_path):
    loop = dataclasses.replace(LOOP, steps=1, log_every=1, clip=1e-3)
    task = make_task(shard, loop)
    train(task, tmp_path)
    gradients = [weight.grad for weight in task.parameters() if weight.grad is not None]
    norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
    assert float(norm) == pytest.approx(1e-3, rel=1e-3)
    assert float(table(tmp_path / "m.csv")[-1]["gradient_norm"]) > 0.1


def test_a_loss_that_always_explodes_ends_the_training(shard, tmp_path):
    task = make_task(shard)
    forward = task.forward
    updates = []

    def explodes(batch: Batch):
        updates.append(batch)
        loss, measures = forward(batch)
        return loss * float("nan"), measures

    task.forward = explodes
    with pytest.raises(TrainingError, match="Lower the learning rates"):
        train(task, tmp_path)
    assert len(updates) == loop_module.MAX_ROLLBACKS + 1


def test_micro_batches_change_no_more_than_the_order_of_sums(shard, tmp_path):
    small = dataclasses.replace(LOOP, micro_batch=1)
    one, other = make_task(shard), make_task(shard, small)
    train(one, tmp_path / "one")
    train(other, tmp_path / "other")
    for name, value in weights(one).items():
        torch.testing.assert_close(value, weights(other)[name], rtol=1e-4, atol=1e-5)


def test_a_time_limit_ends_the_training_and_says_so(shard, tmp_path):
    loop = dataclasses.replace(LOOP, max_seconds=1e-9)
    outcome = train(make_task(shard, loop), tmp_path)
    assert (outcome.steps, outcome.ended_by) == (1, "max_seconds")


def test_bfloat16_trains_to_nearly_the_same_loss(shard, tmp_path):
    rounded = dataclasses.replace(LOOP, precision="bfloat16", micro_batch=2)
    losses = []
    for name, loop in (("exact", LOOP), ("rounded", rounded)):
        task = make_task(shard, loop)
        train(task, tmp_path / name)
        assert all(weight.dtype == torch.float32 for weight in weights(task).values())
        losses.append([float(row["loss"]) for row in table(tmp_path / name / "m.csv")[1:]])
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def test_a_batch_that_processes_cannot_share_is_refused(shard, tmp_path):
    with pytest.raises(SettingsError, match="shared by 3"):
        fit(make_task(shard), scratch=tmp_path, metrics=tmp_path / "m", team=Team(0, 3))


def test_tensorboard_shows_the_rows_of_metrics_also_where_a_training_resumed(
    shard, tmp_path, monkeypatch
):
    writer = Mock()
    tensorboard = SimpleNamespace(SummaryWriter=writer)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", tensorboard)
    files = {"scratch": tmp_path / "scratch", "metrics": tmp_path / "m.csv", "team": ALONE}
    board = tmp_path / "board"
    with pytest.raises(Interrupted):
        fit(killed(make_task(shard), at=5), tensorboard=board, **files)
    fit(make_task(shard), tensorboard=board, **files)
    # The checkpoint is of update 3: what was shown of later ones is to go.
    assert writer.call_args_list == [call(str(board), purge_step=step) for step in (0, 4)]
    told = [each.args for each in writer.return_value.add_scalar.call_args_list]
    assert {(step, name): value for name, value, step in told} == pytest.approx(
        {
            (int(row["step"]), name): float(value)
            for row in table(tmp_path / "m.csv")
            for name, value in row.items()
            if name != "step" and value
        },
        rel=1e-5,
    )
    writer.return_value.close.assert_called_once_with()


def test_without_tensorboard_the_error_says_what_to_install(flags, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    out = ["--output", str(tmp_path / "npm"), "--metrics", str(tmp_path / "m.csv")]
    assert main(["train", *flags, *out, "--tensorboard", str(tmp_path / "board")]) == 2
    assert "pip install" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_compiled_layers_train_to_the_same_weights(shard, tmp_path, monkeypatch):
    # Graphs are captured and run, but not turned into C++, which takes half a minute
    loop = dataclasses.replace(LOOP, steps=2)
    compile_module, compiled_layers = torch.nn.Module.compile, []

    def without_code(self, **options):
        compiled_layers.append(self)
        compile_module(self, backend="eager", **options)

    monkeypatch.setattr(torch.nn.Module, "compile", without_code)
    plain, compiled = make_task(shard, loop), make_task(shard, loop)
    train(plain, tmp_path / "plain")
    files = {"scratch": tmp_path / "scratch", "metrics": tmp_path / "m.csv"}
    fit(compiled, team=ALONE, compiled=True, **files)
    assert compiled_layers == list(compiled.layers())
    for name, value in weights(plain).items():
        torch.testing.assert_close(value, weights(compiled)[name], rtol=1e-3, atol=1e-5)
