"""Work handed to threads or processes a little ahead of its use, so that memory stays small.

Threads are for work that waits for other programs or releases the GIL, processes for the rest.
"""

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext, suppress
from itertools import islice
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from typing import NoReturn, TypeVar

from npm_core.errors import ToolError

A = TypeVar("A")
B = TypeVar("B")

AHEAD = 4
"""Items drawn ahead, in units of workers."""

HELD = 16
"""Results held while an earlier item is unfinished, those being computed included; likewise."""


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
    # What cleans up is not stopped in turn: a pool that ends sends SIGTERM to its processes, which
    # may have had it already.
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
        waiting: set[Future[B]] = set()
        try:
            while True:
                for item in islice(source, AHEAD * workers - len(waiting)):
                    waiting.add(pool.submit(function, item))
                if not waiting:
                    return
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
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
    held: int = HELD,
) -> Generator[B, None, None]:
    """As `map_as_ready`, but results come in the order of the items.

    Behind a slow item the work goes on, until `held` results of each worker wait for it.
    """
    source = iter(items)
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[B]] = deque()
        try:
            while True:
                under_way = sum(not future.done() for future in waiting)
                room = min(AHEAD * workers - under_way, held * workers - len(waiting))
                waiting.extend(pool.submit(function, item) for item in islice(source, max(0, room)))
                if not waiting:
                    return
                # Before the first is asked for: if that ends in between, it is among these.
                running = [future for future in waiting if not future.done()]
                if waiting[0].done():
                    yield waiting.popleft().result()
                else:
                    wait(running, return_when=FIRST_COMPLETED)
        except BaseException:
            stop()
            _cancel(waiting)
            raise


def map_in_processes(
    function: Callable[[A], B],
    items: Iterable[A],
    *,
    workers: int,
    within: Callable[[A], AbstractContextManager[object]] = nullcontext,
) -> Iterator[B]:
    """Results of `function` on each item, in the order of the items, from a pool of processes.

    Args:
        function: Picklable, as are items and results.
        items: Drawn a little ahead.
        workers: Processes; with 1 the work is done in this one.
        within: The context in which an item is worked on, as one that waits for memory.

    Raises:
        ToolError: A process was killed, usually for want of memory.
    """
    if workers == 1:
        for item in items:
            with within(item):
                alone = function(item)
            yield alone
        return
    context = multiprocessing.get_context("spawn")
    processes: list[BaseProcess] = []
    # A pipe for each: a process that is killed could leave a shared one locked or half-written.
    idle: SimpleQueue[Connection] = SimpleQueue()

    def call(item: A) -> B:
        with within(item):
            pipe = idle.get()
            try:
                pipe.send(item)
                result, error = pipe.recv()
            except (EOFError, OSError) as gone:
                raise ToolError(
                    f"one of {workers} processes was killed, probably for want of memory; use fewer"
                ) from gone
            finally:
                idle.put(pipe)
        if error is not None:
            raise error
        return result

    def stop() -> None:
        for process in processes:
            process.terminate()

    try:
        for _ in range(workers):
            ours, theirs = context.Pipe()
            process: BaseProcess = context.Process(
                target=_serve, args=(function, theirs), daemon=True
            )
            process.start()
            processes.append(process)
            theirs.close()
            idle.put(ours)
        # A result is as large as an item: no more of them are held than of these.
        yield from map_in_order(call, items, workers=workers, stop=stop, held=AHEAD)
    finally:
        stop()
        for process in processes:
            process.join()


def _serve(function: Callable[[A], B], pipe: Connection) -> None:
    """In a process of a pool: answer each item with its result or the error."""
    # Ctrl-C reaches the whole group; the pool's own process has it, too, and stops this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    exit_on_signals()
    threading.Thread(target=_stop_when_orphaned, daemon=True).start()
    with suppress(EOFError, BrokenPipeError):  # the pool's own process is no more
        while True:
            item = pipe.recv()
            try:
                answer: tuple[B | None, Exception | None] = function(item), None
            except Exception as error:
                error.add_note(traceback.format_exc())
                answer = None, error
            try:
                pipe.send(answer)
            except (pickle.PicklingError, AttributeError, TypeError) as reason:
                pipe.send((None, TypeError(f"{answer[1] or 'the result'}: {reason}")))


def _stop_when_orphaned() -> None:
    # By itself a process would wait for ever for what the pool gives it to do.
    if parent := multiprocessing.parent_process():
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _cancel(futures: Iterable[Future[B]]) -> None:
    for future in futures:
        future.cancel()
