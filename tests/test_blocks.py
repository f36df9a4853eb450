"""Memory of blocks of positions."""

from itertools import product

import numpy as np
import pytest

from npm_core import blocks


def test_memory_that_is_worked_on_is_zero_and_begins_at_a_cache_line():
    kinds = (np.uint16, np.float32, np.float64)
    found = [blocks.aligned((size, 5), kind) for size, kind in product((1, 3, 17, 168), kinds)]
    for values, (size, kind) in zip(found, product((1, 3, 17, 168), kinds), strict=True):
        assert (values.shape, values.dtype) == ((size, 5), kind)
        assert values.ctypes.data % 64 == 0
        assert not values.any()


def test_a_block_that_fails_gives_its_workspace_back():
    workspaces = blocks.Workspaces(1, 10, 5, np.float32)
    with pytest.raises(MemoryError), workspaces.borrow():
        raise MemoryError
    assert workspaces._free.qsize() == 1
