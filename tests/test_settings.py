"""Settings come from a mapping with their names and types, or not at all."""

import pytest

from npm_core.architecture import TrunkSettings
from npm_core.errors import SettingsError
from npm_core.settings import from_mapping
from npm_core.training_settings import TrainSettings


def test_unknown_and_mistyped_settings_are_refused():
    with pytest.raises(SettingsError, match="unknown \\['row'\\]"):
        from_mapping(TrainSettings, {"row": 3}, "config")
    with pytest.raises(SettingsError, match="rows is '3'"):
        from_mapping(TrainSettings, {"rows": "3"}, "config")
    with pytest.raises(SettingsError, match="rows is True, expected int"):
        from_mapping(TrainSettings, {"rows": True}, "config")
    with pytest.raises(SettingsError, match="query is 'last', expected one of first, random"):
        from_mapping(TrainSettings, {"query": "last"}, "config")
    for wrong in (5, None, ["rows"]):
        with pytest.raises(SettingsError, match="expected settings by name"):
            from_mapping(TrainSettings, wrong, "config")
    assert from_mapping(TrainSettings, {"head_learning_rate": 1}, "config").head_learning_rate == 1


def test_settings_that_contradict_each_other_are_told_by_their_file():
    with pytest.raises(SettingsError, match=r"^config, trunk: width 7 over 2 attention heads"):
        from_mapping(TrunkSettings, {"width": 7, "attention_heads": 2}, "config, trunk")
