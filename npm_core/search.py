"""One shard of the search: an alignment and a ledger row for each of its queries."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from io import StringIO
from itertools import islice
from pathlib import Path

from filelock import FileLock, Timeout

from npm_core import alphabet, ffindex, hhsuite, mmseqs
from npm_core.errors import DataError, SettingsError, ToolError
from npm_core.hhsuite import HhblitsSettings
from npm_core.ledger import Row, check_failed_share, summary, write_ledger
from npm_core.mmseqs import MmseqsSettings
from npm_core.msa import fasta_records, fasta_text
from npm_core.parallel import map_as_ready
from npm_core.programs import Finished, Programs, program, version
from npm_core.progress import note, track
from npm_core.queries import Query, read_queries

LONGEST = 20_000
"""Residues HH-suite reads of one sequence (its -maxres is 20,001)."""

ANNOTATIONS = ("ss_", "sa_", "aa_", "Consensus", "_consensus", "cons_")
"""Rows whose names begin so are HH-suite's annotations, not sequences."""

NONSTANDARD = frozenset("BJOUXZ")
"""Letters of a query that an engine may write otherwise."""

_QUERY = "query"
"""The query's name for hhblits: HH-suite reads meaning into names, and ids are anything."""


@dataclass(frozen=True)
class Limits:
    """What one query may cost.

    Attributes:
        timeout: Seconds of wall time.
        memory_gib: GiB a process may allocate for each started thousand of the query's residues;
            the mapped database does not count.
        max_length: Longer queries are skipped.
    """

    timeout: float = 600.0
    memory_gib: float = 8.0
    max_length: int = LONGEST

    def __post_init__(self) -> None:
        if not 1 <= self.max_length <= LONGEST:
            raise SettingsError(
                f"max_length is {self.max_length}; HH-suite reads 1 to {LONGEST} residues"
            )
        if self.timeout <= 0 or self.memory_gib <= 0:
            raise SettingsError(f"limits must be positive, found {self}")


@dataclass(frozen=True)
class Found:
    """A ledger row and its alignment, which is empty when the row says so."""

    row: Row
    a3m: str = ""


Engine = Callable[[Sequence[Query], Programs], list[Found]]
"""Searches with some queries; what it returns may be in another order."""


def _memory_gib(queries: Sequence[Query], limits: Limits) -> float:
    """What a process may allocate: the class of its longest query."""
    return limits.memory_gib * max(-(-len(query.sequence) // 1000) for query in queries)


def skip_reason(query: Query, *, max_length: int) -> str:
    """Why a query cannot be searched with, or nothing."""
    if (alphabet.encode(query.sequence) == alphabet.GAP).all():
        return f"no amino acids, only {', '.join(sorted(set(query.sequence)))}"
    if len(query.sequence) > max_length:
        return f"{len(query.sequence)} residues, longer than {max_length}"
    return ""


def search_one(
    query: Query, programs: Programs, *, settings: HhblitsSettings, limits: Limits
) -> Found:
    """Search with one query by HHblits (paper, C.4) and check what comes back."""
    reason = skip_reason(query, max_length=limits.max_length)
    if reason:
        return Found(Row(query.id, "skipped", reason))
    with tempfile.TemporaryDirectory(prefix="npm_search.") as folder:
        source, a3m = Path(folder, "query.fasta"), Path(folder, "result.a3m")
        source.write_text(Query(_QUERY, query.sequence).fasta, encoding="utf-8")
        finished = programs.run(
            settings.argv(program("hhblits"), source, a3m),
            timeout=limits.timeout,
            memory_limit_gib=_memory_gib([query], limits),
        )
        row = Row(query.id, "failed", finished.failure, seconds=finished.seconds)
        if finished.failure:
            return Found(row)
        if not a3m.is_file():
            return Found(replace(row, reason="hhblits ended well but wrote no alignment"))
        return _checked(row, query, a3m.read_text(encoding="utf-8", errors="replace"), "hhblits")


def search_batch(
    queries: Sequence[Query],
    programs: Programs,
    *,
    settings: MmseqsSettings,
    limits: Limits,
    threads: int,
) -> list[Found]:
    """Search with many queries at once by MMseqs2 and check what comes back.

    Where the call fails it is halved until only the queries to blame have failed; unless the
    shortest query by itself fails beside both halves: then the cause is none of the queries (a
    full disk), and all have failed for it.
    """
    skipped = {query.id: skip_reason(query, max_length=limits.max_length) for query in queries}
    found = [Found(Row(name, "skipped", reason)) for name, reason in skipped.items() if reason]
    wanted = [query for query in queries if not skipped[query.id]]

    def call(some: Sequence[Query]) -> tuple[Sequence[Query], Finished, dict[int, str]]:
        return some, *mmseqs.search(
            [query.sequence for query in some],
            programs,
            settings=settings,
            threads=threads,
            timeout=limits.timeout * len(some),
            memory_limit_gib=_memory_gib(some, limits),
        )

    def narrowed(
        some: Sequence[Query], finished: Finished, a3ms: Mapping[int, str]
    ) -> Iterator[Found]:
        if not finished.failure or len(some) == 1:
            yield from _outcomes(some, finished, a3ms)
            return
        middle = len(some) // 2
        halves = [call(some[:middle]), call(some[middle:])]
        if len(some) > 2 and all(half.failure for _, half, _ in halves):
            _, alone, _ = call([min(some, key=lambda query: len(query.sequence))])
            if alone.failure:
                yield from _outcomes(some, replace(finished, failure=alone.failure), {})
                return
        for half in halves:
            yield from narrowed(*half)

    return [*found, *narrowed(*call(wanted))] if wanted else found


def _outcomes(
    queries: Sequence[Query], finished: Finished, a3ms: Mapping[int, str]
) -> Iterator[Found]:
    """What one call of MMseqs2 gave each of its queries."""
    for number, query in enumerate(queries):
        seconds = finished.seconds / len(queries)
        row = Row(query.id, "failed", finished.failure, seconds=seconds)
        yield (
            Found(row) if finished.failure else _checked(row, query, a3ms.get(number, ""), "mmseqs")
        )


def _checked(row: Row, query: Query, a3m: str, engine: str) -> Found:
    """The row and alignment of a search that ended well, if its first row is the query.

    The query's own copy in the database is not kept as a second row: HHblits drops it, MMseqs2
    does not.
    """
    try:
        rows = [
            (name, sequence)
            for name, sequence in fasta_records(StringIO(a3m), f"alignment by {engine}")
            if not name.startswith(ANNOTATIONS) and not name.split()[0].endswith("_consensus")
        ]
        _check_query(rows, query, engine)
    except DataError as error:
        return Found(replace(row, status="failed", reason=str(error)))
    others = [(name, sequence) for name, sequence in rows[1:] if sequence != rows[0][1]]
    # MMseqs2 writes U and O as X, and B, J, Z as D, L, E.
    rows = [(query.id, query.sequence), *others]
    text = fasta_text(rows)
    return Found(replace(row, status="ok" if len(rows) > 1 else "empty", depth=len(rows)), text)


def _check_query(rows: Sequence[tuple[str, str]], query: Query, engine: str) -> None:
    if not rows:
        raise DataError(f"{engine} ended well but its alignment is empty")
    first = rows[0][1]
    differ = len(first) != len(query.sequence) or any(
        one != other and other not in NONSTANDARD
        for one, other in zip(first, query.sequence, strict=True)
    )
    if differ:
        raise DataError(
            f"the first row of the alignment by {engine} is not the query: {len(first)} letters "
            f"for {len(query.sequence)} residues"
        )


class Journal:
    """Finished queries of one shard, one JSON line each, so that a killed shard can go on.

    Failed queries are searched again; the last line may be torn and is then dropped.
    """

    def __init__(self, path: Path) -> None:
        self._places: dict[str, tuple[int, int]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = path.open("a+b")
        self._end = 0
        self._stream.seek(0)
        for line in self._stream:
            try:
                record = json.loads(line) if line.endswith(b"\n") else None
            except ValueError:
                record = None
            if record is None:
                break
            if record["row"]["status"] != "failed":
                self._places[record["key"]] = (self._end, len(line))
            self._end += len(line)
        self._stream.truncate(self._end)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __getitem__(self, key: str) -> Found:
        offset, length = self._places[key]
        self._stream.seek(offset)
        record = json.loads(self._stream.read(length))
        return Found(Row(**record["row"]), record["a3m"])

    def add(self, key: str, found: Found) -> None:
        record = {"key": key, "row": asdict(found.row), "a3m": found.a3m}
        line = json.dumps(record).encode() + b"\n"
        self._stream.write(line)
        self._stream.flush()
        self._places[key] = (self._end, len(line))
        self._end += len(line)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()


def search_shard(
    queries: Path | str,
    output: Path | str,
    ledger: Path | str,
    *,
    settings: HhblitsSettings | MmseqsSettings,
    limits: Limits,
    threads: int,
    max_failed_share: float,
    scratch: Path | str,
) -> list[Row]:
    """Search with every query of a FASTA file; the alignments do not depend on `threads`.

    Args:
        queries: FASTA file; it may be empty.
        output: Prefix of the ffindex of A3M texts, keys are query ids, in the order of the file.
        ledger: The ledger to write, one row for each query in the order of the file.
        settings: The search; its kind chooses the engine.
        limits: What one query may cost.
        threads: Of all the engine's processes together.
        max_failed_share: The shard fails when more than this share of its queries do.
        scratch: Folder for the journal from which a killed shard goes on.

    Returns:
        The ledger.

    Raises:
        DataError: The queries or the database are unusable.
        ToolError: The engine is missing, too many queries failed, or another run has this shard.
    """
    engine: Engine
    database = settings.database
    if isinstance(settings, HhblitsSettings):
        engine_version = version("hhblits", "-h")
        clusters = hhsuite.check_database(database)
        paths = [ffindex.data_path(f"{database}_{part}") for part in hhsuite.PARTS]
        batch, workers = 1, max(1, threads // settings.cpu)
        search = partial(search_one, settings=settings, limits=limits)

        def engine(some: Sequence[Query], programs: Programs) -> list[Found]:
            return [search(query, programs) for query in some]

    else:
        engine_version = f"MMseqs2 {version('mmseqs', 'version')}"
        clusters = mmseqs.check_database(database)
        paths = [Path(database, part) for part in mmseqs.PARTS]
        batch, workers = settings.batch, 1
        engine = partial(search_batch, settings=settings, limits=limits, threads=threads)
    wanted = list(read_queries(queries, may_be_empty=True))
    note(f"{queries}: {len(wanted)} queries against {clusters} clusters by {engine_version}")
    return run_shard(
        wanted,
        engine,
        output,
        ledger,
        # A query that ended within other limits has the same alignment; failed ones run again.
        signature=f"{engine_version} {settings} {limits.max_length} {_identity(paths)}",
        batch=batch,
        workers=workers,
        max_failed_share=max_failed_share,
        scratch=scratch,
        where=str(queries),
    )


def _identity(paths: Sequence[Path]) -> str:
    """Sizes and times of a database's files: enough to notice another under the same name."""
    return " ".join(f"{path.stat().st_size}:{path.stat().st_mtime_ns}" for path in paths)


def run_shard(
    queries: Sequence[Query],
    engine: Engine,
    output: Path | str,
    ledger: Path | str,
    *,
    signature: str,
    batch: int,
    workers: int,
    max_failed_share: float,
    scratch: Path | str,
    where: str,
) -> list[Row]:
    """The part of `search_shard` that knows nothing of the search engine.

    Args:
        queries: Sequences with unique ids.
        engine: Searches with some queries; it runs its programs by those given.
        output, ledger, max_failed_share, scratch: As `search_shard`.
        signature: Text that changes whenever a journal's results would.
        batch: Queries of one call of the engine.
        workers: Calls at a time.
        where: The work, for messages.
    """
    keys = {query.id: _digest(signature, query.id, query.sequence) for query in queries}
    name = _digest(str(Path(output).resolve()))[:16]
    try:
        with FileLock(Path(scratch, f"{name}.lock"), timeout=0):
            path = Path(scratch, f"{name}.jsonl")
            with Journal(path) as journal:
                rows = _fill(
                    queries, engine, journal, keys, batch, workers, max_failed_share, where
                )
                found = ((query.id, journal[keys[query.id]]) for query in queries)
                ffindex.write_entries(
                    output, ((key, one.a3m.encode()) for key, one in found if one.a3m)
                )
                write_ledger(ledger, rows)
            path.unlink()
    except Timeout as error:
        raise ToolError(
            f"{where}: another run is writing {output}, as {error.lock_file} says"
        ) from error
    note(f"{where}: {summary(rows)}")
    return rows


def _fill(
    queries: Sequence[Query],
    engine: Engine,
    journal: Journal,
    keys: dict[str, str],
    batch: int,
    workers: int,
    max_failed_share: float,
    where: str,
) -> list[Row]:
    """Search what the journal lacks and return the ledger in the order of the queries."""
    waiting = [query for query in queries if keys[query.id] not in journal]
    if len(waiting) < len(queries):
        note(f"{where}: {len(queries) - len(waiting)} of {len(queries)} queries were done before")
    rows = {query.id: journal[keys[query.id]].row for query in queries if keys[query.id] in journal}
    with Programs() as programs:
        batches = map_as_ready(
            lambda some: engine(some, programs),
            _batches(waiting, batch),
            workers=workers,
            stop=programs.stop,
        )
        results = (found for some in batches for found in some)
        for found in track(results, total=len(waiting), what="queries searched"):
            journal.add(keys[found.row.query], found)
            rows[found.row.query] = found.row
            if found.row.status == "failed":
                so_far = list(rows.values())
                check_failed_share(
                    so_far, total=len(queries), allowed=max_failed_share, where=where
                )
    return [rows[query.id] for query in queries]


def _batches(queries: Iterable[Query], size: int) -> Iterator[list[Query]]:
    source = iter(queries)
    while some := list(islice(source, size)):
        yield some


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
