"""The files of a prediction are what other programs read, and no part of a run."""

import numpy as np
from model_inputs import SEQUENCE

from npm_core import code_digest, contacts, potts_files, prediction_files, score_files
from npm_core.cli import main
from npm_core.precision import MIN_SEPARATION


def test_predict_writes_every_format_for_short_long_and_odd_sequences(checkpoint, tmp_path):
    fasta = tmp_path / "in.fasta"
    fasta.write_text(f">one\nM\n>two words\n{SEQUENCE.lower()}\n")
    out = tmp_path / "out"
    options = ["--formats", "scores", "potts", "rr", "png"]
    arguments = ["--fasta", str(fasta), "--checkpoint", str(checkpoint), "--output", str(out)]
    assert main(["predict", *arguments, *options]) == 0
    suffixes = ("png", "potts.safetensors", "rr", "scores.npz")
    assert {p.name for p in out.iterdir()} == {
        "index.tsv",
        *(f"{stem}.{suffix}" for stem in ("one", "two") for suffix in suffixes),
    }
    with np.load(out / "two.scores.npz") as found:
        np.testing.assert_allclose(
            found["scores"],
            contacts.contact_scores(
                potts_files.read_model(out / "two.potts.safetensors").couplings
            ),
            atol=1e-6,
        )
        listed = score_files.read_scores(out / "two.rr")
        assert listed.query == score_files.read_scores(out / "two.scores.npz").query == SEQUENCE
        assert "TARGET two" in (out / "two.rr").read_text()
        strongest = np.argmax(np.triu(found["scores"], MIN_SEPARATION))
        assert np.argmax(listed.scores) == strongest
    model = potts_files.read_model(out / "two.potts.safetensors")
    assert potts_files.query_of(model) == SEQUENCE
    assert model.metadata["query_name"] == "two"


def test_residues_count_from_where_the_name_says(checkpoint, tmp_path, capsys):
    (tmp_path / "q.fasta").write_text(">P1/101-107 part\nMKVLAAG\n>P2/1-9\nMKVLAAG\n")
    words = ["--fasta", str(tmp_path / "q.fasta"), "--checkpoint", str(checkpoint)]
    assert main(["predict", *words, "--output", str(tmp_path), "--formats", "scores", "potts"]) == 0
    for name, first in (("P1", 101), ("P2", 1)):
        (scores,) = tmp_path.glob(f"{name}_*.scores.npz")
        (model,) = tmp_path.glob(f"{name}_*.potts.safetensors")
        expected = list(range(first, first + 7))
        assert score_files.read_scores(scores).numbers.tolist() == expected
        assert potts_files.numbers_of(potts_files.read_model(model)).tolist() == expected
    told = capsys.readouterr().err
    assert told.count("P2/1-9: 1-9 in the query's name are 9 residues, not 7: numbered from 1") == 1
    assert "P1/101-107" not in told


def test_a_map_without_a_score_above_zero_is_a_file_without_pairs(
    checkpoint, tmp_path, monkeypatch
):
    def scores(windows):
        return np.full((windows.length, windows.length), -0.5, dtype=np.float32)

    monkeypatch.setattr(prediction_files, "window_scores", scores)
    (tmp_path / "in.fasta").write_text(">one\nYAPTFTV*\n>two\nMKVLAWHDE\n")
    words = ["--fasta", str(tmp_path / "in.fasta"), "--checkpoint", str(checkpoint)]
    assert main(["predict", *words, "--output", str(tmp_path / "out")]) == 0
    assert len(list((tmp_path / "out").iterdir())) == 7
    for name, sequence in (("one", "YAPTFTV"), ("two", "MKVLAWHDE")):
        lines = (tmp_path / "out" / f"{name}.rr").read_text().splitlines()
        assert lines[-3:] == ["MODEL 1", sequence, "END"]


def test_files_of_a_prediction_are_no_part_of_the_code_behind_the_contacts_of_a_run():
    drawn_and_written = {"contact_map", "formats", "matrices", "potts_files", "score_files"}
    for verb in ("npm_contacts", "prior_contacts"):
        code = code_digest._closure((f"npm_core.cli.{verb}",))
        assert "npm_core.predict" in code
        assert not code.keys() & {f"npm_core.{name}" for name in drawn_and_written}
