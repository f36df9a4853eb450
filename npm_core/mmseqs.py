"""MMseqs2: iterative profile search in the manner of ColabFold, and its easy workflows.

The database is a set of sequences clustered at 30 % identity. Representatives are searched, hits
are expanded to their clusters' members, and the members are aligned to the query's profile.
"""

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from npm_core import ffindex
from npm_core.errors import DataError, SettingsError
from npm_core.fasta import fasta_text, read_fasta
from npm_core.programs import Finished, Programs, program, require
from npm_core.settings import knob, require_positive

PARTS = ("sequences", "clusters", "representatives", "alignments")
"""Databases of which one search database consists, each a file of this name and others."""

IDENTITY, COVERAGE = 0.3, 0.8
"""Of a cluster, where nothing else is asked for: least identity, and share of both sequences that
an alignment covers, as UniClust30's."""

MAX_MEMORY_GIB = 3.0
"""Of the index, where nothing else is asked for."""


@dataclass(frozen=True)
class MmseqsSettings:
    """One search; all of it but `batch` decides the result.

    What stands in `argvs` as a number is ColabFold's (colabfold/mmseqs/search.py).

    Attributes:
        database: Folder that `build_database` wrote.
        iterations: Searches, each by the profile of the one before.
        e_value: Largest E-value of a hit, and of one that enters the profile.
        max_memory_gib: GiB of the prefilter's index; a larger database is searched in parts.
    """

    database: str
    iterations: int = 3
    e_value: float = 0.001
    sensitivity: float = knob(8.0, "mmseqs2 -s, 1 to 8")
    max_hits: int = knob(10_000, "hits of a query that pass mmseqs2's prefilter")
    max_memory_gib: float = MAX_MEMORY_GIB
    # The database's index is built anew for each call, so a small batch costs time; it does not
    # change the result.
    batch: int = knob(500, "queries of one mmseqs2 call")

    def __post_init__(self) -> None:
        require_positive(self, "iterations", "e_value", "max_hits", "max_memory_gib", "batch")
        if not 1 <= self.sensitivity <= 8:
            raise SettingsError(f"sensitivity is {self.sensitivity}; mmseqs takes 1 to 8")

    def argvs(self, mmseqs: str, folder: Path, threads: int) -> list[list[str]]:
        """The commands that make `folder`/msas, a database of A3M, of `folder`/queries.fasta."""
        parts = {part: str(Path(self.database, part)) for part in PARTS}
        names = ("queries", "hits", "tmp", "expanded", "aligned", "filtered", "msas")
        queries, hits, tmp, expanded, aligned, filtered, msas = (str(folder / n) for n in names)
        # A search of one iteration has no profile.
        last = self.iterations - 2
        profiles = f"{tmp}/latest/profile_{last}" if last >= 0 else queries
        evalue, members = f"{self.e_value:g}", parts["sequences"]
        commands = [
            ["createdb", f"{queries}.fasta", queries, "--dbtype", "1", "--shuffle", "0"],
            [
                *("search", queries, parts["representatives"], hits, tmp, "-a"),
                *("--num-iterations", str(self.iterations), "-e", evalue, "--e-profile", evalue),
                *("-s", f"{self.sensitivity:g}", "--max-seqs", str(self.max_hits)),
                *split_memory(self.max_memory_gib),
            ],
            [
                *("expandaln", queries, members, hits, parts["alignments"]),
                *(expanded, "--expansion-mode", "0", "-e", "inf", "--expand-filter-clusters", "1"),
                *("--max-seq-id", "0.95"),
            ],
            [
                *("align", profiles, members, expanded, aligned, "-e", "10", "-a"),
                *("--max-accept", "1000000", "--alt-ali", "10"),
            ],
            [
                *("filterresult", queries, members, aligned, filtered, "--qid", "0"),
                *("--qsc", "0.8", "--cov", "0", "--diff", "0", "--max-seq-id", "1.0"),
                *("--filter-min-enable", "100"),
            ],
            [
                *("result2msa", queries, members, filtered, msas, "--msa-format-mode", "5"),
                *("--filter-msa", "1", "--filter-min-enable", "1000", "--diff", "3000"),
                *("--qid", "0.0,0.2,0.4,0.6,0.8,1.0", "--qsc", "0", "--max-seq-id", "0.95"),
            ],
        ]
        commands[1:] = [[*words, "--threads", str(threads)] for words in commands[1:]]
        return [[mmseqs, *words, "-v", "1"] for words in commands]


def split_memory(max_memory_gib: float) -> tuple[str, str]:
    """MMseqs2's flag for the memory of a search or a clustering.

    It searches more sequences than that holds in parts, and finds other hits so: each part has its
    own `--max-seqs`. By default the number of parts depends on the machine.
    """
    return "--split-memory-limit", f"{int(max_memory_gib * 1024)}M"


def check_database(folder: Path | str) -> int:
    """Make sure that a search can open a database, and return how many clusters it holds.

    Raises:
        DataError: A part is missing.
    """
    for part in PARTS:
        for path in (Path(folder, part), Path(folder, f"{part}.index")):
            if not path.is_file() or path.stat().st_size == 0:
                raise DataError(
                    f"{path}: missing or empty; expected a database of `python -m npm_core "
                    "build-database --engine mmseqs2`"
                )
    with Path(folder, "clusters.index").open("rb") as stream:
        return sum(1 for _ in stream)


def build_database(
    fasta: Path | str,
    folder: Path | str,
    *,
    threads: int = 1,
    identity: float = IDENTITY,
    coverage: float = COVERAGE,
    max_memory_gib: float = MAX_MEMORY_GIB,
) -> tuple[int, int]:
    """Cluster sequences and write the databases that a search needs (`PARTS`).

    Args:
        fasta: Sequences, gzipped or not.
        folder: Where they go.
        threads: Of MMseqs2.
        identity, coverage, max_memory_gib: As `hhsuite_database.build_database`.

    Returns:
        The numbers of sequences and of clusters.

    Raises:
        DataError: The FASTA file holds no sequence.
        ToolError: A program is missing or failed.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    parallel = ("--threads", str(threads))
    limit = split_memory(max_memory_gib)
    with tempfile.TemporaryDirectory(prefix=".mmseqs.", dir=folder) as name, Programs() as programs:
        work = Path(name)
        (built := work / "built").mkdir()
        sequences, clusters, representatives, alignments = (str(built / part) for part in PARTS)
        count = copy_fasta(fasta, work / "sequences.fasta")
        for words in (
            ("createdb", f"{name}/sequences.fasta", sequences, "--dbtype", "1", "--shuffle", "0"),
            (
                *("cluster", sequences, clusters, f"{name}/tmp", *parallel),
                *("--min-seq-id", str(identity), "-c", str(coverage), *limit),
            ),
            ("createsubdb", clusters, sequences, representatives),
            ("align", sequences, sequences, clusters, alignments, *parallel, "-a", "-e", "inf"),
        ):
            finished = programs.run([program("mmseqs"), *words, "-v", "1"])
            require(finished, f"{folder}: mmseqs {words[0]}")
        for part in PARTS:
            _join(built / part)
        _relink(built)
        # Killed in between it lacks a part, and `check_database` refuses it.
        last = "clusters.index"
        (folder / last).unlink(missing_ok=True)
        # What several threads wrote comes before the whole where MMseqs2 finds both.
        for path in (path for part in PARTS for path in folder.glob(f"{part}.[0-9]*")):
            path.unlink()
        for path in sorted(built.iterdir(), key=lambda path: path.name == last):
            path.rename(folder / path.name)
    return count, check_database(folder)


def copy_fasta(source: Path | str, destination: Path) -> int:
    """Write a FASTA file plainly and return its number of sequences."""
    count = 0
    with destination.open("w", encoding="utf-8") as output:
        for record in read_fasta(source):
            output.write(fasta_text([record]))
            count += 1
    if count == 0:
        raise DataError(f"{source}: no sequences to build a database from")
    return count


def _join(path: Path) -> None:
    """Make one file of what several threads wrote: PATH.0, PATH.1, ..., which the index counts on
    from one to the next."""
    parts = sorted(path.parent.glob(f"{path.name}.[0-9]*"), key=lambda part: int(part.suffix[1:]))
    if not parts:
        return
    with path.open("wb") as whole:
        for part in parts:
            with part.open("rb") as stream:
                shutil.copyfileobj(stream, whole)
            part.unlink()


def _relink(folder: Path) -> None:
    """MMseqs2 links the sequences' headers by absolute path; a folder may be moved."""
    for path in folder.iterdir():
        if path.is_symlink():
            target = path.readlink().name
            path.unlink()
            path.symlink_to(target)


def search(
    sequences: Sequence[str],
    programs: Programs,
    *,
    settings: MmseqsSettings,
    threads: int,
    timeout: float,
    memory_limit_gib: float,
    output: Path,
) -> tuple[Finished, Iterator[tuple[int, str]]]:
    """Search with several sequences in one call.

    Args:
        sequences: Upper case, one to `settings.batch`.
        programs: Runs MMseqs2.
        settings: The search.
        threads: Of MMseqs2. They change the result only where their buffers, which count towards
            `max_memory_gib`, make it search in more parts.
        timeout: Seconds for each of MMseqs2's commands.
        memory_limit_gib: GiB a command may allocate.
        output: Prefix of the FFindex of alignments; MMseqs2 works beside it.

    Returns:
        How it ended, with all its seconds; each alignment as A3M with the number of its sequence,
        read as it is drawn. None where it failed.
    """
    seconds = 0.0
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as name:
        folder = Path(name)
        _write_numbered(folder / "queries.fasta", sequences)
        for argv in settings.argvs(program("mmseqs"), folder, threads):
            finished = programs.run(argv, timeout=timeout, memory_limit_gib=memory_limit_gib)
            seconds += finished.seconds
            if finished.failure:
                return Finished(f"{argv[1]}: {finished.failure}", b"", seconds), iter(())
        # An MMseqs2 database is an FFindex under other names.
        (folder / "msas").rename(ffindex.data_path(output))
        (folder / "msas.index").rename(ffindex.index_path(output))
    return Finished("", b"", seconds), _numbered_a3ms(output)


def _numbered_a3ms(prefix: Path) -> Iterator[tuple[int, str]]:
    for _, text in ffindex.read_entries(prefix):
        if a3m := text.decode("utf-8", "replace"):
            yield int(a3m[1 : a3m.index("\n")]), a3m


def easy_search(
    queries: Iterable[str],
    targets: Iterable[str],
    columns: str,
    *options: object,
    max_memory_gib: float,
    scratch: Path,
) -> Iterator[list[str]]:
    """Hits of some sequences among others, by MMseqs2's easy-search.

    Args:
        queries, targets: Sequences. Their names may be any text, so MMseqs2 sees their numbers.
        columns: What to tell of each hit, e.g. "query,target,bits"; query and target are numbers
            from 0.
        options: MMseqs2's flags, e.g. "-e", 0.001.
        max_memory_gib: GiB of MMseqs2's index; it decides the hits (`split_memory`).
        scratch: Where there is room for its files, which are removed.

    Raises:
        ToolError: mmseqs is missing or failed.
    """
    with tempfile.TemporaryDirectory(prefix=".mmseqs.", dir=scratch) as name:
        paths = [Path(name, file) for file in ("queries.fasta", "targets.fasta", "hits.tsv", "tmp")]
        # MMseqs2 fails on an empty file.
        if _write_numbered(paths[0], queries) and _write_numbered(paths[1], targets):
            limit = split_memory(max_memory_gib)
            _easy("easy-search", *paths, *options, *limit, "--format-output", columns)
            with paths[2].open(encoding="ascii") as stream:
                for line in stream:
                    yield line.rstrip("\n").split("\t")


def easy_cluster(
    sequences: Iterable[str], *options: object, max_memory_gib: float, scratch: Path
) -> Iterator[tuple[int, int]]:
    """Numbers of a cluster's representative and of a member, of each sequence, by easy-cluster.

    Args:
        sequences: At least one.
        options, max_memory_gib, scratch: As `easy_search`.

    Raises:
        ToolError: mmseqs is missing or failed.
    """
    with tempfile.TemporaryDirectory(prefix=".mmseqs.", dir=scratch) as name:
        folder = Path(name)
        _write_numbered(folder / "members.fasta", sequences)
        paths = (folder / "members.fasta", folder / "clusters", folder / "tmp")
        _easy("easy-cluster", *paths, *options, *split_memory(max_memory_gib))
        with (folder / "clusters_cluster.tsv").open(encoding="ascii") as stream:
            for line in stream:
                representative, member = line.split("\t")
                yield int(representative), int(member)


def _easy(command: str, *words: object) -> None:
    with Programs() as programs:
        argv = [program("mmseqs"), command, *map(str, words), "-v", "1"]
        require(programs.run(argv), f"mmseqs {command}")


def _write_numbered(path: Path, sequences: Iterable[str]) -> int:
    """Write sequences as FASTA named 0, 1, 2, ... and return how many there were."""
    count = 0
    with path.open("w", encoding="ascii") as stream:
        for sequence in sequences:
            stream.write(fasta_text([(count, sequence)]))
            count += 1
    return count
