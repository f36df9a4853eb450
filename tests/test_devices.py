"""Devices that are not there are refused; threads are no more than cores."""

import pytest
import torch

from npm_core.cli import main
from npm_core.devices import usable_device
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


def test_a_gpu_is_known_by_its_number(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert usable_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(SettingsError, match="2 GPU can be reached"):
        usable_device("cuda:2")


def test_threads_are_no_more_than_cores(monkeypatch):
    from npm_core import devices

    used = []
    monkeypatch.setattr(torch, "set_num_threads", used.append)
    monkeypatch.setattr(devices.os, "cpu_count", lambda: 4)
    for count in (1, 4, 100_000):
        devices.use_threads(count)
    assert used == [1, 4, 4]
