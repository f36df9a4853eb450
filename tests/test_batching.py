"""Batches are a function of their number; rows come by weight, crops and gaps as in the paper."""

from collections import Counter

import numpy as np
import pytest
import torch
from family_inputs import family

from npm_core import alphabet, families
from npm_core.batching import collate, sample_example
from npm_core.draws import generator
from npm_core.errors import DataError
from npm_core.families import Families
from npm_core.model import MASK, PAD
from npm_core.order import BATCHES_A_BUCKET, Order
from npm_core.prefetch import Prefetch
from npm_core.tables import Family, open_table, write_families


def draw(made: Family, seed: int = 0, **changes):
    settings = {"rows": 50, "max_length": 512, "random_query": False} | changes
    return sample_example(made, generator(seed, "rows", 0), **settings)


def test_rows_are_drawn_by_weight():
    example = draw(family("A", "R", "N", weights=[1.0, 3.0, 0.0]), rows=4000)
    counts = Counter(alphabet.decode(example.rows[:, 0]))
    assert set(counts) == {"A", "R"}
    assert counts["R"] / 4000 == pytest.approx(0.75, abs=0.03)


def test_gap_columns_of_the_query_are_dropped_from_every_row():
    made = family("A-RN-", "CDEFG", weights=[1.0, 1.0])
    examples = [draw(made, seed, rows=20, random_query=True) for seed in range(20)]
    rows = {alphabet.decode(e.query): {alphabet.decode(row) for row in e.rows} for e in examples}
    assert rows == {"ARN": {"ARN", "CEF"}, "CDEFG": {"A-RN-", "CDEFG"}}


def test_a_letter_of_no_amino_acid_keeps_its_column_in_the_query_that_anchors_the_alignment():
    example = draw(family("AXRX", "CDEF"), rows=20)
    assert example.query.tolist() == [0, MASK, 1, MASK]
    assert {alphabet.decode(row) for row in example.rows} == {"A-R-", "CDEF"}


def test_any_row_with_a_residue_may_be_the_query():
    made = family("AR-", "---", "-CD")
    queries = {alphabet.decode(draw(made, seed, random_query=True).query) for seed in range(30)}
    assert queries == {"AR", "CD"}


def test_the_first_row_is_the_query_unless_asked_otherwise():
    assert all(alphabet.decode(draw(family("AR", "CD"), s).query) == "AR" for s in range(10))


def test_long_queries_are_cropped_to_contiguous_positions_anywhere():
    letters = alphabet.ALPHABET[:20]
    crops = {alphabet.decode(draw(family(letters), s, max_length=7).query) for s in range(200)}
    assert crops == {letters[start : start + 7] for start in range(14)}


def test_a_family_of_gaps_alone_is_refused():
    with pytest.raises(DataError, match="gaps alone"):
        draw(family("--", "AR"))


def test_padding_marks_the_end_and_rows_are_not_padded():
    batch = collate([draw(family("AR"), rows=3), draw(family("NDCQ"), rows=3)])
    assert batch.tokens.tolist()[0] == [0, 1, PAD, PAD]
    assert batch.lengths.tolist() == [2, 4]
    assert [tuple(rows.shape) for rows in batch.rows] == [(3, 2), (3, 4)]


def test_every_epoch_shows_every_item_once_in_another_order():
    order = Order(np.arange(10, 30), batch=4, seed=3, window=7)
    stream = sorted(pair for step in range(40) for pair in order.items(step))
    items = [item for _, item in stream]
    assert sorted(items[:20]) == sorted(items[20:40]) == list(range(20))
    assert items[:20] != items[20:40]
    assert [number for number, _ in stream] == list(range(160))


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
        assert sorted(pair for share in shares for pair in share) == sorted(order.items(step))
        # Of four pieces of neighbours only the outermost row groups are read twice
        groups = [{item // 16 for _, item in share} for share in shares]
        assert sum(map(len, groups)) <= len(set().union(*groups)) + 3
        for share in shares:
            found = lengths[[item for _, item in share]]
            assert (np.diff(found) >= 0).all()


def test_members_of_a_small_batch_are_dealt_out_by_length():
    order = Order(np.arange(200), batch=8, seed=0)
    items = order.items(3)
    assert [order.share(3, rank, 2) for rank in range(2)] == [items[::2], items[1::2]]


def test_nothing_to_train_on_is_refused():
    with pytest.raises(DataError, match="nothing to train on"):
        Order(np.array([], dtype=int), batch=4, seed=0)


@pytest.fixture
def shards(tmp_path):
    names = [f"f{n}" for n in range(7)]
    made = [family("ARND"[: 1 + n % 4], name=name) for n, name in enumerate(names)]
    write_families(tmp_path / "0.parquet", made[:5], {}, rows_per_group=2)
    write_families(tmp_path / "1.parquet", made[5:], {}, rows_per_group=2)
    write_families(tmp_path / "r.parquet", [family("WW", "YY", name="f3")], {})
    return tmp_path


def test_families_are_found_in_any_order_with_one_row_group_in_memory(shards):
    found = Families([shards / "0.parquet", shards / "1.parquet"], groups_in_memory=1)
    assert found.ids.to_pylist() == [f"f{n}" for n in range(7)]
    assert found.lengths.tolist() == [1, 2, 3, 4, 1, 2, 3]
    for index in (6, 0, 3, 6, 1):
        assert found[index].id == f"f{index}"
        assert found[index].length == found.lengths[index]


def test_the_footer_of_a_shard_is_read_once(shards, monkeypatch):
    opened = []

    def noted(path, columns=()):
        opened.append(path)
        return open_table(path, columns)

    monkeypatch.setattr(families, "open_table", noted)
    found = Families([shards / "0.parquet", shards / "1.parquet"], groups_in_memory=1)
    for index in (6, 0, 3, 6, 1):
        assert found[index].id == f"f{index}"
    # Once for the index, once for the alignments
    assert len(opened) == 4


def test_replaced_families_stand_where_the_others_stood(shards):
    paths = [shards / "0.parquet", shards / "1.parquet"]
    found = Families(paths, replace=[shards / "r.parquet"])
    assert found.ids[3].as_py() == "f3"
    assert (found[3].query, found.lengths[3], found.meff[3]) == ("WW", 2, 2.0)
    with pytest.raises(DataError, match="1 families are not among those"):
        Families([shards / "1.parquet"], replace=[shards / "r.parquet"])


def test_a_digest_tells_families_apart(shards):
    paths = [shards / "0.parquet", shards / "1.parquet"]
    plain, again, replaced = (
        Families(paths, replace=replace).digest() for replace in ([], [], [shards / "r.parquet"])
    )
    assert plain == again != replaced


def test_families_that_are_left_out_are_not_there(shards):
    paths = [shards / "0.parquet", shards / "1.parquet"]
    found = Families(paths, without=[shards / "r.parquet"])
    assert found.ids.to_pylist() == ["f0", "f1", "f2", "f4", "f5", "f6"]
    assert [found[n].id for n in range(6)] == found.ids.to_pylist()
    with pytest.raises(DataError, match="1 families are not among those trained on, first f3"):
        Families([shards / "1.parquet"], without=[shards / "r.parquet"])


def test_a_family_that_occurs_twice_is_refused(shards):
    with pytest.raises(DataError, match="f0 occurs twice"):
        Families([shards / "0.parquet", shards / "0.parquet"])


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


def test_weights_of_examples_reach_the_batch():
    batch = collate([draw(family("AR"), weight=0.5), draw(family("AR"), weight=1.5)])
    torch.testing.assert_close(batch.weights, torch.tensor([0.5, 1.5]))
