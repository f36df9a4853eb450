"""When a step is taken, how it is cut, and when a fit ends; numbers by hand."""

import numpy as np
import pytest

from npm_core import descent
from npm_core.descent import STOP, Descent, Stop
from npm_core.errors import SettingsError


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
    assert descent.decreases(100.0, 99.9985, -10.0, 0.0)
    assert not descent.decreases(100.0, 99.9995, -10.0, 0.0)


def test_the_gain_of_three_iterations_is_a_share_of_where_they_ended():
    assert descent.recent_gain([16.0, 8.0, 4.0, 3.0, 2.0]) == (8 - 2) / 2
    assert descent.recent_gain([8.0, 4.0, 3.0]) == np.inf
    assert descent.recent_gain([-1.0, -2.0, -3.0, -4.0]) == 3 / 4


def test_a_target_is_reached_where_the_objective_equals_it():
    assert [Stop(target=5.0).reached(value) for value in (4.0, 5.0, 5.1)] == [True, True, False]


@pytest.mark.parametrize(
    ("slope", "finished", "converged"),
    [(-1e-9, False, False), (0.0, True, True), (1e-9, True, False)],
)
def test_only_a_direction_that_leads_down_is_followed(slope, finished, converged):
    along = Descent([5.0], 5.0)
    along.turn(slope)
    assert (along.finished, along.converged) == (finished, converged)
    # What is finished neither moves nor counts, however low the others of its batch may bring it.
    assert along.accepts(1.0, STOP) == (not finished)
    assert (along.values, along.evaluations) == (([5.0], 1) if finished else ([5.0, 1.0], 2))


def test_a_direction_that_leads_down_does_not_wake_what_is_finished():
    along = Descent([5.0], 5.0, finished=True)
    along.turn(-1.0)
    assert along.finished


def test_a_step_that_is_taken_is_followed_by_a_whole_one():
    along = Descent([5.0], 5.0, slope=-1.0, step=0.25)
    assert along.accepts(4.9, STOP)
    assert (along.values, along.step, along.evaluations) == ([5.0, 4.9], 1.0, 2)


def test_a_step_must_bring_its_own_share_of_what_the_last_value_and_the_slope_promise():
    # A quarter of a step along a slope of -1000 promises 250, and must bring 0.025 of it.
    for trial, taken in ((4.976, False), (4.974, True), (8.0, False)):
        assert Descent([9.0, 5.0], 5.0, slope=-1000.0, step=0.25).accepts(trial, STOP) == taken


def test_a_step_that_failed_is_followed_by_a_shorter_one_until_evaluations_run_out():
    along, stop = Descent([5.0], 5.0, slope=-1.0), Stop(evaluations=3)
    assert not along.accepts(np.inf, stop)
    assert (along.values, along.step, along.evaluations) == ([5.0], 0.1, 2)
    assert not along.finished
    assert not along.accepts(np.inf, stop)
    assert (along.finished, along.converged) == (True, False)


@pytest.mark.parametrize(("step", "given_up"), [(1.1e-6, False), (0.9e-6, True)])
def test_after_a_step_of_a_millionth_that_failed_none_is_tried(step, given_up):
    along = Descent([5.0], 5.0, slope=-1.0, step=step)
    assert not along.accepts(6.0, STOP)
    assert along.finished == given_up
    assert not along.converged


@pytest.mark.parametrize(("trial", "taken"), [(1 + 0.9e-7 * 300, True), (1 + 1.1e-7 * 300, False)])
def test_a_step_may_end_higher_by_a_ten_millionth_of_the_uniform_models_loss(trial, taken):
    along = Descent([1.0], 300.0, slope=-1e-12)
    assert along.accepts(trial, STOP) == taken


@pytest.mark.parametrize(
    ("values", "evaluations", "outcome"),
    [
        ([9.0, 5.0, 4.0, 3.0], 4, (False, False)),
        ([9.0, 1.000101, 1.0, 1.0, 1.0], 5, (False, False)),
        ([9.0, 1.000099, 1.0, 1.0, 1.0], 5, (True, True)),
        ([9.0, 5.0, 4.0, 0.5], 4, (True, True)),
        ([9.0, 5.0, 4.0, 3.0], 8, (True, False)),
    ],
    ids=["goes on", "gains enough", "gains little", "at the target", "out of evaluations"],
)
def test_a_descent_ends_at_the_target_where_little_is_gained_or_after_so_many(
    values, evaluations, outcome
):
    along = Descent(values, 9.0, evaluations=evaluations)
    along.stop_if_done(Stop(rel=1e-4, target=0.5, evaluations=8))
    assert (along.finished, along.converged) == outcome


@pytest.mark.parametrize(
    ("values", "share"),
    [
        ([9.0, 5.0, 4.0], 0.0),
        ([9.0, 5.0, 4.0, 3.0], 0.0),
        ([1.01, 1.0, 1.0, 1.0], 0.5),
        ([1.0001, 1.0, 1.0, 1.0], 1.0),
        ([1.0, 1.0, 1.0, 1.0], 1.0),
    ],
)
def test_how_far_a_fit_is_goes_by_the_logarithm_of_what_it_gains(values, share):
    assert Descent(values, 9.0).share_done(Stop(rel=1e-4)) == pytest.approx(share, abs=1e-3)
