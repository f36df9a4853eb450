"""Work handed to threads a little ahead of its use, so that memory stays small.

For work that waits for other programs or releases the GIL.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TypeVar

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


def _cancel(futures: Iterable[Future[B]]) -> None:
    for future in futures:
        future.cancel()
