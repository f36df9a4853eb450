"""Residues are masked as in the paper, crops drawn by their seed, and a trunk learns from them."""

import dataclasses
import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from training_inputs import LOOP, TINY, table, train

from npm_core import alphabet
from npm_core.checkpoints import load_model
from npm_core.cli import main
from npm_core.errors import DataError
from npm_core.model import MASK, PAD, MaskedLanguageModel
from npm_core.pretraining import (
    NOT_ASKED,
    MaskedBatch,
    MaskedLanguageTask,
    Sequences,
    mask_residues,
    read_sequences,
)
from npm_core.training_settings import PretrainSettings
from npm_core.trunks import build_trunk


def test_masking_follows_80_10_10():
    states = np.resize(np.arange(20), (100, 200)).astype(np.uint8)
    tokens, targets = mask_residues(states, np.random.default_rng(0), asked=0.15)
    asked = targets != NOT_ASKED
    assert (asked.sum(1) == 30).all()
    assert asked.mean(0).std() == pytest.approx((0.15 * 0.85 / 100) ** 0.5, rel=0.2)
    np.testing.assert_array_equal(targets[asked], states[asked])
    np.testing.assert_array_equal(tokens[~asked], states[~asked])
    assert (tokens[asked] == MASK).mean() == pytest.approx(0.8, abs=0.03)
    # A tenth is replaced by a random amino acid, which in one of twenty cases is its own
    assert (tokens[asked] == states[asked]).mean() == pytest.approx(0.105, abs=0.02)
    assert set(tokens[asked].tolist()) == {*range(20), MASK}


def test_unknown_letters_and_padding_are_never_asked_for_and_one_residue_always_is():
    states = np.full((3, 6), PAD, np.uint8)
    for row, letters in zip(states, ("XXMXX", "XX", "M"), strict=True):
        row[: len(letters)] = alphabet.encode(letters)
    for seed in range(20):
        tokens, targets = mask_residues(states, np.random.default_rng(seed), asked=0.15)
        assert (targets != NOT_ASKED).tolist() == [
            [False, False, True, False, False, False],
            [False] * 6,
            [True] + [False] * 5,
        ]
        np.testing.assert_array_equal(tokens == PAD, states == PAD)


def test_micro_batches_and_processes_share_the_masks_of_a_batch():
    ends = np.cumsum([0, 30, 50, 20, 40, 10])
    sequences = Sequences(np.resize(np.arange(20), 150).astype(np.uint8), ends)

    def batches(step: int, micro_batch: int, rank: int, world: int) -> list[MaskedBatch]:
        loop = dataclasses.replace(LOOP, micro_batch=micro_batch)
        pretrain = PretrainSettings(max_length=25)
        model = MaskedLanguageModel(build_trunk(TINY))
        task = MaskedLanguageTask(model, sequences, pretrain=pretrain, loop=loop)
        return task.batches(step, rank, world)

    seen = set()
    for step in range(8):
        (whole,) = batches(step, 4, 0, 1)
        seen.update(whole.lengths.tolist())
        for n, length in enumerate(whole.lengths):
            known = (whole.targets[n] == NOT_ASKED) & (whole.tokens[n] != PAD)
            assert known.sum() == length - round(0.15 * int(length))
            # Residues of a crop follow each other as in the sequences: 0, 1, ..., 19, 0, ...
            steps = whole.tokens[n][known] - torch.arange(len(known))[known]
            assert len(set((steps % 20).tolist())) == 1
        for rank, world, rows in ((0, 1, [0, 1, 2, 3]), (0, 2, [0, 2]), (1, 2, [1, 3])):
            for n, part in zip(rows, batches(step, 1, rank, world), strict=True):
                length = int(whole.lengths[n])
                assert part.lengths.tolist() == [length]
                torch.testing.assert_close(part.tokens[0], whole.tokens[n, :length])
                torch.testing.assert_close(part.targets[0], whole.targets[n, :length])
    assert seen == {10, 20, 25}


def masked_crops(sequences: Sequences, seed: int = 1) -> Iterator[torch.Tensor]:
    """The residues of 200 crops of at most seven, all but none of them asked for."""
    loop = dataclasses.replace(LOOP, batch=1, micro_batch=1, seed=seed)
    pretrain = PretrainSettings(max_length=7, asked=0.01)
    task = MaskedLanguageTask(
        MaskedLanguageModel(build_trunk(TINY)), sequences, pretrain=pretrain, loop=loop
    )
    for step in range(200):
        (batch,) = task.batches(step, 0, 1)
        yield torch.where(batch.targets == NOT_ASKED, batch.tokens, batch.targets)[0]


def test_crops_begin_anywhere_in_a_sequence_and_end_in_it():
    one = Sequences(np.arange(20, dtype=np.uint8), np.array([0, 20]))
    assert {int(crop[0]) for crop in masked_crops(one)} == set(range(14))
    assert all((crop.diff() == 1).all() for crop in masked_crops(one))
    # Three sequences of one letter each: no crop has two.
    three = Sequences(np.repeat(np.arange(3, dtype=np.uint8), 9), np.array([0, 9, 18, 27]))
    assert {tuple(set(crop.tolist())) for crop in masked_crops(three)} == {(0,), (1,), (2,)}


def test_crops_are_those_of_the_seed():
    one = Sequences(np.arange(20, dtype=np.uint8), np.array([0, 20]))
    first, again, other = (list(masked_crops(one, seed)) for seed in (1, 1, 2))
    assert all(map(torch.equal, first, again))
    assert not all(map(torch.equal, first, other))


def test_sequences_are_read_from_fasta_with_their_order_and_letters(tmp_path):
    (tmp_path / "a.fasta").write_text(">a x\nMK\nv\n>b\nAUX\n")
    found = read_sequences([tmp_path / "a.fasta"])
    assert alphabet.decode(found.residues) == "MKVAC-"
    assert found.starts.tolist() == [0, 3, 6]
    (tmp_path / "a.fasta").write_text(">a\nXXX\n>b\nB\n")
    with pytest.raises(DataError, match=r"a\.fasta: nothing to learn from: 2 sequences"):
        read_sequences([tmp_path / "a.fasta"])
    (tmp_path / "a.fasta").write_text(">a\nM1\n")
    for letters, told in (
        ("M1", "character '1'"),
        ("AC-GW", "is aligned"),
        ("ACGT" * 20, "is DNA or RNA"),
    ):
        (tmp_path / "a.fasta").write_text(f">a\n{letters}\n")
        with pytest.raises(DataError, match=rf"a\.fasta: a:? .*{told}"):
            read_sequences([tmp_path / "a.fasta"])


def test_sequences_of_many_records_are_held_once_and_drawn_as_they_stand_in_their_files(
    tmp_path, rng
):
    texts = [alphabet.decode(rng.integers(0, 20, n).astype(np.uint8)) for n in range(1, 400)]
    for name, part in (("a", texts[:150]), ("b", texts[150:])):
        text = "".join(f">{n}\n{letters}\n" for n, letters in enumerate(part))
        (tmp_path / f"{name}.fasta").write_text(text)
    tracemalloc.start()
    found = read_sequences([tmp_path / "a.fasta", tmp_path / "b.fasta"])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # A copy of the residues, or an object a sequence, would be as much again.
    assert peak < 1.6 * (found.residues.nbytes + found.starts.nbytes) + 20_000
    states = [alphabet.encode(letters) for letters in texts]
    ends = np.cumsum([0, *map(len, states)], dtype=np.int64)
    one_by_one = Sequences(np.concatenate(states), ends)
    assert all(map(torch.equal, masked_crops(found), masked_crops(one_by_one)))


def test_headers_of_sequences_may_hold_any_bytes_and_other_files_are_told_by_their_kind(tmp_path):
    (tmp_path / "a.fasta").write_bytes(b">a M\xfcller\nMK\n")
    assert alphabet.decode(read_sequences([tmp_path / "a.fasta"]).residues) == "MK"
    (tmp_path / "a.fasta").write_bytes(b">a\nM\xfcK\n")
    with pytest.raises(DataError, match=r"a\.fasta: a: character .* at position 2"):
        read_sequences([tmp_path / "a.fasta"])
    (tmp_path / "a.fasta").write_bytes(b"PK\x03\x04\x14\0\0\0")
    with pytest.raises(DataError, match=r"a\.fasta: a zip archive, expected text"):
        read_sequences([tmp_path / "a.fasta"])
    (tmp_path / "a.fasta").write_text(">a\nMK\n", encoding="utf-16")
    with pytest.raises(DataError, match=r"a\.fasta: UTF-16, expected UTF-8"):
        read_sequences([tmp_path / "a.fasta"])


def test_pretraining_learns_more_than_the_composition(tmp_path):
    (tmp_path / "a.fasta").write_text(">a\n" + "MKVLAGW" * 6 + "\n")
    sequences = read_sequences([tmp_path / "a.fasta"])
    loop = dataclasses.replace(LOOP, steps=100, validate_every=100)
    torch.manual_seed(0)
    task = MaskedLanguageTask(
        MaskedLanguageModel(build_trunk(TINY)),
        sequences,
        pretrain=PretrainSettings(learning_rate=3e-2),
        loop=loop,
        validation=sequences,
    )
    train(task, tmp_path)
    rows = table(tmp_path / "m.csv")
    assert float(rows[0]["validation_loss"]) == pytest.approx(np.log(20), abs=0.6)
    assert float(rows[-1]["validation_loss"]) < np.log(7)


def test_the_pretrain_verb_writes_a_model_that_train_starts_from(flags, tmp_path):
    (tmp_path / "a.fasta").write_text(">a\nMKVLAGW\n>b\nMK\n")
    text = (
        f"--fasta {tmp_path / 'a.fasta'} --output {tmp_path / 'mlm'} "
        f"--scratch {tmp_path / 'scratch'} --metrics {tmp_path / 'mlm.csv'} --steps 2 --batch 2 "
        "--trunk-layers 1 --trunk-width 8 --trunk-attention-heads 2"
    )
    assert main(["pretrain", *text.split()]) == 0
    out = ["--output", str(tmp_path / "npm"), "--metrics", str(tmp_path / "m.csv")]
    flags[flags.index("random")] = str(tmp_path / "mlm")
    assert main(["train", *flags, "--frozen", *out]) == 0
    mlm, npm = load_model(tmp_path / "mlm"), load_model(tmp_path / "npm")
    torch.testing.assert_close(mlm.trunk.embed.weight, npm.trunk.embed.weight)
