"""Formats by their files' names: kinds that do not mix, gzip, and the verbs between them."""

import gzip

import numpy as np
import pytest
from potts_inputs import random_model, random_scores

from npm_core import contacts, potts_files, score_files
from npm_core.cli import main
from npm_core.errors import SettingsError


@pytest.fixture
def model(rng):
    return random_model(rng, 4)


@pytest.fixture
def scores(rng):
    return random_scores(rng)


def test_kinds_do_not_mix(tmp_path, model, scores):
    score_files.write_scores(tmp_path / "a.mat", scores)
    with pytest.raises(SettingsError, match="a Potts model is needed"):
        potts_files.read_model(tmp_path / "a.mat")
    with pytest.raises(SettingsError, match="mat holds contact scores"):
        potts_files.write_model(tmp_path / "a", model, "mat")
    with pytest.raises(SettingsError, match="cannot tell the format"):
        potts_files.write_model(tmp_path / "a.unknown", model)
    with pytest.raises(SettingsError, match=r"mrf\. `fit-potts` makes a model"):
        potts_files.read_model(tmp_path / "a.a3m")
    target = str(tmp_path / "a.mrf")
    assert main(["convert", "--input", str(tmp_path / "a.mat"), "--output", target]) == 2


@pytest.mark.parametrize("name", ["a.potts.safetensors", "a.npz", "a.mrf.gz"])
def test_a_model_in_place_of_scores_is_called_so(tmp_path, model, name):
    potts_files.write_model(tmp_path / name, model)
    with pytest.raises(
        SettingsError, match=r"a Potts model, not contact scores; run `score` first"
    ):
        score_files.read_pair_scores(tmp_path / name)


@pytest.mark.parametrize("name", ["a.mat.gz", "a.csv.gz", "a.rr.gz"])
def test_text_is_gzipped_where_the_name_says_so(tmp_path, scores, name):
    score_files.write_scores(tmp_path / name, scores, query="ACDEF")
    score_files.write_scores(tmp_path / name.removesuffix(".gz"), scores, query="ACDEF")
    packed = (tmp_path / name).read_bytes()
    assert gzip.decompress(packed) == (tmp_path / name.removesuffix(".gz")).read_bytes()
    assert packed[3:8] == bytes(5)  # no name, no time
    assert len(list(tmp_path.iterdir())) == 2


def test_what_is_not_read_gzipped_is_not_written_so(tmp_path, model, scores):
    with pytest.raises(SettingsError, match=r"npz is not read gzipped"):
        score_files.write_scores(tmp_path / "a.npz.gz", scores)
    with pytest.raises(SettingsError, match=r"plmc is not read gzipped"):
        potts_files.write_model(tmp_path / "a.params.gz", model)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.mat", "b.MAT", "c.mat.gz"])
def test_score_and_convert_write_the_same_matrix_whatever_the_name(tmp_path, model, name):
    potts_files.write_model(tmp_path / "model.npz", model)
    for verb, flag in (("score", "--potts"), ("convert", "--input")):
        out = tmp_path / verb / name
        assert main([verb, flag, str(tmp_path / "model.npz"), "--output", str(out)]) == 0
        assert np.allclose(
            score_files.read_scores(out).scores, contacts.ccmpred_matrix(model.couplings)
        )


def test_what_stands_at_the_output_does_not_choose_the_format(tmp_path, model, scores):
    score_files.write_scores(tmp_path / "a.mat", scores)
    potts_files.write_model(tmp_path / "out.npz", model)
    words = ["--input", str(tmp_path / "a.mat"), "--output", str(tmp_path / "out.npz")]
    assert main(["convert", *words]) == 0
    assert np.array_equal(score_files.read_scores(tmp_path / "out.npz").scores, scores)
    potts_files.write_model(tmp_path / "out.npz", model)
    assert potts_files.read_model(tmp_path / "out.npz").length == 4


def test_the_verbs_fit_score_and_convert(tmp_path, capsys):
    (tmp_path / "a.a3m").write_text(">q\nACDEFGHI\n>b\nACdD-FGHI\n>c\nVCDEFGHL\n")
    potts_file, mat, rr, plmc = (
        str(tmp_path / n) for n in ("a.safetensors", "a.mat", "a.rr", "a.params")
    )
    report = tmp_path / "fit.json"
    fit = ["fit-potts", "--msa", str(tmp_path / "a.a3m"), "--output", potts_file]
    assert main([*fit, "--report", str(report)]) == 0
    picture = tmp_path / "a.png"
    assert main(["score", "--potts", potts_file, "--output", mat, "--map", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main(["convert", "--input", potts_file, "--output", plmc]) == 0
    assert main(["convert", "--input", plmc, "--output", rr]) == 0
    assert main(["convert", "--input", mat, "--output", str(tmp_path / "b.npz")]) == 0
    said = capsys.readouterr().err.splitlines()[-4:]
    for line, path, what in (
        (said[0], mat, "contact scores"),
        (said[1], plmc, "Potts model"),
        (said[2], rr, "contact scores"),
        (said[3], tmp_path / "b.npz", "contact scores"),
    ):
        assert line == f"{path}: {what} of 8 residues"
    assert '"converged": true' in report.read_text()
    assert "\nACDEFGHI\n" in (tmp_path / "a.rr").read_text()
    assert score_files.read_scores(mat).scores.shape == (8, 8)
    assert main(["score", "--potts", potts_file, "--output", mat, "--centre", "none"]) == 2
    assert "ERROR" in capsys.readouterr().err


def test_a_map_is_drawn_whatever_the_file_of_scores_can_list(tmp_path, model):
    # Of four residues no two are far enough apart for CASP RR.
    potts_files.write_model(tmp_path / "a.npz", model)
    words = ["--potts", str(tmp_path / "a.npz"), "--output", str(tmp_path / "a.rr")]
    assert main(["score", *words, "--map", str(tmp_path / "a.png")]) == 0
    assert (tmp_path / "a.rr").read_text().splitlines()[-2:] == ["ACDE", "END"]
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
