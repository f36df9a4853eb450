import os
import signal
import time
from pathlib import Path

import pytest

from npm_core.errors import ToolError
from npm_core.files import atomic_path
from npm_core.parallel import AHEAD, exit_on_sigterm, map_in_processes


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
