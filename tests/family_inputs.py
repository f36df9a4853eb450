"""Families of rows, and their neighbours, that a test writes out."""

import numpy as np

from npm_core import alphabet
from npm_core.neighbours import Neighbour
from npm_core.tables import Family


def family(*rows: str, name: str = "f", weights: list[float] | None = None) -> Family:
    residues = np.stack([alphabet.encode(row) for row in rows])
    return Family(name, residues, np.array(weights or [1.0] * len(rows), dtype=np.float32))


def neighbour(positions, columns, target="t"):
    positions, columns = np.array(positions, np.int32), np.array(columns, np.int32)
    return Neighbour(target, "f", 90.0, None, positions, columns)
