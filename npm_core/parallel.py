"""Work handed to threads or processes a little ahead of its use, so that memory stays small.

Threads are for work that waits for other programs or releases the GIL, processes for the rest.
"""

import multiprocessing
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
from itertools import islice
from typing import TypeVar

from npm_core.errors import ToolError

A = TypeVar("A")
B = TypeVar("B")

AHEAD = 4
"""Items drawn ahead, in units of workers."""


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
    """As `map_as_ready`, but results come in the order of the items."""
    early: dict[int, B] = {}
    numbered = map_as_ready(
        lambda pair: (pair[0], function(pair[1])), enumerate(items), workers=workers, stop=stop
    )
    following = 0
    for number, result in numbered:
        early[number] = result
        while following in early:
            yield early.pop(following)
            following += 1


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
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        waiting = deque(pool.submit(function, item) for item in islice(source, AHEAD * workers))
        try:
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(pool.submit(function, item) for item in islice(source, 1))
        except BrokenProcessPool as error:
            raise ToolError(
                f"one of {workers} processes was killed, probably for want of memory; use fewer"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _cancel(futures: Iterable[Future[B]]) -> None:
    for future in futures:
        future.cancel()
