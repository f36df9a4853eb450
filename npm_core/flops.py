"""Floating point operations of a model's matrix products, by its sizes; a product of two is 2."""

import torch

from npm_core.alphabet import STATES
from npm_core.architecture import HeadSettings, TrunkSettings
from npm_core.npm_loss import cheapest_form
from npm_core.trunks import build_trunk


def trunk_flops(trunk: TrunkSettings, length: int) -> float:
    """Of one forward pass of the Transformer over a sequence of `length` residues."""
    with torch.device("meta"):
        layers = build_trunk(trunk).transformer_layers()
    matrices = sum(w.numel() for layer in layers for w in layer.parameters() if w.ndim > 1)
    return 2.0 * length * matrices + 4.0 * length**2 * trunk.width * trunk.layers


def head_flops(trunk: TrunkSettings, head: HeadSettings, length: int, rows: int) -> float:
    """Of the couplings head and the loss of eq. (8) over `rows` sequences, forward."""
    d, rank, pairs = trunk.width, head.rank, STATES**2
    if head.kind == "conv":
        f = head.channels
        made = 4.0 * length * d * f * rank + 2.0 * length**2 * f * rank
        made += 2.0 * length**2 * (2 * f * f + f * pairs)
        return made + 2.0 * rows * length**2 * pairs
    if head.kind == "tied":
        made = 2.0 * length * d * STATES * rank + 2.0 * length * pairs * (rank + rows)
        return made + 4.0 * rows * length * STATES * rank + 2.0 * length * STATES * rank**2
    # An asymmetric head has two projections; left and right factors are both, end to end.
    sides = 2 if head.kind == "asymmetric" else 1
    rank *= sides
    made = 2.0 * length * d * pairs * rank
    if cheapest_form(length=length, rank=rank, depth=rows) == "matrix_free":
        grams = 2.0 * sides * pairs * length * rank**2
        return made + 4.0 * rows * length * pairs * rank + grams
    made += 1.0 * length**2 * STATES * (STATES + 1) * rank
    return made + 2.0 * rows * length**2 * pairs


def training_flops(
    trunk: TrunkSettings, head: HeadSettings | None, length: int, rows: int, *, frozen: bool = False
) -> float:
    """Of one protein in one update: a forward pass, and twice that for what is trained.

    Args:
        trunk: The Transformer.
        head: None for masked language modelling, whose output layer is not counted.
        length: L, residues.
        rows: M, sequences of the alignment.
        frozen: Whether the Transformer's weights are left as they are.
    """
    read = (1 if frozen else 3) * trunk_flops(trunk, length)
    return read + (0.0 if head is None else 3 * head_flops(trunk, head, length, rows))
