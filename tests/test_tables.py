"""Tables come back as they were written; what is damaged or occurs twice is refused."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from npm_core import provenance, tables
from npm_core.errors import DataError
from npm_core.families import Families
from npm_core.tables import (
    FAMILIES,
    SCORES,
    TARGETS,
    Family,
    Scores,
    Target,
    read_families,
    read_metadata,
    read_scores,
    read_table,
    read_targets,
    write_families,
    write_rows,
    write_scores,
    write_targets,
)


def test_families_survive_the_round_trip(tmp_path, rng):
    families = [
        Family(f"f{n}", rng.integers(0, 21, (n + 1, 5), dtype=np.uint8), np.full(n + 1, 0.5, "f4"))
        for n in range(40)
    ]
    path = tmp_path / "families.parquet"
    assert write_families(path, iter(families), provenance.provenance(seed=3)) == 40
    read = list(read_families(path))
    assert [family.id for family in read] == [family.id for family in families]
    for before, after in zip(families, read, strict=True):
        assert np.array_equal(before.residues, after.residues)
        assert after.meff == pytest.approx(0.5 * before.depth)
    assert read_metadata(path)["seed"] == 3


def test_of_row_groups_without_a_family_that_is_wanted_only_ids_are_read(tmp_path, monkeypatch):
    decoded = []

    def families_of(table):
        decoded.extend(table["id"].to_pylist())
        return whole(table)

    whole = tables.families_of
    monkeypatch.setattr(tables, "families_of", families_of)
    paths = [tmp_path / "first.parquet", tmp_path / "second.parquet"]
    for path, names in zip(paths, ("abcdefg", "hi"), strict=True):
        families = (Family(name, np.zeros((1, 5), "u1"), np.ones(1, "f4")) for name in names)
        write_families(path, families, {}, rows_per_group=2)
    assert [one.id for one in read_families(*paths, only={"g", "d", "h"})] == ["d", "g", "h"]
    assert decoded == ["c", "d", "g", "h", "i"]
    assert [one.id for one in read_families(*paths, only={"none"})] == []
    assert len(decoded) == 5
    assert [one.id for one in read_families(*paths)] == list("abcdefghi")


def test_a_damaged_table_is_named(tmp_path, rng):
    residues = rng.integers(0, 21, (200, 50), dtype=np.uint8)
    path = tmp_path / "families.parquet"
    write_families(path, [Family("f", residues, np.ones(200, np.float32))], {})
    frame = bytes.fromhex("28b52ffd")  # how zstd's data begin
    assert frame in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(frame, b"torn"))
    with pytest.raises(DataError, match=r"families\.parquet: not a whole Parquet file"):
        list(read_families(path))


def test_a_flipped_byte_of_any_column_is_refused(tmp_path, rng):
    residues = rng.integers(0, 21, (9, 11), dtype=np.uint8)
    path = tmp_path / "families.parquet"
    write_families(path, [Family("f", residues, np.ones(9, np.float32))], {})
    whole = path.read_bytes()
    group = pq.read_metadata(path).row_group(0)
    for column in map(group.column, range(group.num_columns)):
        begin = column.dictionary_page_offset or column.data_page_offset
        end = begin + column.total_compressed_size
        for place in (end - 1, end - 4):
            flipped = bytes([whole[place] ^ 1])
            path.write_bytes(whole[:place] + flipped + whole[place + 1 :])
            with pytest.raises(DataError, match="not a whole Parquet file"):
                list(read_families(path))


def test_a_family_of_another_size_than_it_says_is_refused(tmp_path):
    row = {"id": "f", "query": "AC", "length": 2, "depth": 3, "meff": 3.0, "weights": [1.0] * 3}
    rows = [{**row, "residues": bytes(5)}]
    write_rows(tmp_path / "x.parquet", FAMILIES, rows, 1)
    with pytest.raises(DataError, match="family f: 5 residues for 3 rows of 2 columns"):
        list(read_families(tmp_path / "x.parquet"))


def test_a_family_that_occurs_twice_is_refused(tmp_path):
    family = Family("f", np.zeros((1, 3), np.uint8), np.ones(1, np.float32))
    told = r"x\.parquet: not written, as two rows are of id f; give each input table once"
    with pytest.raises(DataError, match=told):
        write_families(tmp_path / "x.parquet", [family, family], {})
    assert not (tmp_path / "x.parquet").exists()


def test_scores_of_a_target_are_told_apart_by_their_model(tmp_path):
    one, other = (Scores("t", model, np.zeros((3, 3), np.float32)) for model in ("npm", "potts"))
    assert write_scores(tmp_path / "x.parquet", [one, other], {}) == 2
    with pytest.raises(DataError, match="two rows are of id t, model npm;"):
        write_scores(tmp_path / "x.parquet", [one, other, one], {})


def test_distances_of_a_target_are_symmetric_and_undefined_where_unresolved(tmp_path):
    coordinates = np.array([[0, 0, 0], [3, 4, 0], [np.nan] * 3], dtype=np.float32)
    write_targets(tmp_path / "t.parquet", [Target("t", "test", "ACD", coordinates, "1abc_A")], {})
    (target,) = read_targets(tmp_path / "t.parquet")
    assert target.distances[0, 1] == target.distances[1, 0] == 5.0
    assert np.isnan(target.distances[2]).all()
    assert read_table(tmp_path / "t.parquet", ["resolved"])[0]["resolved"] == 2


def test_scores_survive_the_round_trip(tmp_path, rng):
    matrix = rng.normal(size=(4, 4)).astype(np.float32)
    matrix = np.triu(matrix, 1) + np.triu(matrix, 1).T
    write_scores(tmp_path / "s.parquet", [Scores("t", "potts", matrix, 3, 2.5, 2.75)], {})
    (scores,) = read_scores(tmp_path / "s.parquet")
    assert np.array_equal(scores.matrix, matrix)
    assert (scores.depth, scores.meff, scores.generalisation_loss) == (3, 2.5, 2.75)


@pytest.mark.parametrize(("count", "sequence"), [(8, "ACD"), (9, "AC")])
def test_a_target_of_other_coordinates_than_residues_is_told_with_its_table(
    tmp_path, count, sequence
):
    row = {"id": "t", "split": "", "sequence": sequence, "length": 3, "resolved": 3, "source": ""}
    write_rows(tmp_path / "t.parquet", TARGETS, [row | {"coordinates": [0.0] * count}], 1)
    told = rf"t\.parquet: target t: {count} coordinates for {len(sequence)} residues, expected 3"
    with pytest.raises(DataError, match=told):
        list(read_targets(tmp_path / "t.parquet"))


@pytest.mark.parametrize(
    ("scores", "told"),
    [([0.0] * 4, "4 for the pairs of 4 residues, expected 6"), ([np.nan] * 6, "NaN or infinity")],
)
def test_scores_that_are_not_all_pairs_are_told_with_their_table(tmp_path, scores, told):
    row = {"id": "t", "model": "npm", "length": 4, "scores": scores}
    write_rows(tmp_path / "s.parquet", SCORES, [row], 1)
    with pytest.raises(DataError, match=rf"s\.parquet: scores of t by npm.*{told}"):
        list(read_scores(tmp_path / "s.parquet"))


def test_a_family_of_other_residues_than_rows_is_told_with_its_table(tmp_path):
    row = {"id": "f", "query": "AC", "length": 2, "depth": 2, "meff": 1.0, "weights": [1.0, 1.0]}
    write_rows(tmp_path / "f.parquet", FAMILIES, [row | {"residues": bytes(3)}], 1)
    told = r"f\.parquet: family f: 3 residues for 2 rows of 2 columns"
    with pytest.raises(DataError, match=told):
        list(read_families(tmp_path / "f.parquet"))
    with pytest.raises(DataError, match=told):
        Families([tmp_path / "f.parquet"])[0]


def test_scores_with_nan_are_refused():
    with pytest.raises(DataError, match="NaN"):
        Scores("t", "npm", np.full((2, 2), np.nan, dtype=np.float32))
