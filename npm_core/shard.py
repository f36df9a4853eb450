"""A shard of queries: an alignment and a ledger row for each, searched in one go or in several."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

from filelock import FileLock, Timeout

from npm_core import ffindex
from npm_core.errors import ToolError
from npm_core.ledger import Row, check_failed_share, summary, write_ledger
from npm_core.parallel import map_as_ready
from npm_core.programs import Programs
from npm_core.progress import note, track
from npm_core.queries import Query


@dataclass(frozen=True)
class Found:
    """A ledger row and its alignment, which is empty when the row says so."""

    row: Row
    a3m: str = ""


@dataclass(frozen=True)
class Engine:
    """What finds alignments, with all its settings.

    Attributes:
        name: Its own and its database's, for messages.
        search: Searches with some queries; what it gives may be in another order, and be found
            only as it is drawn. It runs its programs by those given, and may keep files in the
            folder given.
        signature: Text that changes whenever a result would.
        batch: Queries of one call.
        workers: Calls at a time.
    """

    name: str
    search: Callable[[Sequence[Query], Programs, Path], Iterable[Found]]
    signature: str
    batch: int = 1
    workers: int = 1


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


@dataclass(frozen=True)
class Shard:
    """Queries whose alignments share one ffindex, and one ledger.

    Attributes:
        queries: With unique ids.
        output: Prefix of the ffindex of A3M texts by query id, in the order of the queries.
        ledger: File of one row for each query, in the same order.
        scratch: Folder for the journal from which a killed shard goes on.
        max_failed_share: The shard fails when more than this share of its queries do.
        where: The work, for messages.
    """

    queries: Sequence[Query]
    output: Path
    ledger: Path
    scratch: Path
    max_failed_share: float
    where: str

    def run(self, engine: Engine) -> list[Row]:
        """Search with the queries that the journal lacks, write both files, return the ledger.

        Raises:
            ToolError: Too many queries failed, or another run has this shard.
        """
        keys = {one.id: _digest(engine.signature, one.id, one.sequence) for one in self.queries}
        name = _digest(str(self.output.resolve()))[:16]
        try:
            with FileLock(self.scratch / f"{name}.lock", timeout=0):
                path, folder = self.scratch / f"{name}.jsonl", self.scratch / f"{name}.work"
                with Journal(path) as journal, _empty(folder):
                    rows = self._search(engine, journal, keys, folder)
                    found = ((one.id, journal[keys[one.id]]) for one in self.queries)
                    ffindex.write_entries(
                        self.output, ((key, one.a3m.encode()) for key, one in found if one.a3m)
                    )
                    write_ledger(self.ledger, rows)
                path.unlink()
        except Timeout as error:
            raise ToolError(
                f"{self.where}: another run is writing {self.output}, as {error.lock_file} says"
            ) from error
        note(f"{self.where}: {summary(rows)}")
        return rows

    def _search(
        self, engine: Engine, journal: Journal, keys: Mapping[str, str], folder: Path
    ) -> list[Row]:
        """Search with what the journal lacks; the ledger in the order of the queries."""
        rows = {
            one.id: journal[keys[one.id]].row for one in self.queries if keys[one.id] in journal
        }
        waiting = [query for query in self.queries if query.id not in rows]
        total = len(self.queries)
        if rows:
            note(f"{self.where}: {len(rows)} of {total} queries were done before")
        with Programs() as programs:
            batches = map_as_ready(
                lambda some: engine.search(some, programs, folder),
                _batches(waiting, engine.batch),
                workers=engine.workers,
                stop=programs.stop,
            )
            results = (found for some in batches for found in some)
            for found in track(results, total=len(waiting), what="queries searched"):
                journal.add(keys[found.row.query], found)
                rows[found.row.query] = found.row
                if found.row.status == "failed":
                    check_failed_share(
                        list(rows.values()),
                        total=total,
                        allowed=self.max_failed_share,
                        where=self.where,
                    )
        return [rows[query.id] for query in self.queries]


@contextmanager
def _empty(folder: Path) -> Iterator[None]:
    """A folder for as long as the block lasts, without what a killed run left there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield
    finally:
        shutil.rmtree(folder)


def _batches(queries: Iterable[Query], size: int) -> Iterator[list[Query]]:
    source = iter(queries)
    while some := list(islice(source, size)):
        yield some


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
