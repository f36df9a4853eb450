"""The compiled loops against the same sums written out, and the bits that they keep."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from plm_inputs import family

from npm_core import blocks, kernels, plm, plm_sparse
from npm_core.alphabet import STATES


def test_compiled_and_cached_kernels_give_the_same_bits(tmp_path):
    code = """
import hashlib, numpy as np
from npm_core import kernels
rng = np.random.default_rng(1)
residues = rng.integers(0, 21, (30, 8)).astype(np.uint8)
index = kernels.index_alignment(residues, np.zeros(8, np.int64), chunk=30)
table = rng.normal(size=(8 * 21, kernels.WIDTH)).astype(np.float32)
work, gradient, total = np.zeros_like(table[:30]), np.zeros_like(table), np.zeros_like(table[0])
weights = np.ones(30, np.float32)
loss = kernels.block_gradient(
    table, table[0], index, residues, weights, 8, work, gradient, total
)
print(loss, hashlib.sha256(gradient).hexdigest())
"""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    first, second = (
        subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True).stdout
        for _ in range(2)
    )
    assert first
    assert first == second


def test_counts_of_pairs_give_the_gradient_at_no_couplings(rng):
    residues = family(rng, depth=30, length=11)
    row_weights = (rng.random(30) + 0.1).astype(np.float32)
    lanes, width = 11 - kernels.LANES, kernels.WIDTH
    consensus = plm.consensus(residues)
    base = rng.normal(size=width).astype(np.float32)
    data = (
        kernels.index_alignment(residues, consensus, chunk=8),
        blocks.block_states(residues)[1],
        row_weights,
        lanes,
    )
    table, work = np.zeros((11 * STATES, width), np.float32), np.zeros((8, width), np.float32)
    expected, found = np.empty_like(table), np.full_like(table, np.nan)
    totals, total = np.empty(width, np.float32), np.full(width, np.nan, np.float32)
    loss = kernels.block_gradient(table, base, *data, work, expected, totals)
    assert kernels.independent_gradient(base, *data, found, total) == pytest.approx(loss, rel=1e-6)
    assert np.allclose(found, expected, atol=1e-5)
    assert np.allclose(total, totals, atol=1e-5)
    assert abs(expected).max() > 0.1


def test_directions_are_kept_as_the_nearest_bfloat16(rng):
    values = rng.normal(size=200).astype(np.float32) * 10.0 ** rng.integers(-20, 20, 200)
    values = values.astype(np.float32)
    # Between two that can be kept, the even one above and the even one below.
    values[:2] = 1 + 3 * 2.0**-8, 1 + 2.0**-8
    expected = torch.from_numpy(values).bfloat16()
    kept = np.array([kernels.narrow(value) for value in values], dtype=np.uint16)
    assert np.array_equal(kept.view(np.int16), expected.view(torch.int16).numpy())
    assert np.array_equal([kernels.widen(bits) for bits in kept], expected.float().numpy())
    assert np.array_equal(plm_sparse._narrow(values), kept)
    assert np.array_equal(plm_sparse._widen(kept), expected.float().numpy())
