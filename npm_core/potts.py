"""Potts models: energy of fields h and couplings J."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from npm_core.alphabet import STATES
from npm_core.arrays import Float32, Float64, States
from npm_core.errors import DataError

ObjectiveName = Literal["ccmpred", "paper"]
"""Which objective a fit minimises: CCMpred's, or eq. (3) of the paper."""


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
