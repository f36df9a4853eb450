"""Work handed to threads or processes a little ahead of its use, so that memory stays small.

Threads are for work that waits for other programs or releases the GIL, processes for the rest.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import islice
from typing import NoReturn, TypeVar

from npm_core.errors import ToolError

A = TypeVar("A")
B = TypeVar("B")

AHEAD = 4
"""Items drawn ahead, in units of workers."""

HELD = 16
"""Results that may wait for a slow one before them, those under way included, likewise."""


def stop_signals() -> list[signal.Signals]:
    """Signals that stop a run, but those it is to ignore, as SIGHUP under nohup.

    Snakemake and Slurm send SIGTERM, a terminal that closes SIGHUP.
    """
    both = (signal.SIGTERM, signal.SIGHUP)
    return [number for number in both if signal.getsignal(number) is not signal.SIG_IGN]


def exit_on_signals() -> None:
    """Let signals that stop a run raise SystemExit: what cleans up, can.

    By themselves they would end the process on the spot, and leave half-written files behind.
    """
    for number in stop_signals():
        signal.signal(number, _exit)


def _exit(number: int, _: object) -> NoReturn:
    # What cleans up is not stopped in turn: a pool that loses one process sends SIGTERM to the
    # others, which may have had it already.
    for each in stop_signals():
        signal.signal(each, signal.SIG_IGN)
    sys.exit(128 + number)


def _nothing() -> None:
    pass


def map_as_ready(
    function: Callable[[A], B],
    items: Iterable[A],
    *,
    workers: int,
    stop: Callable[[], None] = _nothing,
) -> Iterator[B]:
    """Results of `function` on each item, in the order in which they are ready.

    Args:
        function: Called by `workers` threads.
        items: Drawn a little ahead.
        workers: Calls at a time.
        stop: Called when a call raises or the caller leaves early, before the threads are waited
            for: it should make the calls under way end.
    """
    source = iter(items)
    with ThreadPoolExecutor(workers) as pool:
        waiting = {pool.submit(function, item) for item in islice(source, AHEAD * workers)}
        try:
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
                waiting |= {pool.submit(function, item) for item in islice(source, len(done))}
        except BaseException:
            stop()
            _cancel(waiting)
            raise


def map_in_order(
    function: Callable[[A], B],
    items: Iterable[A],
    *,
    workers: int,
    stop: Callable[[], None] = _nothing,
) -> Iterator[B]:
    """As `map_as_ready`, but results come in the order of the items.

    Behind a slow item the work goes on, until `HELD` results of each worker wait for it.
    """
    source = iter(items)
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[B]] = deque()
        try:
            while True:
                under_way = [future for future in waiting if not future.done()]
                room = min(AHEAD * workers - len(under_way), HELD * workers - len(waiting))
                waiting.extend(pool.submit(function, item) for item in islice(source, max(0, room)))
                if not waiting:
                    return
                if waiting[0].done():
                    yield waiting.popleft().result()
                else:
                    wait(under_way, return_when=FIRST_COMPLETED)
        except BaseException:
            stop()
            _cancel(waiting)
            raise


def map_in_processes(
    function: Callable[[A], B], items: Iterable[A], *, workers: int
) -> Iterator[B]:
    """Results of `function` on each item, in the order of the items, from a pool of processes.

    Args:
        function: Picklable, as are items and results.
        items: Drawn a little ahead.
        workers: Processes; with 1 the work is done in this one.

    Raises:
        ToolError: A process was killed, usually for want of memory.
    """
    if workers == 1:
        yield from map(function, items)
        return
    source = iter(items)
    work = partial(_call_or_exit, function)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_begin) as pool:
        waiting = deque(pool.submit(work, item) for item in islice(source, AHEAD * workers))
        try:
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(pool.submit(work, item) for item in islice(source, 1))
        except SystemExit:
            for process in multiprocessing.active_children():
                process.terminate()
            raise
        except BrokenProcessPool as error:
            raise ToolError(
                f"one of {workers} processes was killed, probably for want of memory; use fewer"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _begin() -> None:
    """In a process of a pool: stop by a signal, and when the pool's own process is no more."""
    exit_on_signals()
    threading.Thread(target=_stop_when_orphaned, daemon=True).start()


def _stop_when_orphaned() -> None:
    # By itself a process would wait for ever for what the pool gives it to do.
    if parent := multiprocessing.parent_process():
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _call_or_exit(function: Callable[[A], B], item: A) -> B:
    try:
        return function(item)
    except SystemExit as error:
        # The pool would hand it to its parent as a result and go on with the next item.
        os._exit(error.code if isinstance(error.code, int) else 1)


def _cancel(futures: Iterable[Future[B]]) -> None:
    for future in futures:
        future.cancel()
