"""How much memory the machine has left, and how much a step took."""

import heapq
import resource
from collections.abc import Iterable
from pathlib import Path

from npm_core.errors import SettingsError

MIB = 1 << 20


def available_bytes() -> int | None:
    """Bytes this process may still take: what the machine and its control group leave free.

    None where neither can be read (outside Linux).
    """
    limits = []
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                limits.append(int(line.split()[1]) * 1024)
        group = Path("/sys/fs/cgroup")
        most, used = (group / "memory.max").read_text(), (group / "memory.current").read_text()
        if most.strip() != "max":
            limits.append(max(int(most) - int(used), 0))
    except OSError:
        pass
    return min(limits, default=None)


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
