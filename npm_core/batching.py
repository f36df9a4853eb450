"""Minibatches of proteins: rows by weight, crops, gap columns, padding."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from npm_core import alphabet
from npm_core.arrays import States
from npm_core.errors import DataError
from npm_core.model import pad_tokens
from npm_core.tables import Family


@dataclass(frozen=True, eq=False)
class Example:
    """A query and the rows sampled from its MSA.

    Attributes:
        query: (L,) uint8 states of the query, without gaps (20, MASK: a letter of no amino acid).
        rows: (M, L) uint8.
        weight: Of this protein in the loss of the minibatch; their mean over a data set is 1.
    """

    query: States
    rows: States
    weight: float = 1.0


def sample_example(
    family: Family,
    rng: np.random.Generator,
    *,
    rows: int,
    max_length: int,
    random_query: bool,
    weight: float = 1.0,
) -> Example:
    """Draw a query, a crop and rows from one family (appendices C.1 and C.3).

    The columns in which a random query has a gap are dropped. Row 0 as the query keeps all: what
    looks like a gap in it is a letter that names no amino acid (X). Rows are drawn with
    replacement, each with a probability proportional to its sequence weight.

    Args:
        family: The MSA.
        rng: Of this example alone.
        rows: M.
        max_length: Longer queries are cropped to this many contiguous positions.
        random_query: Any row with a residue may be the query, all equally likely; else row 0 is.
        weight: Passed on.
    """
    candidates = family.residues if random_query else family.residues[:1]
    present = np.flatnonzero((candidates != alphabet.GAP).any(1))
    if not present.size:
        raise DataError(f"family {family.id}: a row of gaps alone cannot be the query")
    query = family.residues[rng.choice(present)]
    columns = np.flatnonzero(query != alphabet.GAP) if random_query else np.arange(family.length)
    if len(columns) > max_length:
        start = int(rng.integers(len(columns) - max_length + 1))
        columns = columns[start : start + max_length]
    probability = family.weights.astype(np.float64)
    chosen = rng.choice(family.depth, size=rows, p=probability / probability.sum())
    return Example(query[columns], family.residues[np.ix_(chosen, columns)], weight)


@dataclass(frozen=True, eq=False)
class Batch:
    """Several examples as tensors.

    Attributes:
        tokens: (B, longest) int64, padded.
        lengths: (B,) int64.
        rows: B tensors (M, L_n) int64, not padded.
        weights: (B,) float32.
    """

    tokens: Tensor
    lengths: Tensor
    rows: list[Tensor]
    weights: Tensor

    def to(self, device: torch.device) -> "Batch":
        return Batch(
            self.tokens.to(device, non_blocking=True),
            self.lengths.to(device, non_blocking=True),
            [rows.to(device, non_blocking=True) for rows in self.rows],
            self.weights.to(device, non_blocking=True),
        )


def collate(examples: Sequence[Example]) -> Batch:
    """Pad the queries of a minibatch; rows keep their own length."""
    tokens, lengths = pad_tokens([_int64(example.query) for example in examples])
    return Batch(
        tokens,
        lengths,
        [_int64(example.rows) for example in examples],
        torch.tensor([example.weight for example in examples], dtype=torch.float32),
    )


def _int64(states: States) -> Tensor:
    return torch.from_numpy(states.astype(np.int64))
