"""Query sequences: read and checked, split into train and test, cut into shards."""

import hashlib
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from npm_core import alphabet
from npm_core.arrays import States
from npm_core.errors import DataError, SettingsError
from npm_core.fasta import fasta_records, fasta_text, open_sequences, refuse_nucleotides
from npm_core.files import atomic_path, open_text, require_file, write_text

_BUFFER_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Query:
    """One sequence to search with.

    Attributes:
        id: First word of its header.
        sequence: Upper case amino acids; `*` at the end is dropped, elsewhere it is X.
    """

    id: str
    sequence: str

    @property
    def fasta(self) -> str:
        return fasta_text([(self.id, self.sequence)])


def read_queries(path: Path | str, *, may_be_empty: bool = False) -> Iterator[Query]:
    """Sequences of a FASTA file: those of `read_encoded`, without their states."""
    return (query for query, _ in read_encoded(path, may_be_empty=may_be_empty))


def read_encoded(path: Path | str, *, may_be_empty: bool = False) -> Iterator[tuple[Query, States]]:
    """Sequences of a FASTA file, gzipped or not, in order, each with its (L,) states.

    Ids are compared by 64-bit hashes when the last record has been read: 30 million ids then take
    240 MB, not 3 GB.

    Raises:
        DataError: The file holds no sequence (unless `may_be_empty`), a sequence is empty, holds
            a character that is no amino acid or is DNA or RNA, or an id occurs twice.
    """
    hashes = array("Q")
    with open_sequences(path) as stream:
        for header, letters in fasta_records(stream, str(path)):
            name = header.split(maxsplit=1)[0]
            sequence = letters.upper().replace("*", "X")
            states = _encoded(name, sequence, str(path))
            hashes.append(_hash(name))
            yield Query(name, sequence), states
    if not hashes and not may_be_empty:
        raise DataError(f"{path}: no sequences; expected FASTA records that begin with '>'")
    _check_unique(path, np.frombuffer(hashes, dtype=np.uint64))


def _encoded(name: str, sequence: str, where: str) -> States:
    if not sequence:
        raise DataError(f"{where}: {name} has no sequence")
    if "-" in sequence or "." in sequence:
        raise DataError(f"{where}: {name} is aligned ('-' or '.'); expected a plain sequence")
    try:
        states = alphabet.encode(sequence)
    except DataError as error:
        raise DataError(f"{where}: {name}: {error}") from error
    refuse_nucleotides(sequence, f"{where}: {name}")
    return states


def _check_unique(path: Path | str, hashes: NDArray[np.uint64]) -> None:
    values, counts = np.unique(hashes, return_counts=True)
    doubled = {int(value) for value in values[counts > 1]}
    if not doubled:
        return
    if not Path(path).is_file():  # a pipe, which cannot be read again to name them
        raise DataError(f"{path}: {len(doubled)} ids occur twice; ids must be unique")
    seen: set[str] = set()
    with open_sequences(path) as stream:
        for line in stream:
            if line.startswith(">"):
                name = line[1:].split(maxsplit=1)[0]
                if name in seen:
                    raise DataError(f"{path}: the id {name} occurs twice; ids must be unique")
                if _hash(name) in doubled:
                    seen.add(name)


def _hash(name: str, salt: str = "", part: int = 0) -> int:
    """One of four independent 64-bit integers of an id; the same on every machine."""
    digest = hashlib.sha256(f"{salt}{name}".encode()).digest()
    return int.from_bytes(digest[8 * part : 8 * part + 8], "big")


def is_test(name: str, *, share: float, salt: str) -> bool:
    """Whether an id belongs to the test split (paper, C.4: 10 % held out at random).

    The choice depends on the id and the salt alone, so it survives another order of the file, its
    sharding, and sequences that come or go.

    Args:
        name: The query's id.
        share: Expected share of the test split, in [0, 1].
        salt: Any text; another salt makes another split.

    Raises:
        SettingsError: The share is outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise SettingsError(f"the test share is {share}; expected a number from 0 to 1")
    return _hash(name, salt) < share * 2**64


def split_queries(
    fasta: Path | str,
    *,
    train: Path | str,
    test: Path | str,
    share: float,
    salt: str,
    held_out: Path | str | None = None,
) -> tuple[int, int]:
    """Write each sequence to the train or the test file, in the order of the source.

    Args:
        fasta: Sequences to split.
        train: FASTA file to write.
        test: FASTA file to write.
        share: As `is_test`.
        salt: As `is_test`.
        held_out: A file of one id a line (a header's first word): these are the test split, and
            `share` and `salt` are not used.

    Returns:
        The numbers of train and of test sequences.

    Raises:
        DataError: As `read_queries`, or none of the held-out ids is among the sequences.
        SettingsError: The share is outside [0, 1].
    """
    published = None if held_out is None else _read_ids(held_out)
    counts = [0, 0]
    with atomic_path(train) as train_part, atomic_path(test) as test_part:
        with (
            train_part.open("w", encoding="utf-8") as train_stream,
            test_part.open("w", encoding="utf-8") as test_stream,
        ):
            streams = (train_stream, test_stream)
            for query in read_queries(fasta):
                held = (
                    is_test(query.id, share=share, salt=salt)
                    if published is None
                    else query.id in published
                )
                streams[held].write(query.fasta)
                counts[held] += 1
        if published is not None and counts[True] == 0:
            raise DataError(f"{held_out}: none of its {len(published)} ids is in {fasta}")
    return counts[0], counts[1]


def _read_ids(path: Path | str) -> set[str]:
    with open_sequences(path) as stream:
        return {line.lstrip(">").split(maxsplit=1)[0] for line in stream if line.strip(" >\t\n")}


def shard_queries(
    fasta: Path | str,
    folder: Path | str,
    *,
    shards: int,
    max_queries: int | None = None,
    may_be_empty: bool = False,
) -> list[int]:
    """Cut a FASTA file into FOLDER/0000.fasta and on; some may be empty.

    Which sequences are used, where each goes and their order in a shard depend on the ids alone.
    Sources are sorted (UniRef by length), and a training takes neighbours into one minibatch.

    Args:
        fasta: Sequences to cut.
        folder: Where the shards go. Files of other names in it are left alone.
        shards: How many files, exactly.
        max_queries: Use only this many sequences, those with the smallest hashes.
        may_be_empty: As in `read_queries`.

    Returns:
        The number of sequences in each shard.

    Raises:
        DataError: As `read_queries`, or the source is a pipe.
        SettingsError: There would be no shard or no query.
    """
    if shards < 1 or (max_queries is not None and max_queries < 1):
        raise SettingsError(f"{shards} shards of {max_queries} queries were asked for; at least 1")
    require_file(fasta, "its ids are read before its sequences")

    def read() -> Iterator[Query]:
        return read_queries(fasta, may_be_empty=may_be_empty)

    ranks = np.fromiter((_hash(query.id) for query in read()), dtype=np.uint64)
    last = 2**64 - 1
    if max_queries is not None and max_queries < len(ranks):
        last = int(np.partition(ranks, max_queries - 1)[max_queries - 1])
    chosen = (query for query in read() if _hash(query.id) <= last)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".shards.", dir=folder) as temporary:
        counts = _deal(chosen, Path(temporary), shards)
        for number in range(shards):
            name = shard_name(number)
            with open_text(Path(temporary) / name) as stream:
                dealt = sorted(fasta_records(stream, name), key=lambda one: _hash(one[0], part=2))
            write_text(folder / name, fasta_text(dealt))
    return counts


def shard_name(number: int) -> str:
    """File name of a shard, numbered from 0."""
    return f"{number:04d}.fasta"


def _deal(queries: Iterable[Query], folder: Path, shards: int) -> list[int]:
    """Append each query to its shard; ten thousand shards are not open at once."""
    counts = [0] * shards
    waiting: list[list[str]] = [[] for _ in range(shards)]
    held = 0

    def flush() -> None:
        for number, texts in enumerate(waiting):
            with (folder / shard_name(number)).open("a", encoding="utf-8") as stream:
                stream.writelines(texts)
            texts.clear()

    for query in queries:
        number = _hash(query.id, part=1) % shards
        counts[number] += 1
        waiting[number].append(query.fasta)
        held += len(query.fasta)
        if held >= _BUFFER_BYTES:
            flush()
            held = 0
    flush()
    return counts
