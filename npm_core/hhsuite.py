"""HH-suite's searches, filter and alignment: their settings, calls and results."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from npm_core import ffindex
from npm_core.arrays import Indices
from npm_core.errors import DataError, SettingsError, ToolError
from npm_core.fasta import count_records
from npm_core.programs import Finished, Programs, program, require
from npm_core.settings import knob

PARTS = ("a3m", "cs219")
"""What hhblits needs of a database; the hhm part is optional."""


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


def check_database(prefix: Path | str) -> int:
    """Make sure that hhblits can open a database, and return how many clusters it holds.

    The hhm part may be absent, or hold the large clusters only as UniClust30's does; an empty one
    makes hhblits crash at its end.

    Raises:
        DataError: A part is missing or empty, or clusters have a profile and no alignment.
    """
    parts = list(PARTS)
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
        max_memory_gib: GiB for realignment. Hits longer than (this - 0.5) / 24 bytes / query
            length / cpu columns are not realigned (src/hhblits.cpp of HH-suite 3.3.0).
    """

    database: str
    iterations: int = 3
    e_value: float = 0.001
    cpu: int = knob(1, "threads of one hhblits; it changes what is found")
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
        coverage: Smallest coverage of the query, per cent. Figure 7 sweeps 20 to 80.
    """

    identity: int = knob(90, "hhfilter -id: largest identity of two rows, per cent")
    coverage: int = 0
    diff: int = knob(
        0,
        "hhfilter -diff: keep at least this many of the most diverse rows in each block of 50 "
        "columns; 0 keeps all",
    )

    def __post_init__(self) -> None:
        if not (0 <= self.identity <= 100 and 0 <= self.coverage <= 100 and self.diff >= 0):
            raise SettingsError(f"hhfilter takes per cents and a count, not {self}")


def maxseq(rows: int) -> tuple[str, str]:
    """What makes a program read alignments of so many rows: it stops at 65,535 unless told."""
    return "-maxseq", str(max(65_535, rows + 1))


def hhfilter(programs: Programs, a3m: bytes, settings: FilterSettings) -> Finished:
    """Run HHfilter on one alignment; the output is an A3M.

    HHfilter reads 65,535 rows and 20,001 columns unless told otherwise, and ends with status 0
    all the same: both limits are raised to what the alignment has.
    """
    longest = max(map(len, a3m.split(b"\n")))
    argv = [
        *(program("hhfilter"), "-i", "stdin", "-o", "stdout", "-v", "1"),
        *("-id", str(settings.identity), "-cov", str(settings.coverage)),
        *("-diff", str(settings.diff)),
        *maxseq(count_records(a3m)),
        *("-maxres", str(max(20_001, longest + 2))),
    ]
    return programs.run(argv, stdin=a3m)


def hhsearch(
    programs: Programs, query: Path, database: Path, *, size: int, rows: int
) -> dict[str, tuple[float, float]]:
    """Probability (per cent) and score of each database entry that HHsearch lists for a sequence.

    Args:
        programs: Runs it.
        query: FASTA file of one sequence.
        database: Prefix of the database.
        size: Entries in it, so that all are listed.
        rows: Of its longest alignment.
    """
    report = query.with_suffix(".hhr")
    finished = programs.run(
        [
            *(program("hhsearch"), "-i", str(query), "-d", str(database), "-o", str(report)),
            *("-p", "0", "-Z", str(size), "-z", str(size), "-B", "1", "-b", "1", "-alt", "1"),
            *("-norealign", "-cpu", "1", "-v", "0", "-M", "a2m", *maxseq(rows)),
        ]
    )
    require(finished, f"hhsearch of {query}")
    return parse_hit_list(report.read_text(encoding="utf-8"))


def parse_hit_list(report: str) -> dict[str, tuple[float, float]]:
    """Probability (per cent) and score of the hits in the table of an .hhr report, by name.

    Of several hits of one name the most probable counts, of equally probable ones that of the
    higher score.

    Raises:
        ToolError: The report has no such table.
    """
    lines = iter(report.splitlines())
    if not any(line.startswith(" No Hit") for line in lines):
        raise ToolError("the report of hhsearch has no list of hits")
    hits: dict[str, tuple[float, float]] = {}
    for line in lines:
        if not line.strip():
            break
        _, name, probability, _, _, score, *_ = line.split()
        hit = float(probability), float(score)
        hits[name] = max(hit, hits.get(name, hit))
    return hits


def hhalign(programs: Programs, query: Path, template: Path) -> tuple[Indices, Indices]:
    """Positions of a sequence and columns of an a3m that HHalign puts side by side, 0-based."""
    table = query.with_suffix(".atab")
    finished = programs.run(
        [
            *(program("hhalign"), "-i", str(query), "-t", str(template), "-o", "/dev/null"),
            *("-atab", str(table), "-alt", "1", "-v", "0", "-M", "a2m"),
            *maxseq(count_records(template.read_bytes())),
        ]
    )
    require(finished, f"hhalign of {query} to {template}")
    return parse_alignment(table.read_text(encoding="utf-8"))


def parse_alignment(table: str) -> tuple[Indices, Indices]:
    """Positions and columns, 0-based, of the first alignment of an -atab table; may be none."""
    pairs: list[tuple[int, int]] = []
    alignments = 0
    for line in table.splitlines():
        alignments += line.startswith(">")
        fields = line.split()
        if alignments == 1 and len(fields) >= 2 and fields[0].isdigit() and fields[1].isdigit():
            pairs.append((int(fields[0]) - 1, int(fields[1]) - 1))
    both = np.array(pairs, dtype=np.int32).reshape(-1, 2)
    return both[:, 0], both[:, 1]
