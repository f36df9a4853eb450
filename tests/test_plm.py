"""What the fit of one alignment minimises, by definition and by golden value."""

from dataclasses import replace

import numpy as np
import pytest
from plm_inputs import PENALTIES, family, golden_case, random_model

from npm_core import plm, potts, weights
from npm_core.alphabet import GAP, encode
from npm_core.errors import DataError, SettingsError
from npm_core.plm import (
    CCMPRED,
    PAPER,
    Objective,
    Penalty,
    Problem,
    ccmpred_penalty,
    regularised_loss,
)
from npm_core.potts import Potts


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
    problem = Problem(residues, np.array([1.0, 0.5]), ccmpred_penalty(3))
    assert regularised_loss(model, problem) == pytest.approx(1.5 * 3 * np.log(21), rel=1e-12)
    assert problem.uniform_loss == 1.5 * 3 * np.log(21)


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("length", [11, 37])
def test_the_objective_is_its_definition(rng, penalty, length):
    problem = Problem(family(rng, length=length), rng.random(40) + 0.1, penalty)
    model = random_model(rng, length)
    model.fields[:, GAP] = 0.5
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


def test_what_all_fields_of_a_position_have_in_common_changes_no_probability(rng):
    problem = Problem(family(rng), np.ones(40), Penalty(0.0, 0.0, gap_field=True))
    model = random_model(rng, 11)
    value = regularised_loss(model, problem)
    for common in (-200, 200):
        same = Potts(model.fields + np.float32(common), model.couplings)
        assert regularised_loss(same, problem) == pytest.approx(value, rel=1e-5)


def test_ccmpreds_penalty_grows_with_the_number_of_other_positions():
    expected = Penalty(0.01, 2.0, gap_field=False)
    assert ccmpred_penalty(11) == expected
    assert Objective().problem(np.zeros((1, 11), np.uint8)).penalty == expected


@pytest.mark.parametrize(
    ("name", "penalty"),
    [
        ("ccmpred", Penalty(0.5, 0.25 * 5, gap_field=False)),
        ("paper", Penalty(0.5 * 2, 0.25 * 2 * 2, gap_field=True)),
    ],
)
def test_an_objective_goes_by_the_settings_that_it_is_given(name, penalty):
    # 4 of 6 identities: neighbours at a threshold of 0.5 by either rule, at 0.8 by none.
    residues = np.stack([encode(row) for row in ("AAAAAA", "AAAARR", "VVVVVV")])
    objective = Objective(name, 0.5, 0.25, identity_threshold=0.5)
    problem = objective.problem(residues)
    assert problem.weights.tolist() == [0.5, 0.5, 1.0]
    assert problem.penalty == penalty


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


@pytest.mark.parametrize("penalty", PENALTIES)
def test_the_penalty_counts_from_the_prior_and_not_from_its_gauge(rng, penalty):
    problem = Problem(family(rng), rng.random(40) + 0.1, penalty)
    model, prior = random_model(rng, 11), random_model(rng, 11)
    if penalty.gap_field:
        prior.fields[:, GAP] = 0.5
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


@pytest.mark.parametrize(
    ("residues", "said"),
    [
        (np.zeros((0, 3), np.uint8), r"residues of \(0, 3\)"),
        (np.zeros((2, 0), np.uint8), r"residues of \(2, 0\)"),
        (np.zeros(3, np.uint8), r"residues of \(3,\)"),
        (np.full((2, 3), 21, np.uint8), r"state 21 is outside 0\.\.20"),
    ],
    ids=str,
)
def test_residues_that_mean_nothing_are_named(residues, said):
    with pytest.raises(DataError, match=said):
        Problem(residues, np.ones(len(residues)), ccmpred_penalty(3))


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


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"name": "gremlin"}, "neither ccmpred nor paper"),
        ({"lambda_fields": 0.0}, r"lambda_fields 0\.0 is not positive"),
        ({"lambda_couplings": np.nan}, "lambda_couplings nan is not positive"),
        ({"lambda_couplings": np.inf}, "lambda_couplings inf is not positive and finite"),
    ],
    ids=str,
)
def test_there_is_no_objective_of_another_name_or_without_a_penalty(settings, said):
    with pytest.raises(SettingsError, match=said):
        Objective(**settings)


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


def test_fields_are_centred_where_their_penalty_is_small_beside_that_of_the_couplings(rng):
    residues = family(rng)
    for objective, centred in ((CCMPRED, True), (PAPER, False)):
        problem = objective.problem(residues)
        shares = plm.frequencies(problem)
        assert (plm.centring(problem, shares) == (shares if centred else 0)).all()
    even = replace(CCMPRED.problem(residues), penalty=Penalty(0.2, 0.2 * 11, gap_field=True))
    assert plm.centring(even, shares).any()
