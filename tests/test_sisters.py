"""Contacts that the model reads from a sister's query, where the target aligns to it."""

import numpy as np
import torch
from family_inputs import family, neighbour

from npm_core.alphabet import encode
from npm_core.architecture import HeadSettings, TrunkSettings
from npm_core.checkpoints import save_model
from npm_core.cli import main
from npm_core.model import NeuralPottsModel
from npm_core.neighbours import Neighbour, write_neighbours
from npm_core.predict import predict_windows, window_scores
from npm_core.tables import Target, read_metadata, read_scores, write_families, write_targets
from npm_core.trunks import build_trunk


def test_a_sisters_scores_are_npm_reading_her_query_where_she_aligns(tmp_path, capsys):
    # Of the rows with residues there is one, the reference; column 1 is no position of its query.
    write_families(tmp_path / "families.parquet", [family("A-CDEFG", "-------")], {})
    targets = [Target(name, "Clan", "K" * 9, np.zeros((9, 3), np.float32), "x") for name in "tu"]
    write_targets(tmp_path / "targets.parquet", targets, {})
    nothing = np.zeros(0, np.int32)
    found = [
        neighbour([1, 2, 3, 4], [0, 1, 2, 3]),
        Neighbour("u", None, None, None, nothing, nothing),
    ]
    write_neighbours(tmp_path / "neighbours.parquet", found, {})
    torch.manual_seed(0)
    trunk = build_trunk(TrunkSettings("rotary", layers=1, width=8, attention_heads=2))
    model = NeuralPottsModel(trunk, HeadSettings(rank=2)).eval()
    with torch.no_grad():
        for weight in model.couplings.parameters():
            weight.normal_()
    save_model(tmp_path / "model", model, {"TrainSettings": {"max_length": 512}})
    arguments = [
        *("npm-contacts", "--neighbours", str(tmp_path / "neighbours.parquet")),
        *("--targets", str(tmp_path / "targets.parquet"), "--sister-seed", "1"),
        *("--families", str(tmp_path / "families.parquet")),
        *("--checkpoint", str(tmp_path / "model"), "--output", str(tmp_path / "scores.parquet")),
    ]
    assert main(arguments) == 0
    own, other, scores = read_scores(tmp_path / "scores.parquet")
    assert [(one.id, one.model) for one in (own, other)] == [("t", "npm"), ("u", "npm")]
    assert (scores.id, scores.model, scores.depth) == ("t", "npm_sister", None)
    query = window_scores(predict_windows(model, encode("ACDEFG"), window=512))
    # Columns 0, 2 and 3 are residues 0, 1 and 2 of the query; column 1 is a gap there.
    placed = scores.matrix[np.ix_([1, 3, 4], [1, 3, 4])]
    np.testing.assert_allclose(placed, query[:3, :3], atol=1e-6)
    assert np.ptp(query[:3, :3]) > 0
    assert (scores.matrix[0, 1:] == placed[~np.eye(3, dtype=bool)].min()).all()
    assert read_metadata(tmp_path / "scores.parquet")["targets_without_sister"] == 1
    write_families(tmp_path / "families.parquet", [family("ACD", name="g")], {})
    assert main(arguments) == 2
    assert "nearest family f is not among the families" in capsys.readouterr().err
    write_neighbours(tmp_path / "neighbours.parquet", [neighbour([1], [1], target="w")], {})
    assert main(arguments) == 2
    assert "neighbours of w, which is not among the targets" in capsys.readouterr().err
