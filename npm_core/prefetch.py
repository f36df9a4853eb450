"""Batches of coming steps, made ahead of time."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Prefetch(Generic[T]):
    """Make the batches of coming steps in a thread while the model works on this one.

    Attributes:
        waited: Seconds spent waiting for data so far.
    """

    def __init__(self, make: Callable[[int], T], steps: range, *, ahead: int = 3) -> None:
        self.waited = 0.0
        self._steps = steps
        self._ready: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(ahead)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, args=(make,), daemon=True)
        self._thread.start()

    def _work(self, make: Callable[[int], T]) -> None:
        for step in self._steps:
            try:
                made: tuple[T | None, BaseException | None] = (make(step), None)
            except BaseException as error:  # handed to the consumer, who raises it
                made = (None, error)
            while not self._stop.is_set():
                try:
                    self._ready.put(made, timeout=0.1)
                    break
                except queue.Full:
                    continue
            if self._stop.is_set() or made[1] is not None:
                return

    def __iter__(self) -> Iterator[tuple[int, T]]:
        try:
            for step in self._steps:
                started = time.monotonic()
                batch, error = self._ready.get()
                self.waited += time.monotonic() - started
                if error is not None:
                    raise error
                yield step, batch  # type: ignore[misc]
        finally:
            self.close()

    def close(self) -> None:
        """End the thread; batches made ahead are dropped."""
        self._stop.set()
        self._thread.join()
