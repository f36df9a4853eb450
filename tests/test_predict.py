"""Scores without J are the scores of J; windows agree, and so do sequences read together."""

import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from model_inputs import SEQUENCE, make_model

from npm_core import alphabet, contacts, potts, predict, score_files
from npm_core.architecture import HeadSettings, TrunkSettings
from npm_core.checkpoints import save_model
from npm_core.cli import main
from npm_core.errors import DataError, SettingsError
from npm_core.files import read_tsv
from npm_core.generalisation import generalisation_loss
from npm_core.model import HEADS, NeuralPottsModel
from npm_core.predict import (
    embed_sequences,
    load_predictor,
    potts_model,
    predict_windows,
    target_scores,
    window_scores,
    window_starts,
)
from npm_core.tables import Family, Target, read_scores, write_targets
from npm_core.trunks import build_trunk


def states(sequence: str = SEQUENCE) -> np.ndarray:
    return alphabet.encode(sequence)


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("window", [512, 12])
def test_scores_without_couplings_are_the_scores_of_the_couplings(kind, window):
    windows = predict_windows(make_model(kind), states(), window=window)
    direct = window_scores(windows)
    held = contacts.contact_scores(potts_model(windows).couplings)
    np.testing.assert_allclose(direct, held, atol=1e-6)
    assert np.abs(direct).max() > 1e-3


@pytest.mark.parametrize("window", [512, 12])
def test_a_prediction_is_a_valid_potts_model(window):
    windows = predict_windows(make_model(), states(), window=window)
    made = potts_model(windows)
    assert potts.check(made, "prediction") is made
    assert made.length == len(SEQUENCE)


def test_windows_overlap_by_half_and_end_with_the_sequence():
    assert window_starts(10, 10) == [0]
    assert window_starts(11, 10) == [0, 1]
    assert window_starts(25, 10) == [0, 5, 10, 15]
    covered = {p for s in window_starts(5000, 512) for p in range(s, s + 512)}
    assert covered == set(range(5000))


@pytest.mark.parametrize("kind", ["rotary", "esm1", "esm2"])
def test_many_sequences_together_are_predicted_as_each_alone(kind, monkeypatch):
    torch.manual_seed(3)
    trunk = build_trunk(TrunkSettings(kind, layers=2, width=8, attention_heads=2))
    head = HeadSettings(rank=2, initial_coupling=0.3)
    model = NeuralPottsModel(trunk, head).eval()
    sequences = [states(SEQUENCE[:n]) for n in (29, 1, 7, 29, 8, 13)]
    batches = []
    embed = model.embed

    def watched(tokens, lengths):
        batches.append(lengths.tolist())
        return embed(tokens, lengths)

    monkeypatch.setattr(predict, "RESIDUES_A_BATCH", 30)
    monkeypatch.setattr(predict, "SEQUENCES_AHEAD", 5)
    monkeypatch.setattr(model, "embed", watched)
    read = list(embed_sequences(model, enumerate(sequences), window=12))
    assert [number for number, _ in read] == [0, 1, 2, 3, 4, 5]
    together = [window_scores(windows) for _, windows in read]
    # 29 residues are four windows; windows of 12 go two by two, the short ones together
    assert batches == [*4 * [[12, 12]], [8, 7, 1], [12, 12]]
    for found, sequence in zip(together, sequences, strict=True):
        alone = window_scores(predict_windows(model, sequence, window=12))
        np.testing.assert_allclose(found, alone, atol=1e-6)


def test_the_scores_of_5000_residues_hold_no_more_than_overlapping_windows(monkeypatch):
    model = make_model()
    alive = weakref.WeakSet()
    heads = model.heads

    def watched(e):
        fields, couplings = heads(e)
        alive.add(couplings.left)
        assert len(alive) <= 4
        return fields, couplings

    monkeypatch.setattr(model, "heads", watched)
    rng = np.random.default_rng(0)
    windows = predict_windows(model, rng.integers(0, 21, 5000).astype(np.uint8), window=64)
    assert len(windows.starts) == 156
    scores = window_scores(windows)
    assert scores.shape == (5000, 5000)
    assert np.isfinite(scores).all()


def test_couplings_that_do_not_fit_into_memory_are_refused(monkeypatch):
    from npm_core import memory

    windows = predict_windows(make_model(), states(), window=512)
    monkeypatch.setattr(memory, "available_bytes", lambda: 29**2 * 21**2 * 4)
    with pytest.raises(SettingsError, match=r"J of 29 residues.*ask for scores"):
        potts_model(windows)
    monkeypatch.setattr(memory, "available_bytes", lambda: 29**2 * 8)
    with pytest.raises(SettingsError, match=r"29 x 29 scores.*parts of the sequence"):
        window_scores(windows)


def test_overlapping_windows_are_averaged_and_far_pairs_have_no_coupling():
    model = make_model()
    windows = predict_windows(model, states(), window=20)
    assert windows.starts == [0, 9]
    model_of_both = potts_model(windows)
    made = model_of_both.couplings
    before, after = (w.fields.numpy() for w in windows)
    np.testing.assert_allclose(model_of_both.fields[2], before[2], atol=1e-6)
    np.testing.assert_allclose(model_of_both.fields[10], (before[10] + after[1]) / 2, atol=1e-6)
    np.testing.assert_allclose(model_of_both.fields[25], after[16], atol=1e-6)
    first, second = (w.couplings.blocks_of(1)[0].detach().numpy() for w in windows)
    np.testing.assert_allclose(made[2, 5], first[:, :, 2, 5], atol=1e-6)
    np.testing.assert_allclose(
        made[10, 15], (first[:, :, 10, 15] + second[:, :, 1, 6]) / 2, atol=1e-6
    )
    assert not made[0, 28].any()


def test_the_shuffled_control_reads_another_order_of_the_same_residues():
    target = Target("t", "test", SEQUENCE, np.zeros((29, 3), np.float32), "x")
    model = make_model()
    plain, shuffled = target_scores(model, [target], window=512, shuffle_seed=1)
    assert (plain.model, shuffled.model) == ("npm", "npm_shuffled")
    assert not np.allclose(plain.matrix, shuffled.matrix)
    again = list(target_scores(model, [target], window=512, shuffle_seed=1))[1]
    np.testing.assert_array_equal(shuffled.matrix, again.matrix)


def test_the_order_of_a_shuffled_query_is_drawn_from_the_seed_and_its_id():
    one, other = (
        Target(name, "test", SEQUENCE, np.zeros((29, 3), np.float32), "x") for name in "ab"
    )

    def shuffled(target, seed):
        return list(target_scores(make_model(), [target], window=512, shuffle_seed=seed))[1].matrix

    first = shuffled(one, 1)
    assert not np.allclose(first, shuffled(one, 2))
    assert not np.allclose(first, shuffled(other, 1))


def test_the_loss_of_test_rows_is_that_of_the_predicted_model_and_not_of_the_control(rng):
    rows = Family("t", rng.integers(0, 20, (5, 29)).astype(np.uint8), np.ones(5, np.float32))
    targets = [Target(name, "test", SEQUENCE, np.zeros((29, 3), np.float32), "x") for name in "tu"]
    found = target_scores(
        make_model(), targets, window=26, shuffle_seed=1, test_rows={rows.id: rows}
    )
    expected = generalisation_loss(
        potts_model(predict_windows(make_model(), states(), window=26)), rows
    )
    assert {(one.id, one.model): one.generalisation_loss for one in found} == {
        ("t", "npm"): pytest.approx(expected, rel=1e-6),
        ("t", "npm_shuffled"): None,
        ("u", "npm"): None,
        ("u", "npm_shuffled"): None,
    }


def test_scores_of_targets_are_of_the_asked_centring():
    target = Target("t", "test", SEQUENCE, np.zeros((29, 3), np.float32), "x")
    (found,) = target_scores(make_model(), [target], window=512, centre="mean")
    windows = predict_windows(make_model(), states(), window=512)
    expected = contacts.contact_scores(potts_model(windows).couplings, centre="mean")
    np.testing.assert_allclose(found.matrix, expected, atol=1e-6)
    assert not np.allclose(found.matrix, window_scores(windows))


def test_the_index_says_what_the_files_of_each_sequence_are_called(checkpoint, tmp_path):
    out = tmp_path / "out"
    (tmp_path / "q.fasta").write_text(">sp|P1|X_HUMAN/101-107 part\nMKVLXAG\n>P2\nMKV\n")
    words = ["--fasta", str(tmp_path / "q.fasta"), "--checkpoint", str(checkpoint)]
    assert main(["predict", *words, "--output", str(out), "--formats", "rr"]) == 0
    rows = list(read_tsv(out / "index.tsv"))
    assert rows[1] == {"id": "P2", "name": "P2", "length": "3", "first": "1", "masked": "0"}
    name = rows[0].pop("name")
    assert rows[0] == {"id": "sp|P1|X_HUMAN/101-107", "length": "7", "first": "101", "masked": "1"}
    assert {path.name for path in out.iterdir()} == {"index.tsv", "P2.rr", f"{name}.rr"}
    assert "\nTARGET sp|P1|X_HUMAN/101-107\n" in (out / f"{name}.rr").read_text()


def test_a_model_reads_as_much_at_a_time_as_it_was_trained_on(checkpoint, tmp_path, capsys):
    (tmp_path / "in.fasta").write_text(f">one\n{SEQUENCE}\n")
    asked = ["predict", "--fasta", str(tmp_path / "in.fasta"), "--formats", "scores"]

    def scores(folder, *flags):
        out = ["--checkpoint", str(folder), "--output", str(tmp_path / "out"), *flags]
        assert main([*asked, *out]) == 0
        return score_files.read_scores(tmp_path / "out" / "one.scores.npz").scores

    trained = scores(checkpoint)
    np.testing.assert_array_equal(trained, scores(checkpoint, "--window", "20"))
    assert not np.allclose(trained, scores(checkpoint, "--window", "29"))
    save_model(tmp_path / "untold", make_model(), {})
    untold = ["--checkpoint", str(tmp_path / "untold"), "--output", str(tmp_path / "none")]
    assert main([*asked, *untold]) == 2
    assert "give --window" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
    np.testing.assert_array_equal(trained, scores(tmp_path / "untold", "--window", "20"))


@pytest.mark.parametrize(
    ("fasta", "message"),
    [("", "no sequences"), (">a\n\n", "no sequence"), (">a\nM1\n", "no amino acid"),
     (">a\nM\n>a b\nK\n", "the id a occurs twice"), (">a\nM-K\n", "a is aligned"),
     (">a\nM.K\n", "a is aligned"),
     (f">a\nMK\n>g x\n{'AUGC' * 8}\n", "in.fasta: g is DNA or RNA, expected a protein")],
)  # fmt: skip
def test_predict_says_what_is_wrong_with_its_input(checkpoint, tmp_path, capsys, fasta, message):
    (tmp_path / "in.fasta").write_text(fasta)
    arguments = ["--checkpoint", str(checkpoint), "--output", str(tmp_path / "out")]
    assert main(["predict", "--fasta", str(tmp_path / "in.fasta"), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_without_a_checkpoint_the_small_model_reads(tmp_path, capsys):
    fasta = tmp_path / "in.fasta"
    fasta.write_text(">crambin\nTTCCPSIVARSNFNVCRLPGTPEALCATYTGCIIIPGATCPGDYAN\n")
    output = tmp_path / "out"
    assert main(["predict", "--fasta", str(fasta), "--output", str(output)]) == 0
    assert {path.name for path in output.iterdir()} == {
        *("crambin.scores.npz", "crambin.rr", "crambin.png", "index.tsv"),
    }
    card = capsys.readouterr().err.split("what it can do is in ")[1].splitlines()[0]
    assert "## Limits" in Path(card).read_text(encoding="utf-8")


def test_what_has_no_couplings_is_no_predictor(tmp_path):
    from npm_core.model import MaskedLanguageModel

    trunk = make_model().trunk
    for model, kind in ((MaskedLanguageModel(trunk), "masked language model"), (trunk, "trunk")):
        save_model(tmp_path / kind, model, {})
        with pytest.raises(DataError, match=f": a {kind};"):
            load_predictor(tmp_path / kind)


def test_a_predictor_is_in_evaluation_mode(checkpoint):
    assert not any(module.training for module in load_predictor(checkpoint).modules())


def test_npm_contacts_scores_every_target_and_its_shuffled_twin(checkpoint, tmp_path):
    targets = [
        Target(name, "test", SEQUENCE, np.zeros((29, 3), np.float32), "x") for name in ("b", "a")
    ]
    write_targets(tmp_path / "t.parquet", targets, {})
    arguments = ["--checkpoint", str(checkpoint), "--output", str(tmp_path / "s.parquet")]
    flags = ["--targets", str(tmp_path / "t.parquet"), "--shuffle-seed", "5"]
    assert main(["npm-contacts", *arguments, *flags]) == 0
    found = [(score.id, score.model, score.depth) for score in read_scores(tmp_path / "s.parquet")]
    assert found == [(n, m, None) for n in ("b", "a") for m in ("npm", "npm_shuffled")]
