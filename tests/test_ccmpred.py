"""The CCMpred backend against a stand-in that behaves as its documentation and source say."""

import os
from pathlib import Path

import numpy as np
import pytest

from npm_core import ccmpred, plm, potts_files
from npm_core.alphabet import decode, encode
from npm_core.cli import main
from npm_core.errors import SettingsError, ToolError

FAKE = str(Path(__file__).parent / "fakes" / "ccmpred")
FAMILY = np.stack([encode("ACD-"), encode("ACDE"), encode("VV-E")])


def test_its_parameters_are_read_and_its_objective_recomputed():
    result = ccmpred.fit(FAMILY, program=FAKE)
    assert result.converged
    assert result.evaluations == 6
    assert result.potts.couplings[0, 1, 2, 3] == result.potts.couplings[1, 0, 3, 2] == 0.5
    assert result.potts.fields[0, 0] == pytest.approx(np.log(3 / 1), rel=1e-5)
    assert result.potts.fields[3, 6] == pytest.approx(np.log(3 / 2), rel=1e-5)
    expected = plm.regularised_loss(result.potts, plm.CCMPRED.problem(FAMILY))
    assert result.objective == expected


def test_exit_status_zero_does_not_hide_a_failed_optimisation(monkeypatch):
    monkeypatch.setenv("FAKE_CCMPRED", "fail")
    assert not ccmpred.fit(FAMILY, program=FAKE).converged


@pytest.mark.parametrize(
    ("mode", "message"), [("silent", "no status line"), ("truncate", "no whole raw file")]
)
def test_a_run_without_a_result_is_an_error(monkeypatch, mode, message):
    monkeypatch.setenv("FAKE_CCMPRED", mode)
    with pytest.raises(ToolError, match=message):
        ccmpred.fit(FAMILY, program=FAKE)


def test_a_missing_program_is_an_error_that_names_the_cure():
    with pytest.raises(ToolError, match="--backend own"):
        ccmpred.fit(FAMILY, program="no-such-ccmpred")


@pytest.mark.parametrize("length", [1, 1788])
def test_widths_that_ccmpred_cannot_take_are_refused(length):
    with pytest.raises(SettingsError, match="1787 columns"):
        ccmpred.fit(np.zeros((2, length), dtype=np.uint8), program=FAKE)


def test_fit_potts_fits_by_the_program_on_path(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(Path(FAKE).parent), prepend=os.pathsep)
    msas = [tmp_path / f"{name}.a3m" for name in ("one", "two")]
    for path in msas:
        path.write_text("".join(f">{n}\n{decode(row)}\n" for n, row in enumerate(FAMILY)))
    words = ["fit-potts", "--backend", "ccmpred", "--all-columns", "--output", str(tmp_path)]
    assert main([*words, "--msa", *map(str, msas)]) == 0
    for path in msas:
        model = potts_files.read_model(path.with_suffix(".potts.safetensors"))
        assert model.couplings[0, 1, 2, 3] == 0.5
