"""The search for the alignment of each query (paper, C.4), by HHblits or by MMseqs2."""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from io import StringIO
from itertools import count
from pathlib import Path

from npm_core import alphabet, ffindex, hhsuite, mmseqs
from npm_core.errors import DataError, SettingsError
from npm_core.fasta import ANNOTATIONS, fasta_records, fasta_text
from npm_core.hhsuite import HhblitsSettings
from npm_core.ledger import Row
from npm_core.mmseqs import MmseqsSettings
from npm_core.programs import Finished, Programs, program, version
from npm_core.progress import note
from npm_core.queries import Query, read_queries
from npm_core.settings import knob, require_positive
from npm_core.shard import Engine, Found, Shard

LONGEST = 20_000
"""Residues HH-suite reads of one sequence (its -maxres is 20,001)."""

NONSTANDARD = frozenset("BJOUXZ")
"""Letters of a query that an engine may write otherwise."""

_QUERY = "query"
"""The query's name for hhblits: HH-suite reads meaning into names, and ids are anything."""


@dataclass(frozen=True)
class Limits:
    """What one query may cost."""

    timeout: float = knob(600.0, "seconds for one query")
    memory_limit_gib: float = knob(
        8.0,
        "GiB a process may allocate for each started 1,000 residues of its query, beside the "
        "database, which it maps",
    )
    max_length: int = knob(LONGEST, "residues; longer queries are skipped")

    def __post_init__(self) -> None:
        if not 1 <= self.max_length <= LONGEST:
            raise SettingsError(
                f"max_length is {self.max_length}; HH-suite reads 1 to {LONGEST} residues"
            )
        require_positive(self, "timeout", "memory_limit_gib")


def _memory_limit_gib(queries: Sequence[Query], limits: Limits) -> float:
    """What a process may allocate: the class of its longest query."""
    return limits.memory_limit_gib * max(-(-len(query.sequence) // 1000) for query in queries)


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
            memory_limit_gib=_memory_limit_gib([query], limits),
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
    scratch: Path,
    *,
    settings: MmseqsSettings,
    limits: Limits,
    threads: int,
) -> Iterator[Found]:
    """Search with many queries at once by MMseqs2 and check what comes back, one by one.

    Where the call fails it is halved until only the queries to blame have failed; unless the
    shortest query by itself fails beside both halves: then the cause is none of the queries (a
    full disk), and all have failed for it.

    Args:
        queries: Of one batch.
        programs: Runs MMseqs2.
        scratch: An existing folder for MMseqs2's files, and for the alignments until they are
            drawn: those of a batch may be more than memory holds.
        settings, limits, threads: As `mmseqs_engine`.
    """
    skipped = {query.id: skip_reason(query, max_length=limits.max_length) for query in queries}
    yield from (Found(Row(name, "skipped", reason)) for name, reason in skipped.items() if reason)
    wanted = [query for query in queries if not skipped[query.id]]
    calls = count()

    def call(
        some: Sequence[Query],
    ) -> tuple[Sequence[Query], Finished, Iterable[tuple[int, str]]]:
        return some, *mmseqs.search(
            [query.sequence for query in some],
            programs,
            settings=settings,
            threads=threads,
            timeout=limits.timeout * len(some),
            memory_limit_gib=_memory_limit_gib(some, limits),
            output=Path(folder, str(next(calls))),
        )

    def narrowed(
        some: Sequence[Query], finished: Finished, a3ms: Iterable[tuple[int, str]]
    ) -> Iterator[Found]:
        if not finished.failure or len(some) == 1:
            yield from _outcomes(some, finished, a3ms)
            return
        middle = len(some) // 2
        halves = [call(some[:middle]), call(some[middle:])]
        if len(some) > 2 and all(half.failure for _, half, _ in halves):
            _, alone, _ = call([min(some, key=lambda query: len(query.sequence))])
            if alone.failure:
                yield from _outcomes(some, replace(finished, failure=alone.failure), ())
                return
        for half in halves:
            yield from narrowed(*half)

    if wanted:
        with tempfile.TemporaryDirectory(prefix=".mmseqs.", dir=scratch) as folder:
            yield from narrowed(*call(wanted))


def _outcomes(
    queries: Sequence[Query], finished: Finished, a3ms: Iterable[tuple[int, str]]
) -> Iterator[Found]:
    """What one call of MMseqs2 gave each of its queries."""
    seconds = finished.seconds / len(queries)
    rows = {
        number: Row(query.id, "failed", finished.failure, seconds=seconds)
        for number, query in enumerate(queries)
    }
    for number, a3m in a3ms:
        yield _checked(rows.pop(number), queries[number], a3m, "mmseqs")
    for number, row in rows.items():
        yield Found(row) if row.reason else _checked(row, queries[number], "", "mmseqs")


def _checked(row: Row, query: Query, a3m: str, engine: str) -> Found:
    """The row and alignment of a search that ended well, if its first row is the query.

    The query's own copy in the database is not kept as a second row: HHblits drops it, MMseqs2
    does not.
    """
    try:
        rows = [
            (name, sequence)
            for name, sequence in fasta_records(StringIO(a3m), f"alignment by {engine}")
            if not _is_annotation(name.split()[0])
        ]
        _check_query(rows, query, engine)
    except DataError as error:
        return Found(replace(row, status="failed", reason=str(error)))
    others = [(name, sequence) for name, sequence in rows[1:] if sequence != rows[0][1]]
    # MMseqs2 writes U and O as X, and B, J, Z as D, L, E.
    rows = [(query.id, query.sequence), *others]
    text = fasta_text(rows)
    return Found(replace(row, status="ok" if len(rows) > 1 else "empty", depth=len(rows)), text)


def _is_annotation(name: str) -> bool:
    """Whether a row is HH-suite's own, no sequence."""
    return name in ANNOTATIONS or name == "Consensus" or name.endswith("_consensus")


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
        scratch: Folder for the journal from which a killed shard goes on, and for MMseqs2's files.

    Returns:
        The ledger.

    Raises:
        DataError: The queries or the database are unusable.
        ToolError: The engine is missing, too many queries failed, or another run has this shard.
    """
    wanted = list(read_queries(queries, may_be_empty=True))
    engine = (
        hhblits_engine(settings, limits, threads)
        if isinstance(settings, HhblitsSettings)
        else mmseqs_engine(settings, limits, threads)
    )
    note(f"{queries}: {len(wanted)} queries against {engine.name}")
    shard = Shard(wanted, Path(output), Path(ledger), Path(scratch), max_failed_share, str(queries))
    return shard.run(engine)


def hhblits_engine(settings: HhblitsSettings, limits: Limits, threads: int) -> Engine:
    """HHblits, a process a query.

    Raises:
        DataError: The database is unusable.
        ToolError: The program is missing.
    """
    parts = [ffindex.data_path(f"{settings.database}_{part}") for part in hhsuite.PARTS]
    clusters, called = hhsuite.check_database(settings.database), version("hhblits", "-h")

    def search(queries: Sequence[Query], programs: Programs, _: Path) -> list[Found]:
        return [search_one(one, programs, settings=settings, limits=limits) for one in queries]

    return Engine(
        f"{clusters} clusters by {called}",
        search,
        _signature(called, settings, limits, parts),
        workers=max(1, threads // settings.cpu),
    )


def mmseqs_engine(settings: MmseqsSettings, limits: Limits, threads: int) -> Engine:
    """MMseqs2, a process with `threads` for a batch of queries.

    Raises:
        DataError: The database is unusable.
        ToolError: The program is missing.
    """
    parts = [Path(settings.database, part) for part in mmseqs.PARTS]
    clusters = mmseqs.check_database(settings.database)
    called = f"MMseqs2 {version('mmseqs', 'version')}"
    return Engine(
        f"{clusters} clusters by {called}",
        partial(search_batch, settings=settings, limits=limits, threads=threads),
        _signature(called, replace(settings, batch=1), limits, parts),
        batch=settings.batch,
    )


def _signature(called: str, settings: object, limits: Limits, parts: Sequence[Path]) -> str:
    """What decides an alignment. A query that ended within other limits has the same one, and those
    that failed run again. A database is known by the sizes and times of its files."""
    files = " ".join(f"{path.stat().st_size}:{path.stat().st_mtime_ns}" for path in parts)
    return f"{called} {settings} {limits.max_length} {files}"
