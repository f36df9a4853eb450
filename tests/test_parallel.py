import os
import signal
import time
from pathlib import Path

import pytest

from npm_core.files import atomic_path
from npm_core.parallel import exit_on_sigterm, map_in_processes


def stop_when_both_write(path: Path) -> None:
    with atomic_path(path):
        while len(list(path.parent.glob("*.part"))) < 2:
            time.sleep(0.01)
        if path.name == "first":
            os.kill(os.getppid(), signal.SIGTERM)
        time.sleep(600)


def test_a_signal_ends_the_workers_and_leaves_no_half_written_files(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    exit_on_sigterm()
    try:
        with pytest.raises(SystemExit) as ended:
            list(map_in_processes(stop_when_both_write, map(tmp_path.joinpath, ["first", "second"]),
                                  workers=2))  # fmt: skip
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended.value.code == 128 + signal.SIGTERM
    assert list(tmp_path.glob(".*.part")) == []
