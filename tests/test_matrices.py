import numpy as np
import pytest

from npm_core.errors import DataError
from npm_core.matrices import read_distances, read_matrix, read_sequence


def test_text_npy_and_npz_hold_the_same_matrix(tmp_path, rng):
    matrix = rng.normal(size=(4, 4))
    np.savetxt(tmp_path / "scores.mat", matrix, fmt="%.18e")
    np.save(tmp_path / "scores.npy", matrix)
    np.savez(tmp_path / "named.npz", scores=matrix, other=matrix + 1)
    np.savez(tmp_path / "only.npz", whatever=matrix, sequence=np.array("ACDE"))
    for name in ("scores.mat", "scores.npy", "named.npz", "only.npz"):
        np.testing.assert_array_equal(read_matrix(tmp_path / name), matrix)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.mat", b"1 2\n3 4\n5 6\n", r"\(3, 2\), expected a square"),
        ("a.mat", b"1 x\n3 4\n", "not a matrix of numbers"),
        ("a.mat", b"1 2\n3\n", "not a matrix of numbers"),
        ("a.npy", b"", "not an array"),
        ("a.npz", b"PK\x03\x04 torn", "not an array"),
    ],
)
def test_what_is_no_square_matrix_is_an_error(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_matrix(tmp_path / name)


@pytest.mark.parametrize("content", ["", "\n\n", "# CCMpred\n"])
def test_a_file_without_numbers_is_one_error_and_no_warning(tmp_path, content, recwarn):
    (tmp_path / "a.mat").write_text(content)
    with pytest.raises(DataError, match=r"a.mat: no numbers, expected a square matrix"):
        read_matrix(tmp_path / "a.mat")
    assert not recwarn


def test_pickled_objects_are_refused(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="not an array"):
        read_matrix(tmp_path / "objects.npy")


def test_a_choice_between_matrices_is_not_made_for_the_user(tmp_path):
    np.savez(tmp_path / "two.npz", first=np.eye(2), second=np.eye(2))
    with pytest.raises(DataError, match=r"\['first', 'second'\], expected one called 'scores'"):
        read_matrix(tmp_path / "two.npz")


@pytest.mark.parametrize("name", ["1abc.pdb.gz", "1ABC.CIF", "pdb1abc.ent"])
def test_a_structure_is_called_so(tmp_path, name):
    with pytest.raises(DataError, match=r"a structure, .*run `contacts` first"):
        read_distances(tmp_path / name)


def test_distances_are_not_taken_for_scores(tmp_path):
    np.savez(tmp_path / "c.npz", distances=DISTANCES, sequence=np.array("MKV"))
    with pytest.raises(DataError, match=r"\['distances'\], expected one called 'scores'; .*place"):
        read_matrix(tmp_path / "c.npz")


@pytest.mark.parametrize("name", ["none.mat", "none.npy"])
def test_a_missing_file_is_an_error(tmp_path, name):
    with pytest.raises(DataError, match="no such file"):
        read_matrix(tmp_path / name)


DISTANCES = np.array([[0, 4, np.nan], [4, 0, np.nan], [np.nan, np.nan, np.nan]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({(0, 1): -4, (1, 0): -4}, "negative"),
        ({(0, 1): 5}, "not symmetric"),
        ({(0, 0): 1}, "at a distance from themselves"),
        ({(0, 1): np.inf, (1, 0): np.inf}, "infinite"),
        ({(0, 1): 0.3, (1, 0): 0.3}, "0.3 angstrom apart"),
    ],
)
@pytest.mark.parametrize("name", ["a.npz", "a.npy", "a.mat"])
def test_what_are_no_distances_is_refused(tmp_path, name, change, message):
    def write(matrix):
        if name == "a.npz":
            np.savez(tmp_path / name, distances=matrix)
        elif name == "a.npy":
            np.save(tmp_path / name, matrix)
        else:
            np.savetxt(tmp_path / name, matrix)

    write(DISTANCES)
    np.testing.assert_array_equal(read_distances(tmp_path / name), DISTANCES)
    changed = DISTANCES.copy()
    for place, value in change.items():
        changed[place] = value
    write(changed)
    with pytest.raises(DataError, match=f"{message}.*file of scores"):
        read_distances(tmp_path / name)


def test_a_matrix_of_another_name_is_not_taken_for_distances(tmp_path):
    np.savez(tmp_path / "a.npz", scores=DISTANCES)
    with pytest.raises(DataError, match="expected one called 'distances'"):
        read_distances(tmp_path / "a.npz")


@pytest.mark.parametrize("matrix", [np.eye(2, dtype=complex), np.eye(2, dtype="U3"), np.eye(2) > 0])
def test_what_are_no_real_numbers_is_refused(tmp_path, matrix):
    np.save(tmp_path / "a.npy", matrix)
    with pytest.raises(DataError, match="expected real numbers"):
        read_matrix(tmp_path / "a.npy")


def test_a_damaged_npz_is_refused(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", scores=np.arange(10_000.0).reshape(100, 100))
    whole = bytearray((tmp_path / "a.npz").read_bytes())
    whole[200:300] = bytes(100)
    (tmp_path / "a.npz").write_bytes(whole)
    with pytest.raises(DataError, match="not an array"):
        read_matrix(tmp_path / "a.npz")


def test_the_sequence_of_a_file_is_read_where_it_holds_one(tmp_path):
    np.savez(tmp_path / "with.npz", scores=np.eye(2), sequence=np.array("MK"))
    np.savez(tmp_path / "without.npz", scores=np.eye(2))
    np.savez(tmp_path / "wrong.npz", scores=np.eye(2), sequence=np.array(["M", "K"]))
    assert read_sequence(tmp_path / "with.npz") == "MK"
    assert read_sequence(tmp_path / "without.npz") is None
    with pytest.raises(DataError, match="expected text"):
        read_sequence(tmp_path / "wrong.npz")
