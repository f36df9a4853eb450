"""Progress with an ETA: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")

SECONDS_BETWEEN_LINES = 10.0


def note(message: str) -> None:
    """One line about what is going on, to standard error."""
    print(message, file=sys.stderr, flush=True)


def track(items: Iterable[T], *, total: int, what: str) -> Iterator[T]:
    """Yield `items` while showing how many of `total` are done and how long the rest will take.

    Args:
        items: What to work through.
        total: How many items there will be.
        what: Plural noun for the reader, e.g. "families fitted".
    """
    if sys.stderr.isatty():
        with _bar(MofNCompleteColumn()) as progress:
            yield from progress.track(items, total=total, description=what)
        return
    started = last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES or done == total:
            last = now
            remaining = (now - started) / done * max(total - done, 0)
            note(f"{what}: {done}/{total}, {now - started:.0f} s, eta {remaining:.0f} s")


Tell = Callable[[float, str], None]
"""Tells how much of a piece of work is done, from 0 to 1, and where it stands."""


@contextmanager
def follow(what: str) -> Iterator[Tell]:
    """Show one piece of work by what it tells of itself; within the context it tells it.

    Args:
        what: It is, e.g. "fit".
    """
    if sys.stderr.isatty():
        with _bar(TaskProgressColumn()) as progress:
            task = progress.add_task(what, total=1.0)
            yield lambda share, state: progress.update(
                task, completed=share, description=f"{what}: {state}"
            )
        return
    started = last = time.monotonic()

    def tell(share: float, state: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            eta = f"{(now - started) * (1 - share) / share:.0f} s" if share > 0 else "unknown"
            note(f"{what}: {state}, {now - started:.0f} s, eta {eta}")

    yield tell


def _bar(done: ProgressColumn) -> Progress:
    """A bar on standard error, with a column of what is done."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        done,
        TimeElapsedColumn(),
        TextColumn("eta"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
