"""HH-suite and MMseqs2 as programs: where they are, and one call of each with limits."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from npm_core import ffindex
from npm_core.errors import DataError, SettingsError, ToolError
from npm_core.files import open_text
from npm_core.msa import fasta_records

PACKAGES = {"mmseqs": ("mmseqs2", "mmseqs2"), "blastdbcmd": ("ncbi-blast+", "blast")}
"""Names of a program's package in Debian and in bioconda; all others come with hhsuite."""

DEBIAN_PROGRAMS = Path("/usr/libexec/hhsuite")
"""Debian keeps one build of each program for each instruction set here."""

INSTRUCTION_SETS = ("avx2", "avx", "sse4.1", "ssse3", "sse3", "plain")

DATABASE_PARTS = ("a3m", "cs219")
"""What hhblits needs of a database; the hhm part is optional."""

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


def version(name: str) -> str:
    """What a program of HH-suite calls itself, e.g. "HHblits 3.3.0"."""
    shown = subprocess.run([program(name), "-h"], capture_output=True, text=True, check=False)
    return shown.stdout.split("\n", 1)[0].strip().rstrip(":") or name


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


def data_file(name: str) -> Path:
    """Path of one of HH-suite's own data files, e.g. cs219.lib.

    Raises:
        ToolError: It is in none of the usual places.
    """
    roots = [
        os.environ[variable] for variable in ("HHLIB", "CONDA_PREFIX") if variable in os.environ
    ]
    # Its programs may be linked from a conda environment that is not active.
    hhblits = shutil.which("hhblits")
    roots += [str(Path(hhblits).resolve().parent.parent)] if hhblits else []
    folders = [Path(root) / "data" for root in roots] + [Path("/usr/share/hhsuite/data")]
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise ToolError(
        f"{name}: HH-suite's data file is in none of {', '.join(map(str, folders))}. "
        "Set HHLIB to the folder that holds HH-suite's data/"
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
    """Runs programs that never outlive it, each in a process group of its own.

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
            for process in self._running:
                _kill_group(process)

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout: float | None = None,
        memory_limit_gib: float | None = None,
    ) -> Finished:
        """Run one program to its end.

        Args:
            argv: Path of the program and its arguments; no shell sees them.
            stdin: What the program reads.
            timeout: Seconds; its whole process group is killed after them.
            memory_limit_gib: GiB the program may allocate; a mapped database does not count.

        Raises:
            ToolError: The block this object belongs to has been left.
        """
        if memory_limit_gib is not None:
            limit = str(int(memory_limit_gib * 2**30))
            argv = [sys.executable, "-I", "-S", "-c", _WITH_LIMIT, limit, *argv]
        started = time.monotonic()
        with self._lock:
            if self._closed:
                raise ToolError("the run has been stopped")
            process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                process_group=0,
                env={**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")},
            )
            self._running.add(process)
        late = threading.Event()

        def stop() -> None:
            late.set()
            _kill_group(process)

        # A timer leaves communicate() blocking: with its own timeout it would poll.
        timer = threading.Timer(timeout, stop) if timeout is not None else None
        if timer:
            timer.start()
        try:
            output, errors = process.communicate(stdin)
        finally:
            if timer:
                timer.cancel()
            with self._lock:
                self._running.discard(process)
        seconds = time.monotonic() - started
        if late.is_set():
            return Finished(f"no end after {timeout:g} s", b"", seconds)
        return Finished(_failure(process.returncode, errors, memory_limit_gib), output, seconds)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    # Reaped already: its number may belong to somebody else by now.
    if process.returncode is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
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


def check_database(prefix: Path | str) -> int:
    """Make sure that hhblits can open a database, and return how many clusters it holds.

    The hhm part may be absent, or hold the large clusters only as UniClust30's does; an empty one
    makes hhblits crash at its end.

    Raises:
        DataError: A part is missing or empty, or clusters have a profile and no alignment.
    """
    parts = list(DATABASE_PARTS)
    if ffindex.data_path(f"{prefix}_hhm").exists():
        parts.append("hhm")
    counts = {}
    for part in parts:
        name = f"{prefix}_{part}"
        for path in (ffindex.data_path(name), ffindex.index_path(name)):
            if not path.is_file() or path.stat().st_size == 0:
                raise DataError(
                    f"{path}: missing or empty. --database is a prefix: hhblits needs "
                    f"{prefix}_a3m and {prefix}_cs219, each as .ffdata and .ffindex"
                )
        with ffindex.index_path(name).open("rb") as stream:
            counts[part] = sum(1 for _ in stream)
    if counts["cs219"] > counts["a3m"]:
        raise DataError(
            f"{prefix}: {counts['cs219']} profiles (cs219) for {counts['a3m']} alignments (a3m); "
            "build or unpack the database again"
        )
    return counts["cs219"]


@dataclass(frozen=True)
class HhblitsSettings:
    """One HHblits search; all of it decides the result, cpu and max_memory_gib included.

    Attributes:
        database: Prefix of the database.
        iterations: Paper, C.4: 3. The program takes 1 to 8.
        e_value: Inclusion threshold. Paper, C.4: 0.001.
        cpu: Threads of one process.
        max_memory_gib: GiB for realignment. Hits longer than (this - 0.5) / 24 bytes / query
            length / cpu columns are not realigned (src/hhblits.cpp of HH-suite 3.3.0).
    """

    database: str
    iterations: int = 3
    e_value: float = 0.001
    cpu: int = 1
    max_memory_gib: float = 3.0

    def __post_init__(self) -> None:
        if not 1 <= self.iterations <= 8:
            raise SettingsError(f"iterations are {self.iterations}; hhblits takes 1 to 8")
        if self.cpu < 1 or self.max_memory_gib < 1:
            raise SettingsError(
                f"cpu is {self.cpu} and max_memory_gib {self.max_memory_gib}; hhblits takes no "
                "less than 1 of either"
            )

    def argv(self, hhblits: str, query: Path, a3m: Path) -> list[str]:
        """The command line of one query."""
        return [
            *(hhblits, "-i", str(query), "-oa3m", str(a3m), "-o", os.devnull),
            *("-d", self.database, "-n", str(self.iterations), "-e", f"{self.e_value:g}"),
            *("-cpu", str(self.cpu), "-maxmem", f"{self.max_memory_gib:g}", "-v", "1"),
        ]


@dataclass(frozen=True)
class FilterSettings:
    """HHfilter's settings; its defaults are the paper's (C.3: "with all default settings").

    Attributes:
        identity: Largest pairwise identity, per cent.
        coverage: Smallest coverage of the query, per cent. Figure 7 sweeps 20 to 80.
        difference: Keep at least this many of the most diverse rows in each block of 50 columns;
            0 keeps all.
    """

    identity: int = 90
    coverage: int = 0
    difference: int = 0

    def __post_init__(self) -> None:
        if not (0 <= self.identity <= 100 and 0 <= self.coverage <= 100 and self.difference >= 0):
            raise SettingsError(f"hhfilter takes per cents and a count, not {self}")


def hhfilter(programs: Programs, a3m: bytes, settings: FilterSettings) -> Finished:
    """Run HHfilter on one alignment; the output is an A3M.

    HHfilter reads 65,535 rows and 20,001 columns unless told otherwise, and ends with status 0
    all the same: both limits are raised to what the alignment has.
    """
    rows = a3m.count(b">")
    longest = max(map(len, a3m.split(b"\n")))
    argv = [
        *(program("hhfilter"), "-i", "stdin", "-o", "stdout", "-v", "1"),
        *("-id", str(settings.identity), "-cov", str(settings.coverage)),
        *("-diff", str(settings.difference)),
        *("-maxseq", str(max(65_535, rows + 1)), "-maxres", str(max(20_001, longest + 2))),
    ]
    return programs.run(argv, stdin=a3m)


def build_database(
    fasta: Path | str,
    prefix: Path | str,
    *,
    threads: int = 1,
    identity: float = 0.3,
    coverage: float = 0.8,
) -> tuple[int, int]:
    """Cluster sequences and write an HH-suite database of the clusters, as UniClust30 is made.

    The same sequences give the same bytes, whatever `threads` is: entries are written by
    decreasing length of their cs219 sequence, then by name.

    Args:
        fasta: Sequences, gzipped or not.
        prefix: Where PREFIX_a3m and PREFIX_cs219 go, each as .ffdata and .ffindex.
        threads: For MMseqs2 and cstranslate.
        identity: Smallest sequence identity within a cluster (UniClust30: 0.3).
        coverage: Smallest share of both sequences that an alignment covers (UniClust: 0.8).

    Returns:
        The numbers of sequences and of clusters.

    Raises:
        DataError: The FASTA file holds no sequence.
        ToolError: A program is missing or failed.
    """
    prefix = Path(prefix)
    prefix.parent.mkdir(parents=True, exist_ok=True)
    mmseqs, cstranslate = program("mmseqs"), program("cstranslate")
    data_files = [str(data_file("cs219.lib")), str(data_file("context_data.lib"))]
    with tempfile.TemporaryDirectory(prefix=f".{prefix.name}.", dir=prefix.parent) as folder:
        work = Path(folder)
        sequences = copy_fasta(fasta, work / "sequences.fasta")

        def run(*argv: str) -> None:
            environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
            done = subprocess.run(argv, cwd=work, capture_output=True, env=environment, check=False)
            require(
                Finished(_failure(done.returncode, done.stderr + done.stdout, None), b"", 0.0),
                f"{Path(argv[0]).name} {argv[1]}",
            )

        run(mmseqs, "createdb", "sequences.fasta", "sequences", "--dbtype", "1", "-v", "1")
        run(
            *(mmseqs, "cluster", "sequences", "clusters", "tmp", "-v", "1"),
            *("--min-seq-id", str(identity), "-c", str(coverage), "--threads", str(threads)),
        )
        run(
            *(mmseqs, "result2msa", "sequences", "sequences", "clusters", "raw_a3m", "-v", "1"),
            *("--msa-format-mode", "5", "--threads", str(threads)),
        )
        # An MMseqs2 database is an ffindex under other names, with its index in another order.
        (work / "raw_a3m").rename(work / "raw_a3m.ffdata")
        (work / "raw_a3m.index").rename(work / "raw_a3m.ffindex")
        clusters = dict(ffindex.read_entries(work / "raw_a3m"))
        ffindex.write_entries(work / "in_a3m", clusters.items())
        run(
            *(cstranslate, "-i", "in_a3m", "-o", "out_cs219", "-A", data_files[0]),
            *("-D", data_files[1], "-x", "0.3", "-c", "4", "-f", "-I", "a3m", "-b"),
        )
        translated = dict(ffindex.read_entries(work / "out_cs219"))
    if translated.keys() != clusters.keys():
        lost = sorted(clusters.keys() ^ translated.keys())
        raise ToolError(f"{prefix}: cstranslate lost {len(lost)} entries, first {lost[0]}")
    order = sorted(translated, key=lambda key: (-len(translated[key]), key))
    for part, texts in (("a3m", clusters), ("cs219", translated)):
        ffindex.write_entries(f"{prefix}_{part}", ((key, texts[key]) for key in order))
    return sequences, len(clusters)


def copy_fasta(source: Path | str, destination: Path) -> int:
    """Write a FASTA file plainly and return its number of sequences."""
    count = 0
    with open_text(source) as stream, destination.open("w", encoding="utf-8") as output:
        for header, sequence in fasta_records(stream, str(source)):
            output.write(f">{header}\n{sequence}\n")
            count += 1
    if count == 0:
        raise DataError(f"{source}: no sequences to build a database from")
    return count
