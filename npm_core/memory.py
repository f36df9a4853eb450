"""How much memory the machine has left, and how much a step took."""

import math
import resource
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePath
from threading import Condition

from npm_core.errors import SettingsError

MIB = 1 << 20

PROCESS_BYTES = 200 * MIB
"""Of a process that fits, beside the fit: Python, its libraries and the compiled kernels."""

_UNIFIED = ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file")
_SEPARATE = (
    "/sys/fs/cgroup/memory",
    "memory.limit_in_bytes",
    "memory.usage_in_bytes",
    "total_inactive_file",
)
"""Control groups of version 2 and 1: their folder, the files of limit and use, files in memory."""


def available_bytes() -> int | None:
    """Bytes this process may still take: what the machine and its control groups leave free.

    Files that the system only keeps in memory until it is wanted count as free. None where nothing
    can be read (outside Linux).
    """
    limits = []
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                limits.append(int(line.split()[1]) * 1024)
    except OSError:
        pass
    return min((*limits, *_left_by_groups()), default=None)


def _left_by_groups() -> Iterator[int]:
    """What the memory limits of the process's control group and of those around it leave free.

    Slurm limits a job's memory by a group within a group; in a container its own is the topmost.
    """
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, kinds, place = line.split(":", 2)
        if kinds == "":
            top, limit, used, cached = _UNIFIED
        elif "memory" in kinds.split(","):
            top, limit, used, cached = _SEPARATE
        else:
            continue
        inner = PurePath(place.lstrip("/"))
        for group in (inner, *inner.parents):
            try:
                most = Path(top, group, limit).read_text().strip()
                current = int(Path(top, group, used).read_text())
                counts = dict(
                    map(str.split, Path(top, group, "memory.stat").read_text().splitlines())
                )
            except OSError:
                continue
            if most != "max":
                yield max(int(most) - current + int(counts.get(cached, 0)), 0)


def require(needed: int, what: str, cure: str) -> None:
    """Refuse a step that cannot fit.

    Raises:
        SettingsError: More is needed than is available.
    """
    available = available_bytes()
    if available is not None and needed > available:
        raise SettingsError(
            f"{what} needs {needed / MIB:,.0f} MiB of memory, "
            f"{available / MIB:,.0f} MiB are available; {cure}"
        )


class Room:
    """Memory that processes share: work that does not fit beside what is under way waits."""

    def __init__(self, size: float) -> None:
        self.size = size
        self._under_way: list[int] = []
        self._changed = Condition()

    @contextmanager
    def held(self, needed: int) -> Iterator[None]:
        """Hold so many bytes, once they are free; what is larger than the room is held alone."""
        with self._changed:
            self._changed.wait_for(
                lambda: not self._under_way or sum(self._under_way) + needed <= self.size
            )
            self._under_way.append(needed)
        try:
            yield
        finally:
            with self._changed:
                self._under_way.remove(needed)
                self._changed.notify_all()


def shared_room(needed: Mapping[str, int], *, workers: int, standing: int = 0, cure: str) -> Room:
    """The room for fits in processes: what the machine has left less what these hold themselves.

    Args:
        needed: Bytes of each fit, by a name for its error.
        workers: Processes.
        standing: Bytes that each holds all the time, beside PROCESS_BYTES.
        cure: What to do where there is too little for the largest.

    Raises:
        SettingsError: The largest does not fit, even by itself.
    """
    others = workers * (PROCESS_BYTES + standing)
    if needed:
        name = max(needed, key=needed.__getitem__)
        beside = f" beside {others / MIB:,.0f} MiB of {workers} processes"
        require(needed[name] + others, f"fitting {name}{beside}", cure)
    available = available_bytes()
    return Room(math.inf if available is None else available - others)


def reset_peak() -> None:
    """Start measuring `peak_mib` anew, where the system can."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_mib() -> float:
    """Largest resident memory of this process since `reset_peak`, or since it started, in MiB."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
