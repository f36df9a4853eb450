"""Settings chosen on validation families."""

import json

import pytest

from npm_core.cli import main
from npm_core.errors import SettingsError
from npm_core.selection import choose as chosen
from npm_core.selection import grid, with_choice
from npm_core.training_settings import LoopSettings, ObjectiveSettings, TrainSettings


def trajectory(path, *losses):
    rows = [f"{20 * number},{loss},0.1" for number, loss in enumerate(losses)]
    path.write_text("\n".join(["step,validation_pseudolikelihood,long_P@L", *rows]) + "\n")
    return str(path)


def test_a_grid_is_every_combination():
    assert grid({"steps": [10, 20], "lambda_couplings": [0.1, 0.2]}) == [
        {"steps": 10, "lambda_couplings": 0.1},
        {"steps": 10, "lambda_couplings": 0.2},
        {"steps": 20, "lambda_couplings": 0.1},
        {"steps": 20, "lambda_couplings": 0.2},
    ]
    assert grid({}) == [{}]
    with pytest.raises(TypeError, match="steps is 'ab', expected a list"):
        grid({"steps": "ab"})


def choose(tmp_path, *metrics, measure="validation_pseudolikelihood"):
    return main(
        [
            *("choose-settings", "--grid", '{"head_learning_rate": [0.1, 0.2, 0.3]}'),
            *("--metrics", *metrics, "--measure", measure),
            *("--output", str(tmp_path / "choice.json")),
        ]
    )


def test_the_candidate_that_ends_lowest_is_chosen_and_all_are_recorded(tmp_path, capsys):
    # The second was lower on its way; only the finished trainings are compared.
    metrics = [
        trajectory(tmp_path / "0.csv", 3.0, 2.5),
        trajectory(tmp_path / "1.csv", 1.0, 2.7),
        trajectory(tmp_path / "2.csv", 3.0, 2.4),
    ]
    assert choose(tmp_path, *metrics) == 0
    record = json.loads((tmp_path / "choice.json").read_text())
    assert record["chosen"] == {"head_learning_rate": 0.3}
    assert [candidate["value"] for candidate in record["candidates"]] == [2.5, 2.7, 2.4]
    # Precision is to be high; of equals the first is taken.
    assert choose(tmp_path, *metrics, measure="long_P@L") == 0
    record = json.loads((tmp_path / "choice.json").read_text())
    assert record["chosen"] == {"head_learning_rate": 0.1}
    capsys.readouterr()


@pytest.mark.parametrize(
    ("measure", "best"),
    [("validation_pseudolikelihood", 0), ("long_P@L", 1), ("long_P@L/5", 1)],
)
def test_losses_are_to_be_low_and_precisions_high(measure, best):
    assert chosen([{"steps": 1}, {"steps": 2}], [0.1, 0.3], measure=measure)[0] == best


@pytest.mark.parametrize(
    ("losses", "measure", "message"),
    [
        (("",), "validation_pseudolikelihood", "validation_pseudolikelihood is nan at the end"),
        (("nan",), "validation_pseudolikelihood", "0.csv: validation_pseudolikelihood is nan"),
        ((), "validation_pseudolikelihood", "is nan at the end"),
        ((1.0,), "loss", "measure 'loss'"),
        ((1.0,), "long_P@L", "1 trainings for 3 candidates"),
    ],
)
def test_nothing_is_chosen_without_a_value_of_each(tmp_path, losses, measure, message, capsys):
    metrics = trajectory(tmp_path / "0.csv", *losses)
    if measure == "loss":
        (tmp_path / "0.csv").write_text("step,loss\n0,1.0\n")
    assert choose(tmp_path, metrics, measure=measure) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "choice.json").exists()


def test_the_choice_overrules_the_settings_it_names_wherever_they_belong():
    choice = {"steps": 7, "lambda_couplings": 0.5, "head_learning_rate": 0.25}
    loop, train, objective = with_choice(
        choice, LoopSettings(steps=3, batch=5), TrainSettings(rows=4), ObjectiveSettings()
    )
    assert (loop.steps, loop.batch) == (7, 5)
    assert (train.head_learning_rate, train.rows) == (0.25, 4)
    assert objective.lambda_couplings == 0.5
    with pytest.raises(SettingsError, match=r"\['stepps'\], which no training has"):
        with_choice({"stepps": 7}, LoopSettings())
    with pytest.raises(SettingsError, match="steps is 'many'"):
        with_choice({"steps": "many"}, LoopSettings())
