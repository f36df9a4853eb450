"""One protein's (L, L) matrices in files: contact scores and distances."""

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from npm_core.arrays import Indices
from npm_core.errors import DataError
from npm_core.files import open_binary, open_text
from npm_core.formats import suffix_of
from npm_core.numbering import checked

CLOSEST = 0.5
"""angstrom: no two residues are as close, and scores that could pass for distances are smaller."""

STRUCTURES = (".pdb", ".ent", ".cif", ".mmcif")
"""Suffixes of files that `contacts` reads."""


def read_matrix(
    path: Path | str, name: str = "scores", *, by_name: bool = False
) -> NDArray[np.float64]:
    """A square matrix of numbers.

    Args:
        path: .npy; .npz with an array `name`, or with one matrix only; else text, one row a
            line, such as CCMpred's .mat, gzipped or not.
        name: Array to take from an .npz file.
        by_name: Refuse the only matrix of an .npz file if it has another name.

    Raises:
        DataError: The file is missing, unreadable, a structure, or holds no square matrix of real
            numbers; or its only matrix is one of distances, and another was asked for.
    """
    path = Path(path)
    if path.name.lower().removesuffix(".gz").endswith(STRUCTURES):
        raise DataError(
            f"{path}: a structure, expected a matrix; run `contacts` first (`precision` reads one "
            "that is given as --structure)"
        )
    if suffix_of(path) in ("npy", "npz"):
        loaded = load_arrays(path)
        matrix = loaded if isinstance(loaded, np.ndarray) else _chosen(loaded, name, path, by_name)
    else:
        # NumPy warns of a file without numbers, which is an error below.
        with open_text(path) as stream, warnings.catch_warnings(action="ignore"):
            try:
                matrix = np.loadtxt(stream, ndmin=2, dtype=np.float64)
            except ValueError as error:
                raise DataError(f"{path}: not a matrix of numbers ({error})") from error
    if matrix.size == 0:
        raise DataError(f"{path}: no numbers, expected a square matrix (L, L)")
    if matrix.dtype.kind not in "fiu":
        raise DataError(f"{path}: values of type {matrix.dtype}, expected real numbers")
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise DataError(f"{path}: found {matrix.shape}, expected a square matrix (L, L)")
    return matrix.astype(np.float64)


def load_arrays(path: Path, *, only: str | None = None) -> NDArray | dict[str, NDArray]:
    """The array of an .npy file, or the arrays of an .npz file by name; or that of one name only.

    Raises:
        DataError: The file is missing or damaged, or holds pickled objects.
    """
    with open_binary(path) as stream:
        try:
            loaded = np.load(stream, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return loaded
            return {name: loaded[name] for name in loaded.files if only in (None, name)}
        except Exception as error:  # damaged bytes make numpy, zipfile and zlib raise almost any
            raise DataError(f"{path}: not an array that numpy can read ({error})") from error


def _chosen(arrays: dict[str, NDArray], name: str, path: Path, by_name: bool) -> NDArray:
    matrices = {key: array for key, array in arrays.items() if array.ndim == 2}
    if name not in matrices and (by_name or len(matrices) != 1 or "distances" in matrices):
        swapped = {name, *matrices} == {"scores", "distances"}
        cure = "; scores and distances may stand in each other's place" if swapped else ""
        raise DataError(
            f"{path}: matrices are {sorted(matrices)}, expected one called {name!r}{cure}"
        )
    return matrices.get(name, next(iter(matrices.values())))


def read_sequence(path: Path | str) -> str | None:
    """Letters of the protein that an .npz file holds beside its matrix; None where it does not."""
    return _text_beside(path, "sequence")


def read_name(path: Path | str) -> str | None:
    """Name of the protein that an .npz file holds beside its matrix; None where it does not."""
    return _text_beside(path, "query_name")


def _text_beside(path: Path | str, name: str) -> str | None:
    found = _beside_matrix(Path(path), name)
    if found is None:
        return None
    if found.ndim != 0 or found.dtype.kind != "U":
        raise DataError(f"{path}: {name} is {found.shape} of {found.dtype}, expected text")
    return str(found)


def read_numbers(path: Path | str) -> Indices | None:
    """Residue numbers that an .npz file holds beside its matrix; None where it does not."""
    numbers = _beside_matrix(Path(path), "numbers")
    if numbers is None:
        return None
    if numbers.dtype.kind not in "iu":
        raise DataError(f"{path}: numbers of type {numbers.dtype}, expected integers")
    return checked(numbers, str(path))


def _beside_matrix(path: Path, name: str) -> NDArray | None:
    loaded = load_arrays(path, only=name) if suffix_of(path) == "npz" else {}
    return None if isinstance(loaded, np.ndarray) else loaded.get(name)


def read_distances(path: Path | str) -> NDArray[np.float64]:
    """(L, L) angstrom, NaN where unresolved: the verb `contacts` writes them so.

    Raises:
        DataError: As in `read_matrix`; the matrix of an .npz file is not called `distances`, or
            the values are no distances, as those of scores.
    """
    distances = read_matrix(path, "distances", by_name=True)
    apart = distances[~np.eye(len(distances), dtype=bool)]
    if (distances < 0).any():
        problem = "distances are negative"
    elif np.isinf(distances).any():
        problem = "distances are infinite (NaN is unresolved)"
    elif np.diag(distances)[~np.isnan(np.diag(distances))].any():
        problem = "residues are at a distance from themselves"
    elif not np.allclose(distances, distances.T, equal_nan=True):
        problem = "distances are not symmetric"
    elif (apart < CLOSEST).any():
        problem = f"two residues are {np.nanmin(apart):.3g} angstrom apart"
    else:
        return distances
    raise DataError(f"{path}: {problem}; is this a file of scores?")
