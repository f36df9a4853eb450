"""Minibatches: families from disk, rows by weight, crops, gap columns, length buckets, padding.

Randomness is counter-based. Every draw comes from a generator made of (seed, purpose, counters),
so that batch number s is a pure function of the data and s: any step can be replayed without
the steps before it, and a resumed or a distributed training sees the same batches.
"""

import hashlib
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor

from npm_core import alphabet
from npm_core.errors import DataError
from npm_core.model import pad_tokens
from npm_core.tables import FAMILIES, Family, families_of, open_table, reading

T = TypeVar("T")

PURPOSES = ("order", "buckets", "rows", "masks", "validation")
"""What a draw is for; its place in this list is part of the counter."""

BATCHES_A_BUCKET = 8
"""Sequences of at most this many batches are sorted by length together, to pad little."""

ITEMS_A_BUCKET = 512
"""Nor are more than these, or half a window, if a batch is smaller: it lies in few windows."""

BUCKETS_AN_EPOCH = 8
"""Nor more than this part of all items, so that a batch of few has none of them twice."""

FILES_OPEN = 16
"""Shards whose footers are kept; a batch of the paper's size lies in a few."""


def generator(seed: int, purpose: str, *counters: int) -> np.random.Generator:
    """The generator of one draw."""
    return np.random.default_rng((seed, PURPOSES.index(purpose), *counters))


# --- Which item comes when ----------------------------------------------------------------------


class Order:
    """An endless stream of items, each once an epoch, cut into batches of similar length.

    Item number t belongs to epoch t // count. Within an epoch the windows of `window` consecutive
    items come in random order, and the items of a window in random order. What is sorted by length
    together is a batch, or at most half a window: a reader that holds the windows of one batch,
    and one more, serves the stream. Of few items less is sorted together, so that a batch holds
    many of them. Batches run on across epochs, so all are full.
    """

    def __init__(
        self, lengths: NDArray[np.int64], *, batch: int, seed: int, window: int = 1024
    ) -> None:
        """Draw nothing yet.

        Args:
            lengths: (count,), residues of each item, for the buckets.
            batch: Items a batch.
            seed: Of all draws.
            window: Items of one window.

        Raises:
            DataError: There are no items.
        """
        if not len(lengths):
            raise DataError("there is nothing to train on: no families or sequences were read")
        self.lengths, self.batch, self.seed, self.window = lengths, batch, seed, window
        most = min(max(ITEMS_A_BUCKET, window // 2), len(lengths) // BUCKETS_AN_EPOCH)
        self._together = min(max(1, most // batch), BATCHES_A_BUCKET)
        """Batches that are sorted by length together."""
        self._epoch = lru_cache(maxsize=2)(self._permuted)
        self._bucket = lru_cache(maxsize=2)(self._sorted)

    def items(self, step: int) -> list[tuple[int, int]]:
        """(stream number t, item) of each member of batch `step`."""
        bucket, place = divmod(step, self._together)
        return self._bucket(bucket)[place]

    def share(self, step: int, rank: int, world: int) -> list[tuple[int, int]]:
        """Members of batch `step` for one of `world` processes, the shortest first.

        They are dealt out by length, so that all have as much to do. Of a large batch each takes
        neighbours instead: else all would read most of the windows that the batch lies in.
        """
        items = self.items(step)
        if self._together > 1:
            return items[rank::world]
        each = len(items) // world
        neighbours = sorted(items, key=lambda pair: pair[1])[rank * each :][:each]
        return sorted(neighbours, key=lambda pair: (self.lengths[pair[1]], pair[0]))

    def epoch(self, step: int) -> float:
        """Epochs that batch `step` has behind it."""
        return step * self.batch / len(self.lengths)

    def _permuted(self, epoch: int) -> NDArray[np.int64]:
        rng = generator(self.seed, "order", epoch)
        count = len(self.lengths)
        starts = rng.permutation(np.arange(0, count, self.window))
        windows = [np.arange(start, min(start + self.window, count)) for start in starts]
        return np.concatenate([rng.permutation(window) for window in windows])

    def _sorted(self, bucket: int) -> list[list[tuple[int, int]]]:
        size = self.batch * self._together
        numbers = range(bucket * size, (bucket + 1) * size)
        count = len(self.lengths)
        stream = [(t, int(self._epoch(t // count)[t % count])) for t in numbers]
        stream.sort(key=lambda pair: self.lengths[pair[1]])
        batches = [stream[i : i + self.batch] for i in range(0, size, self.batch)]
        places = generator(self.seed, "buckets", bucket).permutation(self._together)
        return [batches[place] for place in places]


# --- Families -----------------------------------------------------------------------------------


class Families:
    """Random access to the families of one or more Parquet shards, in bounded memory.

    Of each family an id, its length, Meff and place are held, some 50 bytes; of the alignments a
    number of row groups, and of the files the footers of those read last.

    Attributes:
        ids: Names, in the order of the shards.
        lengths, meff: (count,) of each.
    """

    def __init__(
        self,
        paths: Sequence[Path | str],
        *,
        replace: Sequence[Path | str] = (),
        without: Sequence[Path | str] = (),
        groups_in_memory: int = 256,
    ) -> None:
        """Read the index of the shards; alignments stay on disk until they are asked for.

        Args:
            paths: Tables of families.
            replace: Tables whose families stand in for those of the same id.
            without: Tables whose families are left out.
            groups_in_memory: Row groups kept decoded.

        Raises:
            DataError: An id occurs twice, or `replace` or `without` names a family that `paths`
                does not.
        """
        index, replacements, dropped = _index(paths), _index(replace), _index(without)
        ids: pa.Array = index["id"].combine_chunks()
        places, gone = (
            _places_of(table["id"].combine_chunks(), ids, named, paths)
            for table, named in ((replacements, replace), (dropped, without))
        )
        columns = {name: index[name].to_numpy().copy() for name in index.column_names[1:]}
        for name, column in columns.items():
            column[places] = replacements[name].to_numpy()
        columns["file"][places] += len(paths)
        left = np.delete(np.arange(len(ids)), gone)
        columns = {name: column[left] for name, column in columns.items()}
        self.ids: pa.Array = ids.take(pa.array(left))
        self.lengths: NDArray[np.int64] = columns["length"]
        self.meff: NDArray[np.float64] = columns["meff"]
        self._files = [Path(path) for path in (*paths, *replace)]
        self._places = np.stack([columns[name] for name in ("file", "group", "row")], axis=1)
        self._groups: OrderedDict[tuple[int, int], list[Family]] = OrderedDict()
        self._groups_in_memory = groups_in_memory
        self._open = lru_cache(maxsize=FILES_OPEN)(open_table)
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Family:
        file, group, row = self._places[index].tolist()
        key = (file, group)
        with self._lock:
            if key not in self._groups:
                self._groups[key] = self._read_group(self._files[file], group)
                while len(self._groups) > self._groups_in_memory:
                    self._groups.popitem(last=False)
            self._groups.move_to_end(key)
            return self._groups[key][row]

    def _read_group(self, path: Path, group: int) -> list[Family]:
        with reading(path):
            return families_of(self._open(path).read_row_group(group, columns=FAMILIES.names))

    def digest(self) -> str:
        """Of the ids, lengths and Meff: which families these are."""
        found = hashlib.sha256(self.lengths.tobytes() + self.meff.tobytes())
        for start in range(0, len(self), 1 << 16):
            found.update("\n".join(self.ids[start : start + (1 << 16)].to_pylist()).encode())
        return found.hexdigest()


_INDEX = pa.schema(
    [
        ("id", pa.large_string()),
        ("length", pa.int64()),
        ("meff", pa.float64()),
        ("file", pa.int32()),
        ("group", pa.int32()),
        ("row", pa.int32()),
    ]
)
"""Where each family stands: number of the file, row group in it, row in that."""


def _places_of(
    named: pa.Array, ids: pa.Array, tables: Sequence[Path | str], paths: Sequence[Path | str]
) -> NDArray[np.int64]:
    """Where the families of `tables` stand among `ids`, those of `paths`.

    Raises:
        DataError: One of them is not there.
    """
    places = pc.index_in(named, value_set=ids)
    if places.null_count:
        strangers = named.filter(places.is_null())
        raise DataError(
            f"{', '.join(map(str, tables))}: {len(strangers)} families are not among those trained "
            f"on, first {strangers[0]}; expected ids of {', '.join(map(str, paths))}"
        )
    return places.to_numpy().astype(np.int64)


def _index(paths: Sequence[Path | str]) -> pa.Table:
    parts = [_INDEX.empty_table()]
    for number, path in enumerate(map(Path, paths)):
        with reading(path):
            file = open_table(path, FAMILIES.names)
            found = file.read(columns=["id", "length", "meff"])
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        group = np.repeat(np.arange(len(sizes)), sizes)
        row = np.arange(len(group)) - np.repeat(np.cumsum([0, *sizes[:-1]])[: len(sizes)], sizes)
        place = [np.full(len(group), number), group, row]
        parts.append(pa.table([*found.columns, *place], names=_INDEX.names).cast(_INDEX))
    index = pa.concat_tables(parts)
    if pc.count_distinct(index["id"]).as_py() != len(index):
        counts = pc.value_counts(index["id"])
        twice = counts.filter(pc.greater(counts.field("counts"), 1))[0]["values"]
        raise DataError(f"{', '.join(map(str, paths))}: family {twice} occurs twice")
    return index


# --- One protein of a minibatch -----------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Example:
    """A query and the rows sampled from its MSA.

    Attributes:
        query: (L,) uint8 states of the query, without gaps (20, MASK: a letter of no amino acid).
        rows: (M, L) uint8.
        weight: Of this protein in the loss of the minibatch; their mean over a data set is 1.
    """

    query: NDArray[np.uint8]
    rows: NDArray[np.uint8]
    weight: float = 1.0


def sample_example(
    family: Family,
    rng: np.random.Generator,
    *,
    rows: int,
    max_length: int,
    random_query: bool,
    weight: float = 1.0,
) -> Example:
    """Draw a query, a crop and rows from one family (appendices C.1 and C.3).

    The columns in which a random query has a gap are dropped; row 0 has none, what stands there
    are its letters of no amino acid. Rows are drawn with replacement, each with a probability
    proportional to its sequence weight.

    Args:
        family: The MSA.
        rng: Of this example alone.
        rows: M.
        max_length: Longer queries are cropped to this many contiguous positions.
        random_query: Any row with a residue may be the query, all equally likely; else row 0 is.
        weight: Passed on.
    """
    candidates = family.residues if random_query else family.residues[:1]
    present = np.flatnonzero((candidates != alphabet.GAP).any(1))
    if not present.size:
        raise DataError(f"family {family.id}: a row of gaps alone cannot be the query")
    query = family.residues[rng.choice(present)]
    columns = np.flatnonzero(query != alphabet.GAP) if random_query else np.arange(family.length)
    if len(columns) > max_length:
        start = int(rng.integers(len(columns) - max_length + 1))
        columns = columns[start : start + max_length]
    probability = family.weights.astype(np.float64)
    chosen = rng.choice(family.depth, size=rows, p=probability / probability.sum())
    return Example(query[columns], family.residues[np.ix_(chosen, columns)], weight)


@dataclass(frozen=True, eq=False)
class Batch:
    """Several examples as tensors.

    Attributes:
        tokens: (B, longest) int64, padded.
        lengths: (B,) int64.
        rows: B tensors (M, L_n) int64, not padded.
        weights: (B,) float32.
    """

    tokens: Tensor
    lengths: Tensor
    rows: list[Tensor]
    weights: Tensor

    def to(self, device: torch.device) -> "Batch":
        return Batch(
            self.tokens.to(device, non_blocking=True),
            self.lengths.to(device, non_blocking=True),
            [rows.to(device, non_blocking=True) for rows in self.rows],
            self.weights.to(device, non_blocking=True),
        )


def collate(examples: Sequence[Example]) -> Batch:
    """Pad the queries of a minibatch; rows keep their own length."""
    tokens, lengths = pad_tokens([_int64(example.query) for example in examples])
    return Batch(
        tokens,
        lengths,
        [_int64(example.rows) for example in examples],
        torch.tensor([example.weight for example in examples], dtype=torch.float32),
    )


def _int64(states: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(states.astype(np.int64))


# --- Ahead of time ------------------------------------------------------------------------------


class Prefetch(Generic[T]):
    """Make the batches of coming steps in a thread while the model works on this one.

    Attributes:
        waited: Seconds spent waiting for data so far.
    """

    def __init__(self, make: Callable[[int], T], steps: range, *, ahead: int = 3) -> None:
        self.waited = 0.0
        self._steps = steps
        self._ready: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(ahead)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, args=(make,), daemon=True)
        self._thread.start()

    def _work(self, make: Callable[[int], T]) -> None:
        for step in self._steps:
            try:
                made: tuple[T | None, BaseException | None] = (make(step), None)
            except BaseException as error:  # handed to the consumer, who raises it
                made = (None, error)
            while not self._stop.is_set():
                try:
                    self._ready.put(made, timeout=0.1)
                    break
                except queue.Full:
                    continue
            if self._stop.is_set() or made[1] is not None:
                return

    def __iter__(self) -> Iterator[tuple[int, T]]:
        try:
            for step in self._steps:
                started = time.monotonic()
                batch, error = self._ready.get()
                self.waited += time.monotonic() - started
                if error is not None:
                    raise error
                yield step, batch  # type: ignore[misc]
        finally:
            self.close()

    def close(self) -> None:
        """End the thread; batches made ahead are dropped."""
        self._stop.set()
        self._thread.join()
