"""When a step is taken, how it is cut, and when a fit ends; numbers by hand."""

import numpy as np
import pytest

from npm_core import descent
from npm_core.descent import Stop
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
    assert descent.decreases(100.0, 99.9985, -10.0)
    assert not descent.decreases(100.0, 99.9995, -10.0)


def test_the_gain_of_three_iterations_is_a_share_of_where_they_ended():
    assert descent.recent_gain([16.0, 8.0, 4.0, 3.0, 2.0]) == (8 - 2) / 2
    assert descent.recent_gain([8.0, 4.0, 3.0]) == np.inf
    assert descent.recent_gain([-1.0, -2.0, -3.0, -4.0]) == 3 / 4


def test_a_target_is_reached_where_the_objective_equals_it():
    assert [Stop(target=5.0).reached(value) for value in (4.0, 5.0, 5.1)] == [True, True, False]
