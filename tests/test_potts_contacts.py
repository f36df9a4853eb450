"""The verb `potts-contacts`: scores and report of a table of families, whatever the workers."""

import csv
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from npm_core import memory
from npm_core.cli import main
from npm_core.contacts import contact_scores
from npm_core.descent import Stop
from npm_core.errors import DataError
from npm_core.family_fitting import FamilyFitter, fit_table
from npm_core.generalisation import generalisation_loss
from npm_core.plm import Objective
from npm_core.plm_sparse import fit_bytes, fit_objective
from npm_core.tables import (
    Family,
    Target,
    read_metadata,
    read_scores,
    write_families,
    write_targets,
)

SIZES = {"one row": (1, 7), "one column": (4, 1), "deep": (60, 12)}


@pytest.fixture
def families(tmp_path, rng):
    made = [
        Family(
            name,
            rng.integers(0, 21, size).astype(np.uint8),
            np.full(size[0], 0.5, dtype=np.float32),
        )
        for name, size in SIZES.items()
    ]
    write_families(tmp_path / "families.parquet", made, {})
    return made


def command(folder, *options, workers=1):
    out, report = folder / f"scores.{workers}.parquet", folder / f"report.{workers}.tsv"
    words = ["potts-contacts", "--families", str(folder / "families.parquet"), *options]
    words += ["--workers", str(workers), "--output", str(out), "--report", str(report)]
    return words, out, report


def run(folder, *options):
    words, out, report = command(folder, *options)
    return main(words), out, report


def test_every_family_has_scores_and_a_line_in_the_report(tmp_path, families):
    status, out, report = run(tmp_path)
    assert status == 0
    scores = list(read_scores(out))
    assert [(s.id, s.model, s.depth, s.meff) for s in scores] == [
        (f.id, "potts", f.depth, f.meff) for f in families
    ]
    expected = contact_scores(fit_objective(families[2].residues).potts.couplings)
    assert np.array_equal(scores[2].matrix, expected)
    with report.open() as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    assert [row["id"] for row in rows] == list(SIZES)
    assert {row["converged"] for row in rows} == {"True"}
    assert all(float(row["peak_mib"]) > 1 for row in rows)


def test_the_loss_of_test_rows_stands_beside_the_scores(tmp_path, families, rng):
    judge = Family("deep", rng.integers(0, 20, (5, 12)).astype(np.uint8), np.ones(5, "f4"))
    stranger = replace(judge, id="of no family here")
    write_families(tmp_path / "rows.parquet", [judge, stranger], {})
    status, out, _ = run(tmp_path, "--test-rows", str(tmp_path / "rows.parquet"))
    assert status == 0
    fitted = fit_objective(families[2].residues).potts
    losses = [score.generalisation_loss for score in read_scores(out)]
    assert losses == [None, None, generalisation_loss(fitted, judge)]


def test_test_rows_of_other_columns_are_refused(tmp_path, families, capsys):
    judge = Family("deep", np.zeros((2, 11), np.uint8), np.ones(2, "f4"))
    write_families(tmp_path / "rows.parquet", [judge], {})
    assert run(tmp_path, "--test-rows", str(tmp_path / "rows.parquet"))[0] == 2
    told = "family deep: a model of length 12 for an alignment of 11 columns"
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("name", ["ccmpred", "paper"])
def test_the_identity_threshold_decides_who_shares_a_weight(tmp_path, families, rng, name):
    residues = rng.integers(0, 20, (1, 10)).repeat(2, 0).astype(np.uint8)
    residues[1, 7:] = 20  # the two rows agree in 7 of 10 columns
    write_families(tmp_path / "families.parquet", [Family("two", residues, np.ones(2, "f4"))], {})
    found = []
    for threshold in (0.6, 0.9):
        objective = Objective(name, identity_threshold=threshold)
        words = ("--objective", name, "--identity-threshold", str(threshold))
        status, out, report = run(tmp_path, *words)
        assert status == 0
        with report.open() as stream:
            (row,) = csv.DictReader(stream, delimiter="\t")
        fit = fit_objective(residues, objective)
        assert float(row["objective"]) == fit.objective
        assert read_metadata(out)["identity_threshold"] == threshold
        found.append(fit.meff)
    assert found == [1, 2]


def test_scores_are_of_the_asked_centring_and_fits_end_where_they_are_told(tmp_path, families):
    status, out, report = run(tmp_path, "--centre", "mean", "--stop-rel", "0.1")
    assert status == 0
    fit = fit_objective(families[2].residues, stop=Stop(0.1))
    *_, deep = read_scores(out)
    assert np.array_equal(deep.matrix, contact_scores(fit.potts.couplings, centre="mean"))
    facts = read_metadata(out)
    assert (facts["centre"], facts["stop_rel"], facts["objective"]) == ("mean", 0.1, "ccmpred")
    with report.open() as stream:
        *_, row = csv.DictReader(stream, delimiter="\t")
    assert int(row["evaluations"]) == fit.evaluations


def test_a_stop_that_means_nothing_is_refused_before_families_are_read(tmp_path, capsys):
    assert run(tmp_path, "--stop-rel", "2")[0] == 2
    assert capsys.readouterr().err == "ERROR: stop_rel 2.0 is not between 0 and 1\n"


def test_a_prior_takes_the_memory_of_a_model_and_of_its_layout_in_the_fit():
    plain = FamilyFitter(Objective(), Stop(), "none", "potts")
    informed = replace(plain, prior=lambda family: None)
    assert informed.needed_bytes(10, 16) == fit_bytes(10, 16, prior=True)
    more = informed.needed_bytes(10, 16) - plain.needed_bytes(10, 16)
    assert more > 4 * (16 * 21) ** 2, "the model, and half of it again"


def test_a_network_is_there_twice_while_it_is_read():
    plain = FamilyFitter(Objective(), Stop(), "none", "potts")
    fit = plain.needed_bytes(10, 16)
    for network, needed in ((fit - 1, fit), (3 * fit, 3 * fit)):
        assert replace(plain, predictor_bytes=network).needed_bytes(10, 16) == needed


def test_families_too_large_to_be_fitted_together_are_fitted_one_after_the_other(
    tmp_path, families, monkeypatch, capsys
):
    fitter = FamilyFitter(Objective(), Stop(), "none", "potts")
    largest = max(fitter.needed_bytes(*size) for size in SIZES.values())
    available = 2 * memory.PROCESS_BYTES + largest
    monkeypatch.setattr(memory, "available_bytes", lambda: available)
    words, out, _ = command(tmp_path, workers=2)
    assert main(words) == 0
    assert [score.id for score in read_scores(out)] == list(SIZES)
    monkeypatch.setattr(memory, "available_bytes", lambda: available - 1)
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "fitting family deep beside 400 MiB of 2 processes needs" in error
    assert "lower --workers" in error


def test_the_report_ends_its_lines_as_every_table_does(tmp_path, families):
    _, _, report = run(tmp_path)
    assert b"\r" not in report.read_bytes()


def test_a_run_that_fails_midway_leaves_neither_scores_nor_report(tmp_path, families):
    class Failing(FamilyFitter):
        def fit_all(self, works, sizes, *, workers):
            yield self.fit(next(works))
            raise DataError("the second fit failed")

    outputs = {"output": tmp_path / "scores.parquet", "report": tmp_path / "report.tsv"}
    before = set(tmp_path.iterdir())
    with pytest.raises(DataError, match="the second fit failed"):
        fit_table(
            Failing(Objective(), Stop(), "none", "potts"),
            families=[tmp_path / "families.parquet"],
            targets=None,
            test_rows=[],
            workers=1,
            **outputs,
        )
    assert set(tmp_path.iterdir()) == before


def test_a_family_given_twice_is_refused_before_the_first_fit(tmp_path, families, capsys):
    status, _, _ = run(tmp_path, str(tmp_path / "families.parquet"))
    assert status == 2
    error = capsys.readouterr().err
    assert "families.parquet: family one row occurs twice" in error
    assert "fitted" not in error


def test_processes_change_no_score(tmp_path, families):
    # In processes of their own: which compiled variants of a kernel a process has loaded before,
    # as this one may have for other tests, can change the last bit of a sum.
    written = []
    for workers in (1, 2):
        words, out, _ = command(tmp_path, workers=workers)
        subprocess.run([sys.executable, "-m", "npm_core", *words], check=True)
        written.append(out)
    for first, second in zip(*map(read_scores, written), strict=True):
        assert first.id == second.id
        assert np.array_equal(first.matrix, second.matrix)


def test_only_families_of_targets_are_fitted(tmp_path, families):
    target = Target("deep", "test", "A" * 12, np.zeros((12, 3), np.float32), "1abc_A")
    write_targets(tmp_path / "targets.parquet", [target], {})
    status, out, _ = run(tmp_path, "--targets", str(tmp_path / "targets.parquet"))
    assert status == 0
    assert [score.id for score in read_scores(out)] == ["deep"]


def test_a_target_of_another_length_is_an_error(tmp_path, families, capsys):
    target = Target("deep", "test", "A" * 11, np.zeros((11, 3), np.float32), "1abc_A")
    write_targets(tmp_path / "targets.parquet", [target], {})
    assert run(tmp_path, "--targets", str(tmp_path / "targets.parquet"))[0] == 2
    assert "family deep has 12 columns, its target 11" in capsys.readouterr().err
