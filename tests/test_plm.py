"""The fit of one alignment: objective by definition, minimum by law and by golden value."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from typing import get_args

import numpy as np
import pytest

from npm_core import blocks, descent, kernels, plm, plm_sparse, potts, weights
from npm_core.alphabet import GAP, STATES, encode
from npm_core.descent import Stop
from npm_core.errors import DataError, SettingsError
from npm_core.plm import (
    CCMPRED,
    PAPER,
    Objective,
    Penalty,
    Problem,
    ccmpred_penalty,
    paper_penalty,
    regularised_loss,
)
from npm_core.plm_sparse import fit, fit_objective
from npm_core.potts import Potts
from npm_core.potts_arguments import OBJECTIVES

PENALTIES = [ccmpred_penalty(11), paper_penalty(20.0)]
GOLDEN_MINIMA = {"tinyU": 9725.75287253112, "UPI0003108055": 84656.2046}


def family(rng, depth=40, length=11):
    """Rows that vary about an ancestor; the last two positions copy each other."""
    ancestor = rng.integers(0, STATES, length)
    changed = rng.random((depth, length)) < 0.4
    residues = np.where(changed, rng.integers(0, STATES, (depth, length)), ancestor)
    residues[:, -1] = residues[:, -2]
    return residues.astype(np.uint8)


def random_model(rng, length, size=0.3):
    upper = rng.normal(size=(length * (length - 1) // 2, STATES, STATES)) * size
    fields = rng.normal(size=(length, STATES)) * size
    fields[:, GAP] = 0
    return Potts(fields.astype(np.float32), potts.full_couplings(upper.astype(np.float32), length))


def by_definition(model, problem):
    """The objective of `plm`'s docstring, term by term."""
    penalty = problem.penalty
    total = 0.0
    for row, weight in zip(problem.residues, problem.weights, strict=True):
        for i in range(len(row)):
            logits = model.fields[i].astype(np.float64)
            for j in range(len(row)):
                logits = logits + model.couplings[i, j, :, row[j]]
            total += weight * (np.log(np.exp(logits).sum()) - logits[row[i]])
    fields = model.fields if penalty.gap_field else model.fields[:, :GAP]
    upper = potts.upper_couplings(model.couplings)
    total += penalty.lambda_fields * (fields.astype(np.float64) ** 2).sum()
    return total + penalty.lambda_couplings * (upper.astype(np.float64) ** 2).sum()


def test_a_model_of_zeros_costs_log_21_a_residue():
    model = Potts(np.zeros((3, 21), np.float32), np.zeros((3, 3, 21, 21), np.float32))
    residues = np.stack([encode("ACD"), encode("A-D")])
    value = regularised_loss(model, Problem(residues, np.array([1.0, 0.5]), ccmpred_penalty(3)))
    assert value == pytest.approx(1.5 * 3 * np.log(21), rel=1e-12)


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("length", [11, 37])
def test_the_objective_is_its_definition(rng, penalty, length):
    problem = Problem(family(rng, length=length), rng.random(40) + 0.1, penalty)
    model = random_model(rng, length)
    value = regularised_loss(model, problem)
    assert value == pytest.approx(by_definition(model, problem), rel=1e-12)


def test_a_state_that_a_field_all_but_forbids_costs_that_field():
    # log(e^200 + 20) - 0: beyond what exponentials of single precision hold.
    fields = np.zeros((1, 21), np.float32)
    fields[0, 0] = 200
    model = Potts(fields, np.zeros((1, 1, 21, 21), np.float32))
    nothing = Penalty(0.0, 0.0, gap_field=True)
    value = regularised_loss(model, Problem(encode("C")[None], np.ones(1), nothing))
    assert value == pytest.approx(200)


def test_the_papers_objective_is_equation_3_times_meff(rng):
    # Rows 1 and 2 agree in 8 of 10 columns: neighbours by Morcos' rule, none by CCMpred's.
    residues = np.stack([encode(row) for row in ("ACDEFGHIKL", "ACDEFGHI--", "VVVVVVVVVV")])
    model = random_model(rng, 10)
    model.fields[:, GAP] = 0.5
    problem = PAPER.problem(residues)
    assert problem.weights.tolist() == [0.5, 0.5, 1.0]
    nothing = Penalty(0.0, 0.0, gap_field=True)
    mean = by_definition(model, replace(problem, penalty=nothing)) / 2
    squares = 1e-3 * (model.couplings**2).sum() + 1e-2 * (model.fields**2).sum()
    found = regularised_loss(model, problem)
    assert found / 2 == pytest.approx(mean + squares, rel=1e-5)


def test_compiled_and_cached_kernels_give_the_same_bits(tmp_path):
    code = """
import hashlib, numpy as np
from npm_core import kernels
rng = np.random.default_rng(1)
residues = rng.integers(0, 21, (30, 8)).astype(np.uint8)
index = kernels.index_alignment(residues, np.zeros(8, np.int64), chunk=30)
table = rng.normal(size=(8 * 21, kernels.WIDTH)).astype(np.float32)
work, gradient, total = np.zeros_like(table[:30]), np.zeros_like(table), np.zeros_like(table[0])
weights = np.ones(30, np.float32)
loss = kernels.block_gradient(
    table, table[0], index, residues, weights, 8, work, gradient, total
)
print(loss, hashlib.sha256(gradient).hexdigest())
"""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    first, second = (
        subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True).stdout
        for _ in range(2)
    )
    assert first
    assert first == second


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("length", [3, 8, 11, 37])
def test_the_fast_evaluation_has_the_same_value_and_gradient(rng, penalty, length):
    problem = Problem(family(rng, length=length), rng.random(40) + 0.1, penalty)
    start, prior = random_model(rng, length), random_model(rng, length)
    with blocks.Threads(1) as pool:
        solver = plm_sparse._TileSolver(problem, pool, start=start, prior=prior)
        value = solver.evaluate()
        assert value == pytest.approx(regularised_loss(start, problem, prior=prior), rel=1e-6)
        solver.gradient(0)
        gradient = plm_sparse._widen(solver.basis[0]).astype(np.float64)
        origin = solver.parameters.copy()
        for _ in range(3):
            noise = rng.normal(size=len(origin)) * (gradient != 0)
            noise *= np.linalg.norm(gradient) / np.linalg.norm(noise)
            direction = gradient + noise
            values = []
            for step in (1e-3, -1e-3):
                solver.parameters[:] = origin + step * direction
                values.append(solver.evaluate())
            slope = (values[0] - values[1]) / 2e-3
            assert slope == pytest.approx(gradient @ direction, rel=1e-2)


def test_chunks_of_sequences_change_only_rounding(rng, monkeypatch):
    residues = family(rng)
    whole = fit_objective(residues)
    monkeypatch.setattr(blocks, "CHUNK_BYTES", 7 * 4 * kernels.WIDTH)
    assert fit_objective(residues).objective == pytest.approx(whole.objective, rel=1e-5)


@pytest.mark.parametrize("objective", [CCMPRED, PAPER], ids=lambda one: one.name)
def test_the_gradient_vanishes_at_the_fit(rng, objective):
    residues = family(rng)
    result = fit_objective(residues, objective, stop=Stop(1e-8))
    problem = objective.problem(residues)
    assert result.converged
    for _ in range(3):
        away = random_model(rng, 11, size=1e-2)
        values = [
            regularised_loss(
                Potts(
                    result.potts.fields + sign * away.fields,
                    result.potts.couplings + sign * away.couplings,
                ),
                problem,
            )
            for sign in (1, -1)
        ]
        assert min(values) > result.objective
        assert abs(values[0] - values[1]) < 0.1 * (values[0] - result.objective)


def test_the_fit_is_a_valid_model_that_couples_the_copied_positions(rng):
    result = fit_objective(family(rng, depth=300))
    assert potts.check(result.potts, "fit") is result.potts
    scores = potts.contact_scores(result.potts.couplings)
    assert np.unravel_index(scores.argmax(), scores.shape) == (9, 10)


def test_the_field_of_the_gap_is_zero_under_ccmpreds_objective(rng):
    assert not fit_objective(family(rng)).potts.fields[:, GAP].any()


def test_neither_threads_nor_repetition_change_a_bit(rng):
    residues = family(rng, length=21)
    first, again = fit_objective(residues), fit_objective(residues)
    threaded = fit_objective(residues, threads=3)
    for other in (again, threaded):
        assert np.array_equal(first.potts.couplings, other.potts.couplings)
        assert first.objective == other.objective


def test_doubled_rows_of_half_the_weight_give_the_same_fit(rng):
    residues = family(rng)
    penalty = ccmpred_penalty(11)
    single = fit(Problem(residues, np.ones(40), penalty), stop=Stop(1e-7))
    doubled = Problem(np.repeat(residues, 2, 0), np.full(80, 0.5), penalty)
    double = fit(doubled, stop=Stop(1e-7))
    assert double.objective == pytest.approx(single.objective, rel=1e-6)
    assert np.allclose(single.potts.couplings, double.potts.couplings, atol=1e-3)


def test_a_warm_start_at_the_minimum_stays_there(rng):
    residues = family(rng)
    cold = fit_objective(residues, stop=Stop(1e-7))
    warm = fit_objective(residues, stop=Stop(1e-7), start=cold.potts)
    assert warm.evaluations < cold.evaluations
    assert warm.objective == pytest.approx(cold.objective, rel=1e-6)


def test_one_row_shrinks_to_its_prior(rng):
    residues, prior = family(rng, depth=1), random_model(rng, 11, size=1.0)
    plain = fit_objective(residues)
    informed = fit_objective(residues, prior=prior)

    def distance(fit):
        return np.linalg.norm(fit.potts.couplings - prior.couplings)

    assert distance(informed) < 0.2 * distance(plain)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_the_penalty_counts_from_the_prior_and_not_from_its_gauge(rng, penalty):
    problem = Problem(family(rng), rng.random(40) + 0.1, penalty)
    model, prior = random_model(rng, 11), random_model(rng, 11)
    difference = potts.upper_couplings(model.couplings - prior.couplings)
    expected = (
        regularised_loss(model, replace(problem, penalty=Penalty(0.0, 0.0, penalty.gap_field)))
        + penalty.lambda_fields * ((model.fields - prior.fields) ** 2).sum()
        + penalty.lambda_couplings * (difference**2).sum()
    )
    found = regularised_loss(model, problem, prior=prior)
    assert found == pytest.approx(expected, rel=1e-5)
    if not penalty.gap_field:
        shifted = Potts(prior.fields + np.float32(3), prior.couplings)
        same = regularised_loss(model, problem, prior=shifted)
        assert same == pytest.approx(expected, rel=1e-5)


def test_a_target_objective_stops_the_fit_early(rng):
    residues = family(rng)
    whole = fit_objective(residues)
    early = fit_objective(residues, stop=Stop(target=1.05 * whole.objective))
    assert early.converged
    assert early.evaluations < whole.evaluations
    assert whole.objective < early.objective <= 1.05 * whole.objective


def test_a_fit_that_was_cut_short_says_so(rng):
    result = fit_objective(family(rng), stop=Stop(evaluations=3))
    assert (result.converged, result.evaluations) == (False, 3)


def test_one_row_is_fitted_as_far_as_rounding_allows():
    fit = fit_objective(encode("WMLQEAR")[None], stop=Stop(1e-6))
    assert np.isfinite(fit.objective)
    assert potts.check(fit.potts, "fit") is fit.potts


@pytest.mark.parametrize(
    "residues",
    [
        np.stack([encode("ACDEFGHIKL")]),
        np.stack([encode("A"), encode("C"), encode("-")]),
        np.stack([encode("AC--"), encode("DC--"), encode("AE--")]),
        np.stack([encode("ACDEFGHIKL")] * 30),
        np.stack([encode("-----")] * 2),
    ],
    ids=["depth 1", "length 1", "columns of gaps", "identical rows", "nothing but gaps"],
)
@pytest.mark.parametrize("objective", [CCMPRED, PAPER], ids=lambda one: one.name)
def test_odd_alignments_have_a_finite_fit(residues, objective):
    result = fit_objective(residues, objective)
    assert result.converged
    assert potts.check(result.potts, "fit") is result.potts
    zeros = Potts(np.zeros_like(result.potts.fields), np.zeros_like(result.potts.couplings))
    assert result.objective < regularised_loss(zeros, objective.problem(residues))


def test_the_memory_estimate_grows_with_length_and_covers_the_model():
    assert plm_sparse.fit_bytes(100, 200) > 441 * 4 * 200**2
    assert plm_sparse.fit_bytes(100, 400) == pytest.approx(
        4 * plm_sparse.fit_bytes(100, 200), rel=0.1
    )
    assert plm_sparse.fit_bytes(2000, 1000) < 24 * 2**30


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        *(({"rel": value}, "stop_rel") for value in (0.0, 1.0, np.inf, np.nan)),
        *(({"target": value}, "target_objective") for value in (np.inf, -np.inf, np.nan)),
        ({"evaluations": 0}, "max_evaluations"),
    ],
    ids=str,
)
def test_there_is_no_stop_that_means_nothing(settings, named):
    with pytest.raises(SettingsError, match=named):
        Stop(**settings)


@pytest.mark.parametrize(
    ("row_weights", "said"),
    [
        (np.ones(3), r"weights are \(3,\) for 2 rows"),
        (np.array([1.0, np.nan]), "row 2 has weight nan"),
        (np.array([0.0, 1.0]), "row 1 has weight 0.0"),
        (np.array([1.0, np.inf]), "row 2 has weight inf"),
    ],
    ids=str,
)
def test_weights_that_mean_nothing_are_named(rng, row_weights, said):
    with pytest.raises(DataError, match=said):
        Problem(family(rng, depth=2), row_weights, ccmpred_penalty(11))


def test_models_of_another_length_are_refused(rng):
    model = Potts(np.zeros((2, 21), np.float32), np.zeros((2, 2, 21, 21), np.float32))
    for name in ("start", "prior"):
        with pytest.raises(DataError, match=f"the {name} has length 2, the alignment 11"):
            fit_objective(family(rng), **{name: model})
    with pytest.raises(DataError, match="a model of length 2 for an alignment of 11 columns"):
        regularised_loss(model, CCMPRED.problem(family(rng)))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"name": "gremlin"}, "neither ccmpred nor paper"),
        ({"lambda_fields": 0.0}, r"lambda_fields 0\.0 is not positive"),
        ({"lambda_couplings": np.nan}, "lambda_couplings nan is not positive"),
    ],
    ids=str,
)
def test_there_is_no_objective_of_another_name_or_without_a_penalty(settings, said):
    with pytest.raises(SettingsError, match=said):
        Objective(**settings)


def test_the_command_line_offers_every_objective():
    assert get_args(plm.ObjectiveName) == OBJECTIVES


@pytest.mark.parametrize("objective", [CCMPRED, PAPER], ids=lambda one: one.name)
def test_dense_products_reach_the_same_minimum(rng, objective):
    from npm_core import plm_dense

    residues = family(rng, length=5)
    sparse = fit_objective(residues, objective, stop=Stop(1e-8))
    (dense,) = plm_dense.fit_objectives([residues], objective, stop=Stop(1e-8), device="cpu")
    assert dense.converged
    assert dense.objective == pytest.approx(sparse.objective, rel=1e-6)
    assert np.allclose(dense.potts.couplings, sparse.potts.couplings, atol=2e-3)
    assert potts.check(dense.potts, "dense") is dense.potts


def test_dense_products_add_up_over_chunks_of_rows(rng, monkeypatch):
    from npm_core import plm_dense

    batch = dense_batch([family(rng, length=5)])
    point = batch.origin + 0.1
    values, gradient = batch.evaluate(point)
    monkeypatch.setattr(plm_dense, "ROWS_AT_A_TIME", 7)
    in_chunks, gradient_in_chunks = batch.evaluate(point)
    assert in_chunks == pytest.approx(values)
    np.testing.assert_allclose(gradient_in_chunks, gradient, rtol=1e-4, atol=1e-4)


def test_counts_of_pairs_give_the_gradient_at_no_couplings(rng):
    residues = family(rng, depth=30, length=11)
    row_weights = (rng.random(30) + 0.1).astype(np.float32)
    lanes, width = 11 - kernels.LANES, kernels.WIDTH
    consensus = plm.consensus(residues)
    base = rng.normal(size=width).astype(np.float32)
    data = (
        kernels.index_alignment(residues, consensus, chunk=8),
        blocks.block_states(residues)[1],
        row_weights,
        lanes,
    )
    table, work = np.zeros((11 * STATES, width), np.float32), np.zeros((8, width), np.float32)
    expected, found = np.empty_like(table), np.full_like(table, np.nan)
    totals, total = np.empty(width, np.float32), np.full(width, np.nan, np.float32)
    loss = kernels.block_gradient(table, base, *data, work, expected, totals)
    assert kernels.independent_gradient(base, *data, found, total) == pytest.approx(loss, rel=1e-6)
    assert np.allclose(found, expected, atol=1e-5)
    assert np.allclose(total, totals, atol=1e-5)
    assert abs(expected).max() > 0.1


def dense_batch(families):
    from npm_core.plm_dense import Batch

    return Batch.of([CCMPRED.problem(residues) for residues in families], "cpu")


def test_what_pads_a_family_changes_neither_its_objective_nor_its_gradient(rng):
    import torch

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
    import torch

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


@pytest.mark.parametrize("objective", [CCMPRED, PAPER], ids=lambda one: one.name)
def test_families_fitted_together_are_those_fitted_alone(rng, objective):
    from npm_core import plm_dense

    families = [
        family(rng, depth=depth, length=length) for depth, length in ((40, 6), (1, 3), (25, 5))
    ]
    fit = partial(
        plm_dense.fit_objectives,
        objective=objective,
        stop=Stop(1e-6),
        device="cpu",
    )
    together = fit(families)
    assert len({each.evaluations for each in together}) > 1
    for residues, found in zip(families, together, strict=True):
        (alone,) = fit([residues])
        assert abs(found.evaluations - alone.evaluations) <= 0.1 * alone.evaluations
        assert found.converged
        assert found.meff == alone.meff
        assert found.objective == pytest.approx(alone.objective, rel=1e-5)
        assert found.potts.couplings.shape == alone.potts.couplings.shape
        assert np.allclose(found.potts.couplings, alone.potts.couplings, atol=1e-2)
        value = regularised_loss(found.potts, objective.problem(residues))
        assert found.objective == pytest.approx(value, rel=1e-6)


def test_batches_hold_families_of_similar_length_and_what_fits():
    from npm_core import plm_dense

    shapes = [(10, 50), (100, 100), (10, 90), (20, 100), (10, 20)]
    assert list(plm_dense.batches(shapes, float("inf"))) == [[1, 3, 2], [0], [4]]
    two = plm_dense.fit_bytes(2, 100, 100)
    assert list(plm_dense.batches(shapes, two)) == [[1, 3], [2], [0], [4]]
    assert list(plm_dense.batches(shapes, 0)) == [[1], [3], [2], [0], [4]]
    assert list(plm_dense.batches(shapes, float("inf"), most=2)) == [[1, 3], [2], [0], [4]]


def test_a_batch_that_cannot_fit_is_refused_with_its_size(rng, monkeypatch):
    from npm_core import plm_dense

    monkeypatch.setattr(plm_dense, "free_bytes", lambda device: 1000)
    with pytest.raises(SettingsError, match=r"1 Potts models of up to 11 columns need .+ MiB"):
        plm_dense.fit_objectives([family(rng)], device="cpu")


def test_without_a_step_that_curved_the_direction_is_the_gradient_downhill():
    # Basis: a gradient, the direction taken from it, the next gradient; no step changed anything.
    products = np.ones((3, 3))
    down = plm_sparse._direction(products, [(0, 2, 1, 1e-9)], newest=2)
    assert down.tolist() == [0, 0, -descent.FIRST_STEP]


def test_directions_are_kept_as_the_nearest_bfloat16(rng):
    import torch

    values = rng.normal(size=200).astype(np.float32) * 10.0 ** rng.integers(-20, 20, 200)
    values = values.astype(np.float32)
    expected = torch.from_numpy(values).bfloat16()
    kept = np.array([kernels.narrow(value) for value in values], dtype=np.uint16)
    assert np.array_equal(kept.view(np.int16), expected.view(torch.int16).numpy())
    assert np.array_equal([kernels.widen(bits) for bits in kept], expected.float().numpy())


def test_both_halves_of_a_product_are_exact_on_tensor_cores(rng):
    import torch

    from npm_core.plm_dense import halves

    dense = torch.from_numpy(rng.normal(size=(21, 30)).astype(np.float32))
    high, low = halves(dense)
    assert torch.equal(high + low, dense)
    for half in (high, low):
        # What TF32 keeps of a half, 11 bits, is the half to 2^-21 of the whole.
        kept = (half.view(torch.int32) & -(1 << 13)).view(torch.float32)
        assert ((half - kept).abs() <= 2.0**-20 * dense.abs()).all()
    assert ((high - dense).abs() > 2.0**-16 * dense.abs()).any()


def golden_case(golden, name, run):
    from npm_core.msa import read_alignment

    residues = read_alignment(golden / f"{name}.aln.gz").residues
    cases = json.loads((golden / "objectives.json").read_text())
    return residues, next(c for c in cases if (c["alignment"], c["run"]) == (name, run))


@pytest.mark.parametrize(
    ("name", "run"), [("tinyU", "stock"), ("tinyU", "f64"), ("UPI0003108055", "stock")]
)
def test_the_objective_at_ccmpreds_parameters_is_the_golden_one(golden, name, run):
    residues, case = golden_case(golden, name, run)
    found = np.load(golden / f"{name}.{run}.params.npz")
    fields = np.pad(found["v"], ((0, 0), (0, 1))).astype(np.float32)
    couplings = potts.full_couplings(found["w_upper"].astype(np.float32), len(fields))
    row_weights = weights.ccmpred_weights(residues)
    model = Potts(fields, couplings)
    problem = Problem(residues, row_weights, ccmpred_penalty(len(fields)))
    value = regularised_loss(model, problem)
    assert row_weights.sum() == case["Beff"]
    assert value == pytest.approx(case["objective_f64_at_ccmpred_params"], rel=1e-8)


@pytest.mark.parametrize(("name", "run"), [("tinyU", "f64"), ("UPI0003108055", "stock")])
def test_golden_alignments_are_fitted_within_few_evaluations(golden, name, run):
    residues, case = golden_case(golden, name, run)
    whole = fit_objective(residues, stop=Stop(1e-4))
    assert whole.converged
    assert whole.evaluations <= 45
    assert whole.objective <= GOLDEN_MINIMA[name] * (1 + 1e-4)
    early = fit_objective(residues, stop=Stop(target=case["objective_f64_at_ccmpred_params"]))
    assert early.converged
    assert early.evaluations <= 8
    expected = np.loadtxt(golden / f"{name}.optimum.mat")
    tight = fit_objective(residues, stop=Stop(1e-8))
    assert np.abs(potts.ccmpred_matrix(tight.potts.couplings) - expected).max() < 1e-3


@pytest.mark.parametrize(
    ("step", "trial", "shorter"),
    [
        (1.0, 16.0, 0.2),
        (1.0, 9.9, 0.5),
        (1.0, 1000.0, 0.1),
        (1.0, np.inf, 0.1),
        (1.0, np.nan, 0.1),
        (2.0, 22.0, 0.4),
    ],
)
def test_a_step_too_long_is_cut_to_the_lowest_point_of_its_parabola(step, trial, shorter):
    # 10 - 4 t + c t^2 is lowest at 2 / c; c is 10 for the first and 5 for the last.
    assert descent.shorter_step(step, 10.0, -4.0, trial) == pytest.approx(shorter)


def test_a_step_must_bring_a_ten_thousandth_of_what_its_slope_promised():
    assert descent.decreases(100.0, 99.9985, -10.0)
    assert not descent.decreases(100.0, 99.9995, -10.0)


def test_the_gain_of_three_iterations_is_a_share_of_where_they_ended():
    assert descent.recent_gain([16.0, 8.0, 4.0, 3.0, 2.0]) == (8 - 2) / 2
    assert descent.recent_gain([8.0, 4.0, 3.0]) == np.inf
    assert descent.recent_gain([-1.0, -2.0, -3.0, -4.0]) == 3 / 4


def test_a_target_is_reached_where_the_objective_equals_it():
    assert [Stop(target=5.0).reached(value) for value in (4.0, 5.0, 5.1)] == [True, True, False]


def test_a_block_that_fails_gives_its_workspace_back():
    workspaces = blocks.Workspaces(1, 10, 5, np.float32)
    with pytest.raises(MemoryError), workspaces.borrow():
        raise MemoryError
    assert workspaces._free.qsize() == 1


def test_every_thread_has_a_workspace_of_doubles_of_its_own():
    one, three = (plm_sparse.fit_bytes(100, 50, threads=threads) for threads in (1, 3))
    assert three - one == 2 * 8 * kernels.WIDTH * (50 * STATES + blocks.chunk_rows(100, 8))


class Bowl:
    """A quadratic function with the vectors that L-BFGS asks of a problem."""

    def __init__(self, rng):
        half = rng.normal(size=(6, 6)) * 0.2
        self.curvature, self.pull = np.eye(6) + half @ half.T, rng.normal(size=6)
        self.point, self.basis = np.zeros(6), np.zeros((2 * descent.MEMORY + 1, 6))

    def slope(self):
        return self.curvature @ self.point - self.pull

    def evaluate(self):
        return self.point @ self.curvature @ self.point / 2 - self.pull @ self.point

    def gradient(self, slot):
        self.basis[slot] = self.slope()
        return self.basis @ self.basis[slot]

    def move(self, coefficients, slot, step):
        self.basis[slot] = coefficients @ self.basis
        self.point = self.point + step * self.basis[slot]


@pytest.mark.parametrize("evaluations", [2, 3, 4, 5, 6, 7])
def test_each_step_is_that_of_l_bfgs_with_the_last_two_steps(rng, evaluations):
    bowl = Bowl(rng)
    expected = Bowl(rng)
    expected.curvature, expected.pull = bowl.curvature, bowl.pull
    steps, changes = [], []
    for _ in range(evaluations - 1):
        slope = expected.slope()
        # The inverse curvature by the BFGS update, from the newest step's own scale.
        inverse = np.eye(6) * descent.FIRST_STEP
        if steps:
            inverse = np.eye(6) * (steps[-1] @ changes[-1]) / (changes[-1] @ changes[-1])
        for s, y in zip(steps[-2:], changes[-2:], strict=True):
            left = np.eye(6) - np.outer(s, y) / (s @ y)
            inverse = left @ inverse @ left.T + np.outer(s, s) / (s @ y)
        expected.point = expected.point - inverse @ slope
        steps.append(-inverse @ slope)
        changes.append(expected.slope() - slope)
    found = plm_sparse._minimise(bowl, Stop(1e-15, evaluations=evaluations))
    assert (found.evaluations, found.converged) == (evaluations, False)
    np.testing.assert_allclose(bowl.point, expected.point, atol=1e-9)
