import os
import signal
import threading
import time
from concurrent.futures import Future
from pathlib import Path

import pytest
from test_programs import begun, ends_by, status_by, wait_for_ends
from waiting import PATIENCE, wait_until

from npm_core.errors import DataError, ToolError
from npm_core.files import atomic_path
from npm_core.parallel import AHEAD, map_in_order, map_in_processes, stop_signals


def tell_and_sleep(path: Path) -> None:
    with atomic_path(path):
        path.with_suffix(".pid").write_text(str(os.getpid()))
        time.sleep(3600)


@ends_by
@pytest.mark.usefixtures("hangs_up")
def test_a_signal_ends_the_workers_and_leaves_no_half_written_files(tmp_path, number, status):
    code = (
        "import sys; from pathlib import Path; from test_parallel import tell_and_sleep;"
        "from npm_core.parallel import exit_on_signals, map_in_processes; exit_on_signals();"
        "list(map_in_processes(tell_and_sleep, map(Path, sys.argv[1:]), workers=2))"
    )
    process = begun(code, str(tmp_path / "first"), str(tmp_path / "second"))

    def pids():
        return [pid for path in tmp_path.glob("*.pid") if (pid := path.read_text())]

    assert status_by(number, process, lambda: len(pids()) == 2) == status
    wait_for_ends(" ".join(pids()))
    assert list(tmp_path.glob(".*.part")) == []


@pytest.mark.usefixtures("hangs_up")
def test_a_second_signal_does_not_stop_what_cleans_up_after_the_first(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from waiting import wait_until;"
        "from npm_core.parallel import exit_on_signals; exit_on_signals();"
        "began, cleans, again, done = map(Path, sys.argv[1:])\n"
        "try:\n    began.touch(); time.sleep(3600)\n"
        "finally:\n    cleans.touch(); wait_until(again.exists); done.touch()"
    )
    names = ("began", "cleans", "again", "done")
    began, cleans, again, done = (tmp_path / name for name in names)
    process = begun(code, *(str(tmp_path / name) for name in names))
    for number, is_ready in ((signal.SIGTERM, began.exists), (signal.SIGHUP, cleans.exists)):
        wait_until(is_ready, process)
        process.send_signal(number)
    again.touch()
    assert process.wait(PATIENCE) == 128 + signal.SIGTERM
    assert done.exists()


@pytest.mark.usefixtures("hangs_up")
def test_a_signal_that_is_to_be_ignored_stops_nothing():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert stop_signals() == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGHUP, before)
    assert stop_signals() == [signal.SIGTERM, signal.SIGHUP]


def much(number: int) -> bytes:
    return bytes(64 * 2**20)


@ends_by
@pytest.mark.usefixtures("hangs_up")
def test_a_signal_ends_workers_that_hand_over_large_results(tmp_path, number, status):
    code = (
        "import sys; from pathlib import Path; from test_parallel import much;"
        "from npm_core.parallel import exit_on_signals, map_in_processes; exit_on_signals()\n"
        "for _ in map_in_processes(much, range(10**6), workers=2): Path(sys.argv[1]).touch()"
    )
    first = tmp_path / "first"
    assert status_by(number, begun(code, str(first)), first.exists) == status


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


def die_in_a_moment(number: int) -> bytes:
    threading.Timer(0.02, die, [number]).start()
    return much(number)


def fail(number: int) -> None:
    raise DataError(f"item {number}")


@pytest.mark.parametrize("deadly", [die, die_in_a_moment])
def test_a_process_that_was_killed_is_an_error_with_its_likely_cause(deadly):
    with pytest.raises(ToolError, match="one of 2 processes was killed, probably for want of"):
        list(map_in_processes(deadly, range(8), workers=2))


def test_an_error_comes_from_its_process_with_the_line_that_raised_it():
    with pytest.raises(DataError, match="item 0") as caught:
        list(map_in_processes(fail, range(8), workers=2))
    assert 'raise DataError(f"item {number}")' in caught.value.__notes__[0]


def test_a_source_that_fails_stops_the_work_under_way(tmp_path):
    def source():
        yield tmp_path / "first"
        wait_until(lambda: list(tmp_path.glob("*.pid")))
        raise DataError("a damaged table")

    with pytest.raises(DataError, match="a damaged table"):
        list(map_in_processes(tell_and_sleep, source(), workers=2))
    assert list(tmp_path.glob(".*.part")) == []


def test_behind_a_slow_item_the_work_goes_on_while_the_caller_is_slow_too():
    done = [threading.Event() for _ in range(24)]

    def work(number: int) -> int:
        if number == 1:
            assert done[20].wait(PATIENCE), "nothing was drawn until the slow item ended"
        done[number].set()
        return number

    results = map_in_order(work, range(24), workers=2)
    assert next(results) == 0
    for event in done[2 : 2 * AHEAD]:
        assert event.wait(PATIENCE)
    assert list(results) == list(range(1, 24))


def test_an_error_comes_in_its_turn_and_nothing_is_begun_after_it():
    begun = []

    def fails_at_two(number: int) -> int:
        begun.append(number)
        if number == 2:
            raise DataError("shard is damaged")
        return number * 2

    results = map_in_order(fails_at_two, range(99), workers=1, held=3)
    assert [next(results), next(results)] == [0, 2]
    with pytest.raises(DataError, match="damaged"):
        next(results)
    known = len(begun)
    assert known <= 2 + 3
    time.sleep(0.05)
    assert len(begun) == known


@pytest.mark.parametrize("ends_at", [1, 2])
def test_a_result_that_is_ready_waits_for_no_other(monkeypatch, ends_at):
    may_end, told = threading.Event(), threading.Event()

    def work(number: int) -> bool:
        return (told if number else may_end).wait(PATIENCE)

    done, asked = Future.done, []

    def ends_while_it_is_asked(future: Future) -> bool:
        answer = done(future)
        asked.append(future)
        if asked.count(asked[0]) == ends_at and future is asked[0] and not answer:
            may_end.set()
            future.result()
        return answer

    monkeypatch.setattr(Future, "done", ends_while_it_is_asked)
    results = map_in_order(work, range(2), workers=2)
    assert next(results)
    told.set()
    assert next(results), "the first result was not given while the second was made"


def give_back_a_function(number: int):
    return lambda: number


def test_a_result_that_no_process_can_hand_over_is_not_put_down_to_memory():
    with pytest.raises(TypeError, match=r"the result: .*[Pp]ickle"):
        list(map_in_processes(give_back_a_function, range(2), workers=2))
