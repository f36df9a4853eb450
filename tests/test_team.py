"""Trainings of several processes, and of one that was killed, come to the weights of one alone."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_inputs import averaged_loop, make_task, table, train, weights
from waiting import PATIENCE, wait_until

from npm_core.checkpoints import load_model
from npm_core.cli import main
from npm_core.model import NeuralPottsModel


def torchrun(logs: Path, *arguments: object) -> None:
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    # This machine's name may lead nowhere.
    launch += ["--local-addr", "127.0.0.1", "--log-dir", str(logs)]
    ran = subprocess.run(
        [sys.executable, *launch, *map(str, arguments)],
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert ran.returncode == 0, ran.stderr


@pytest.mark.slow
def test_two_processes_train_as_one_and_resume_to_the_bit(shard, tmp_path):
    loop = averaged_loop()
    one = make_task(shard, loop)
    train(one, tmp_path)
    torchrun(tmp_path / "logs", Path(__file__).with_name("two_processes.py"), shard, tmp_path)
    expected = table(tmp_path / "m.csv")
    for name in ("copied", "sharded"):
        rows = table(tmp_path / name / "whole.csv")
        for quantity in ("loss", "validation_pseudolikelihood"):
            values = [[float(row[quantity] or 0) for row in found] for found in (rows, expected)]
            assert values[0] == pytest.approx(values[1], rel=1e-6)
        whole, resumed = (
            load_file(tmp_path / name / f"{run}.safetensors") for run in ("whole", "resumed")
        )
        for key, value in weights(one).items():
            torch.testing.assert_close(whole[key], value, rtol=1e-4, atol=1e-6)
            assert torch.equal(whole[key], resumed[key]), key


@pytest.mark.slow
def test_the_train_verb_shards_under_torchrun(flags, tmp_path):
    out = ["--output", tmp_path / "npm", "--metrics", tmp_path / "m.csv", "--sharded"]
    torchrun(tmp_path / "logs", "-m", "npm_core", "train", *flags, *out)
    assert isinstance(load_model(tmp_path / "npm"), NeuralPottsModel)


def test_one_process_alone_cannot_shard(flags, tmp_path, capsys):
    out = ["--output", str(tmp_path / "npm"), "--metrics", str(tmp_path / "m.csv"), "--sharded"]
    assert main(["train", *flags, *out]) == 2
    assert "torchrun" in capsys.readouterr().err


@pytest.mark.slow
def test_a_training_killed_without_warning_resumes_to_the_same_file(flags, tmp_path):
    flags[flags.index("--steps") + 1] = "200"
    every = ["--log-every", "1", "--checkpoint-every", "7", "--ema", "0.9"]

    def command(name: str) -> list[str]:
        out = ["--output", str(tmp_path / name), "--metrics", str(tmp_path / f"{name}.csv")]
        return ["train", *flags, *every, *out]

    process = subprocess.Popen([sys.executable, "-m", "npm_core", *command("killed")])
    rows = tmp_path / "killed.csv"
    wait_until(lambda: rows.is_file() and len(table(rows)) > 20, process)
    process.kill()
    assert process.wait(PATIENCE) == -signal.SIGKILL
    assert not (tmp_path / "killed").exists()
    (checkpoint,) = (tmp_path / "scratch").glob("*.safetensors")
    assert main(command("killed")) == 0
    assert not checkpoint.exists()
    assert main(command("whole")) == 0
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("killed", "whole")]
    assert files[0] == files[1]
    assert [row["loss"] for row in table(tmp_path / "killed.csv")] == [
        row["loss"] for row in table(tmp_path / "whole.csv")
    ]
