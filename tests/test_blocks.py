"""Memory of blocks of positions."""

import numpy as np
import pytest

from npm_core import blocks


def test_a_block_that_fails_gives_its_workspace_back():
    workspaces = blocks.Workspaces(1, 10, 5, np.float32)
    with pytest.raises(MemoryError), workspaces.borrow():
        raise MemoryError
    assert workspaces._free.qsize() == 1
