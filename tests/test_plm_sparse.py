"""The fit of one alignment: its gradient by differences, its minimum by law and by golden value."""

import tracemalloc

import numpy as np
import pytest
from plm_inputs import PENALTIES, family, golden_case, random_model

from npm_core import blocks, contacts, descent, kernels, plm_sparse, potts
from npm_core.alphabet import GAP, STATES, encode
from npm_core.descent import Stop
from npm_core.errors import DataError, SettingsError
from npm_core.plm import CCMPRED, PAPER, Penalty, Problem, ccmpred_penalty, regularised_loss
from npm_core.plm_sparse import fit, fit_objective
from npm_core.potts import Potts

GOLDEN_MINIMA = {"tinyU": 9725.75287253112, "UPI0003108055": 84656.2046}


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("length", [3, 8, 11, 37])
def test_the_fast_evaluation_has_the_same_value_and_gradient(rng, penalty, length):
    problem = Problem(family(rng, length=length), rng.random(40) + 0.1, penalty)
    start, prior = random_model(rng, length), random_model(rng, length)
    prior = Potts(prior.fields + np.float32(0.5), prior.couplings)
    with blocks.Threads(1) as pool:
        uninformed = plm_sparse._TileSolver(problem, pool, start=start, prior=None)
        assert uninformed.evaluate() == pytest.approx(regularised_loss(start, problem), rel=1e-6)
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


def test_a_start_costs_nothing_for_what_all_its_fields_have_in_common():
    start = Potts(np.full((1, 21), -200, np.float32), np.zeros((1, 1, 21, 21), np.float32))
    problem = Problem(encode("C")[None], np.ones(1), Penalty(0.0, 0.0, gap_field=True))
    with blocks.Threads(1) as pool:
        solver = plm_sparse._TileSolver(problem, pool, start=start, prior=None)
        assert solver.evaluate() == pytest.approx(np.log(21), rel=1e-4)


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
    scores = contacts.contact_scores(result.potts.couplings)
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
    value = regularised_loss(informed.potts, CCMPRED.problem(residues), prior=prior)
    assert informed.objective == pytest.approx(value)


def test_a_target_objective_stops_the_fit_early(rng):
    residues = family(rng)
    whole = fit_objective(residues)
    early = fit_objective(residues, stop=Stop(target=1.05 * whole.objective))
    assert early.converged
    assert early.evaluations < whole.evaluations
    assert whole.objective < early.objective <= 1.05 * whole.objective


@pytest.mark.parametrize("evaluations", [1, 3])
def test_a_fit_that_was_cut_short_says_so(rng, evaluations):
    result = fit_objective(family(rng), stop=Stop(evaluations=evaluations))
    assert (result.converged, result.evaluations) == (False, evaluations)


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


@pytest.mark.parametrize(("depth", "length"), [(20, 40), (2000, 16)])
def test_the_memory_estimate_is_what_a_fit_takes(rng, depth, length):
    model = random_model(rng, length)
    problem = Problem(family(rng, depth, length), np.ones(depth), ccmpred_penalty(length))
    for models in ({}, {"start": model}, {"prior": model}):
        needed = plm_sparse.fit_bytes(depth, length, **dict.fromkeys(models, True))
        needed -= len(models) * model.couplings.nbytes
        fit(problem, stop=Stop(evaluations=1), **models)
        tracemalloc.start()
        fit(problem, stop=Stop(evaluations=1), **models)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert 0.9 * needed < peak <= needed


def test_a_fit_needs_a_thread(rng):
    problem = Problem(family(rng), np.ones(40), ccmpred_penalty(11))
    with pytest.raises(SettingsError, match="0 threads"):
        fit(problem, threads=0)


def test_a_fit_that_has_diverged_is_refused(rng):
    lost = Potts(np.full((11, 21), np.nan, np.float32), np.zeros((11, 11, 21, 21), np.float32))
    with pytest.raises(DataError, match="diverged"):
        fit_objective(family(rng), start=lost)


def test_models_of_another_length_are_refused(rng):
    model = Potts(np.zeros((2, 21), np.float32), np.zeros((2, 2, 21, 21), np.float32))
    for name in ("start", "prior"):
        with pytest.raises(DataError, match=f"the {name} has length 2, the alignment 11"):
            fit_objective(family(rng), **{name: model})
    with pytest.raises(DataError, match="a model of length 2 for an alignment of 11 columns"):
        regularised_loss(model, CCMPRED.problem(family(rng)))


def test_without_a_step_that_curved_the_direction_is_the_gradient_downhill():
    # Basis: a gradient, the direction taken from it, the next gradient; no step changed anything.
    products = np.ones((3, 3))
    down = plm_sparse._direction(products, [(0, 2, 1, 1e-9)], newest=2)
    assert down.tolist() == [0, 0, -descent.FIRST_STEP]


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
    assert np.abs(contacts.ccmpred_matrix(tight.potts.couplings) - expected).max() < 1e-3


def test_a_single_row_is_fitted_to_convergence(rng):
    # F is a hundredth of the uniform model's loss, and known no better than by that one's rounding.
    for length in (12, 40):
        residues = rng.integers(0, 20, (1, length)).astype(np.uint8)
        found = fit_objective(residues, PAPER, stop=Stop(1e-5))
        assert found.converged
        assert found.objective < 0.02 * PAPER.problem(residues).uniform_loss


def test_few_rows_by_the_papers_weak_penalty_reach_the_minimum(rng):
    residues = rng.integers(0, 20, (5, 24)).astype(np.uint8)
    found = fit_objective(residues, PAPER)
    assert found.converged
    assert found.evaluations < 60
    assert found.objective < 1.001 * fit_objective(residues, PAPER, stop=Stop(1e-7)).objective


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


@pytest.mark.parametrize("curved", [1, 10])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6])
def test_each_step_is_that_of_l_bfgs_with_the_last_two_steps(rng, count, curved):
    bowl = Bowl(rng)
    expected = Bowl(rng)
    bowl.curvature *= curved
    expected.curvature, expected.pull = bowl.curvature, bowl.pull
    steps, changes, evaluations = [], [], 1
    for _ in range(count):
        slope = expected.slope()
        # The inverse curvature by the BFGS update, from the newest step's own scale.
        inverse = np.eye(6) * descent.FIRST_STEP
        if steps:
            inverse = np.eye(6) * (steps[-1] @ changes[-1]) / (changes[-1] @ changes[-1])
        for s, y in zip(steps[-2:], changes[-2:], strict=True):
            left = np.eye(6) - np.outer(s, y) / (s @ y)
            inverse = left @ inverse @ left.T + np.outer(s, s) / (s @ y)
        step = -inverse @ slope
        # A step to a higher point is cut to the lowest of those along it, the second to be tried.
        bend, promised = step @ bowl.curvature @ step, slope @ step
        if bend / 2 + promised > 0:
            step *= -promised / bend
            evaluations += 1
        evaluations += 1
        expected.point = expected.point + step
        steps.append(step)
        changes.append(expected.slope() - slope)
    found = plm_sparse._minimise(bowl, Stop(1e-15, evaluations=evaluations), 1.0)
    assert (found.evaluations, found.converged) == (evaluations, False)
    np.testing.assert_allclose(bowl.point, expected.point, atol=1e-9)
    assert evaluations == 1 + count + (curved > 1)


def test_a_search_that_finds_no_lower_point_ends_where_it_began(rng):
    class Pit(Bowl):
        """From its first two points on nothing is lower."""

        seen = ()

        def evaluate(self):
            self.seen = (*self.seen, self.point)
            return super().evaluate() if len(self.seen) < 3 else np.inf

    pit = Pit(rng)
    found = plm_sparse._minimise(pit, Stop(1e-15), 1.0)
    assert (found.evaluations, found.converged) == (len(pit.seen), False)
    np.testing.assert_allclose(pit.seen[-1], pit.seen[1], atol=1e-12)
    assert pit.point is pit.seen[-1]
