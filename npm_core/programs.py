"""External programs: where they are, and one call of each with limits."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from npm_core.errors import ToolError

PACKAGES = {"mmseqs": ("mmseqs2", "mmseqs2"), "blastdbcmd": ("ncbi-blast+", "blast")}
"""Names of a program's package in Debian and in bioconda; all others come with hhsuite."""

DEBIAN_PROGRAMS = Path("/usr/libexec/hhsuite")
"""Debian keeps one build of each program for each instruction set here."""

INSTRUCTION_SETS = ("avx2", "avx", "sse4.1", "ssse3", "sse3", "plain")

SEGMENTATION_FAULT, ABORTED, KILLED = 139, 134, 137

CAUSES = {
    SEGMENTATION_FAULT: "segmentation fault (a damaged database, or one built for another CPU)",
    ABORTED: "aborted",
    KILLED: "killed from outside (often for want of memory)",
}
"""Exit statuses that name no cause themselves, as a shell reports them: 128 + signal."""

_WITH_LIMIT = (
    "import os, resource, sys;"
    "limit = int(sys.argv[1]);"
    "resource.setrlimit(resource.RLIMIT_DATA, (limit, limit));"
    "os.execv(sys.argv[2], sys.argv[2:])"
)
"""Limits itself, then becomes the program: unlike preexec_fn this is safe beside threads.

RLIMIT_DATA counts what a program allocates. RLIMIT_AS would count the mapped database too, which
for UniClust30 is larger than any sensible limit."""

_WATCH = ("/bin/sh", "-c", "read _; kill -s KILL 0")
"""Leads a program's process group, and kills it when its standard input ends.

Nobody but this process holds the other end: whatever ends it, the program and its children go too.
The kernel's own means (PR_SET_PDEATHSIG) does not reach those children, and takes the end of the
thread that started a program for that of the process."""


def program(name: str) -> str:
    """Path of an external program.

    Raises:
        ToolError: It is not installed; the message says how to get it.
    """
    found = shutil.which(name)
    if found is None:
        # Debian puts cstranslate on no PATH, and its wrapper looks in the wrong folder.
        for instructions in _instruction_sets():
            found = shutil.which(str(DEBIAN_PROGRAMS / f"{name}-{instructions}"))
            if found is not None:
                break
    if found is None:
        debian, conda = PACKAGES.get(name, ("hhsuite", "hhsuite"))
        raise ToolError(
            f"{name}: program not found on PATH. Install it with `make setup`, "
            f"`apt-get install {debian}` or `mamba install -c conda-forge -c bioconda {conda}`"
        )
    return found


def version(name: str, flag: str) -> str:
    """The first line of what a program says to a flag, e.g. "HHblits 3.3.0" to `-h`.

    Raises:
        ToolError: It is missing, fails or says nothing.
    """
    with Programs() as programs:
        said = require(programs.run([program(name), flag]), f"{name} {flag}")
    line = said.decode(errors="replace").split("\n", 1)[0].strip().rstrip(":")
    if not line:
        raise ToolError(f"{name} {flag}: no output, expected a version")
    return line


def _instruction_sets() -> tuple[str, ...]:
    """The builds this CPU can run, best first."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").replace("_", ".").split())
    except OSError:
        flags = set()
    # The kernel calls SSE3 by its older name.
    names = {"sse3": "pni"}
    return tuple(
        choice
        for choice in INSTRUCTION_SETS
        if choice == "plain" or names.get(choice, choice) in flags
    )


@dataclass(frozen=True)
class Finished:
    """How one call of a program ended.

    Attributes:
        failure: Empty when the exit status was 0; else the cause, on one line.
        output: Standard output.
        seconds: Wall time.
    """

    failure: str
    output: bytes
    seconds: float


class Programs:
    """Runs programs that never outlive it, nor this process, each in a process group of its own.

    Use it as a context manager: leaving the block kills what still runs. Threads may share one.
    """

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._closed = False

    def __enter__(self) -> "Programs":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Kill what runs and start nothing more."""
        with self._lock:
            self._closed = True
            for watch in self._running:
                _kill_group(watch)

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout: float | None = None,
        memory_limit_gib: float | None = None,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Finished:
        """Run one program to its end.

        Args:
            argv: Path of the program and its arguments; no shell sees them.
            stdin: What the program reads.
            timeout: Seconds; its whole process group is killed after them.
            memory_limit_gib: GiB the program may allocate; a mapped database does not count.
            cwd: Folder it runs in.
            env: Variables beside our own; OMP_NUM_THREADS is 1 where neither sets it.

        Raises:
            ToolError: The block this object belongs to has been left.
        """
        if memory_limit_gib is not None:
            limit = str(int(memory_limit_gib * 2**30))
            argv = [sys.executable, "-I", "-S", "-c", _WITH_LIMIT, limit, *argv]
        started = time.monotonic()
        late = threading.Event()
        with _group() as watch:
            with self._lock:
                if self._closed:
                    raise ToolError("the run has been stopped")
                process = subprocess.Popen(
                    argv,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    process_group=watch.pid,
                    cwd=cwd,
                    env={"OMP_NUM_THREADS": "1", **os.environ, **(env or {})},
                )
                self._running.add(watch)

            def stop() -> None:
                late.set()
                _kill_group(watch)

            # A timer leaves communicate() blocking: with its own timeout it would poll.
            timer = threading.Timer(timeout, stop) if timeout is not None else None
            if timer:
                timer.start()
            try:
                output, errors = process.communicate(stdin)
            except BaseException:
                # Stopped by a signal: what runs here is no longer there when the block ends.
                _kill_group(watch)
                process.wait()
                raise
            finally:
                if timer:
                    timer.cancel()
                with self._lock:
                    self._running.discard(watch)
        seconds = time.monotonic() - started
        if late.is_set():
            return Finished(f"no end after {timeout:g} s", b"", seconds)
        return Finished(_failure(process.returncode, errors, memory_limit_gib), output, seconds)


@contextmanager
def _group() -> Iterator[subprocess.Popen[bytes]]:
    """The watch of a process group; leaving the block kills what is left of the group."""
    with subprocess.Popen(_WATCH, stdin=subprocess.PIPE, process_group=0) as watch:
        try:
            yield watch
        finally:
            _kill_group(watch)


def _kill_group(watch: subprocess.Popen[bytes]) -> None:
    # Reaped already: its number may belong to somebody else by now.
    if watch.returncode is None:
        try:
            os.killpg(watch.pid, signal.SIGKILL)
        except ProcessLookupError:
            return


def _failure(status: int, errors: bytes, memory_limit_gib: float | None) -> str:
    """What went wrong in words, with the last line the program wrote; empty for status 0."""
    if status == 0:
        return ""
    if status < 0:
        status = 128 - status
    lines = errors.decode(errors="replace").split("\n")
    tail = " ".join(" ".join(line.split()) for line in lines if line.strip())[-300:]
    cause = CAUSES.get(status, "failed")
    if b"bad_alloc" in errors or b"could not allocate" in errors:
        limit = "" if memory_limit_gib is None else f" (limit {memory_limit_gib:g} GiB)"
        cause = f"out of memory{limit}"
    return f"{cause}, exit status {status}" + (f": {tail}" if tail else "")


def require(finished: Finished, what: str) -> bytes:
    """The output of a call that must succeed.

    Raises:
        ToolError: It failed.
    """
    if finished.failure:
        raise ToolError(f"{what}: {finished.failure}")
    return finished.output
