"""Fits by dense products: those of the sparse sums, whatever else is in the batch."""

from functools import partial

import numpy as np
import pytest
import torch
from plm_inputs import FIRM, family

from npm_core import plm_dense, potts
from npm_core.descent import FIRST_STEP, Stop
from npm_core.errors import DataError, SettingsError
from npm_core.plm import CCMPRED, regularised_loss
from npm_core.plm_dense import Batch, halves
from npm_core.plm_sparse import fit_objective


@pytest.fixture(autouse=True)
def one_thread():
    """Products this small are done before other threads have begun."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("objective", [CCMPRED, FIRM], ids=lambda one: one.name)
def test_dense_products_reach_the_same_minimum(rng, objective):
    residues = family(rng, length=5)
    sparse = fit_objective(residues, objective, stop=Stop(1e-6))
    (dense,) = plm_dense.fit_objectives([residues], objective, stop=Stop(1e-6), device="cpu")
    assert dense.converged
    assert dense.objective == pytest.approx(sparse.objective, rel=1e-6)
    assert np.allclose(dense.potts.couplings, sparse.potts.couplings, atol=2e-3)
    assert potts.check(dense.potts, "dense") is dense.potts


@pytest.mark.parametrize("objective", [CCMPRED, FIRM], ids=lambda one: one.name)
def test_dense_products_give_the_objective_and_its_gradient(rng, objective):
    problem = objective.problem(family(rng, depth=9, length=3))
    batch = Batch.of([problem], "cpu")
    states = batch.states

    def vector():
        table = rng.normal(size=(states, states))
        values = np.concatenate([(table + table.T).ravel(), rng.normal(size=states)])
        return torch.from_numpy(values[None]).float()

    point = batch.origin + 0.3 * vector()
    (value,), gradient = batch.evaluate(point)
    expected = regularised_loss(batch.potts(0, point[0]), problem)
    assert value == pytest.approx(expected, rel=1e-5)
    for _ in range(3):
        noise = vector() * (gradient != 0)
        direction = (
            gradient
            + noise * (batch.dots(gradient, gradient) / batch.dots(noise, noise)).sqrt().float()
        )
        up, down = (
            batch.regularised_loss(0, (point + step * direction)[0]) for step in (1e-3, -1e-3)
        )
        slope = float(batch.dots(gradient, direction))
        assert (up - down) / 2e-3 == pytest.approx(slope, rel=1e-3)


def test_families_of_one_batch_agree_on_whether_gaps_have_fields(rng):
    residues = family(rng, length=2)
    with pytest.raises(DataError, match="agree on whether gaps have fields"):
        Batch.of([CCMPRED.problem(residues), FIRM.problem(residues)], "cpu")


def test_dense_products_add_up_over_chunks_of_rows(rng, monkeypatch):
    batch = dense_batch([family(rng, length=5)])
    point = batch.origin + 0.1
    values, gradient = batch.evaluate(point)
    monkeypatch.setattr(plm_dense, "ROWS_AT_A_TIME", 7)
    in_chunks, gradient_in_chunks = batch.evaluate(point)
    assert in_chunks == pytest.approx(values)
    np.testing.assert_allclose(gradient_in_chunks, gradient, rtol=1e-4, atol=1e-4)


def dense_batch(families):
    return Batch.of([CCMPRED.problem(residues) for residues in families], "cpu")


def test_what_pads_a_family_changes_neither_its_objective_nor_its_gradient(rng):
    small, large = family(rng, depth=7, length=4), family(rng, depth=40, length=6)
    alone, together = dense_batch([small]), dense_batch([large, small])
    point = torch.from_numpy(rng.normal(size=alone.origin.shape).astype(np.float32)) * 0.1
    pairs, states = alone.states**2, alone.states
    couplings = point[0, :pairs].view(states, states)
    couplings += couplings.T.clone()
    padded = torch.full_like(together.origin, 0.5)
    table = padded[1, : together.states**2].view(together.states, together.states)
    table[:states, :states] = couplings
    padded[1, together.states**2 :] = 0
    padded[1, together.states**2 :][:states] = point[0, pairs:]
    (value,), gradient = alone.evaluate(point)
    (_, beside), gradients = together.evaluate(padded)
    assert beside == pytest.approx(value, rel=1e-6)
    found = gradients[1, : together.states**2].view(together.states, together.states)
    expected = gradient[0, :pairs].view(states, states)
    assert torch.allclose(found[:states, :states], expected, atol=1e-4)
    assert (found[states:] == 0).all()
    assert (found[:, states:] == 0).all()
    fields = gradients[1, together.states**2 :]
    assert torch.allclose(fields[:states], gradient[0, pairs:], atol=1e-4)
    assert (fields[states:] == 0).all()


def test_some_families_of_a_batch_are_evaluated_as_among_the_others(rng):
    sizes = ((9, 4), (7, 6), (12, 5))
    whole = dense_batch([family(rng, depth=depth, length=length) for depth, length in sizes])
    noise = torch.from_numpy(rng.normal(size=whole.origin.shape).astype(np.float32))
    point = whole.origin + 0.1 * noise
    values, gradient = whole.evaluate(point)
    kept = whole.kept([2, 0])
    few, few_gradient = kept.evaluate(point[[2, 0]])
    assert few == pytest.approx([values[2], values[0]], rel=1e-6)
    assert torch.allclose(few_gradient, gradient[[2, 0]], atol=1e-4)
    for number, place in ((2, 0), (0, 1)):
        value = kept.regularised_loss(place, point[number])
        assert value == whole.regularised_loss(number, point[number])
        assert kept.potts(place, point[number]).length == sizes[number][1]


@pytest.mark.parametrize("objective", [CCMPRED, FIRM], ids=lambda one: one.name)
def test_families_fitted_together_are_those_fitted_alone(rng, objective):
    # Of one column and many rows the start is all but the minimum: those fits end first, and leave
    # two others that end one after the other.
    sizes = ((300, 1), (3, 3), (250, 1), (20, 4))
    families = [family(rng, depth=depth)[:, :length] for depth, length in sizes]
    for stop in (Stop(evaluations=6), Stop(1e-6)):
        fit = partial(plm_dense.fit_objectives, objective=objective, stop=stop, device="cpu")
        together = fit(families)
        for residues, found in zip(families, together, strict=True):
            (alone,) = fit([residues])
            # The first steps are the same; of the last, which rounding decides, what they lead to.
            assert found.converged or stop.evaluations == 6
            assert found.meff == alone.meff
            assert found.objective == pytest.approx(alone.objective, rel=1e-6)
            assert found.potts.couplings.shape == alone.potts.couplings.shape
            assert np.allclose(found.potts.couplings, alone.potts.couplings, atol=1e-3)
            value = regularised_loss(found.potts, objective.problem(residues))
            assert found.objective == pytest.approx(value, rel=1e-6)
    first, second, last = (together[number].evaluations for number in (0, 3, 1))
    assert first < second < last


def test_batches_hold_families_of_similar_length_and_what_fits():
    shapes = [(10, 50), (100, 100), (10, 90), (20, 100), (10, 20)]
    assert list(plm_dense.batches(shapes, float("inf"))) == [[1, 3, 2], [0], [4]]
    two = plm_dense.fit_bytes(2, 100, 100)
    assert list(plm_dense.batches(shapes, two)) == [[1, 3], [2], [0], [4]]
    assert list(plm_dense.batches(shapes, 0)) == [[1], [3], [2], [0], [4]]
    assert list(plm_dense.batches(shapes, float("inf"), most=2)) == [[1, 3], [2], [0], [4]]
    assert list(plm_dense.batches([(10, 100), (10, 75)], float("inf"))) == [[0, 1]]
    deep = [(1000, 100), (10, 100)]
    assert list(plm_dense.batches(deep, plm_dense.fit_bytes(2, 1000, 100) - 1)) == [[0], [1]]


def test_a_batch_that_cannot_fit_is_refused_with_its_size(rng, monkeypatch):
    monkeypatch.setattr(plm_dense, "free_bytes", lambda device: 1000)
    with pytest.raises(SettingsError, match=r"1 Potts models of up to 11 columns need .+ MiB"):
        plm_dense.fit_objectives([family(rng)], device="cpu")


def test_both_halves_of_a_product_are_exact_on_tensor_cores(rng):
    dense = torch.from_numpy(rng.normal(size=(21, 30)).astype(np.float32))
    high, low = halves(dense)
    assert torch.equal(high + low, dense)
    for half in (high, low):
        # What TF32 keeps of a half, 11 bits, is the half to 2^-21 of the whole.
        kept = (half.view(torch.int32) & -(1 << 13)).view(torch.float32)
        assert ((half - kept).abs() <= 2.0**-20 * dense.abs()).all()
    assert ((high - dense).abs() > 2.0**-16 * dense.abs()).any()


def test_steps_along_which_f_is_not_convex_and_those_not_taken_are_not_remembered(rng):
    # Families: a step along which the gradient grew, one along which it shrank, one not taken.
    batch = dense_batch([family(rng, depth=3, length=2)] * 3)
    s = torch.from_numpy(rng.normal(size=batch.origin.shape).astype(np.float32))
    old = (s + 1, s + 2, batch.dots(s, s))
    older = (s + 3, s + 4, batch.dots(s, s) + 1)
    y = s * torch.tensor([[2.0], [-2.0], [2.0]])
    taken = torch.tensor([True, True, False])
    history = plm_dense._remembered(batch, [older, old], s, y, taken)
    new = (s, y, batch.dots(s, y))
    for found, expected in zip(history, (old, new), strict=True):
        for part, whole in zip(found, expected, strict=True):
            assert torch.equal(part[0], whole[0])
    for found, expected in zip(history, (older, old), strict=True):
        for part, whole in zip(found, expected, strict=True):
            assert torch.equal(part[1:], whole[1:])


def test_directions_are_those_of_l_bfgs_by_the_steps_that_each_family_remembers(rng):
    batch = dense_batch([family(rng, depth=3, length=2)] * 3)
    gradient, *steps = torch.from_numpy(rng.normal(size=(3, *batch.origin.shape))).float()
    # None, one and two steps, along which the gradient changed by about the step.
    history = []
    for s, known in zip(steps, ([0, 0, 1], [0, 1, 1]), strict=True):
        y = s + 0.3 * torch.from_numpy(rng.normal(size=s.shape)).float()
        y *= torch.tensor(known)[:, None]
        history.append((s, y, batch.dots(s, y)))

    def inverse(vector, remembered, scale):
        """The inverse curvature by the BFGS update, times a vector."""
        if not remembered:
            return scale * vector
        *older, (s, y, curvature) = remembered
        share = batch.dots(s, vector) / curvature
        inner = inverse(vector - share[:, None] * y, older, scale)
        return inner + (share - batch.dots(y, inner) / curvature)[:, None] * s

    found = plm_dense._direction(batch, gradient, history)
    assert torch.allclose(found[0], -FIRST_STEP * gradient[0])
    s, y, _ = history[-1]
    scale = (batch.dots(s, y) / batch.dots(y, y))[:, None]
    for number, remembered in ((1, history[1:]), (2, history)):
        expected = -inverse(gradient.double(), remembered, scale)
        assert torch.allclose(found[number].double(), expected[number], atol=1e-5)
