"""How much memory the machine has left, and how much a step took."""

import heapq
import resource
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath

from npm_core.errors import SettingsError

MIB = 1 << 20

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


def require_at_once(needed: Iterable[int], *, workers: int, cure: str) -> int:
    """Bytes that the largest fits take when they meet.

    Args:
        needed: Bytes of each fit.
        workers: Fits at a time.
        cure: What to do where there are not so many.

    Raises:
        SettingsError: More is needed than is available.
    """
    at_once = sum(heapq.nlargest(workers, needed))
    require(at_once, f"fitting {workers} families at once", cure)
    return at_once


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
