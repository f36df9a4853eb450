"""The verb `prior-contacts`: a Potts fit that shrinks to the Neural Potts Model's prediction."""

import numpy as np
import pytest
import torch

from npm_core import memory
from npm_core.architecture import HeadSettings, TrunkSettings
from npm_core.checkpoints import save_model
from npm_core.cli import main
from npm_core.contacts import contact_scores
from npm_core.descent import Stop
from npm_core.family_fitting import FamilyFitter
from npm_core.model import NeuralPottsModel
from npm_core.plm import Objective
from npm_core.plm_sparse import fit_objective
from npm_core.predict import predict_windows, window_scores
from npm_core.tables import Family, read_scores, write_families
from npm_core.trunks import build_trunk

LENGTH = 14


@pytest.fixture
def model() -> NeuralPottsModel:
    torch.manual_seed(0)
    trunk = build_trunk(TrunkSettings(layers=1, width=16, attention_heads=2))
    return NeuralPottsModel(trunk, HeadSettings(rank=3, initial_coupling=0.3)).eval()


@pytest.fixture
def alone(tmp_path, model, rng) -> Family:
    """A family of its query alone, in a table beside the model's checkpoint."""
    save_model(tmp_path / "npm", model, {"TrainSettings": {"max_length": 512}})
    residues = rng.integers(0, 20, (1, LENGTH)).astype(np.uint8)
    family = Family("alone", residues, np.ones(1, dtype=np.float32))
    write_families(tmp_path / "families.parquet", [family], {})
    return family


def scores(folder, weight: float, depth: int = 1) -> np.ndarray:
    out = folder / "prior.parquet"
    status = main(
        [
            *("prior-contacts", "--families", str(folder / "families.parquet")),
            *("--checkpoint", str(folder / "npm"), "--prior-weight", str(weight)),
            *("--output", str(out), "--report", str(folder / "report.tsv")),
        ]
    )
    assert status == 0
    (found,) = read_scores(out)
    assert (found.id, found.model, found.depth) == ("alone", "prior", depth)
    return found.matrix


def test_where_the_alignment_says_nothing_the_prediction_stays(tmp_path, model, alone):
    predicted = window_scores(predict_windows(model, alone.residues[0], window=512))
    upper = np.triu_indices(LENGTH, 1)
    found = scores(tmp_path, 1.0)
    assert np.corrcoef(found[upper], predicted[upper])[0, 1] > 0.99


def test_the_prediction_is_of_the_query_not_of_another_row(tmp_path, model, alone, rng):
    other = rng.integers(0, 20, (1, LENGTH)).astype(np.uint8)
    rows = np.concatenate([alone.residues, other])
    two = Family("alone", rows, np.full(2, 1e-6, dtype=np.float32))
    write_families(tmp_path / "families.parquet", [two], {})
    predicted = window_scores(predict_windows(model, alone.residues[0], window=512))
    upper = np.triu_indices(LENGTH, 1)
    assert np.corrcoef(scores(tmp_path, 1.0, depth=2)[upper], predicted[upper])[0, 1] > 0.9


def test_a_prior_of_no_weight_is_the_independent_fit(tmp_path, alone):
    fitted = contact_scores(fit_objective(alone.residues).potts.couplings)
    np.testing.assert_allclose(scores(tmp_path, 1e-9), fitted, atol=1e-6)


def test_the_memory_of_the_network_counts(tmp_path, alone, monkeypatch, capsys):
    fitter = FamilyFitter(Objective(), Stop(), "none", "prior", lambda family: None)
    fit = fitter.needed_bytes(1, LENGTH)
    network = (tmp_path / "npm" / "model.safetensors").stat().st_size
    needed = memory.PROCESS_BYTES + network + max(fit, network)
    monkeypatch.setattr(memory, "available_bytes", lambda: needed - 1)
    with pytest.raises(AssertionError):
        scores(tmp_path, 1.0)
    error = capsys.readouterr().err
    assert "fitting family " in error
    assert f" of 1 processes needs {needed / memory.MIB:,.0f} MiB of memory" in error
