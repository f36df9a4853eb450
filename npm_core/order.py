"""Which item of a training comes when, as a pure function of the lengths and the batch's number.

So any step can be replayed without the steps before it, and a resumed or a distributed training
sees the same batches.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from npm_core.draws import generator
from npm_core.errors import DataError

BATCHES_A_BUCKET = 8
"""Items of at most this many batches are sorted by length together, so that little is padded."""

ITEMS_A_BUCKET = 512
"""Nor are more than these, or half a window if that is more, so that a small batch lies in few."""

BUCKETS_AN_EPOCH = 8
"""Nor more than one part in so many of all items, so that a batch holds none of a few twice."""


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
