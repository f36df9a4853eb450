"""Waiting for what another thread or process does, with an end."""

import subprocess
import time
from collections.abc import Callable

PATIENCE = 120
"""Seconds, more than anything waited for takes on a busy machine.

What a test stops would sleep for 3600 s, longer than the test may take: it never ends by itself."""


def wait_until(condition: Callable[[], object], process: subprocess.Popen | None = None) -> None:
    """Wait until a condition holds, for as long as a process that is to bring it about lives."""
    deadline = time.monotonic() + PATIENCE
    while True:
        # In this order: what a process did last counts.
        status = process.poll() if process else None
        if condition():
            return
        assert status is None, f"waited in vain: the process ended with exit status {status}"
        assert time.monotonic() < deadline, f"waited in vain for {PATIENCE} s"
        time.sleep(0.02)
