import numpy as np
import pytest

from npm_core.errors import DataError
from npm_core.matrices import read_distances, read_matrix


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


def test_pickled_objects_are_refused(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="not an array"):
        read_matrix(tmp_path / "objects.npy")


def test_a_choice_between_matrices_is_not_made_for_the_user(tmp_path):
    np.savez(tmp_path / "two.npz", first=np.eye(2), second=np.eye(2))
    with pytest.raises(DataError, match=r"\['first', 'second'\], expected one called 'scores'"):
        read_matrix(tmp_path / "two.npz")


@pytest.mark.parametrize("name", ["none.mat", "none.npy"])
def test_a_missing_file_is_an_error(tmp_path, name):
    with pytest.raises(DataError, match="no such file"):
        read_matrix(tmp_path / name)


def test_negative_distances_are_no_distances(tmp_path):
    np.savez(tmp_path / "scores.npz", distances=-np.eye(3))
    with pytest.raises(DataError, match="negative"):
        read_distances(tmp_path / "scores.npz")
