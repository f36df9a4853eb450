"""Losses a residue and precisions of a model in training, on what it does not learn from."""

import numpy as np
import pytest
import torch
from model_inputs import SEQUENCE, make_model
from training_inputs import LOOP, make_task, table

from npm_core import alphabet
from npm_core.cli import main
from npm_core.errors import DataError
from npm_core.families import Families
from npm_core.model import NeuralPottsModel
from npm_core.precision import RANGES, top_precision
from npm_core.predict import target_scores
from npm_core.tables import Family, Target, write_families, write_targets
from npm_core.training import NpmTask
from npm_core.training_settings import ObjectiveSettings, TrainSettings
from npm_core.validation import long_range_precision, validation_loss


def silent(model: NeuralPottsModel) -> NeuralPottsModel:
    """The model with heads of zeros: every residue costs log 21."""
    with torch.no_grad():
        for weight in (*model.fields.parameters(), *model.couplings.parameters()):
            weight.zero_()
    return model


def test_losses_are_told_a_residue_and_validation_without_the_penalty(shard):
    task = make_task(shard)
    silent(task.model)
    measures = sum(task(batch)[1] for batch in task.batches(0, 0, 1))
    assert float(measures[0]) / LOOP.batch == pytest.approx(np.log(21))
    # A field that all states of a residue have changes no probability, only the penalty.
    with torch.no_grad():
        task.model.fields.weight[:, 0] = 1
        heavy = ObjectiveSettings(lambda_couplings=1e3, lambda_fields=1e3)
        found = validation_loss(task.model, Families([shard]), heavy, rows=3, max_length=512)
    assert found == pytest.approx(np.log(21))


@pytest.mark.parametrize("query", ["first", "random"])
def test_validation_reads_the_first_row_of_each_family(shard, monkeypatch, query):
    task = make_task(shard, query=query)
    embed, read = task.model.embed, []

    def noted(tokens, lengths):
        read.append(tokens[0].tolist())
        return embed(tokens, lengths)

    monkeypatch.setattr(task.model, "embed", noted)
    with torch.no_grad():
        task.validate()
    families = Families([shard])
    assert read == [families[index].residues[0].tolist() for index in range(len(families))]


def test_figure_4_has_losses_and_precisions_at_every_validation(flags, shard, rng, tmp_path):
    family = Families([shard])[0]
    write_families(
        tmp_path / "reduced.parquet",
        [Family("f0", family.residues[:2], family.weights[:2])],
        {},
    )
    sequence = alphabet.decode(rng.integers(0, 20, 30).astype(np.uint8))
    target = Target("t", "test", sequence, np.zeros((30, 3), np.float32), "x")
    write_targets(tmp_path / "targets.parquet", [target], {})
    out = ["--output", str(tmp_path / "npm"), "--metrics", str(tmp_path / "m.csv")]
    watched = [
        "--validation",
        str(shard),
        "--validation-reduced",
        str(tmp_path / "reduced.parquet"),
    ]
    contacts = ["--validation-targets", str(tmp_path / "targets.parquet"), "--validate-every", "2"]
    assert main(["train", *flags, *out, *watched, *contacts]) == 0
    rows = table(tmp_path / "m.csv")
    assert [row["step"] for row in rows] == ["0", "2", "4"]
    names = ("validation_pseudolikelihood", "reduced_pseudolikelihood")
    alone = ["--output", str(tmp_path / "alone"), "--metrics", str(tmp_path / "alone.csv")]
    assert main(["train", *flags, *alone, "--validation", str(shard)]) == 0
    assert table(tmp_path / "alone.csv")[0][names[0]] == rows[0][names[0]]
    for row in rows:
        whole, reduced = (float(row[name]) for name in names)
        assert whole > 0 < reduced != whole
        # All residues stand in one place: every pair is a contact
        assert float(row["long_P@L"]) == float(row["long_P@L/5"]) == 1.0


def test_no_families_to_validate_on_is_an_error(shard, tmp_path):
    write_families(tmp_path / "none.parquet", [], {})
    with pytest.raises(DataError, match="no families to validate on"):
        NpmTask(
            make_task(shard).model,
            Families([shard]),
            train=TrainSettings(),
            objective=ObjectiveSettings(),
            loop=LOOP,
            validation=Families([tmp_path / "none.parquet"]),
        )


@pytest.mark.parametrize("window", [26, 512])
def test_precision_in_training_is_that_of_the_scores(rng, window):
    points = np.cumsum(rng.normal(size=(29, 3)) * 2, axis=0).astype(np.float32)
    target = Target("t", "test", SEQUENCE, points, "x")
    (scores,) = target_scores(make_model(), [target], window=window)
    far = np.median(target.distances[np.triu_indices(29, 24)])
    found = long_range_precision(make_model(), [target], contact_distance=far, window=window)
    assert found == {
        f"long_P@L{name}": top_precision(
            scores.matrix, target.distances, k=k, separation=RANGES["long"], contact_distance=far
        )
        for name, k in (("", 1), ("/5", 5))
    }


def test_precision_is_a_mean_over_targets_with_a_long_range_pair():
    line = np.zeros((29, 3), np.float32)
    line[:, 0] = np.arange(29) / 3  # 24 residues apart is 8 angstrom, 28 is 9.33
    near = Target("near", "test", SEQUENCE, line, "x")
    short = Target("short", "test", SEQUENCE[:20], line[:20], "x")

    def found(targets, contact_distance):
        return long_range_precision(
            make_model(), targets, contact_distance=contact_distance, window=512
        )

    assert found([near, short], 10.0) == {"long_P@L": 1.0, "long_P@L/5": 1.0}
    # Of the 15 pairs 24 or more apart, five are exactly 24 apart; L is more than 15.
    assert found([near], 8.1)["long_P@L"] == pytest.approx(5 / 15)
    with pytest.raises(DataError, match="none of 1 targets"):
        found([short], 10.0)
