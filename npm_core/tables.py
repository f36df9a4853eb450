"""The workflow's tables (families, targets, contact scores): Parquet with provenance."""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from npm_core import alphabet
from npm_core.arrays import Bools, Float32, States
from npm_core.errors import DataError, told_where
from npm_core.files import atomic_path

T = TypeVar("T")

FAMILIES = pa.schema(
    [
        ("id", pa.string()),
        ("query", pa.string()),
        ("length", pa.int32()),
        ("depth", pa.int32()),
        ("meff", pa.float64()),
        ("weights", pa.list_(pa.float32())),
        ("residues", pa.large_binary()),
    ]
)
"""One row a family: residues are depth x length bytes, row-major, states of `alphabet`."""

TARGETS = pa.schema(
    [
        ("id", pa.string()),
        ("split", pa.string()),
        ("sequence", pa.string()),
        ("length", pa.int32()),
        ("resolved", pa.int32()),
        ("coordinates", pa.list_(pa.float32())),
        ("source", pa.string()),
    ]
)
"""One row a target: C-beta coordinates are length x 3, angstrom, NaN where unresolved."""

SCORES = pa.schema(
    [
        ("id", pa.string()),
        ("model", pa.string()),
        ("length", pa.int32()),
        ("depth", pa.int32()),
        ("meff", pa.float64()),
        ("generalisation_loss", pa.float64()),
        ("scores", pa.list_(pa.float32())),
    ]
)
"""One row a target and model: the upper triangle i < j of the contact score, row by row.

depth and meff are those of the alignment the model was fitted to; null where there is none.
generalisation_loss, nats a residue, is null where there are no test rows."""

DEPTHS = pa.schema([("id", pa.string()), ("coverage", pa.int32()), ("depth", pa.int32())])
"""One row an alignment and coverage: per cent of the query each row must cover; rows kept."""

OCCURRENCES = pa.schema([("id", pa.string()), ("alignments", pa.int32())])
"""One row a test sequence (accession): the training alignments of which it is a row."""


@dataclass(frozen=True, eq=False)
class Family:
    """One query-anchored alignment with its sequence weights.

    Attributes:
        id: Name, unique in its table.
        residues: (depth, length) uint8, states 0..20; row 0 is the query (Pfam families: the
            first row, which may hold gaps).
        weights: (depth,) float32, in (0, 1]; their sum is Meff.
    """

    id: str
    residues: States
    weights: Float32

    def __post_init__(self) -> None:
        if self.residues.ndim != 2 or self.residues.size == 0:
            raise DataError(f"family {self.id}: residues are {self.residues.shape}")
        if self.weights.shape != (len(self.residues),):
            raise DataError(
                f"family {self.id}: {self.weights.shape} weights for {len(self.residues)} rows"
            )

    @property
    def depth(self) -> int:
        return self.residues.shape[0]

    @property
    def length(self) -> int:
        return self.residues.shape[1]

    @property
    def meff(self) -> float:
        return float(self.weights.sum(dtype=np.float64))

    @property
    def query(self) -> str:
        return alphabet.decode(self.residues[0])


@dataclass(frozen=True, eq=False)
class Target:
    """A protein with known structure, numbered like its full sequence.

    Attributes:
        id: Name, unique in its table.
        split: "train" or "test" (Pfam: the clan).
        sequence: Full SEQRES (or domain) sequence, upper case, L letters.
        coordinates: (L, 3) float32, angstrom; C-beta (C-alpha for glycine), NaN if unresolved.
        source: Where the structure came from, e.g. "1abc_A".
    """

    id: str
    split: str
    sequence: str
    coordinates: Float32
    source: str

    def __post_init__(self) -> None:
        if self.coordinates.shape != (len(self.sequence), 3):
            raise DataError(
                f"target {self.id}: coordinates are {self.coordinates.shape} "
                f"for {len(self.sequence)} residues"
            )

    @property
    def length(self) -> int:
        return len(self.sequence)

    @property
    def resolved(self) -> Bools:
        """(L,): whether each residue has coordinates."""
        return np.isfinite(self.coordinates.sum(axis=1))

    @property
    def distances(self) -> Float32:
        """(L, L) angstrom, C-beta to C-beta; NaN where a residue is unresolved."""
        difference = self.coordinates[:, None] - self.coordinates[None]
        return np.sqrt((difference**2).sum(-1))


@dataclass(frozen=True, eq=False)
class Scores:
    """Contact scores of one target by one model.

    Attributes:
        id: The target's name.
        model: E.g. "potts", "npm", "nearest", "npm_shuffled", "chance".
        matrix: (L, L) float32, symmetric, zero diagonal; higher is a stronger contact.
        depth: Rows of the alignment the model was fitted to; None where there is none.
        meff: Meff of that alignment; None where there is none.
        generalisation_loss: Of the target's test rows, in nats a residue; None where there are
            none.
    """

    id: str
    model: str
    matrix: Float32
    depth: int | None = None
    meff: float | None = None
    generalisation_loss: float | None = None

    def __post_init__(self) -> None:
        if self.matrix.ndim != 2 or self.matrix.shape[0] != self.matrix.shape[1]:
            raise DataError(f"scores of {self.id} are {self.matrix.shape}, expected (L, L)")
        if not np.isfinite(self.matrix).all():
            raise DataError(f"scores of {self.id} by {self.model} hold NaN or infinity")


def write_families(
    path: Path | str, families: Iterable[Family], metadata: dict[str, str], rows_per_group: int = 16
) -> int:
    """Write families as they come, a few to a row group, and return their number."""

    def record(family: Family) -> dict[str, object]:
        return {
            "id": family.id,
            "query": family.query,
            "length": family.length,
            "depth": family.depth,
            "meff": family.meff,
            "weights": family.weights,
            "residues": family.residues.tobytes(),
        }

    schema = FAMILIES.with_metadata(metadata)
    return write_rows(path, schema, map(record, families), rows_per_group, key=("id",))


def families_of(table: pa.Table) -> list[Family]:
    """Families of a row group, or of a part of one; their arrays are views into it.

    Raises:
        DataError: A family's residues are not its rows and columns.
    """
    names = ("id", "depth", "length", "residues", "weights")
    columns = (table[name].combine_chunks() for name in names)
    families = []
    for name, depth, length, residues, weights in zip(*columns, strict=True):
        states = np.frombuffer(residues.as_buffer(), np.uint8)
        if states.size != depth.as_py() * length.as_py():
            raise DataError(
                f"family {name}: {states.size} residues for {depth} rows of {length} columns"
            )
        shape = depth.as_py(), length.as_py()
        families.append(Family(name.as_py(), states.reshape(shape), weights.values.to_numpy()))
    return families


def read_families(*paths: Path | str, only: Collection[str] | None = None) -> Iterator[Family]:
    """Families of one or more shards in order; at most one row group is held in memory.

    Args:
        paths: The shards.
        only: Ids of the families that are wanted, None for all. Row groups without any are not
            decoded: among all training families they are nearly all.
    """
    for path in paths:
        with reading(path):
            table = open_table(path, FAMILIES.names)
            groups = None if only is None else _groups_with(table, set(only))
            for batch in table.iter_batches(16, groups, FAMILIES.names):
                with told_where(str(path)):
                    families = families_of(pa.Table.from_batches([batch]))
                for family in families:
                    if only is None or family.id in only:
                        yield family


def _groups_with(table: pq.ParquetFile, wanted: set[str]) -> list[int]:
    """Row groups that hold any of these ids."""
    ids = iter(table.read(columns=["id"])["id"].to_pylist())
    rows = (table.metadata.row_group(group).num_rows for group in range(table.num_row_groups))
    return [group for group, count in enumerate(rows) if wanted.intersection(islice(ids, count))]


def read_family_queries(*paths: Path | str) -> dict[str, str]:
    """Query (row 0, gaps kept) of every family by id, in order, without reading the alignments.

    Raises:
        DataError: As `read_families`, or an id occurs twice.
    """
    queries: dict[str, str] = {}
    for path in paths:
        for row in _rows(path, ["id", "query"]):
            if row["id"] in queries:
                raise DataError(f"{path}: family {row['id']} occurs twice")
            queries[row["id"]] = row["query"]
    return queries


def read_sizes(*paths: Path | str) -> Iterator[tuple[str, int, int]]:
    """(id, depth, length) of each family, without reading its residues.

    Raises:
        DataError: As `read_families`, or an id occurs twice.
    """
    seen: set[str] = set()
    for path in paths:
        with reading(path):
            table = open_table(path, FAMILIES.names).read(columns=["id", "depth", "length"])
        for row in zip(*(column.to_pylist() for column in table.columns), strict=True):
            if row[0] in seen:
                raise DataError(f"{path}: family {row[0]} occurs twice")
            seen.add(row[0])
            yield row


def write_targets(path: Path | str, targets: Iterable[Target], metadata: dict[str, str]) -> int:
    """Write targets and return their number."""

    def record(target: Target) -> dict[str, object]:
        return {
            "id": target.id,
            "split": target.split,
            "sequence": target.sequence,
            "length": target.length,
            "resolved": int(target.resolved.sum()),
            "coordinates": target.coordinates.astype(np.float32).ravel(),
            "source": target.source,
        }

    schema = TARGETS.with_metadata(metadata)
    return write_rows(path, schema, map(record, targets), 256, key=("id",))


def read_targets(*paths: Path | str) -> Iterator[Target]:
    """Targets of one or more tables in order.

    Raises:
        DataError: A table is missing or damaged, or a target's coordinates are not its residues'.
    """
    return _each(paths, TARGETS.names, _target)


def _target(row: dict) -> Target:
    values, residues = row["coordinates"], len(row["sequence"])
    if len(values) != 3 * residues:
        raise DataError(
            f"target {row['id']}: {len(values)} coordinates for {residues} residues, expected 3 "
            "for each"
        )
    coordinates = np.asarray(values, dtype=np.float32).reshape(-1, 3)
    return Target(row["id"], row["split"], row["sequence"], coordinates, row["source"])


def write_scores(path: Path | str, scores: Iterable[Scores], metadata: dict[str, str]) -> int:
    """Write contact scores and return their number."""

    def record(score: Scores) -> dict[str, object]:
        length = len(score.matrix)
        return {
            "id": score.id,
            "model": score.model,
            "length": length,
            "depth": score.depth,
            "meff": score.meff,
            "generalisation_loss": score.generalisation_loss,
            "scores": score.matrix[np.triu_indices(length, k=1)].astype(np.float32),
        }

    schema = SCORES.with_metadata(metadata)
    return write_rows(path, schema, map(record, scores), 64, key=("id", "model"))


def read_scores(*paths: Path | str) -> Iterator[Scores]:
    """Contact scores of one or more tables in order.

    Raises:
        DataError: A table is missing or damaged, or scores are not finite or not all pairs'.
    """
    return _each(paths, SCORES.names, _scores)


def _scores(row: dict) -> Scores:
    values, length = row["scores"], row["length"]
    if len(values) != length * (length - 1) // 2:
        raise DataError(
            f"scores of {row['id']} by {row['model']}: {len(values)} for the pairs of {length} "
            f"residues, expected {length * (length - 1) // 2}"
        )
    matrix = np.zeros((length, length), dtype=np.float32)
    matrix[np.triu_indices(length, k=1)] = values
    facts = row["depth"], row["meff"], row["generalisation_loss"]
    return Scores(row["id"], row["model"], matrix + matrix.T, *facts)


def write_depths(
    path: Path | str, rows: Iterable[tuple[str, int, int]], metadata: dict[str, str]
) -> int:
    """Write (id, coverage, depth) and return the number of rows."""
    records = (dict(zip(DEPTHS.names, row, strict=True)) for row in rows)
    return write_rows(path, DEPTHS.with_metadata(metadata), records, 4096, key=("id", "coverage"))


def write_occurrences(
    path: Path | str, rows: Iterable[tuple[str, int]], metadata: dict[str, str]
) -> int:
    """Write (id, alignments) and return the number of rows."""
    records = (dict(zip(OCCURRENCES.names, row, strict=True)) for row in rows)
    return write_rows(path, OCCURRENCES.with_metadata(metadata), records, 65_536, key=("id",))


def write_rows(
    path: Path | str,
    schema: pa.Schema,
    rows: Iterable[dict],
    rows_per_group: int,
    *,
    key: Sequence[str] = (),
) -> int:
    """Write rows as they come, whole or not at all, and return their number.

    Pages carry a checksum, so that a damaged one is refused by `open_table`, not read.

    Args:
        path: The table.
        schema: Its layout, with its metadata.
        rows: By column.
        rows_per_group: Rows that are read together.
        key: Columns that no two rows may share; without, rows are not compared.

    Raises:
        DataError: Two rows have the same key.
    """
    rows, count = iter(_once(path, rows, key) if key else rows), 0
    with (
        atomic_path(path) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd", write_page_checksum=True) as writer,
    ):
        while group := list(islice(rows, rows_per_group)):
            writer.write_table(pa.Table.from_pylist(group, schema=schema))
            count += len(group)
    return count


def read_table(path: Path | str, columns: Sequence[str]) -> list[dict]:
    """Rows of a table small enough to hold in memory, of these columns.

    Raises:
        DataError: The file is missing, no Parquet, or lacks a column.
    """
    with reading(path):
        return open_table(path, columns).read(columns=columns).to_pylist()


def count_rows(path: Path | str) -> int:
    """Number of rows of a table, without reading them."""
    with reading(path):
        return open_table(path).metadata.num_rows


def read_metadata(path: Path | str) -> dict[str, object]:
    """Provenance of a table, as `provenance.provenance` wrote it."""
    with reading(path):
        found = pq.read_schema(path).metadata or {}
    values: dict[str, object] = {}
    for key, value in found.items():
        try:
            values[key.decode()] = json.loads(value)
        except json.JSONDecodeError:
            values[key.decode()] = value.decode()
    return values


def _once(path: Path | str, rows: Iterable[dict], key: Sequence[str]) -> Iterator[dict]:
    seen: set[tuple] = set()
    for row in rows:
        values = tuple(row[name] for name in key)
        if values in seen:
            told = ", ".join(f"{name} {value}" for name, value in zip(key, values, strict=True))
            raise DataError(
                f"{path}: not written, as two rows are of {told}; give each input table once"
            )
        seen.add(values)
        yield row


def _each(
    paths: Iterable[Path | str], columns: Sequence[str], made: Callable[[dict], T]
) -> Iterator[T]:
    """What is made of each row of the tables, in order; a row that is refused names its table."""
    for path in paths:
        for row in _rows(path, columns):
            with told_where(str(path)):
                one = made(row)
            yield one


def _rows(path: Path | str, columns: Sequence[str]) -> Iterator[dict]:
    with reading(path):
        for batch in open_table(path, columns).iter_batches(batch_size=16, columns=columns):
            yield from batch.to_pylist()


@contextmanager
def reading(path: Path | str) -> Iterator[None]:
    """Say which file it is if a Parquet table is missing or damaged.

    Raises:
        DataError: It is.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a whole Parquet file ({error})") from error


def open_table(path: Path | str, columns: Collection[str] = ()) -> pq.ParquetFile:
    """A table that has these columns among its own; within `reading`.

    Raises:
        DataError: It lacks one.
    """
    file = pq.ParquetFile(path, page_checksum_verification=True)
    missing = set(columns) - set(file.schema_arrow.names)
    if missing:
        raise DataError(f"{path}: columns {sorted(missing)} are missing")
    return file
