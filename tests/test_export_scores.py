"""The verb `export-scores`: a table of contact scores as files of the field."""

import numpy as np
import pytest

from npm_core import score_files
from npm_core.cli import main
from npm_core.tables import Scores, Target, write_scores, write_targets

LENGTH = 8


@pytest.fixture
def made(tmp_path, rng):
    """Scores of two targets by two models, by target and model."""
    found = {}
    for target in ("1abc_A", "sp|P1"):
        for model in ("npm", "potts"):
            matrix = np.triu(rng.random((LENGTH, LENGTH)).astype(np.float32), k=1)
            found[target, model] = matrix + matrix.T
    rows = [Scores(target, model, matrix) for (target, model), matrix in found.items()]
    write_scores(tmp_path / "scores.parquet", rows, {})
    coordinates = np.zeros((LENGTH, 3), np.float32)
    target = Target("1abc_A", "test", "ACDEFGHI", coordinates, "1abc_A")
    write_targets(tmp_path / "targets.parquet", [target], {})
    return found


def export(folder, *options):
    words = ["--scores", str(folder / "scores.parquet"), "--output", str(folder / "out")]
    return main(["export-scores", *words, *options])


def test_each_target_and_model_has_a_file_of_its_own(tmp_path, made):
    assert export(tmp_path, "--format", "npz", "--targets", str(tmp_path / "targets.parquet")) == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names[:2] == ["1abc_A.npm.npz", "1abc_A.potts.npz"]
    assert [name[:6] for name in names[2:]] == ["sp_P1-", "sp_P1-"]
    read = score_files.read_scores(tmp_path / "out" / "1abc_A.potts.npz")
    assert np.array_equal(read.scores, made["1abc_A", "potts"])
    assert (read.query, read.name) == ("ACDEFGHI", "1abc_A")
    assert score_files.read_scores(tmp_path / "out" / names[2]).query is None


def test_targets_and_models_are_chosen_by_name(tmp_path, made, capsys):
    assert export(tmp_path, "--ids", "1abc_A", "--models", "npm") == 0
    (path,) = (tmp_path / "out").iterdir()
    assert path.name == "1abc_A.npm.rr"
    assert "TARGET 1abc_A\n" in path.read_text()
    assert export(tmp_path, "--ids", "1abc_A", "2xyz_B") == 2
    assert "scores.parquet: no scores of 2xyz_B" in capsys.readouterr().err
    assert export(tmp_path, "--ids", "1abc_A", "--models", "nmp") == 2
    assert "no scores of 1abc_A, nmp" in capsys.readouterr().err


def test_a_table_given_twice_and_a_target_of_another_length_are_refused(tmp_path, made, capsys):
    assert export(tmp_path, "--scores", *[str(tmp_path / "scores.parquet")] * 2) == 2
    assert "1abc_A by npm stands twice in" in capsys.readouterr().err
    other = Target("1abc_A", "test", "ACDE", np.zeros((4, 3), np.float32), "1abc_A")
    write_targets(tmp_path / "other.parquet", [other], {})
    assert export(tmp_path, "--targets", str(tmp_path / "other.parquet")) == 2
    assert "1abc_A has 8 scored residues, its target 4" in capsys.readouterr().err
