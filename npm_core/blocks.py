"""Blocks of LANES positions: how a fit lays them out in memory and shares them among threads."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from npm_core.alphabet import GAP, STATES
from npm_core.arrays import Float32, States
from npm_core.kernels import LANES, TILE, WIDTH

T = TypeVar("T")

CHUNK_BYTES = 1 << 18
"""Sequences are worked on in chunks whose logits of one block of positions stay in L2 cache."""


def count_blocks(length: int) -> int:
    """How many blocks hold L positions; the last is padded."""
    return -(-length // LANES)


def count_parameters(blocks: int) -> int:
    """Size of the parameter vector: a tile for each two blocks I <= J, then all fields."""
    return blocks * (blocks + 1) // 2 * TILE + blocks * WIDTH


def lanes_of(block: int, length: int) -> int:
    """How many lanes of a block are positions."""
    return min(LANES, length - block * LANES)


def chunk_rows(depth: int, itemsize: int) -> int:
    """How many sequences are worked on at a time."""
    return min(depth, CHUNK_BYTES // (WIDTH * itemsize))


def block_states(residues: States) -> States:
    """(blocks, M, LANES) states of the positions of each block, padded with 0."""
    depth, length = residues.shape
    blocks = count_blocks(length)
    padded = np.pad(residues, ((0, 0), (0, blocks * LANES - length)))
    return np.ascontiguousarray(padded.reshape(depth, blocks, LANES).swapaxes(0, 1))


def blocked(values: NDArray, kind: type = np.float32) -> NDArray:
    """(blocks, WIDTH) of a type, laid out (state, lane), from (L, 21), padded with 0."""
    blocks = count_blocks(len(values))
    padded: NDArray = np.pad(values.astype(kind), ((0, blocks * LANES - len(values)), (0, 0)))
    return padded.reshape(blocks, LANES, STATES).swapaxes(1, 2).reshape(blocks, WIDTH)


def from_blocks(values: Float32, length: int) -> Float32:
    """The inverse of `blocked`."""
    positions = values.reshape(-1, STATES, LANES).transpose(0, 2, 1).reshape(-1, STATES)
    return np.ascontiguousarray(positions[:length])


def less_gap(values: NDArray) -> NDArray:
    """(WIDTH,) less the gap's value of each lane."""
    return (values.reshape(STATES, LANES) - values[GAP * LANES :]).ravel()


def aligned(shape: tuple[int, ...], kind: type) -> NDArray:
    """Zeros that start at a cache line: half of the vectors would straddle two lines otherwise."""
    size = int(np.prod(shape))
    line = 64 // np.dtype(kind).itemsize
    whole: NDArray = np.zeros(size + line, dtype=kind)
    begin = -whole.ctypes.data // whole.itemsize % line
    return whole[begin : begin + size].reshape(shape)


class Threads:
    """`map` over threads, or in this one; results come in order either way."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None

    def map(self, work: Callable[[int], T], items: Iterable[int]) -> list[T]:
        return list(self._pool.map(work, items) if self._pool else map(work, items))

    def __enter__(self) -> "Threads":
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool:
            self._pool.shutdown()


class Workspaces:
    """For each thread a table (21 L, WIDTH) and work (chunk, WIDTH) of `kernels.block_gradient`."""

    def __init__(self, threads: int, depth: int, length: int, kind: type) -> None:
        self._free: SimpleQueue[tuple[NDArray, NDArray]] = SimpleQueue()
        chunk = chunk_rows(depth, np.dtype(kind).itemsize)
        for _ in range(threads):
            self._free.put((aligned((length * STATES, WIDTH), kind), aligned((chunk, WIDTH), kind)))

    @contextmanager
    def borrow(self) -> Iterator[tuple[NDArray, NDArray]]:
        taken = self._free.get()
        try:
            yield taken
        finally:
            self._free.put(taken)
