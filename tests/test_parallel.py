import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_programs import ended, ends_by, status_by

from npm_core.errors import ToolError
from npm_core.files import atomic_path
from npm_core.parallel import AHEAD, map_in_processes, stop_signals

ROOT = Path(__file__).parent.parent


def tell_and_sleep(path: Path) -> None:
    with atomic_path(path):
        path.with_suffix(".pid").write_text(str(os.getpid()))
        time.sleep(600)


@ends_by
@pytest.mark.usefixtures("hangs_up")
def test_a_signal_ends_the_workers_and_leaves_no_half_written_files(tmp_path, number, status):
    code = (
        "import sys; from pathlib import Path; from test_parallel import tell_and_sleep;"
        "from npm_core.parallel import exit_on_signals, map_in_processes; exit_on_signals();"
        "list(map_in_processes(tell_and_sleep, map(Path, sys.argv[1:]), workers=2))"
    )
    paths = [str(tmp_path / name) for name in ("first", "second")]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *paths],
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
    )

    def pids():
        return [pid for path in tmp_path.glob("*.pid") if (pid := path.read_text())]

    assert status_by(number, process, lambda: len(pids()) == 2) == status
    assert all(ended(int(pid)) for pid in pids())
    assert list(tmp_path.glob(".*.part")) == []


@pytest.mark.usefixtures("hangs_up")
def test_a_second_signal_does_not_stop_what_cleans_up_after_the_first(tmp_path):
    code = (
        "import sys, time; from pathlib import Path;"
        "from npm_core.parallel import exit_on_signals; exit_on_signals();"
        "began, cleans, done = map(Path, sys.argv[1:])\n"
        "try:\n    began.touch(); time.sleep(600)\n"
        "finally:\n    cleans.touch(); time.sleep(1); done.touch()"
    )
    began, cleans, done = (tmp_path / name for name in ("began", "cleans", "done"))
    argv = [sys.executable, "-c", code, str(began), str(cleans), str(done)]
    process = subprocess.Popen(argv, env={**os.environ, "PYTHONPATH": str(ROOT)})
    while not began.exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert status_by(signal.SIGHUP, process, cleans.exists) == 128 + signal.SIGTERM
    assert done.exists()


@pytest.mark.usefixtures("hangs_up")
def test_a_signal_that_is_to_be_ignored_stops_nothing():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert stop_signals() == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGHUP, before)
    assert stop_signals() == [signal.SIGTERM, signal.SIGHUP]


def first_is_slow(number: int) -> int:
    time.sleep(0.5 if number == 0 else 0)
    return number


def test_processes_give_results_in_order_and_draw_only_a_little_ahead():
    drawn = []
    numbers = (drawn.append(number) or number for number in range(40))
    results = map_in_processes(first_is_slow, numbers, workers=2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    assert len(drawn) <= 2 * AHEAD + 3
    assert list(results) == list(range(3, 40))


def die(number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_was_killed_is_an_error_with_its_likely_cause():
    with pytest.raises(ToolError, match="one of 2 processes was killed, probably for want of"):
        list(map_in_processes(die, [0, 1], workers=2))
