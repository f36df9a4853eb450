"""Devices: those not there are refused, none meets another's tensors; threads, a GPU's memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from npm_core import plm_dense, predict
from npm_core.cli import main
from npm_core.devices import usable_device, within_memory
from npm_core.errors import SettingsError
from npm_core.predict import load_predictor


def test_a_device_that_is_not_there_is_refused(checkpoint):
    with pytest.raises(SettingsError, match="no GPU"):
        load_predictor(checkpoint, "cuda" if not torch.cuda.is_available() else "cuda:99")


@pytest.mark.parametrize("device", ["foo", "gpu", "mps", "meta", "cuda:x", "cpu:0", ""])
def test_a_device_of_another_kind_is_refused(checkpoint, tmp_path, device, capsys):
    fasta = tmp_path / "in.fasta"
    fasta.write_text(">a\nMKV\n")
    flags = ["--checkpoint", str(checkpoint), "--output", str(tmp_path), "--device", device]
    assert main(["predict", "--fasta", str(fasta), *flags]) == 2
    assert "expected cpu, cuda" in capsys.readouterr().err


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    before = torch.backends.cuda.cudnn_sdp_enabled(), torch.backends.cudnn.allow_tf32
    yield
    torch.backends.cuda.enable_cudnn_sdp(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_is_known_by_its_number():
    assert usable_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(SettingsError, match="2 GPU can be reached"):
        usable_device("cuda:2")


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_computes_float32_in_float32():
    usable_device("cuda")
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


FULL = torch.OutOfMemoryError(
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.00 GiB. Of"
)
TOO_LITTLE = r"^CUDA out of memory. Tried to allocate 2.00 GiB; "


def full(*_, **__):
    raise FULL


def test_too_little_memory_of_a_gpu_is_told_with_a_cure():
    with pytest.raises(SettingsError, match=f"{TOO_LITTLE}wait$"), within_memory("wait"):
        full()


def test_verbs_say_what_helps_against_too_little_memory(flags, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("npm_core.loop.fit", full)
    out = ["--output", str(tmp_path / "npm"), "--metrics", str(tmp_path / "m.csv")]
    assert main(["train", *flags, *out]) == 2
    assert "allocate 2.00 GiB; lower --micro-batch" in capsys.readouterr().err


def test_a_prediction_and_a_dense_fit_say_so_too(rng, checkpoint, monkeypatch):
    residues = rng.integers(0, 20, (4, 3)).astype("uint8")
    model = load_predictor(checkpoint)
    monkeypatch.setattr(model, "embed", full)
    with pytest.raises(SettingsError, match=rf"{TOO_LITTLE}read shorter windows"):
        predict.predict_windows(model, residues[0], window=3)
    monkeypatch.setattr(plm_dense, "multiply", full)
    with pytest.raises(SettingsError, match=f"{TOO_LITTLE}fit fewer columns"):
        plm_dense.fit_objectives([residues], device="cpu")


def test_tensors_of_another_device_never_meet_those_of_the_cpu(shard, tmp_path):
    script = Path(__file__).with_name("elsewhere.py")
    ran = subprocess.run(
        [sys.executable, str(script), str(shard), str(tmp_path)],
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr


def test_threads_are_no_more_than_cores(monkeypatch):
    from npm_core import devices

    used = []
    monkeypatch.setattr(torch, "set_num_threads", used.append)
    monkeypatch.setattr(devices.os, "cpu_count", lambda: 4)
    for count in (1, 4, 100_000):
        devices.use_threads(count)
    assert used == [1, 4, 4]
