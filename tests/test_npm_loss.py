"""The loss of eq. (8): every form gives the naive number, and it is a pseudolikelihood."""

import numpy as np
import pytest
import torch
from torch import Tensor

from npm_core.architecture import HeadSettings
from npm_core.errors import SettingsError
from npm_core.model import HEADS, Held, K
from npm_core.npm_loss import (
    _held_together,
    _MatrixFree,
    _MatrixFreeInBlocks,
    cheapest_form,
    logits_and_norm,
    npm_loss,
)
from npm_core.plm import Problem, paper_penalty, regularised_loss
from npm_core.potts import Potts
from npm_core.training_settings import FORMS, ObjectiveSettings

LENGTH, WIDTH, DEPTH = 7, 5, 4
WITHOUT = {("conv", "symmetric"), ("conv", "matrix_free"), ("tied", "symmetric")}
HEADS_AND_FORMS = [(kind, form) for kind in HEADS for form in FORMS if (kind, form) not in WITHOUT]


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(11)


@pytest.fixture
def rows() -> Tensor:
    return torch.randint(0, K, (DEPTH, LENGTH))


@pytest.fixture
def fields() -> Tensor:
    return torch.randn(LENGTH, K, dtype=torch.float64)


def make_head(kind: str) -> torch.nn.Module:
    return HEADS[kind](WIDTH, HeadSettings(kind, rank=3, channels=4, initial_coupling=0.5)).double()


def naive(fields: Tensor, blocks: Tensor, rows: Tensor, lambdas: tuple[float, float]) -> Tensor:
    """Eq. (8) in loops, with J as (K, K, L, L)."""
    total = fields.new_zeros(())
    for x in rows:
        for i in range(len(x)):
            logits = fields[i].clone()
            for j in range(len(x)):
                if j != i:
                    logits = logits + blocks[:, x[j], i, j]
            total = total - torch.log_softmax(logits, 0)[x[i]]
    penalty = lambdas[0] * (blocks**2).sum() + lambdas[1] * (fields**2).sum()
    return total / len(rows) + penalty


@pytest.mark.parametrize(("kind", "form"), HEADS_AND_FORMS)
def test_every_form_gives_the_naive_value_and_gradient(kind, form, rows, fields):
    head = make_head(kind)
    e = torch.randn(LENGTH, WIDTH, dtype=torch.float64, requires_grad=True)
    weights = [e, *head.parameters()]
    settings = ObjectiveSettings(1e-2, 3e-2, form)
    value = npm_loss(fields, head(e), rows, settings).total
    expected = naive(fields, head(e).blocks_of(1)[0], rows, (1e-2, 3e-2))
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
    for found, wanted in zip(
        torch.autograd.grad(value, weights), torch.autograd.grad(expected, weights), strict=True
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("kind", "form"), HEADS_AND_FORMS)
def test_every_form_gives_the_logits_and_the_norm_of_the_couplings(kind, form, rows):
    couplings = make_head(kind)(torch.randn(LENGTH, WIDTH, dtype=torch.float64))
    (blocks,) = couplings.blocks_of(1)
    logits, squared = logits_and_norm(couplings, rows, form=form)
    others = torch.arange(LENGTH)
    expected = torch.stack([blocks[:, x, :, others].sum(0) for x in rows], dim=1)
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(squared, (blocks**2).sum())


@pytest.mark.parametrize("form", ["matrix_free", "symmetric"])
def test_the_form_that_is_asked_for_is_used_though_another_be_cheaper(form, rows, monkeypatch):
    couplings = make_head("untied")(torch.randn(LENGTH, WIDTH, dtype=torch.float64))
    for name in ("matrix_free", "symmetric"):
        monkeypatch.setattr(f"npm_core.npm_loss._{name}", lambda *_, name=name: name)
    assert logits_and_norm(couplings, rows, form=form) == form


@pytest.mark.parametrize("kind", ["untied", "asymmetric"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_blocks_of_a_gpu_give_the_same_value_and_gradient(kind, dtype, rows):
    left, right = (torch.randn(K, LENGTH, K, 3, dtype=torch.float64) for _ in range(2))
    right = left if kind == "untied" else right
    factors = [left.requires_grad_()] if kind == "untied" else [left, right]
    mixture = torch.randn(K, DEPTH, LENGTH, dtype=torch.float64)
    found = []
    for form, precision in ((_MatrixFree, torch.float64), (_MatrixFreeInBlocks, dtype)):
        leaves = [factor.detach().to(precision).requires_grad_() for factor in factors]
        logits, squared = form.apply(leaves[0], leaves[-1], rows)
        sums = torch.float32 if precision == torch.bfloat16 else torch.float64
        assert logits.dtype == squared.dtype == sums
        value = (logits * mixture).sum() + 0.3 * squared
        gradients = torch.autograd.grad(value, leaves)
        found.append([part.double() for part in (logits, squared, *gradients)])
    accuracy = 1e-12 if dtype == torch.float64 else 0.02
    for one, other in zip(*found, strict=True):
        assert (one - other).norm() <= accuracy * one.norm()


@pytest.mark.parametrize("kind", HEADS)
def test_gradients_are_those_of_finite_differences(kind, rows, fields):
    head = make_head(kind)
    fields.requires_grad_()
    e = torch.randn(LENGTH, WIDTH, dtype=torch.float64, requires_grad=True)
    settings = ObjectiveSettings(1e-2, 3e-2)
    assert torch.autograd.gradcheck(
        lambda e, h: npm_loss(h, head(e), rows, settings).total, (e, fields), fast_mode=True
    )


@pytest.mark.parametrize(("kind", "form"), HEADS_AND_FORMS)
def test_logits_of_a_position_do_not_depend_on_its_own_residue(kind, form, rows):
    couplings = make_head(kind)(torch.randn(LENGTH, WIDTH, dtype=torch.float64))
    changed = rows.clone()
    changed[:, 3] = (changed[:, 3] + 1) % K
    before, _ = logits_and_norm(couplings, rows, form=form)
    after, _ = logits_and_norm(couplings, changed, form=form)
    torch.testing.assert_close(before[:, :, 3], after[:, :, 3])
    assert not torch.allclose(before[:, :, 2], after[:, :, 2])


def test_without_couplings_the_loss_is_the_entropy_of_independent_sites(rows):
    fields = torch.zeros(LENGTH, K, dtype=torch.float64)
    none = Held(torch.zeros(K, K, LENGTH, LENGTH, dtype=torch.float64))
    loss = npm_loss(fields, none, rows, ObjectiveSettings())
    assert float(loss.total) == pytest.approx(LENGTH * torch.tensor(21.0).log().item())


def test_two_sites_counted_by_hand():
    fields = torch.zeros(2, K, dtype=torch.float64)
    blocks = torch.zeros(K, K, 2, 2, dtype=torch.float64)
    blocks[4, 9, 0, 1] = blocks[9, 4, 1, 0] = 2.0
    loss = npm_loss(fields, Held(blocks), torch.tensor([[4, 9]]), ObjectiveSettings(0.1, 0.0))
    site = torch.log(torch.tensor(20 + torch.e**2)).item() - 2.0
    assert float(loss.pseudolikelihood) == pytest.approx(2 * site)
    assert float(loss.penalty) == pytest.approx(0.1 * (4.0 + 4.0))


def test_an_npm_forced_to_a_potts_model_has_the_solvers_objective(fields, rng):
    couplings = rng.normal(0, 0.3, (LENGTH, LENGTH, K, K)).astype(np.float32)
    couplings += couplings.transpose(1, 0, 3, 2).copy()
    couplings[np.arange(LENGTH), np.arange(LENGTH)] = 0
    residues = rng.integers(0, K, (40, LENGTH)).astype(np.uint8)
    potts = Potts(fields.numpy().astype(np.float32), couplings)
    penalty = paper_penalty(meff=40, lambda_fields=1e-2, lambda_couplings=1e-3)
    solver = regularised_loss(potts, Problem(residues, np.ones(40), penalty))
    loss = npm_loss(
        torch.from_numpy(potts.fields).double(),
        Held(torch.from_numpy(couplings).double().permute(2, 3, 0, 1)),
        torch.from_numpy(residues.astype(np.int64)),
        ObjectiveSettings(lambda_couplings=1e-3, lambda_fields=1e-2),
    )
    assert 40 * float(loss.total) == pytest.approx(solver, rel=1e-12)


def test_small_ranks_are_cheaper_without_holding_the_couplings():
    assert cheapest_form(length=256, rank=16, depth=30) == "matrix_free"
    assert cheapest_form(length=256, rank=512, depth=30) == "symmetric"
    # Divided by 256: 2 30 441 r + 441 r^2 against 256 231 r + 30 256 441, equal at r = 132.2.
    assert cheapest_form(length=256, rank=132, depth=30) == "matrix_free"
    assert cheapest_form(length=256, rank=133, depth=30) == "symmetric"


def test_several_proteins_are_held_together_if_their_couplings_fit_into_2_gib():
    # 2 proteins of L residues have 2 x 4 x 441 L^2 bytes, which are 2^31 at L = 780.2.
    assert _held_together([780, 5], "cheapest")
    assert not _held_together([5, 781], "cheapest")
    assert _held_together([780, 5], "held")
    assert not _held_together([780, 5], "matrix_free")
    assert not _held_together([5], "cheapest")


@pytest.mark.parametrize(("kind", "form"), sorted(WITHOUT))
def test_a_form_that_a_head_has_not_is_refused(kind, form, rows, fields):
    couplings = make_head(kind)(torch.randn(LENGTH, WIDTH, dtype=torch.float64))
    with pytest.raises(SettingsError, match=f"the {kind} head has no '{form}' form"):
        npm_loss(fields, couplings, rows, ObjectiveSettings(form=form))


@pytest.mark.parametrize(("kind", "form"), HEADS_AND_FORMS)
def test_bfloat16_products_change_the_loss_by_a_rounding_error(kind, form, rows):
    head = make_head(kind).float()
    e, fields = torch.randn(LENGTH, WIDTH), torch.randn(LENGTH, K)
    settings = ObjectiveSettings(1e-2, 3e-2, form)
    exact = npm_loss(fields, head(e), rows, settings).total.detach()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = npm_loss(fields, head(e), rows, settings).total.detach()
    assert rounded.dtype == torch.float32
    assert float(rounded) == pytest.approx(float(exact), rel=0.02)
    assert float(rounded) != float(exact)
