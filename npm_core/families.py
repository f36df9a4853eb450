"""Families of Parquet shards by their number, in bounded memory."""

import hashlib
import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from npm_core.errors import DataError, told_where
from npm_core.tables import FAMILIES, Family, families_of, open_table, reading

FILES_OPEN = 16
"""Shards whose footers are kept; a batch of the paper's size lies in a few."""


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
        files = [Path(path) for path in (*paths, *replace)]
        self._places = np.stack([columns[name] for name in ("file", "group", "row")], axis=1)
        open_file = lru_cache(FILES_OPEN)(open_table)

        def read_group(file: int, group: int) -> list[Family]:
            path = files[file]
            with reading(path):
                rows = open_file(path).read_row_group(group, columns=FAMILIES.names)
            with told_where(str(path)):
                return families_of(rows)

        self._group = lru_cache(groups_in_memory)(read_group)
        # Two threads must not read one file at a time, nor a group twice.
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Family:
        file, group, row = self._places[index].tolist()
        with self._lock:
            return self._group(file, group)[row]

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
