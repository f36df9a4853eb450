"""Learning rates rise and fall; what a training cannot be told is refused."""

import numpy as np
import pytest

from npm_core.architecture import HeadSettings
from npm_core.errors import SettingsError
from npm_core.training_settings import (
    LoopSettings,
    ObjectiveSettings,
    PretrainSettings,
    TrainSettings,
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
    root = LoopSettings(steps=110, warm_up=9, decay="inverse_sqrt")
    assert [root.learning_rate(step) for step in (4, 9, 39, 89)] == pytest.approx(
        [0.5, 1, 0.5, 1 / 3]
    )


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


@pytest.mark.parametrize("value", [-0.1, 1.0])
def test_a_decay_outside_its_range_is_refused(value):
    with pytest.raises(SettingsError, match="ema"):
        LoopSettings(ema=value)
