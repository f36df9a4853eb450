"""One protein's (L, L) matrices in files: contact scores and distances."""

import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from npm_core.errors import DataError
from npm_core.files import open_text


def read_matrix(path: Path | str, name: str = "scores") -> NDArray[np.float64]:
    """A square matrix of numbers.

    Args:
        path: .npy; .npz with an array `name`, or with one matrix only; else text, one row a
            line, such as CCMpred's .mat, gzipped or not.
        name: Array to take from an .npz file.

    Raises:
        DataError: The file is missing, unreadable, or holds no square matrix.
    """
    path = Path(path)
    if path.suffix in (".npy", ".npz"):
        matrix = _read_numpy(path, name)
    else:
        with open_text(path) as stream:
            try:
                matrix = np.loadtxt(stream, ndmin=2, dtype=np.float64)
            except ValueError as error:
                raise DataError(f"{path}: not a matrix of numbers ({error})") from error
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.size == 0:
        raise DataError(f"{path}: found {matrix.shape}, expected a square matrix (L, L)")
    return matrix.astype(np.float64)


def _read_numpy(path: Path, name: str) -> NDArray:
    try:
        with path.open("rb") as stream:
            loaded = np.load(stream, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return loaded
            matrices = {key: loaded[key] for key in loaded.files if loaded[key].ndim == 2}
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not an array that numpy can read ({error})") from error
    if name not in matrices and len(matrices) != 1:
        raise DataError(f"{path}: matrices are {sorted(matrices)}, expected one called {name!r}")
    return matrices.get(name, next(iter(matrices.values())))


def read_distances(path: Path | str) -> NDArray[np.float64]:
    """Distances that the verb `contacts` wrote: (L, L) angstrom, NaN where unresolved.

    Raises:
        DataError: As in `read_matrix`, or a distance is negative.
    """
    distances = read_matrix(path, "distances")
    if (distances < 0).any():
        raise DataError(f"{path}: distances are negative; is this a file of scores?")
    return distances
