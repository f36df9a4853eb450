"""The verb `fit-potts`: several alignments by one command, and what it refuses."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from plm_inputs import FIRM, fit
from potts_inputs import random_model

from npm_core import fitting, kernels, memory, plm, plm_dense, plm_sparse, potts, potts_files
from npm_core.alphabet import decode
from npm_core.descent import Stop
from npm_core.errors import DataError
from npm_core.msa import read_msa
from npm_core.potts import Potts
from npm_core.potts_files import write_model


def write(folder, name, *rows):
    path = folder / name
    path.write_text("".join(f">{number}\n{row}\n" for number, row in enumerate(rows)))
    return str(path)


@pytest.fixture
def alignments(tmp_path, rng):
    return [
        write(
            tmp_path,
            f"{name}.a3m",
            *(decode(row) for row in rng.integers(0, 20, (depth, 7)).astype(np.uint8)),
        )
        for name, depth in (("one", 1), ("few", 5), ("some", 40))
    ]


def test_an_alignment_of_the_query_alone_is_said_to_say_nothing(tmp_path, alignments, capsys):
    one, few, _ = alignments
    for path, told in ((one, True), (few, False)):
        assert fit("--msa", path, "--output", str(tmp_path / "a.npz")) == 0
        text = capsys.readouterr().err
        assert ("(the query alone: its couplings say nothing)" in text) == told
        assert "alignments done" not in text


def test_several_alignments_at_a_time_are_fitted_as_each_alone(tmp_path, alignments, capsys):
    out, report = tmp_path / "models", tmp_path / "reports"
    words = ["--msa", *alignments, "--output", str(out), "--report", str(report)]
    assert fit(*words, "--threads", "2") == 0
    assert "alignments done: 3/3" in capsys.readouterr().err
    for path, name in zip(alignments, ("one", "few", "some"), strict=True):
        alone = tmp_path / f"{name}.safetensors"
        assert fit("--msa", path, "--output", str(alone)) == 0
        together = potts_files.read_model(out / f"{name}.potts.safetensors")
        expected = potts_files.read_model(alone)
        assert np.allclose(together.couplings, expected.couplings, atol=1e-5)
        assert together.metadata["query"] == expected.metadata["query"]
        facts = json.loads((report / f"{name}.fit.json").read_text())
        assert facts["converged"]
        assert facts["objective"] == pytest.approx(float(expected.metadata["objective"]), rel=1e-6)


def test_alignments_fitted_as_on_a_gpu_are_those_of_the_cpu(tmp_path, alignments):
    files = fitting.destinations(
        [Path(path) for path in alignments], tmp_path / "models", tmp_path / "reports"
    )
    todo = [fitting.Job(*paths) for paths in files]
    lines = list(fitting._fit_together(todo, fitting.Solver(stop=Stop(1e-6))))
    assert [line.split(":")[0] for line in lines] == ["some.a3m", "few.a3m", "one.a3m"]
    for path, job in zip(alignments, todo, strict=True):
        alone = tmp_path / "alone.safetensors"
        assert fit("--msa", path, "--output", str(alone), "--stop-rel", "1e-6") == 0
        expected = potts_files.read_model(alone)
        found = potts_files.read_model(job.output)
        assert found.metadata["query"] == expected.metadata["query"]
        assert np.allclose(found.couplings, expected.couplings, atol=2e-3)
        # F at the end is a law; for the one row rounding decides whether its last steps, which gain
        # less than float32 tells apart, pass for convergence.
        objective = json.loads(job.report.read_text())["objective"]
        assert objective == pytest.approx(float(expected.metadata["objective"]), rel=1e-6)


def test_fits_as_on_a_gpu_minimise_the_objective_that_was_asked_for(tmp_path, alignments):
    job = fitting.Job(Path(alignments[2]), tmp_path / "a.safetensors", None)
    solver = fitting.Solver(objective=FIRM, stop=Stop(1e-6))
    list(fitting._fit_together([job], solver))
    residues = read_msa(alignments[2]).residues
    expected = plm_sparse.fit_objective(residues, FIRM, stop=Stop(1e-6))
    found = potts_files.read_model(job.output)
    assert np.allclose(found.couplings, expected.potts.couplings, atol=2e-3)
    assert float(found.metadata["objective"]) == pytest.approx(expected.objective, rel=1e-6)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_cuda_is_refused(tmp_path, alignments, capsys):
    for device in ("cuda", "cuda:1"):
        words = ["--msa", *alignments, "--output", str(tmp_path / "models"), "--device", device]
        assert fit(*words) == 2
        assert f"{device!r}: no GPU can be reached; use --device cpu" in capsys.readouterr().err
    words = ["--msa", alignments[0], "--output", str(tmp_path / "a.npz"), "--device", "cuda"]
    assert fit(*words, "--prior", "prior.safetensors") == 2
    assert "--prior needs --device cpu" in capsys.readouterr().err


def test_the_report_holds_what_the_fit_cost(tmp_path, alignments):
    report = tmp_path / "fit.json"
    assert fit("--msa", alignments[2], "--output", str(tmp_path / "a.safetensors"),
               "--report", str(report)) == 0  # fmt: skip
    facts = json.loads(report.read_text())
    assert list(facts) == [
        "objective", "evaluations", "converged", "length", "depth", "nonstandard",
        "annotations", "meff", "seconds_setup", "seconds_fit", "peak_mib",
    ]  # fmt: skip
    assert (facts["length"], facts["depth"], facts["meff"]) == (7, 40, 40.0)


def test_a_report_says_how_long_each_part_took(tmp_path, alignments):
    job = fitting.Job(Path(alignments[2]), tmp_path / "a.safetensors", tmp_path / "fit.json")
    fit = plm_sparse.fit_objective(job.alignment().residues)
    job.write(job.alignment(), replace(fit, seconds_setup=1.0, seconds_fit=2.0))
    facts = json.loads((tmp_path / "fit.json").read_text())
    assert (facts["seconds_setup"], facts["seconds_fit"]) == (1.0, 2.0)


def test_a_fit_begins_at_its_start_and_shrinks_to_its_weighted_prior(tmp_path, alignments):
    first, second, report = tmp_path / "a.safetensors", tmp_path / "b.safetensors", tmp_path / "r"
    some, one = alignments[2], alignments[0]
    words = ["--stop-rel", "1e-7", "--report", str(report)]
    assert fit("--msa", some, "--output", str(first), *words) == 0
    cold = json.loads(report.read_text())["evaluations"]
    assert fit("--msa", some, "--output", str(second), *words, "--start", str(first)) == 0
    assert json.loads(report.read_text())["evaluations"] < cold / 2
    prior = ["--prior", str(first), "--prior-weight", "0.25"]
    assert fit("--msa", one, "--output", str(second), *prior) == 0
    found, quarter = (
        potts_files.read_model(second),
        potts.scaled(potts_files.read_model(first), 0.25),
    )
    expected = plm_sparse.fit_objective(read_msa(one).residues, prior=quarter).potts
    assert np.allclose(found.couplings, expected.couplings, atol=1e-6)


@pytest.mark.parametrize("name", ["a.npz", "a.raw.gz", "a.plmc"])
def test_a_start_and_a_prior_are_read_in_any_format_of_models(tmp_path, alignments, rng, name):
    model = random_model(rng, read_msa(alignments[0]).length)
    write_model(tmp_path / name, model)
    job = fitting.Job(
        alignments[0],
        tmp_path / "b.safetensors",
        start=tmp_path / name,
        prior=tmp_path / name,
        prior_weight=0.5,
    )
    start, prior = job.models()
    assert np.allclose(start.couplings, model.couplings)
    assert np.allclose(prior.couplings, model.couplings / 2)


def test_a_prior_of_the_whole_query_is_cut_to_the_alignments_columns(tmp_path, rng, capsys):
    whole = replace(random_model(rng), metadata={"query": "ACDXFG", "numbers": "11-16"})
    write_model(tmp_path / "prior.safetensors", whole)
    msa, output = tmp_path / "a.a2m", tmp_path / "b.safetensors"
    msa.write_text(">x/11-15\nACdEF\n>y\nAC.EF\n")  # residue 13 is an insert, 16 is behind
    words = ["--msa", str(msa), "--output", str(output), "--prior"]
    assert fit(*words, str(tmp_path / "prior.safetensors")) == 0
    here = [0, 1, 3, 4]
    part = Potts(whole.fields[here], whole.couplings[np.ix_(here, here)])
    expected = plm_sparse.fit_objective(read_msa(msa).residues, prior=part).potts
    assert np.allclose(potts_files.read_model(output).couplings, expected.couplings, atol=1e-6)
    other = replace(whole, metadata={"query": "ACDEAG", "numbers": "11-16"})
    write_model(tmp_path / "other.safetensors", other)
    assert fit(*words, str(tmp_path / "other.safetensors")) == 2
    assert "of length 6 for 4 columns, of which it has 3" in capsys.readouterr().err


def test_files_of_several_models_are_called_as_their_alignments():
    paths = [Path("x/a.b.a3m.gz"), Path("c.aln"), Path("d")]
    assert fitting.destinations(paths, Path("raw"), Path("r")) == [
        (path, Path(f"raw/{name}.potts.safetensors"), Path(f"r/{name}.fit.json"))
        for path, name in zip(paths, ("a.b", "c", "d"), strict=True)
    ]


def test_inserts_are_no_columns(tmp_path):
    path = write(tmp_path, "a.a3m", "ACDE", "AvvC-E", "acACDE")
    assert fit("--msa", path, "--output", str(tmp_path / "a.safetensors")) == 0
    assert potts_files.read_model(tmp_path / "a.safetensors").length == 4


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (("ACDE", "AC1E"), "'1'"),
        (("ACDE", "ACE"), "columns"),
        ((), "no"),
        (("----",), "no residue"),
    ],
    ids=["letter", "row too short", "empty", "a query of gaps"],
)
def test_a_bad_alignment_is_named_and_nothing_is_written(tmp_path, capsys, rows, message):
    path = write(tmp_path, "bad.a3m", *rows)
    assert fit("--msa", path, "--output", str(tmp_path / "a.safetensors")) == 2
    error = capsys.readouterr().err
    assert "bad.a3m" in error
    assert message in error
    assert [item.name for item in tmp_path.iterdir()] == ["bad.a3m"]


@pytest.mark.parametrize("threads", ["1", "2"])
def test_bad_alignments_among_several_are_named_after_the_others_are_fitted(
    tmp_path, alignments, capsys, threads
):
    bad = [write(tmp_path, "bad.a3m", "ACDE", "AC1E"), str(tmp_path / "none.a3m")]
    paths = [alignments[0], *bad, alignments[1]]
    out = tmp_path / "models"
    assert fit("--msa", *paths, "--output", str(out), "--threads", threads) == 2
    error = capsys.readouterr().err
    first, *failed = error[error.index("ERROR") :].splitlines()
    assert first == "ERROR: 2 of 4 alignments could not be fitted:"
    assert [line.split(":")[0] for line in failed] == [f"       {path}" for path in bad]
    assert sorted(path.name for path in out.iterdir()) == [
        "few.potts.safetensors",
        "one.potts.safetensors",
    ]


def test_bad_alignments_among_several_are_left_out_of_a_batch(tmp_path, alignments):
    bad = write(tmp_path, "bad.a3m", "ACDE", "AC1E")
    files = fitting.destinations([Path(bad), Path(alignments[1])], tmp_path / "models", None)
    failed, line = fitting._fit_together([fitting.Job(*paths) for paths in files], fitting.Solver())
    assert isinstance(failed, DataError)
    assert bad in str(failed)
    assert line.startswith("few.a3m: depth 5")
    assert len(list(fitting._fit_together([fitting.Job(*files[0])], fitting.Solver()))) == 1


def test_a_fit_that_diverged_stops_none_of_its_batch(tmp_path, alignments, monkeypatch):
    fit_together = plm_dense.fit_objectives

    def diverging(*args, **options):
        first, *others = fit_together(*args, **options)
        return [replace(first, objective=math.nan), *others]

    monkeypatch.setattr(plm_dense, "fit_objectives", diverging)
    files = fitting.destinations(list(map(Path, alignments)), tmp_path / "models", None)
    todo = [fitting.Job(*paths) for paths in files]
    failed, *lines = fitting._fit_together(todo, fitting.Solver())
    # The longest come first, the deepest of them before the others.
    assert isinstance(failed, DataError)
    assert str(failed) == f"{alignments[2]}: the fit diverged: the objective is not finite"
    assert [line.split(":")[0] for line in lines] == ["few.a3m", "one.a3m"]
    assert len(list((tmp_path / "models").iterdir())) == 2


def test_a_missing_prior_is_named_once(tmp_path, alignments, capsys):
    words = ["--prior", "none.safetensors", "--output", str(tmp_path / "models")]
    assert fit("--msa", *alignments, *words) == 2
    assert capsys.readouterr().err == "ERROR: none.safetensors: no such file\n"


def test_a_fit_that_cannot_be_held_is_refused_with_figure_and_cure(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 4 << 30)
    path = write(tmp_path, "long.a3m", "ACDEFGHIKL" * 100, "ACDEFGHIKM" * 100)
    assert fit("--msa", path, "--output", str(tmp_path / "a.safetensors")) == 2
    error = capsys.readouterr().err
    assert "long.a3m: a Potts model of 1000 columns needs" in error
    assert "4,096 MiB are available; fit fewer columns" in error


def test_fits_that_cannot_be_held_together_wait_for_each_other(
    tmp_path, alignments, capsys, monkeypatch
):
    largest = max(plm_sparse.fit_bytes(depth, 7) for depth in (1, 5, 40))
    available = 3 * memory.PROCESS_BYTES + largest
    many = ["--msa", *alignments, "--output", str(tmp_path / "models"), "--threads", "3"]
    monkeypatch.setattr(memory, "available_bytes", lambda: available - 1)
    assert fit(*many) == 2
    assert "beside 600 MiB of 3 processes needs" in capsys.readouterr().err
    assert not (tmp_path / "models").exists()
    monkeypatch.setattr(memory, "available_bytes", lambda: available)
    assert fit(*many) == 0
    assert len(list((tmp_path / "models").iterdir())) == 3


def test_a_start_and_a_prior_count_in_the_memory_that_is_needed():
    length = 16
    model = 4 * (length * 21) ** 2  # float32 couplings; half of them is what the solver keeps
    alone = plm_sparse.fit_bytes(10, length)
    assert plm_sparse.fit_bytes(10, length, start=True) == alone + model
    assert plm_sparse.fit_bytes(10, length, prior=True) > alone + 1.5 * model


@pytest.mark.parametrize("suffix", ["raw", "npz", "mrf.gz"])
def test_a_model_is_written_in_the_format_of_its_name(tmp_path, alignments, suffix):
    out = tmp_path / f"a.{suffix}"
    assert fit("--msa", alignments[1], "--output", str(out)) == 0
    assert fit("--msa", alignments[1], "--output", str(tmp_path / "a.safetensors")) == 0
    found, expected = (potts_files.read_model(path) for path in (out, tmp_path / "a.safetensors"))
    assert np.array_equal(found.couplings, expected.couplings)


@pytest.mark.parametrize("name", ["a", "a.mat", "a.safetensors.gz"])
def test_a_name_of_no_model_is_refused_before_the_fit(tmp_path, capsys, name):
    assert fit("--msa", "not read", "--output", str(tmp_path / name)) == 2
    assert f"{name}: " in capsys.readouterr().err


def test_only_suffixes_of_models_are_listed_for_a_model(tmp_path, capsys):
    assert fit("--msa", "not read", "--output", str(tmp_path / "a.foo")) == 2
    listed = capsys.readouterr().err.partition("none of ")[2]
    assert listed == "safetensors, npz, raw, msgpack, braw, params, plmc, mrf\n"


@pytest.mark.parametrize(
    ("objective", "penalty"),
    [
        ("ccmpred", plm.Penalty(0.02, 0.3 * 6, gap_field=False)),
        ("paper", plm.Penalty(0.02 * 40, 2 * 0.3 * 40, gap_field=True)),
    ],
)
def test_the_regularisation_can_be_given(tmp_path, alignments, objective, penalty):
    out = tmp_path / "a.safetensors"
    words = ["--objective", objective, "--lambda-fields", "0.02", "--lambda-couplings", "0.3"]
    assert fit("--msa", alignments[2], "--output", str(out), *words) == 0
    model = potts_files.read_model(out)
    problem = plm.Problem(read_msa(alignments[2]).residues, np.ones(40), penalty)
    value = plm.regularised_loss(model, problem)
    assert float(model.metadata["objective"]) == pytest.approx(value, rel=1e-12)


def test_the_identity_threshold_decides_who_shares_a_weight(tmp_path):
    path = write(tmp_path, "a.a3m", "ACDEFGHIKL", "ACDEFGHAAA")
    for threshold, meff in ((0.7, 1.0), (0.8, 2.0)):
        words = ["--objective", "paper", "--identity-threshold", str(threshold)]
        report = tmp_path / "fit.json"
        out = tmp_path / "a.safetensors"
        assert fit("--msa", path, "--output", str(out), "--report", str(report), *words) == 0
        assert json.loads(report.read_text())["meff"] == meff


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--stop-rel", "1"], "stop_rel 1.0"),
        (["--prior-weight", "0.5"], "--prior-weight needs --prior"),
        (["--backend", "ccmpred", "--objective", "paper"], "--backend ccmpred"),
        (["--backend", "ccmpred", "--target-objective", "1"], "--target-objective needs"),
        (["--backend", "ccmpred", "--stop-rel", "1e-4"], "--stop-rel needs --backend own"),
        (["--backend", "ccmpred", "--max-evaluations", "9"], "--max-evaluations needs"),
        (["--backend", "ccmpred", "--lambda-couplings", "1"], "--lambda-couplings needs"),
        (["--prior", "none.safetensors"], "none.safetensors: no such file"),
    ],
)
def test_options_that_cannot_be_are_refused(tmp_path, alignments, capsys, words, message):
    assert fit("--msa", alignments[1], "--output", str(tmp_path / "a.safetensors"), *words) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--lambda-fields", "0", "a finite number above 0"),
        ("--lambda-couplings", "-1", "a finite number above 0"),
        ("--lambda-couplings", "nan", "a finite number above 0"),
        ("--prior-weight", "0", "a number above 0, at most 1"),
        ("--stop-rel", "0", "a finite number above 0"),
        ("--max-evaluations", "0", "a whole number from 1"),
        ("--identity-threshold", "80", "a number above 0, at most 1"),
        ("--identity-threshold", "0", "a number above 0, at most 1"),
        ("--identity-threshold", "x", "a number above 0, at most 1"),
    ],
)
def test_numbers_that_cannot_be_are_refused_with_their_option(capsys, option, value, expected):
    with pytest.raises(SystemExit) as ended:
        fit("--msa", "not read", "--output", "a.safetensors", option, value)
    assert ended.value.code == 2
    assert f"argument {option}: expected {expected}, found {value!r}" in capsys.readouterr().err


@pytest.mark.parametrize(("option", "value"), [("--stop-rel", "1"), ("--target-objective", "nan")])
def test_a_stop_that_cannot_be_is_not_put_down_to_the_alignment(capsys, option, value):
    assert fit("--msa", "not read", "--output", "a.safetensors", option, value) == 2
    assert "not read" not in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a.safetensors", "a.mrf.gz", "a.mat"])
def test_several_models_are_not_written_to_one_file(tmp_path, alignments, capsys, name):
    assert fit("--msa", *alignments, "--output", str(tmp_path / name)) == 2
    assert f"{name}: the name of one file, expected a folder for 3 al" in capsys.readouterr().err
    assert not (tmp_path / name).exists()


def test_two_alignments_of_one_name_are_refused(tmp_path, capsys):
    (tmp_path / "other").mkdir()
    paths = [write(folder, "a.a3m", "AC") for folder in (tmp_path, tmp_path / "other")]
    assert fit("--msa", *paths, "--output", str(tmp_path / "out")) == 2
    assert "would both be written as a" in capsys.readouterr().err


def test_a_named_query_comes_first_among_all_columns(tmp_path):
    path = write(tmp_path, "a.a3m", "AC-D", "A-WD")
    model = tmp_path / "a.safetensors"
    assert fit("--msa", path, "--query", "1", "--all-columns", "--output", str(model)) == 0
    assert potts_files.read_model(model).metadata["query"] == "A-WD"
    assert fit("--msa", path, "--query", "none", "--all-columns", "--output", str(model)) == 2


def test_letters_of_no_single_amino_acid_keep_their_columns_and_are_counted(tmp_path, capsys):
    path = write(tmp_path, "a.a3m", "AX-D", "AUWD")
    model, report = tmp_path / "a.safetensors", tmp_path / "a.json"
    assert fit("--msa", path, "--output", str(model), "--report", str(report)) == 0
    assert potts_files.read_model(model).metadata["query"] == "AXD"
    assert "length 3 (2 nonstandard letters replaced)" in capsys.readouterr().err
    assert json.loads(report.read_text())["nonstandard"] == 2


def test_residues_without_a_column_keep_their_numbers(tmp_path, capsys):
    path = tmp_path / "a.a3m"
    path.write_text(">BLAT/24-31 x\nmACdeFGH\n>other\nACFGH\n")
    model = tmp_path / "a.safetensors"
    assert fit("--msa", str(path), "--output", str(model)) == 0
    facts = potts_files.read_model(model).metadata
    assert (facts["query"], facts["numbers"]) == ("ACFGH", "25-26 29-31")
    assert facts["query_name"] == "BLAT/24-31 x"
    message = "length 5 (2 residues of the query in between have no column)"
    assert message in capsys.readouterr().err


def test_rows_of_annotation_are_counted(tmp_path, capsys):
    path, report = tmp_path / "a.a3m", tmp_path / "a.json"
    path.write_text(">ss_pred\nCHE\n>q\nAWD\n>r\nA-D\n")
    model = tmp_path / "a.safetensors"
    assert fit("--msa", str(path), "--output", str(model), "--report", str(report)) == 0
    assert potts_files.read_model(model).metadata["query"] == "AWD"
    assert "depth 2 (1 rows of annotation left out), length 3" in capsys.readouterr().err
    assert json.loads(report.read_text())["annotations"] == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--output", "same", "--report", "same"], "same: would be written twice"),
        (["--output", "one.a3m"], "one.a3m: is an input too"),
        (["--output", "."], ".: is a folder"),
        (["--output", "one.a3m/x"], "is no folder"),
    ],
)
def test_outputs_that_would_overwrite_are_refused(
    tmp_path, alignments, capsys, monkeypatch, words, message
):
    monkeypatch.chdir(tmp_path)
    before = (tmp_path / "one.a3m").read_text()
    assert fit("--msa", alignments[0], *words) == 2
    assert message in capsys.readouterr().err
    assert (tmp_path / "one.a3m").read_text() == before


def test_a_range_that_is_not_the_querys_is_said_once(tmp_path, capsys):
    paths = [tmp_path / "a.a3m", tmp_path / "b.a3m"]
    for path in paths:
        path.write_text(">a/24-103\nACcD\n>b/1-9\nA-D\n")
    told = "(24-103 in the query's name are 80 residues, not 4: numbered from 1"
    model = tmp_path / "a.safetensors"
    assert fit("--msa", str(paths[0]), "--output", str(model)) == 0
    assert capsys.readouterr().err.count(told) == 1
    assert potts_files.read_model(model).metadata["numbers"] == "1-2 4-4"
    assert fit("--msa", str(paths[0]), "--query", "b", "--output", str(model)) == 0
    assert "(1-9 in the query's name are 9 residues, not 2" in capsys.readouterr().err
    words = ["--threads", "2", "--output", str(tmp_path / "out")]
    assert fit("--msa", *map(str, paths), *words) == 0
    assert capsys.readouterr().err.count(told) == 2
    assert fit("--msa", str(paths[0]), "--all-columns", "--output", str(model)) == 0
    assert "numbered" not in capsys.readouterr().err


def test_the_first_fit_on_a_machine_says_that_it_compiles(
    tmp_path, alignments, capsys, monkeypatch
):
    words = ["--msa", alignments[0], "--output", str(tmp_path / "a.safetensors")]
    told = "compiling the kernels of the fit, once on this machine"
    assert fit(*words) == 0
    capsys.readouterr()
    assert fit(*words) == 0
    assert told not in capsys.readouterr().err
    monkeypatch.setattr(kernels.unpack_tile._cache, "_cache_path", str(tmp_path))
    assert fit(*words) == 0
    assert capsys.readouterr().err.count(told) == 1
