"""Families of several shards by their number: any order, others in their place, some left out."""

import pytest
from family_inputs import family

from npm_core import families
from npm_core.errors import DataError
from npm_core.families import Families
from npm_core.tables import open_table, write_families


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
