"""Families of rows that a test writes out."""

import numpy as np

from npm_core import alphabet
from npm_core.tables import Family


def family(*rows: str, name: str = "f", weights: list[float] | None = None) -> Family:
    residues = np.stack([alphabet.encode(row) for row in rows])
    return Family(name, residues, np.array(weights or [1.0] * len(rows), dtype=np.float32))
