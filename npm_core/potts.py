"""Potts models: energy of fields h and couplings J, and their file."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from npm_core import alphabet
from npm_core.alphabet import STATES
from npm_core.arrays import Float32, Float64, States
from npm_core.errors import DataError, told_where

ObjectiveName = Literal["ccmpred", "paper"]
"""Which objective a fit minimises: CCMpred's, or eq. (3) of the paper."""

_FORMAT = "npm-potts-1"


@dataclass(frozen=True, eq=False)
class Potts:
    """A Potts model, -E(x) = sum_i h_i(x_i) + sum_{i<j} J_ij(x_i, x_j) (paper, eq. 1).

    Attributes:
        fields: h, (L, 21) float32.
        couplings: J, (L, L, 21, 21) float32; J[i, j, a, b] = J[j, i, b, a], J[i, i] = 0.
        metadata: Facts about the fit, as text.
    """

    fields: Float32
    couplings: Float32
    metadata: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, values in (("fields", self.fields), ("couplings", self.couplings)):
            if values.dtype.kind != "f":
                raise DataError(f"{name} are of type {values.dtype}, expected real numbers")
        if self.fields.shape[1:] != (STATES,) or self.fields.size == 0:
            raise DataError(f"fields are {self.fields.shape}, expected (L, {STATES})")
        length = len(self.fields)
        if self.couplings.shape != (length, length, STATES, STATES):
            raise DataError(
                f"couplings are {self.couplings.shape}, "
                f"expected ({length}, {length}, {STATES}, {STATES})"
            )

    @property
    def length(self) -> int:
        return len(self.fields)


def require_length(potts: Potts, length: int) -> None:
    """Refuse an alignment of another length than the model's.

    Raises:
        DataError: It is.
    """
    if potts.length != length:
        raise DataError(f"a model of length {potts.length} for an alignment of {length} columns")


def check(potts: Potts, where: str) -> Potts:
    """The model itself, if its numbers are finite, symmetric and without self couplings.

    Raises:
        DataError: They are not; a fit has diverged or a file is damaged.
    """
    if not np.isfinite(potts.fields).all():
        raise DataError(f"{where}: the fields hold NaN or infinity")
    for i in range(potts.length):
        if not np.isfinite(potts.couplings[i]).all():
            raise DataError(f"{where}: the couplings of position {i + 1} hold NaN or infinity")
        if potts.couplings[i, i].any():
            raise DataError(f"{where}: position {i + 1} couples to itself; J[i, i] must be 0")
        if not np.array_equal(potts.couplings[i], potts.couplings[:, i].transpose(0, 2, 1)):
            raise DataError(f"{where}: the couplings of position {i + 1} are not symmetric")
    return potts


def from_arrays(fields: NDArray, couplings: NDArray, metadata: dict[str, str], where: str) -> Potts:
    """A model of arrays that a file holds.

    Raises:
        DataError: They are no fields and couplings.
    """
    with told_where(where):
        return Potts(fields, couplings, metadata)


def full_couplings(upper: Float32, length: int) -> Float32:
    """(L, L, 21, 21) couplings from those of the pairs i < j, (L (L-1) / 2, 21, 21), row by row."""
    couplings = np.zeros((length, length, STATES, STATES), dtype=np.float32)
    done = 0
    for i in range(length):
        row = upper[done : done + length - i - 1]
        couplings[i, i + 1 :] = row
        couplings[i + 1 :, i] = row.transpose(0, 2, 1)
        done += length - i - 1
    return couplings


def upper_couplings(couplings: Float32) -> Float32:
    """(L (L-1) / 2, 21, 21): the pairs i < j, row by row; the inverse of `full_couplings`."""
    length = len(couplings)
    return np.concatenate(
        [couplings[i, i + 1 :] for i in range(length - 1)]
        or [np.zeros((0, STATES, STATES), dtype=np.float32)]
    )


def write(path: Path, potts: Potts) -> None:
    """Write a model as safetensors: fields, the couplings of i < j, and its metadata.

    It is neither checked nor written atomically: `model_files.write_model` does both.
    """
    from safetensors.numpy import save_file

    tensors = {
        "fields": np.ascontiguousarray(potts.fields, dtype=np.float32),
        "couplings": upper_couplings(potts.couplings).astype(np.float32, copy=False),
    }
    known = {"format": _FORMAT, "alphabet": alphabet.ALPHABET}
    save_file(tensors, path, metadata={**potts.metadata, **known})


def load(path: Path | str) -> Potts:
    """Read a model that `write` wrote, unchecked: `model_files.read_model` checks it.

    Raises:
        DataError: The file is missing, truncated or of another kind.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            found = set(file.keys())
            if metadata.get("format") != _FORMAT or found != {"fields", "couplings"}:
                raise DataError(
                    f"{path}: tensors {sorted(found)} of format {metadata.get('format')!r}, "
                    f"expected fields and couplings of {_FORMAT!r}"
                )
            types = {name: file.get_slice(name).get_dtype() for name in sorted(found)}
            if not set(types.values()) <= {"F16", "F32", "F64"}:
                raise DataError(f"{path}: tensors of types {types}, expected F32")
            fields, upper = file.get_tensor("fields"), file.get_tensor("couplings")
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except SafetensorError as error:
        raise DataError(f"{path}: not a whole safetensors file ({error})") from error
    if metadata.get("alphabet") != alphabet.ALPHABET:
        raise DataError(f"{path}: alphabet {metadata.get('alphabet')!r}, not {alphabet.ALPHABET!r}")
    length = len(fields) if fields.ndim else 0
    if upper.shape != (length * (length - 1) // 2, STATES, STATES):
        raise DataError(f"{path}: {upper.shape} couplings for {fields.shape} fields")
    return from_arrays(fields, full_couplings(upper, length), metadata, str(path))


def scaled(potts: Potts, factor: float) -> Potts:
    """The model with every parameter times `factor`; 0 is the model that prefers nothing."""
    share = np.float32(factor)
    return Potts(potts.fields * share, potts.couplings * share, potts.metadata)


def energy(potts: Potts, residues: States) -> Float64:
    """E(x) of each row (paper, eq. 1).

    Args:
        potts: The model, length L.
        residues: (M, L) uint8, states 0..20.

    Returns:
        (M,) float64, unitless; lower is more probable.

    Raises:
        DataError: The rows have another length than the model.
    """
    require_length(potts, residues.shape[1])
    columns = np.arange(potts.length)
    total = potts.fields[columns, residues].sum(1, dtype=np.float64)
    for i in range(potts.length - 1):
        later = columns[i + 1 :]
        pairs = potts.couplings[i, later, residues[:, i, None], residues[:, i + 1 :]]
        total += pairs.sum(1, dtype=np.float64)
    return -total
