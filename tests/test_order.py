"""Batches are a function of their number: each item once an epoch, few windows, like lengths."""

import numpy as np
import pytest

from npm_core.errors import DataError
from npm_core.order import BATCHES_A_BUCKET, Order


def test_every_epoch_shows_every_item_once_in_another_order():
    order = Order(np.arange(10, 30), batch=4, seed=3, window=7)
    stream = sorted(pair for step in range(40) for pair in order.items(step))
    items = [item for _, item in stream]
    assert sorted(items[:20]) == sorted(items[20:40]) == list(range(20))
    assert items[:20] != items[20:40]
    assert [number for number, _ in stream] == list(range(160))
    assert order.epoch(40) == 8.0


def test_any_batch_can_be_made_without_those_before():
    order = Order(np.arange(10, 30), batch=4, seed=3)
    forward = [order.items(step) for step in range(50)]
    again = Order(np.arange(10, 30), batch=4, seed=3)
    assert [again.items(step) for step in reversed(range(50))] == forward[::-1]
    assert forward != [Order(np.arange(10, 30), batch=4, seed=4).items(s) for s in range(50)]


def test_items_of_a_window_stay_together_in_an_epoch():
    order = Order(np.ones(40, dtype=int), batch=5, seed=0, window=10)
    stream = sorted(pair for step in range(BATCHES_A_BUCKET) for pair in order.items(step))
    windows = [item // 10 for _, item in stream]
    assert [len(set(windows[start : start + 10])) for start in range(0, 40, 10)] == [1] * 4


def test_members_of_a_batch_have_similar_lengths():
    lengths = np.random.default_rng(0).integers(50, 500, 640)
    order = Order(lengths, batch=8, seed=0)
    spread = [np.ptp(lengths[[item for _, item in order.items(s)]]) for s in range(8)]
    assert max(spread) < np.ptp(lengths) / 2


def test_a_batch_of_few_families_holds_many_of_them():
    # The paper's Pfam experiment: 181 families of one clan, 64 an update
    order = Order(np.arange(100, 281), batch=64, seed=0)
    distinct = [len({item for _, item in order.items(step)}) for step in range(30)]
    assert max(distinct) == 64
    # An update that runs on into the next epoch may see a family again
    assert np.mean(distinct) > 58


def test_a_batch_of_the_papers_size_lies_in_few_windows_and_each_process_reads_its_own_part():
    lengths = np.random.default_rng(0).integers(50, 500, 6000)
    order = Order(lengths, batch=512, seed=0, window=256)
    for step in range(12):
        items = [item for _, item in order.items(step)]
        assert len({item // 256 for item in items}) <= 4
        shares = [order.share(step, rank, 4) for rank in range(4)]
        assert [len(share) for share in shares] == 4 * [128]
        assert sorted(pair for share in shares for pair in share) == sorted(order.items(step))
        # Of four pieces of neighbours only the outermost row groups are read twice
        groups = [{item // 16 for _, item in share} for share in shares]
        assert sum(map(len, groups)) <= len(set().union(*groups)) + 3
        for share in shares:
            found = lengths[[item for _, item in share]]
            assert (np.diff(found) >= 0).all()


def test_half_a_window_is_sorted_by_length_together():
    order = Order(np.arange(40_000), batch=512, seed=0, window=4096)
    numbers = [{number for number, _ in order.items(step)} for step in range(4)]
    assert set().union(*numbers) == set(range(2048))
    assert set().union(*numbers[:2]) != set(range(1024))


def test_members_of_a_small_batch_are_dealt_out_by_length():
    order = Order(np.arange(200), batch=8, seed=0)
    items = order.items(3)
    assert [order.share(3, rank, 2) for rank in range(2)] == [items[::2], items[1::2]]


def test_nothing_to_train_on_is_refused():
    with pytest.raises(DataError, match="nothing to train on"):
        Order(np.array([], dtype=int), batch=4, seed=0)
