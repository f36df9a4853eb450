"""Trainings resume to the bit, survive explosions, and distributed ones are the same training."""

import csv
import dataclasses
import os
import resource
import signal
import subprocess
import sys
import tracemalloc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock, call

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from waiting import PATIENCE, wait_until

from npm_core import alphabet, objective, plm, plm_sparse, training
from npm_core import loop as loop_module
from npm_core.architecture import HeadSettings, TrunkSettings
from npm_core.batching import Batch
from npm_core.checkpoints import load_model, save_model
from npm_core.cli import main
from npm_core.errors import DataError, OutputError, SettingsError
from npm_core.families import Families
from npm_core.loop import Stopped, TrainingError, fit
from npm_core.model import MASK, PAD, MaskedLanguageModel, NeuralPottsModel, build_trunk
from npm_core.objective import npm_loss
from npm_core.pretraining import (
    NOT_ASKED,
    MaskedBatch,
    MaskedLanguageTask,
    Sequences,
    mask_residues,
    read_sequences,
)
from npm_core.settings import from_mapping
from npm_core.tables import Family, Target, write_families, write_targets
from npm_core.task import Task
from npm_core.team import Team
from npm_core.training import NpmTask, check_frozen, grouped
from npm_core.training_settings import (
    LoopSettings,
    ObjectiveSettings,
    PretrainSettings,
    TrainSettings,
)
from npm_core.training_state import State
from npm_core.validation import validation_loss

TINY = TrunkSettings("rotary", layers=1, width=8, attention_heads=2, feed_forward=2)
LOOP = LoopSettings(
    steps=8, batch=4, micro_batch=4, warm_up=2, log_every=2, validate_every=4, checkpoint_every=3
)
ALONE = Team()


@pytest.fixture
def shard(tmp_path, rng) -> Path:
    def family(number: int) -> Family:
        residues = rng.integers(0, 20, (6, 9 + number)).astype(np.uint8)
        return Family(f"f{number}", residues, rng.uniform(0.1, 1, 6).astype(np.float32))

    write_families(tmp_path / "f.parquet", map(family, range(5)), {}, rows_per_group=2)
    return tmp_path / "f.parquet"


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


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def signalled(task: NpmTask, *, update: int, number: int) -> NpmTask:
    forward, calls = task.forward, []

    def watched(batch: Batch):
        calls.append(batch)
        if len(calls) == update:
            os.kill(os.getpid(), number)
        return forward(batch)

    task.forward = watched  # type: ignore[method-assign]
    return task


def killed(task: NpmTask, *, at: int) -> NpmTask:
    made = task.batches

    def dies(step: int, rank: int, world: int) -> list[Batch]:
        if step == at:
            raise Interrupted
        return made(step, rank, world)

    task.batches = dies  # type: ignore[method-assign]
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
    free = with_loop(max_seconds=60.0, log_every=1, validate_every=1, checkpoint_every=1)
    assert names[0] == loop_module._name(free)


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


def test_an_output_that_cannot_be_written_to_is_refused_before_the_first_update(
    flags, tmp_path, capsys
):
    (tmp_path / "npm").write_text("a file")
    out = ["--output", str(tmp_path / "npm"), "--metrics", str(tmp_path / "m.csv")]
    assert main(["train", *flags, *out]) == 2
    assert "name a folder to write to" in capsys.readouterr().err
    assert not (tmp_path / "m.csv").exists()


def test_a_damaged_checkpoint_is_refused(shard, tmp_path):
    fails = make_task(shard)
    fails.batches = lambda step, rank, world: (_ for _ in ()).throw(Interrupted)
    with pytest.raises(Interrupted):
        train(fails, tmp_path)
    (path,) = (tmp_path / "scratch").glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="delete it to start anew"):
        train(make_task(shard), tmp_path)


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


def silent(model: NeuralPottsModel) -> NeuralPottsModel:
    """The model with heads of zeros: every residue costs log 21."""
    with torch.no_grad():
        for weight in (*model.fields.parameters(), *model.couplings.parameters()):
            weight.zero_()
    return model


def test_losses_are_told_a_residue_and_validation_without_the_penalty(shard):
    task = make_task(shard)
    silent(task.model)
    measures = sum(task(batch)[1] for batch in task.batches(0, 0, 1))
    assert float(measures[0]) / LOOP.batch == pytest.approx(np.log(21))
    # A field that all states of a residue have changes no probability, only the penalty.
    with torch.no_grad():
        task.model.fields.weight[:, 0] = 1
        heavy = ObjectiveSettings(lambda_couplings=1e3, lambda_fields=1e3)
        found = validation_loss(task.model, Families([shard]), heavy, rows=3, max_length=512)
    assert found == pytest.approx(np.log(21))


@pytest.mark.parametrize("query", ["first", "random"])
def test_validation_reads_the_first_row_of_each_family(shard, monkeypatch, query):
    task = make_task(shard, query=query)
    embed, read = task.model.embed, []

    def noted(tokens, lengths):
        read.append(tokens[0].tolist())
        return embed(tokens, lengths)

    monkeypatch.setattr(task.model, "embed", noted)
    with torch.no_grad():
        task.validate()
    families = Families([shard])
    assert read == [families[index].residues[0].tolist() for index in range(len(families))]


def test_the_rows_of_a_step_are_those_of_the_seed(shard):
    def rows(seed: int) -> list[torch.Tensor]:
        task = make_task(shard, dataclasses.replace(LOOP, seed=seed))
        task.order = make_task(shard).order
        return [part for batch in task.batches(0, 0, 1) for part in batch.rows]

    first, again, other = rows(1), rows(1), rows(2)
    assert all(map(torch.equal, first, again))
    assert not all(map(torch.equal, first, other))


def test_a_gradient_is_cut_to_the_clip(shard, tmp_path):
    loop = dataclasses.replace(LOOP, steps=1, log_every=1, clip=1e-3)
    task = make_task(shard, loop)
    train(task, tmp_path)
    gradients = [weight.grad for weight in task.parameters() if weight.grad is not None]
    norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
    assert float(norm) == pytest.approx(1e-3, rel=1e-3)
    assert float(table(tmp_path / "m.csv")[-1]["gradient_norm"]) > 0.1


@pytest.mark.parametrize(("query", "seen"), [("first", 1), ("random", 6)])
def test_the_model_reads_the_first_row_of_a_family_or_any(shard, query, seen):
    task = make_task(shard, query=query)
    found: dict[int, set] = {}
    for step in range(60):
        (batch,) = task.batches(step, 0, 1)
        for tokens, length in zip(batch.tokens, batch.lengths.tolist(), strict=True):
            found.setdefault(length, set()).add(tuple(tokens[:length].tolist()))
    # Families differ in length, and each has six rows
    assert [len(queries) for queries in found.values()] == 5 * [seen]


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


def test_training_lowers_the_loss_on_its_families(shard, tmp_path):
    loop = dataclasses.replace(LOOP, steps=60, validate_every=60)
    train(make_task(shard, loop), tmp_path)
    rows = table(tmp_path / "m.csv")
    first, last = (float(rows[i]["validation_pseudolikelihood"]) for i in (0, -1))
    assert last < 0.75 * first


def test_a_frozen_trunk_keeps_its_weights_while_the_heads_learn(shard, tmp_path):
    task = make_task(shard, frozen=True)
    before = weights(task)
    train(task, tmp_path)
    for name, value in weights(task).items():
        assert torch.equal(value, before[name]) == name.startswith("model.trunk."), name
    with pytest.raises(SettingsError, match="random trunk"):
        check_frozen(TrainSettings(frozen=True), "random")


def test_families_weigh_as_the_root_of_their_meff(shard):
    task = make_task(shard, weighting="sqrt_meff")
    families = Families([shard])
    ratio = task.weights[0] / task.weights[1]
    assert ratio == pytest.approx((families.meff[0] / families.meff[1]) ** 0.5)
    assert task.weights.mean() == pytest.approx(1.0)
    (batch,) = task.batches(0, 0, 1)
    expected = [task.weights[item] for _, item in task.order.items(0)]
    assert batch.weights.tolist() == pytest.approx(expected)


def test_the_loss_is_a_weighted_mean_over_proteins(shard):
    task = make_task(shard)
    (batch,) = task.batches(0, 0, 1)
    batch = dataclasses.replace(batch, weights=torch.tensor([0.5, 1.0, 2.0, 0.0]))
    with torch.no_grad():
        single = [
            task(
                Batch(
                    batch.tokens[n : n + 1, : batch.lengths[n]],
                    batch.lengths[n : n + 1],
                    [batch.rows[n]],
                    torch.ones(1),
                )
            )[0]
            for n in range(4)
        ]
        torch.testing.assert_close(task(batch)[0], torch.stack(single) @ batch.weights)


def test_figure_4_has_losses_and_precisions_at_every_validation(flags, shard, rng, tmp_path):
    family = Families([shard])[0]
    write_families(
        tmp_path / "reduced.parquet",
        [Family("f0", family.residues[:2], family.weights[:2])],
        {},
    )
    sequence = alphabet.decode(rng.integers(0, 20, 30).astype(np.uint8))
    target = Target("t", "test", sequence, np.zeros((30, 3), np.float32), "x")
    write_targets(tmp_path / "targets.parquet", [target], {})
    out = ["--output", str(tmp_path / "npm"), "--metrics", str(tmp_path / "m.csv")]
    watched = [
        "--validation",
        str(shard),
        "--validation-reduced",
        str(tmp_path / "reduced.parquet"),
    ]
    contacts = ["--validation-targets", str(tmp_path / "targets.parquet"), "--validate-every", "2"]
    assert main(["train", *flags, *out, *watched, *contacts]) == 0
    rows = table(tmp_path / "m.csv")
    assert [row["step"] for row in rows] == ["0", "2", "4"]
    names = ("validation_pseudolikelihood", "reduced_pseudolikelihood")
    alone = ["--output", str(tmp_path / "alone"), "--metrics", str(tmp_path / "alone.csv")]
    assert main(["train", *flags, *alone, "--validation", str(shard)]) == 0
    assert table(tmp_path / "alone.csv")[0][names[0]] == rows[0][names[0]]
    for row in rows:
        whole, reduced = (float(row[name]) for name in names)
        assert whole > 0 < reduced != whole
        # All residues stand in one place: every pair is a contact
        assert float(row["long_P@L"]) == float(row["long_P@L/5"]) == 1.0


@pytest.mark.parametrize("frozen", [False, True])
def test_the_gradient_is_that_of_the_sum_while_one_protein_at_a_time_is_held(
    shard, frozen, monkeypatch
):
    task = make_task(shard, frozen=frozen).double()
    (batch,) = task.batches(0, 0, 1)
    trained = [weight for group in task.parameter_groups() for weight in group["params"]]
    terms = []
    for n, length in enumerate(batch.lengths):
        heads = task.model(batch.tokens[n, :length])
        terms.append(batch.weights[n] * npm_loss(*heads, batch.rows[n], task.objective).total)
    expected = torch.autograd.grad(torch.stack(terms).sum(), trained)
    held: list[weakref.ref] = []

    def watched(fields, couplings, *rest):
        assert all(reference() is None for reference in held)
        held.append(weakref.ref(couplings.left))
        return npm_loss(fields, couplings, *rest)

    monkeypatch.setattr(objective, "npm_loss", watched)
    found = torch.autograd.grad(task(batch)[0], trained)
    assert len(held) == 4
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ["fields.weight", "couplings.U", "couplings.V"])
def test_a_frozen_weight_of_the_heads_leaves_the_gradients_of_the_others(shard, name):
    task = make_task(shard, kind="asymmetric").double()
    (batch,) = task.batches(0, 0, 1)
    trained = dict(task.model.named_parameters())
    expected = dict(
        zip(trained, torch.autograd.grad(task(batch)[0], trained.values()), strict=True)
    )
    trained.pop(name).requires_grad_(False)
    found = torch.autograd.grad(task(batch)[0], trained.values())
    for other, gradient in zip(trained, found, strict=True):
        assert torch.equal(gradient, expected[other]), other


@pytest.mark.parametrize("kind", ["untied", "tied", "asymmetric"])
def test_heads_that_read_several_proteins_together_give_the_same_gradient(kind, shard, monkeypatch):
    task = make_task(shard, kind=kind).double()
    (batch,) = task.batches(0, 0, 1)
    trained = [weight for group in task.parameter_groups() for weight in group["params"]]
    found = []
    for residues, held in ((1, 0), (int(batch.lengths[:2].sum()), 0), (1000, 1 << 30)):
        monkeypatch.setattr(training, "residues_together", lambda *_, most=residues: most)
        monkeypatch.setattr(objective, "HELD_TOGETHER", held)
        loss, measures = task(batch)
        found.append([loss, measures, *torch.autograd.grad(loss, trained)])
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-6, atol=1e-9)


def test_groups_are_filled_in_order_and_hold_at_least_one_protein():
    groups = grouped([5, 3, 2, 9, 1, 1], 6)
    assert [list(group) for group in groups] == [[0], [1, 2], [3], [4, 5]]


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


def test_no_families_to_validate_on_is_an_error(shard, tmp_path):
    write_families(tmp_path / "none.parquet", [], {})
    with pytest.raises(DataError, match="no families to validate on"):
        NpmTask(
            make_task(shard).model,
            Families([shard]),
            train=TrainSettings(),
            objective=ObjectiveSettings(),
            loop=LOOP,
            validation=Families([tmp_path / "none.parquet"]),
        )


def test_learning_rates_rise_and_fall():
    loop = LoopSettings(steps=110, warm_up=9, decay="linear")
    assert loop.learning_rate(0) == pytest.approx(0.1)
    assert loop.learning_rate(9) == pytest.approx(1.0)
    assert 0 < loop.learning_rate(109) < 0.02
    assert LoopSettings(warm_up=0).learning_rate(999) == 1.0
    cosine = LoopSettings(steps=100, warm_up=0, decay="cosine")
    quarters = [cosine.learning_rate(step) for step in (0, 25, 50, 75, 100)]
    assert quarters == pytest.approx([1, (2 + 2**0.5) / 4, 0.5, (2 - 2**0.5) / 4, 0])


def test_a_batch_that_processes_cannot_share_is_refused(shard, tmp_path):
    with pytest.raises(SettingsError, match="shared by 3"):
        fit(make_task(shard), scratch=tmp_path, metrics=tmp_path / "m", team=Team(0, 3))


def test_unknown_and_mistyped_settings_are_refused():
    with pytest.raises(SettingsError, match="unknown \\['row'\\]"):
        from_mapping(TrainSettings, {"row": 3}, "config")
    with pytest.raises(SettingsError, match="rows is '3'"):
        from_mapping(TrainSettings, {"rows": "3"}, "config")
    with pytest.raises(SettingsError, match="rows is True, expected int"):
        from_mapping(TrainSettings, {"rows": True}, "config")
    with pytest.raises(SettingsError, match="query is 'last', expected one of first, random"):
        from_mapping(TrainSettings, {"query": "last"}, "config")
    for wrong in (5, None, ["rows"]):
        with pytest.raises(SettingsError, match="expected settings by name"):
            from_mapping(TrainSettings, wrong, "config")
    assert from_mapping(TrainSettings, {"head_learning_rate": 1}, "config").head_learning_rate == 1


@pytest.mark.parametrize(
    ("settings", "name", "values"),
    [
        (LoopSettings, "warm_up", (-1,)),
        (LoopSettings, "weight_decay", (-5.0, np.nan)),
        (LoopSettings, "clip", (-1.0, np.inf)),
        (LoopSettings, "max_seconds", (-1.0,)),
        (LoopSettings, "seed", (-1, 2**70)),
        (TrainSettings, "head_learning_rate", (0.0, np.nan, 1e38)),
        (TrainSettings, "trunk_learning_rate", (-0.01, np.nan)),
        (ObjectiveSettings, "lambda_couplings", (-1.0, np.nan)),
        (ObjectiveSettings, "lambda_fields", (-1.0,)),
        (PretrainSettings, "asked", (0.0, 2.0, np.nan)),
        (HeadSettings, "rank", (0, 10**12)),
        (HeadSettings, "initial_coupling", (np.nan,)),
    ],
)
def test_settings_out_of_range_are_refused(settings, name, values):
    for value in values:
        with pytest.raises(SettingsError, match=f"{name} is .*expected"):
            settings(**{name: value})


def test_weights_that_are_not_finite_are_not_saved(shard, tmp_path):
    model = make_task(shard).model
    with torch.no_grad():
        model.fields.weight[0, 0] = float("nan")
    with pytest.raises(DataError, match=r"fields\.weight holds NaN.*diverged"):
        save_model(tmp_path / "npm", model, {})
    assert not (tmp_path / "npm").exists()


@pytest.fixture
def flags(shard, tmp_path) -> list[str]:
    text = (
        f"--families {shard} --init random --scratch {tmp_path / 'scratch'} --steps 4 --batch 4 "
        "--trunk-layers 1 --trunk-width 8 --trunk-attention-heads 2 --head-rank 2 --rows 3"
    )
    return text.split()


def torchrun(logs: Path, *arguments: object) -> None:
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    # This machine's name may lead nowhere.
    launch += ["--local-addr", "127.0.0.1", "--log-dir", str(logs)]
    ran = subprocess.run(
        [sys.executable, *launch, *map(str, arguments)],
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert ran.returncode == 0, ran.stderr


def averaged_loop() -> LoopSettings:
    return dataclasses.replace(LOOP, ema=0.8, micro_batch=1, clip=1.0)


@pytest.mark.slow
def test_two_processes_train_as_one_and_resume_to_the_bit(shard, tmp_path):
    loop = averaged_loop()
    one = make_task(shard, loop)
    train(one, tmp_path)
    torchrun(tmp_path / "logs", Path(__file__).with_name("two_processes.py"), shard, tmp_path)
    expected = table(tmp_path / "m.csv")
    for name in ("copied", "sharded"):
        rows = table(tmp_path / name / "whole.csv")
        for quantity in ("loss", "validation_pseudolikelihood"):
            values = [[float(row[quantity] or 0) for row in found] for found in (rows, expected)]
            assert values[0] == pytest.approx(values[1], rel=1e-6)
        whole, resumed = (
            load_file(tmp_path / name / f"{run}.safetensors") for run in ("whole", "resumed")
        )
        for key, value in weights(one).items():
            torch.testing.assert_close(whole[key], value, rtol=1e-4, atol=1e-6)
            assert torch.equal(whole[key], resumed[key]), key


@pytest.mark.slow
def test_the_train_verb_shards_under_torchrun(flags, tmp_path):
    out = ["--output", tmp_path / "npm", "--metrics", tmp_path / "m.csv", "--sharded"]
    torchrun(tmp_path / "logs", "-m", "npm_core", "train", *flags, *out)
    assert isinstance(load_model(tmp_path / "npm"), NeuralPottsModel)


def test_one_process_alone_cannot_shard(flags, tmp_path, capsys):
    out = ["--output", str(tmp_path / "npm"), "--metrics", str(tmp_path / "m.csv"), "--sharded"]
    assert main(["train", *flags, *out]) == 2
    assert "torchrun" in capsys.readouterr().err


@pytest.mark.slow
def test_a_training_killed_without_warning_resumes_to_the_same_file(flags, tmp_path):
    flags[flags.index("--steps") + 1] = "200"
    every = ["--log-every", "1", "--checkpoint-every", "7", "--ema", "0.9"]

    def command(name: str) -> list[str]:
        out = ["--output", str(tmp_path / name), "--metrics", str(tmp_path / f"{name}.csv")]
        return ["train", *flags, *every, *out]

    process = subprocess.Popen([sys.executable, "-m", "npm_core", *command("killed")])
    rows = tmp_path / "killed.csv"
    wait_until(lambda: rows.is_file() and len(table(rows)) > 20, process)
    process.kill()
    assert process.wait(PATIENCE) == -signal.SIGKILL
    assert not list((tmp_path / "killed").iterdir())
    (checkpoint,) = (tmp_path / "scratch").glob("*.safetensors")
    assert main(command("killed")) == 0
    assert not checkpoint.exists()
    assert main(command("whole")) == 0
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("killed", "whole")]
    assert files[0] == files[1]
    assert [row["loss"] for row in table(tmp_path / "killed.csv")] == [
        row["loss"] for row in table(tmp_path / "whole.csv")
    ]


def test_the_running_mean_is_what_is_validated_and_saved(shard, tmp_path):
    loop = dataclasses.replace(LOOP, steps=2, ema=0.5, validate_every=1)
    trajectory = []

    class Recorded(NpmTask):
        def validate(self):
            trajectory.append(self.model.fields.weight.detach().clone())
            return super().validate()

    plain, averaged = (make_task(shard, each) for each in (dataclasses.replace(loop, ema=0), loop))
    for task in (plain, averaged):
        task.__class__ = Recorded
        train(task, tmp_path / str(id(task)))
    w0, w1, w2 = trajectory[:3]
    mean1 = 0.1 * w0 + 0.9 * w1  # decay (1 + 0) / (10 + 0)
    mean2 = mean1 + (1 - 2 / 11) * (w2 - mean1)
    for found, expected in zip(trajectory[3:], (w0, mean1, mean2), strict=True):
        torch.testing.assert_close(found, expected)
    torch.testing.assert_close(averaged.model.fields.weight.detach(), mean2)


@pytest.mark.parametrize("value", [-0.1, 1.0])
def test_a_decay_outside_its_range_is_refused(value):
    with pytest.raises(SettingsError, match="ema"):
        LoopSettings(ema=value)


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


def test_the_train_verb_writes_a_model_with_the_record_of_its_training(flags, tmp_path):
    out = ["--output", str(tmp_path / "npm"), "--metrics", str(tmp_path / "m.csv")]
    assert main(["train", *flags, *out]) == 0
    assert isinstance(load_model(tmp_path / "npm"), NeuralPottsModel)
    facts = (tmp_path / "npm" / "config.json").read_text()
    assert '"ended_by": "steps"' in facts
    assert not list((tmp_path / "scratch").iterdir())


def test_masking_follows_80_10_10():
    states = np.resize(np.arange(20), (100, 200)).astype(np.uint8)
    tokens, targets = mask_residues(states, np.random.default_rng(0), asked=0.15)
    asked = targets != NOT_ASKED
    assert (asked.sum(1) == 30).all()
    assert asked.mean(0).std() == pytest.approx((0.15 * 0.85 / 100) ** 0.5, rel=0.2)
    np.testing.assert_array_equal(targets[asked], states[asked])
    np.testing.assert_array_equal(tokens[~asked], states[~asked])
    assert (tokens[asked] == MASK).mean() == pytest.approx(0.8, abs=0.03)
    # A tenth is replaced by a random amino acid, which in one of twenty cases is its own
    assert (tokens[asked] == states[asked]).mean() == pytest.approx(0.105, abs=0.02)
    assert set(tokens[asked].tolist()) == {*range(20), MASK}


def test_unknown_letters_and_padding_are_never_asked_for_and_one_residue_always_is():
    states = np.full((3, 6), PAD, np.uint8)
    for row, letters in zip(states, ("XXMXX", "XX", "M"), strict=True):
        row[: len(letters)] = alphabet.encode(letters)
    for seed in range(20):
        tokens, targets = mask_residues(states, np.random.default_rng(seed), asked=0.15)
        assert (targets != NOT_ASKED).tolist() == [
            [False, False, True, False, False, False],
            [False] * 6,
            [True] + [False] * 5,
        ]
        np.testing.assert_array_equal(tokens == PAD, states == PAD)


def test_micro_batches_and_processes_share_the_masks_of_a_batch():
    ends = np.cumsum([0, 30, 50, 20, 40, 10])
    sequences = Sequences(np.resize(np.arange(20), 150).astype(np.uint8), ends)

    def batches(step: int, micro_batch: int, rank: int, world: int) -> list[MaskedBatch]:
        loop = dataclasses.replace(LOOP, micro_batch=micro_batch)
        pretrain = PretrainSettings(max_length=25)
        model = MaskedLanguageModel(build_trunk(TINY))
        task = MaskedLanguageTask(model, sequences, pretrain=pretrain, loop=loop)
        return task.batches(step, rank, world)

    seen = set()
    for step in range(8):
        (whole,) = batches(step, 4, 0, 1)
        seen.update(whole.lengths.tolist())
        for n, length in enumerate(whole.lengths):
            known = (whole.targets[n] == NOT_ASKED) & (whole.tokens[n] != PAD)
            assert known.sum() == length - round(0.15 * int(length))
            # Residues of a crop follow each other as in the sequences: 0, 1, ..., 19, 0, ...
            steps = whole.tokens[n][known] - torch.arange(len(known))[known]
            assert len(set((steps % 20).tolist())) == 1
        for rank, world, rows in ((0, 1, [0, 1, 2, 3]), (0, 2, [0, 2]), (1, 2, [1, 3])):
            for n, part in zip(rows, batches(step, 1, rank, world), strict=True):
                length = int(whole.lengths[n])
                assert part.lengths.tolist() == [length]
                torch.testing.assert_close(part.tokens[0], whole.tokens[n, :length])
                torch.testing.assert_close(part.targets[0], whole.targets[n, :length])
    assert seen == {10, 20, 25}


def masked_crops(sequences: Sequences, seed: int = 1) -> Iterator[torch.Tensor]:
    """The residues of 200 crops of at most seven, all but none of them asked for."""
    loop = dataclasses.replace(LOOP, batch=1, micro_batch=1, seed=seed)
    pretrain = PretrainSettings(max_length=7, asked=0.01)
    task = MaskedLanguageTask(
        MaskedLanguageModel(build_trunk(TINY)), sequences, pretrain=pretrain, loop=loop
    )
    for step in range(200):
        (batch,) = task.batches(step, 0, 1)
        yield torch.where(batch.targets == NOT_ASKED, batch.tokens, batch.targets)[0]


def test_crops_begin_anywhere_in_a_sequence_and_end_in_it():
    one = Sequences(np.arange(20, dtype=np.uint8), np.array([0, 20]))
    assert {int(crop[0]) for crop in masked_crops(one)} == set(range(14))
    assert all((crop.diff() == 1).all() for crop in masked_crops(one))
    # Three sequences of one letter each: no crop has two.
    three = Sequences(np.repeat(np.arange(3, dtype=np.uint8), 9), np.array([0, 9, 18, 27]))
    assert {tuple(set(crop.tolist())) for crop in masked_crops(three)} == {(0,), (1,), (2,)}


def test_crops_are_those_of_the_seed():
    one = Sequences(np.arange(20, dtype=np.uint8), np.array([0, 20]))
    first, again, other = (list(masked_crops(one, seed)) for seed in (1, 1, 2))
    assert all(map(torch.equal, first, again))
    assert not all(map(torch.equal, first, other))


def test_sequences_are_read_from_fasta_with_their_order_and_letters(tmp_path):
    (tmp_path / "a.fasta").write_text(">a x\nMK\nv\n>b\nAUX\n")
    found = read_sequences([tmp_path / "a.fasta"])
    assert alphabet.decode(found.residues) == "MKVAC-"
    assert found.starts.tolist() == [0, 3, 6]
    (tmp_path / "a.fasta").write_text(">a\nXXX\n>b\nB\n")
    with pytest.raises(DataError, match=r"a\.fasta: nothing to learn from: 2 sequences"):
        read_sequences([tmp_path / "a.fasta"])
    (tmp_path / "a.fasta").write_text(">a\nM1\n")
    with pytest.raises(DataError, match=r"a\.fasta: a: character '1'"):
        read_sequences([tmp_path / "a.fasta"])


def test_sequences_of_many_records_are_held_once_and_drawn_as_they_stand_in_their_files(
    tmp_path, rng
):
    texts = [alphabet.decode(rng.integers(0, 20, n).astype(np.uint8)) for n in range(1, 400)]
    for name, part in (("a", texts[:150]), ("b", texts[150:])):
        text = "".join(f">{n}\n{letters}\n" for n, letters in enumerate(part))
        (tmp_path / f"{name}.fasta").write_text(text)
    tracemalloc.start()
    found = read_sequences([tmp_path / "a.fasta", tmp_path / "b.fasta"])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # A copy of the residues, or an object a sequence, would be as much again.
    assert peak < 1.6 * (found.residues.nbytes + found.starts.nbytes) + 20_000
    states = [alphabet.encode(letters) for letters in texts]
    ends = np.cumsum([0, *map(len, states)], dtype=np.int64)
    one_by_one = Sequences(np.concatenate(states), ends)
    assert all(map(torch.equal, masked_crops(found), masked_crops(one_by_one)))


def test_headers_of_sequences_may_hold_any_bytes_and_other_files_are_told_by_their_kind(tmp_path):
    (tmp_path / "a.fasta").write_bytes(b">a M\xfcller\nMK\n")
    assert alphabet.decode(read_sequences([tmp_path / "a.fasta"]).residues) == "MK"
    (tmp_path / "a.fasta").write_bytes(b">a\nM\xfcK\n")
    with pytest.raises(DataError, match=r"a\.fasta: a: character .* at position 2"):
        read_sequences([tmp_path / "a.fasta"])
    (tmp_path / "a.fasta").write_bytes(b"PK\x03\x04\x14\0\0\0")
    with pytest.raises(DataError, match=r"a\.fasta: a zip archive, expected text"):
        read_sequences([tmp_path / "a.fasta"])
    (tmp_path / "a.fasta").write_text(">a\nMK\n", encoding="utf-16")
    with pytest.raises(DataError, match=r"a\.fasta: UTF-16, expected UTF-8"):
        read_sequences([tmp_path / "a.fasta"])


def test_pretraining_learns_more_than_the_composition(tmp_path):
    (tmp_path / "a.fasta").write_text(">a\n" + "MKVLAGW" * 6 + "\n")
    sequences = read_sequences([tmp_path / "a.fasta"])
    loop = dataclasses.replace(LOOP, steps=100, validate_every=100)
    torch.manual_seed(0)
    task = MaskedLanguageTask(
        MaskedLanguageModel(build_trunk(TINY)),
        sequences,
        pretrain=PretrainSettings(learning_rate=3e-2),
        loop=loop,
        validation=sequences,
    )
    train(task, tmp_path)
    rows = table(tmp_path / "m.csv")
    assert float(rows[0]["validation_loss"]) == pytest.approx(np.log(20), abs=0.6)
    assert float(rows[-1]["validation_loss"]) < np.log(7)


def test_the_pretrain_verb_writes_a_model_that_train_starts_from(flags, tmp_path):
    (tmp_path / "a.fasta").write_text(">a\nMKVLAGW\n>b\nMK\n")
    text = (
        f"--fasta {tmp_path / 'a.fasta'} --output {tmp_path / 'mlm'} "
        f"--scratch {tmp_path / 'scratch'} --metrics {tmp_path / 'mlm.csv'} --steps 2 --batch 2 "
        "--trunk-layers 1 --trunk-width 8 --trunk-attention-heads 2"
    )
    assert main(["pretrain", *text.split()]) == 0
    out = ["--output", str(tmp_path / "npm"), "--metrics", str(tmp_path / "m.csv")]
    flags[flags.index("random")] = str(tmp_path / "mlm")
    assert main(["train", *flags, "--frozen", *out]) == 0
    mlm, npm = load_model(tmp_path / "mlm"), load_model(tmp_path / "npm")
    torch.testing.assert_close(mlm.trunk.embed.weight, npm.trunk.embed.weight)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_the_checkpoint_before(shard, tmp_path, monkeypatch):
    whole = make_task(shard)
    train(whole, tmp_path / "whole")
    save, saved = State.save, []

    def disk_is_full_at_the_third(self, path, *arguments, **options):
        saved.append(path)
        with files_of_at_most(2000) if len(saved) == 3 else nullcontext():
            save(self, path, *arguments, **options)

    monkeypatch.setattr(State, "save", disk_is_full_at_the_third)
    with pytest.raises(OutputError, match=r"cannot be written.*Make room"):
        train(make_task(shard), tmp_path / "full")
    monkeypatch.undo()
    assert list((tmp_path / "full" / "scratch").glob("*.safetensors")) == [saved[0]]
    resumed = make_task(shard)
    train(resumed, tmp_path / "full")
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(resumed)[name]), name


@pytest.mark.parametrize(("size", "facts"), [(2000, 0), (1 << 20, 2 << 20)])
def test_a_full_disk_leaves_the_model_before(shard, tmp_path, size, facts):
    model = make_task(shard).model
    save_model(tmp_path / "npm", model, {})
    other = make_task(shard, dataclasses.replace(LOOP, seed=1)).model
    with files_of_at_most(size), pytest.raises(OutputError, match="still whole"):
        save_model(tmp_path / "npm", other, {"long": "x" * facts})
    found = load_model(tmp_path / "npm").state_dict()
    assert all(torch.equal(value, found[name]) for name, value in model.state_dict().items())


@pytest.mark.slow
def test_trained_on_few_families_it_matches_their_independent_potts_models(tmp_path, rng):
    def family(number: int) -> Family:
        ancestor = rng.integers(0, 20, 10)
        mutated = rng.random((8, 10)) < 0.4
        residues = np.where(mutated, rng.integers(0, 21, (8, 10)), ancestor)
        residues[0] = ancestor
        return Family(f"f{number}", residues.astype(np.uint8), np.ones(8, np.float32))

    families = [family(number) for number in range(3)]
    write_families(tmp_path / "f.parquet", families, {})
    loop = LoopSettings(
        steps=350, batch=3, micro_batch=3, warm_up=10, decay="linear", validate_every=350
    )
    objective = ObjectiveSettings(lambda_couplings=1e-2)
    torch.manual_seed(0)
    model = NeuralPottsModel(
        build_trunk(TrunkSettings("rotary", layers=1, width=32, attention_heads=4)),
        HeadSettings(rank=16),
    )
    task = NpmTask(
        model,
        Families([tmp_path / "f.parquet"]),
        train=TrainSettings(rows=40, head_learning_rate=1e-2, trunk_learning_rate=3e-3),
        objective=objective,
        loop=loop,
    )
    train(task, tmp_path)
    for each in families:
        rows = torch.from_numpy(each.residues.astype(np.int64))
        with torch.no_grad():
            amortised = float(npm_loss(*model(rows[0]), rows, objective).total)
        penalty = plm.paper_penalty(8, lambda_couplings=1e-2)
        alone = plm_sparse.fit(plm.Problem(each.residues, np.ones(8), penalty))
        assert amortised == pytest.approx(alone.objective / 8, rel=0.05)
