"""A checkpoint of a training is whole or not there, and holds the running mean of the weights."""

import dataclasses
from contextlib import nullcontext

import pytest
import torch
from training_inputs import LOOP, Interrupted, files_of_at_most, make_task, train, weights

from npm_core.errors import DataError, OutputError
from npm_core.training import NpmTask
from npm_core.training_state import Counters, RunningMean, State


def test_a_damaged_checkpoint_is_refused(shard, tmp_path):
    fails = make_task(shard)
    fails.batches = lambda step, rank, world: (_ for _ in ()).throw(Interrupted)
    with pytest.raises(Interrupted):
        train(fails, tmp_path)
    (path,) = (tmp_path / "scratch").glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="delete it to start anew"):
        train(make_task(shard), tmp_path)


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


def test_the_decay_of_the_running_mean_grows_to_the_one_asked_for():
    layer = torch.nn.Linear(1, 1)
    layer.bias.requires_grad_(False)
    bias = layer.bias.clone()
    torch.nn.init.constant_(layer.weight, 1.0)
    mean = RunningMean(layer, 0.75)
    torch.nn.init.constant_(layer.weight, 2.0)
    expected = 1.0
    for step, decay in ((0, 1 / 10), (8, 9 / 18), (26, 27 / 36), (27, 0.75), (999, 0.75)):
        mean.update(step)
        expected = decay * expected + (1 - decay) * 2.0
        with mean.in_use():
            assert layer.weight.item() == pytest.approx(expected)
        assert layer.weight.item() == 2.0
    assert torch.equal(layer.bias, bias)
    assert list(mean.values) == ["weight"]


def test_weights_their_mean_moments_and_counters_are_loaded_as_they_were_saved(tmp_path):
    def made(seed: int) -> State:
        torch.manual_seed(seed)
        layer = torch.nn.Linear(2, 1)
        return State(layer, torch.optim.AdamW(layer.parameters()), RunningMean(layer, 0.5))

    saved, loaded = made(1), made(2)
    for step in range(2):
        saved.task(torch.ones(2)).sum().backward()
        saved.optimizer.step()
        saved.mean.update(step)
    counters = Counters(2, 1.5, 0.25, 3, [4.0], 5)
    saved.save(tmp_path / "state.safetensors", counters, write=True)
    assert loaded.load(tmp_path / "state.safetensors") == counters
    for name, weight in saved.task.named_parameters():
        other = loaded.task.get_parameter(name)
        assert torch.equal(weight, other)
        assert torch.equal(saved.mean.values[name], loaded.mean.values[name])
        assert not torch.equal(weight, loaded.mean.values[name])
        kept, found = saved.optimizer.state[weight], loaded.optimizer.state[other]
        assert set(found) == {"step", "exp_avg", "exp_avg_sq"}
        assert all(torch.equal(found[kind], kept[kind]) for kind in found)


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
