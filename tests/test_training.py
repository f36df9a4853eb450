"""The rows, the loss and the gradient of a task, what is frozen, and the model that comes out."""

import dataclasses
import weakref

import numpy as np
import pytest
import torch
from training_inputs import LOOP, make_task, table, train, weights

from npm_core import plm, plm_sparse, training
from npm_core.architecture import HeadSettings, TrunkSettings
from npm_core.batching import Batch
from npm_core.checkpoints import load_model
from npm_core.cli import main
from npm_core.errors import SettingsError
from npm_core.families import Families
from npm_core.model import NeuralPottsModel
from npm_core.npm_loss import npm_loss
from npm_core.tables import Family, write_families
from npm_core.training import NpmTask, check_frozen, grouped, residues_together
from npm_core.training_settings import LoopSettings, ObjectiveSettings, TrainSettings
from npm_core.trunks import build_trunk


def test_an_output_that_cannot_be_written_to_is_refused_before_the_first_update(
    flags, tmp_path, capsys
):
    (tmp_path / "npm").write_text("a file")
    out = ["--output", str(tmp_path / "npm"), "--metrics", str(tmp_path / "m.csv")]
    assert main(["train", *flags, *out]) == 2
    assert "name a folder to write to" in capsys.readouterr().err
    assert not (tmp_path / "m.csv").exists()


def test_the_rows_of_a_step_are_those_of_the_seed(shard):
    def rows(seed: int) -> list[torch.Tensor]:
        task = make_task(shard, dataclasses.replace(LOOP, seed=seed))
        task.order = make_task(shard).order
        return [part for batch in task.batches(0, 0, 1) for part in batch.rows]

    first, again, other = rows(1), rows(1), rows(2)
    assert all(map(torch.equal, first, again))
    assert not all(map(torch.equal, first, other))


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


def test_training_lowers_the_loss_on_its_families(shard, tmp_path):
    loop = dataclasses.replace(LOOP, steps=60, validate_every=60)
    train(make_task(shard, loop), tmp_path)
    rows = table(tmp_path / "m.csv")
    first, last = (float(rows[i]["validation_pseudolikelihood"]) for i in (0, -1))
    assert last < 0.75 * first


def test_a_frozen_trunk_keeps_its_weights_while_the_heads_learn(shard, tmp_path):
    task = make_task(shard, frozen=True)
    assert not any(weight.requires_grad for weight in task.model.trunk.parameters())
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


@pytest.mark.parametrize("frozen", [False, True])
def test_the_gradient_is_that_of_the_sum_while_one_protein_at_a_time_is_held(
    shard, frozen, monkeypatch
):
    task = make_task(shard, frozen=frozen).double()
    (batch,) = task.batches(0, 0, 1)
    trained = [weight for group in task.parameter_groups() for weight in group["params"]]
    batch = dataclasses.replace(batch, weights=torch.tensor([0.5, 1.0, 2.0, 0.25]))
    terms, measured = [], torch.zeros(2)
    for n, length in enumerate(batch.lengths):
        loss = npm_loss(*task.model(batch.tokens[n, :length]), batch.rows[n], task.objective)
        terms.append(batch.weights[n] * loss.total)
        measured += torch.stack([loss.pseudolikelihood, loss.penalty]).detach() / length
    expected = torch.autograd.grad(3 * torch.stack(terms).sum(), trained)
    held: list[weakref.ref] = []

    def watched(fields, couplings, *rest):
        assert all(reference() is None for reference in held)
        held.append(weakref.ref(couplings.left))
        return npm_loss(fields, couplings, *rest)

    monkeypatch.setattr("npm_core.npm_loss.npm_loss", watched)
    total, measures = task(batch)
    found = torch.autograd.grad(3 * total, trained)
    assert len(held) == 4
    torch.testing.assert_close(measures, torch.tensor([*measured, batch.lengths.sum()]))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)


def test_gradients_of_single_precision_are_rounded_no_further(shard):
    found = []
    for precision in (torch.float32, torch.float64):
        task = make_task(shard).to(precision)
        (batch,) = task.batches(0, 0, 1)
        trained = [weight for group in task.parameter_groups() for weight in group["params"]]
        found.append(torch.autograd.grad(task(batch)[0], trained))
    for single, double in zip(*found, strict=True):
        assert (single - double).norm() <= 1e-4 * double.norm()


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
        monkeypatch.setattr("npm_core.npm_loss.HELD_TOGETHER", held)
        loss, measures = task(batch)
        found.append([loss, measures, *torch.autograd.grad(loss, trained)])
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-6, atol=1e-9)


def test_only_a_gpu_reads_several_proteins_together_and_the_conv_head_never_does():
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    assert residues_together(gpu, HeadSettings("untied")) == 4096
    assert residues_together(gpu, HeadSettings("conv")) == 1
    assert residues_together(cpu, HeadSettings("untied")) == 1


def test_groups_are_filled_in_order_and_hold_at_least_one_protein():
    groups = grouped([5, 3, 2, 9, 1, 1], 6)
    assert [list(group) for group in groups] == [[0], [1, 2], [3], [4, 5]]
    assert [list(group) for group in grouped([3, 3, 4, 2], 6)] == [[0, 1], [2, 3]]


def test_the_train_verb_writes_a_model_with_the_record_of_its_training(flags, tmp_path):
    out = ["--output", str(tmp_path / "npm"), "--metrics", str(tmp_path / "m.csv")]
    assert main(["train", *flags, *out]) == 0
    assert isinstance(load_model(tmp_path / "npm"), NeuralPottsModel)
    facts = (tmp_path / "npm" / "config.json").read_text()
    assert '"ended_by": "steps"' in facts
    assert not list((tmp_path / "scratch").iterdir())


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
