"""Batches made ahead of time come in order."""

import pytest

from npm_core.errors import DataError
from npm_core.prefetch import Prefetch


def test_prefetched_batches_come_in_order_and_errors_come_through():
    assert list(Prefetch(lambda step: step * 2, range(3, 9))) == [(s, 2 * s) for s in range(3, 9)]

    def fail(step: int) -> int:
        if step == 2:
            raise DataError("shard is damaged")
        return step

    failing = iter(Prefetch(fail, range(5)))
    assert [next(failing), next(failing)] == [(0, 0), (1, 1)]
    with pytest.raises(DataError, match="damaged"):
        next(failing)
