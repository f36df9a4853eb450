"""Compiled loops of the Potts fit: sparse sums over an alignment, and tiles of the couplings.

Positions are cut into blocks of LANES, and the data of a block are laid out (state, lane), so
that every inner loop runs over WIDTH contiguous numbers. The couplings of two blocks I <= J are one
tile (21 * LANES, WIDTH): row (j in J, state b), column (state a, i in I). Only pairs i < j < L are
parameters; the rest of the tiles of the diagonal, and what pads L, stays zero. An evaluation never
holds the whole symmetric J: each block gathers its own columns of it.
"""

from typing import Final, NamedTuple

import numpy as np
from numba import njit, types
from numba.extending import overload
from numpy.typing import NDArray

from npm_core.alphabet import STATES
from npm_core.arrays import Float32, States

LANES = 8
WIDTH = STATES * LANES
NOT_GAP = WIDTH - LANES
"""Columns of states other than the gap, which comes last."""

TILE = WIDTH * WIDTH

PANEL = 16
"""Positions whose couplings are summed at a time; measured, 8 to 16 differ by a tenth."""

LOWEST, HIGHEST = -87.0, 80.0
"""Between these, `exponential` and the sum of 21 of them are finite and not 0 in float32."""

OVERFLOWS = 1e34
"""A sum of exponentials above this may hold one that was cut at HIGHEST (5.5e34)."""

_FAST = {"reassoc", "contract", "arcp", "nsz"}
"""May reorder sums, must keep NaN and infinity: the line search needs to see them."""

_INLINE: Final = "always"
"""Numba copies these into their callers. A call is bound to other machine code in the process that
compiled it than in those that read it from the cache, and the two may round differently."""


class Index(NamedTuple):
    """Where the sequences of an alignment differ from its consensus; a row is 21 j + b.

    Attributes:
        consensus: (L,) int64, a state of each position.
        starts, rows: By sequence, one panel of positions after the other: rows[starts[p M + m] to
            starts[p M + m + 1]] are those of sequence m in panel p, counted from the panel's first.
        chunk: How many sequences are worked on at a time; 0 if no gradient is wanted.
        member_starts, members: The transpose: members[member_starts[21 L c + r] to
            member_starts[21 L c + r + 1]] are the sequences of chunk c that have row r, counted
            from the chunk's first.
    """

    consensus: NDArray[np.int64]
    starts: NDArray[np.int64]
    rows: NDArray[np.uint16]
    chunk: int
    member_starts: NDArray[np.int64]
    members: NDArray[np.uint16]


class Tiles(NamedTuple):
    """The couplings of all blocks I <= J, each times its `scale_of`.

    Attributes:
        parameters: float32, tile after tile; what follows them is not read.
        prior: Couplings that the penalty shrinks to, laid out alike, not scaled; empty for zero.
        spread: (blocks, WIDTH) float32, laid out (state, lane).
        ridge: float32, the part of the curvature that the penalty gives.
    """

    parameters: Float32
    prior: Float32
    spread: Float32
    ridge: np.float32


@njit(cache=True, nogil=True, error_model="numpy")
def tile_offset(first, second, blocks):  # type: ignore[no-untyped-def]
    """Where the tile of blocks first <= second starts in the parameter vector."""
    return (first * blocks - first * (first - 1) // 2 + second - first) * TILE


@njit(inline=_INLINE, nogil=True, error_model="numpy")
def scale_of(spread_i, spread_j, ridge):  # type: ignore[no-untyped-def]
    """Parameter over coupling, for two states' spreads."""
    return np.sqrt(spread_i * spread_j + ridge)


@njit(cache=True, nogil=True, error_model="numpy")
def narrow(x):  # type: ignore[no-untyped-def]
    """The bfloat16 nearest to a float32 (ties to even), as uint16."""
    bits = np.float32(x).view(np.uint32)
    return np.uint16((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> 16)


@njit(cache=True, nogil=True, error_model="numpy")
def widen(bits):  # type: ignore[no-untyped-def]
    """The float32 of a bfloat16."""
    return np.uint32(np.uint32(bits) << np.uint32(16)).view(np.float32)


@njit(cache=True, nogil=True, error_model="numpy")
def transpose_tile(tile, rows, count, transposed):  # type: ignore[no-untyped-def]
    """From rows (position, state), columns (state, lane) to those of the other side of the pair.

    transposed[lane STATES + b, a LANES + i] = tile[i STATES + a, b LANES + lane]. What a row is
    written to stays in the first cache: the next rows go to the same lines.

    Args:
        tile: (>= rows, WIDTH).
        rows: Rows of `tile` that are positions.
        count: How many lanes to write; the rest of `transposed` keeps what it holds.
        transposed: (WIDTH, WIDTH).
    """
    for a in range(STATES):
        for i in range(rows // STATES):
            source = tile[i * STATES + a]
            for lane in range(count):
                for b in range(STATES):
                    transposed[lane * STATES + b, a * LANES + i] = source[b * LANES + lane]


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def relative_to_consensus(  # type: ignore[no-untyped-def]
    table, consensus, centring, first, last, base, mean
):
    """Take the gap's couplings and the consensus row out, so that they need not be summed.

    Args:
        table: (21 L, WIDTH); of positions j in [first, last) every column is taken less the gap's
            of the same position (so the gap's logits are 0), and then every row less the
            consensus row.
        consensus: (L,) commonest state of each position.
        centring: g, (21 L,) of each (j, b).
        first, last: Which positions.
        base: (WIDTH,), added to: what a sequence of nothing but consensus states sums to.
        mean: (WIDTH,), added to: u = sum of the unchanged rows times g.
    """
    common = np.empty(WIDTH, dtype=table.dtype)
    taken = np.empty(WIDTH, dtype=table.dtype)
    for j in range(first, last):
        row = table[j * STATES + consensus[j]]
        for k in range(LANES):
            taken[k] = row[NOT_GAP + k]
        repeat_lanes(taken)
        for k in range(WIDTH):
            common[k] = row[k] - taken[k]
            base[k] += common[k]
        for b in range(STATES):
            row = table[j * STATES + b]
            share = centring[j * STATES + b]
            for k in range(LANES):
                taken[k] = row[NOT_GAP + k]
            repeat_lanes(taken)
            for k in range(WIDTH):
                mean[k] += share * row[k]
                row[k] -= taken[k] + common[k]


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def gather_block(  # type: ignore[no-untyped-def]
    tiles, block, consensus, centring, table, base, mean
):
    """Couplings of every (j, b) with the positions of one block, unscaled, relative to consensus.

    Args:
        tiles: All couplings.
        block: Which positions.
        consensus, centring, table, base, mean: As in `relative_to_consensus`; the last three
            are overwritten.

    Returns:
        The sum of (J - prior) squared over the pairs i < j with i in this block.
    """
    parameters, prior, spread, ridge = tiles
    length = len(consensus)
    blocks = len(spread)
    transposed = np.zeros((WIDTH, WIDTH), dtype=np.float32)
    squares = 0.0
    base[:] = 0
    mean[:] = 0
    for other in range(blocks):
        count = min(LANES, length - other * LANES)
        if other >= block:
            start = tile_offset(block, other, blocks)
            for lane in range(count):
                for b in range(STATES):
                    row = lane * STATES + b
                    source = parameters[start + row * WIDTH : start + (row + 1) * WIDTH]
                    target = table[other * WIDTH + row]
                    factor = spread[other, b * LANES + lane]
                    total = np.float32(0)
                    for k in range(WIDTH):
                        value = source[k] / scale_of(factor, spread[block, k], ridge)
                        target[k] = value
                        total += value * value
                    if len(prior) > 0:
                        total = np.float32(0)
                        shrunk_to = prior[start + row * WIDTH : start + (row + 1) * WIDTH]
                        for k in range(WIDTH):
                            total += (target[k] - shrunk_to[k]) ** 2
                    squares += total
        if other <= block:
            start = tile_offset(other, block, blocks)
            rows = min(LANES, length - block * LANES) * STATES
            tile = parameters[start : start + TILE].reshape(WIDTH, WIDTH)
            transpose_tile(tile, rows, count, transposed)
            for lane in range(count):
                for b in range(STATES):
                    source = transposed[lane * STATES + b]
                    target = table[other * WIDTH + lane * STATES + b]
                    factor = spread[other, b * LANES + lane]
                    for k in range(WIDTH):
                        value = source[k] / scale_of(factor, spread[block, k], ridge)
                        if other == block:
                            target[k] += value
                        else:
                            target[k] = value
        first = other * LANES
        relative_to_consensus(table, consensus, centring, first, first + count, base, mean)
    return squares


@njit(cache=True, nogil=True, error_model="numpy")
def block_columns(couplings, block, table):  # type: ignore[no-untyped-def]
    """The table of `gather_block` from symmetric couplings (L, L, 21, 21), in the table's type."""
    length = len(couplings)
    first = block * LANES
    for j in range(length):
        for b in range(STATES):
            target = table[j * STATES + b]
            for i in range(min(LANES, length - first)):
                for a in range(STATES):
                    target[a * LANES + i] = couplings[j, first + i, b, a]


@njit(cache=True, nogil=True, error_model="numpy")
def count_states(residues, weights):  # type: ignore[no-untyped-def]
    """(L, 21) float64: the weights (M,) of the sequences that have each state at each position."""
    depth, length = residues.shape
    counts = np.zeros((length, STATES))
    for m in range(depth):
        for j in range(length):
            counts[j, residues[m, j]] += weights[m]
    return counts


def index_alignment(residues: States, consensus: NDArray[np.int64], *, chunk: int) -> Index:
    """The `Index` of residues (M, L)."""
    starts, rows = _index_by_sequence(residues, consensus)
    member_starts, members = np.zeros(1, np.int64), np.zeros(0, np.uint16)
    if chunk > 0:
        member_starts, members = _index_by_row(residues, consensus, chunk)
    return Index(consensus, starts, rows, chunk, member_starts, members)


@njit(cache=True, nogil=True, error_model="numpy")
def _index_by_sequence(residues, consensus):  # type: ignore[no-untyped-def]
    """`starts` and `rows` of an `Index`."""
    depth, length = residues.shape
    panels = (length + PANEL - 1) // PANEL
    starts = np.empty(panels * depth + 1, dtype=np.int64)
    count = 0
    for panel in range(panels):
        for m in range(depth):
            starts[panel * depth + m] = count
            for j in range(panel * PANEL, min((panel + 1) * PANEL, length)):
                count += residues[m, j] != consensus[j]
    starts[panels * depth] = count
    rows = np.empty(count, dtype=np.uint16)
    at = 0
    for panel in range(panels):
        for m in range(depth):
            for j in range(panel * PANEL, min((panel + 1) * PANEL, length)):
                if residues[m, j] != consensus[j]:
                    rows[at] = (j - panel * PANEL) * STATES + residues[m, j]
                    at += 1
    return starts, rows


@njit(cache=True, nogil=True, error_model="numpy")
def _index_by_row(residues, consensus, chunk):  # type: ignore[no-untyped-def]
    """`member_starts` and `members` of an `Index`."""
    depth, length = residues.shape
    chunks = (depth + chunk - 1) // chunk
    starts = np.zeros(chunks * length * STATES + 1, dtype=np.int64)
    for m in range(depth):
        first = m // chunk * length
        for j in range(length):
            if residues[m, j] != consensus[j]:
                starts[(first + j) * STATES + residues[m, j] + 1] += 1
    starts[:] = np.cumsum(starts)
    members = np.empty(starts[-1], dtype=np.uint16)
    ends = starts.copy()
    for m in range(depth):
        first = m // chunk * length
        for j in range(length):
            if residues[m, j] != consensus[j]:
                row = (first + j) * STATES + residues[m, j]
                members[ends[row]] = m % chunk
                ends[row] += 1
    return starts, members


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def sum_rows(table, index, depth, first, last, base, sums):  # type: ignore[no-untyped-def]
    """sums[m - first] = base + the rows of `table` of sequence m, for m in [first, last).

    Panel by panel: the rows of one panel stay in the first caches while all sequences pass. Several
    rows at a time: each pass loads and stores the sum. The gap's columns are left out.
    """
    starts, rows = index.starts, index.rows
    for m in range(last - first):
        sums[m] = base
    for panel in range((len(starts) - 1) // depth):
        part = table[panel * PANEL * STATES :]
        for m in range(first, last):
            target = sums[m - first]
            at, end = starts[panel * depth + m], starts[panel * depth + m + 1]
            while at + 8 <= end:
                r0, r1 = part[rows[at]], part[rows[at + 1]]
                r2, r3 = part[rows[at + 2]], part[rows[at + 3]]
                r4, r5 = part[rows[at + 4]], part[rows[at + 5]]
                r6, r7 = part[rows[at + 6]], part[rows[at + 7]]
                for k in range(NOT_GAP):
                    four = (r0[k] + r1[k]) + (r2[k] + r3[k])
                    target[k] += four + ((r4[k] + r5[k]) + (r6[k] + r7[k]))
                at += 8
            if at + 4 <= end:
                r0, r1 = part[rows[at]], part[rows[at + 1]]
                r2, r3 = part[rows[at + 2]], part[rows[at + 3]]
                for k in range(NOT_GAP):
                    target[k] += (r0[k] + r1[k]) + (r2[k] + r3[k])
                at += 4
            if at + 2 <= end:
                r0, r1 = part[rows[at]], part[rows[at + 1]]
                for k in range(NOT_GAP):
                    target[k] += r0[k] + r1[k]
                at += 2
            if at < end:
                r0 = part[rows[at]]
                for k in range(NOT_GAP):
                    target[k] += r0[k]


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def add_residuals(residual, index, first, total, gradient):  # type: ignore[no-untyped-def]
    """The transpose of `sum_rows`: to each row the residuals of the sequences that have it.

    Row by row: a row of the gradient stays in the first cache until all of a chunk are added.

    Args:
        residual: (rows, WIDTH) of one chunk of sequences.
        index: Of the alignment.
        first: The chunk's first sequence; with 0, what `gradient` held is overwritten.
        total: (WIDTH,) sum of all residuals with the last chunk, for the consensus rows; empty
            before.
        gradient: (21 L, WIDTH), added to.
    """
    starts, members = index.member_starts, index.members
    lists = first // index.chunk * len(gradient)
    for j in range(len(index.consensus)):
        for row in range(j * STATES, (j + 1) * STATES):
            target = gradient[row]
            if first == 0:
                target[:] = 0
            at, end = starts[lists + row], starts[lists + row + 1]
            while at + 4 <= end:
                r0, r1 = residual[members[at]], residual[members[at + 1]]
                r2, r3 = residual[members[at + 2]], residual[members[at + 3]]
                for k in range(WIDTH):
                    target[k] += (r0[k] + r1[k]) + (r2[k] + r3[k])
                at += 4
            while at < end:
                r0 = residual[members[at]]
                for k in range(WIDTH):
                    target[k] += r0[k]
                at += 1
        if len(total) > 0:
            _complete(gradient[j * STATES : (j + 1) * STATES], index.consensus[j], total)


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def _complete(gradient, consensus, total):  # type: ignore[no-untyped-def]
    """The consensus row of a position: what all sequences sum to, less its other rows."""
    common = gradient[consensus]
    common[:] = total
    for b in range(STATES):
        if b != consensus:
            other = gradient[b]
            for k in range(WIDTH):
                common[k] -= other[k]


@njit(inline=_INLINE, nogil=True, error_model="numpy")
def fold_sum(t):  # type: ignore[no-untyped-def]
    """t[lane] = sum of t over states, in place; loops of constant offsets become vectors."""
    for k in range(10 * LANES):
        t[k] += t[10 * LANES + k]
    for k in range(5 * LANES):
        t[k] += t[5 * LANES + k]
    for k in range(2 * LANES):
        t[k] += t[2 * LANES + k]
    for k in range(LANES):
        t[k] += t[LANES + k] + (t[4 * LANES + k] + t[20 * LANES + k])


@njit(inline=_INLINE, nogil=True, error_model="numpy")
def repeat_lanes(t):  # type: ignore[no-untyped-def]
    """t[state, lane] = t[lane], in place."""
    for k in range(LANES):
        t[LANES + k] = t[k]
    for k in range(2 * LANES):
        t[2 * LANES + k] = t[k]
    for k in range(4 * LANES):
        t[4 * LANES + k] = t[k]
    for k in range(8 * LANES):
        t[8 * LANES + k] = t[k]
    for k in range(5 * LANES):
        t[16 * LANES + k] = t[k]


def exponential(x):  # type: ignore[no-untyped-def]
    """exp(x) to the precision of x's type, for LOWEST <= x <= HIGHEST; loops of it are vectors.

    exp(x) = 2^n exp(r), |r| <= log(2)/2; 2^n is made of its bits, exp(r) of a polynomial.
    """
    return np.exp(x)


@overload(exponential, jit_options={"fastmath": _FAST, "error_model": "numpy"})
def _exponential(x):  # type: ignore[no-untyped-def]
    def single(x):  # type: ignore[no-untyped-def]
        power = np.floor(x * np.float32(1.44269504) + np.float32(0.5))
        r = x - power * np.float32(0.693359375) + power * np.float32(2.12194440e-4)
        value = np.float32(1.9875691500e-4)
        value = value * r + np.float32(1.3981999507e-3)
        value = value * r + np.float32(8.3334519073e-3)
        value = value * r + np.float32(4.1665795894e-2)
        value = value * r + np.float32(1.6666665459e-1)
        value = value * r + np.float32(5.0000001201e-1)
        value = value * r * r + r + np.float32(1.0)
        exponent = (np.int32(power) + np.int32(127)) << np.int32(23)
        return value * np.int32(exponent).view(np.float32)

    def double(x):  # type: ignore[no-untyped-def]
        power = np.floor(x * 1.4426950408889634 + 0.5)
        r = x - power * 0.693145751953125 - power * 1.42860682030941723212e-6
        # A Taylor sum to 13 terms is exact to 1e-16.
        value = 1.6059043836821613e-10
        value = value * r + 2.08767569878681e-09
        value = value * r + 2.505210838544172e-08
        value = value * r + 2.755731922398589e-07
        value = value * r + 2.7557319223985893e-06
        value = value * r + 2.48015873015873e-05
        value = value * r + 1.984126984126984e-04
        value = value * r + 1.388888888888889e-03
        value = value * r + 8.333333333333333e-03
        value = value * r + 4.1666666666666664e-02
        value = value * r + 1.6666666666666666e-01
        value = value * r + 0.5
        value = value * r * r + r + 1.0
        exponent = (np.int64(power) + np.int64(1023)) << np.int64(52)
        return value * np.int64(exponent).view(np.float64)

    return single if x == types.float32 else double


@njit(inline=_INLINE, nogil=True, fastmath=_FAST, error_model="numpy")
def residuals(logits, states, weights, lanes, wanted):  # type: ignore[no-untyped-def]
    """Turn logits into weighted residuals w (p - observed); return the weighted loss.

    Args:
        logits: (rows, WIDTH) float32 or float64, laid out (state, lane), the gap's 0; overwritten
            if the residuals are wanted.
        states: (rows, LANES) uint8, observed states.
        weights: (rows,), of the logits' type.
        lanes: How many lanes are positions; the rest is padding, its residuals are set to 0.
        wanted: Whether more than the loss is wanted.

    Returns:
        sum_m w^m sum_lanes -log p(observed), float64.
    """
    t = np.empty(WIDTH, dtype=logits.dtype)
    shares = np.empty(WIDTH, dtype=logits.dtype)
    lowest, highest = np.float32(LOWEST), np.float32(HIGHEST)
    loss = 0.0
    for m in range(len(logits)):
        row = logits[m]
        here = 0.0
        for i in range(lanes):
            here -= row[states[m, i] * LANES + i]
        for k in range(WIDTH):
            t[k] = exponential(min(max(row[k], lowest), highest))
        for k in range(WIDTH):
            shares[k] = t[k]
        fold_sum(shares)
        product, most = 1.0, 0.0
        for i in range(lanes):
            product *= shares[i]
            most = max(most, shares[i])
        if most > OVERFLOWS:
            product = 1.0
            for i in range(lanes):
                here += _shifted_exponentials(row, i, t)
                shares[i] = 0
                for a in range(STATES):
                    shares[i] += t[a * LANES + i]
                product *= shares[i]
        weight = weights[m]
        loss += weight * (here + np.log(product))
        if not wanted:
            continue
        for i in range(LANES):
            shares[i] = weight / shares[i] if i < lanes else 0
        repeat_lanes(shares)
        for k in range(WIDTH):
            row[k] = t[k] * shares[k]
        for i in range(lanes):
            row[states[m, i] * LANES + i] -= weight
    return loss


@njit(cache=True, nogil=True, error_model="numpy")
def _shifted_exponentials(row, lane, t):  # type: ignore[no-untyped-def]
    """Exponentials of one lane's logits less the largest of them, which is returned."""
    largest = row[lane]
    for a in range(STATES):
        largest = max(largest, row[a * LANES + lane])
    for a in range(STATES):
        t[a * LANES + lane] = np.exp(row[a * LANES + lane] - largest)
    return largest


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def block_gradient(  # type: ignore[no-untyped-def]
    table, base, index, states, weights, lanes, work, gradient, total
):
    """Loss of one block of positions and its gradient with respect to its couplings and fields.

    In the precision of `table`, `base`, `weights` and `work`, float32 or float64.

    Args:
        table: (21 L, WIDTH) couplings made relative by `relative_to_consensus`.
        base: (WIDTH,) logits of a row of consensus states, the gap's 0.
        index: Of the alignment; its chunk is len(work) if a gradient is wanted.
        states: (M, LANES) uint8, observed states of the block's positions.
        weights: (M,).
        lanes: How many lanes are positions.
        work: (chunk, WIDTH); as many sequences are worked on at a time, so that they stay in cache.
        gradient: (21 L, WIDTH), overwritten; empty if only the loss is wanted.
        total: (WIDTH,), overwritten: sum of the residuals, 0 if only the loss is wanted.

    Returns:
        The loss, float64.
    """
    depth = len(states)
    total[:] = 0
    loss = 0.0
    for first in range(0, depth, len(work)):
        last = min(first + len(work), depth)
        here = work[: last - first]
        sum_rows(table, index, depth, first, last, base, here)
        wanted = len(gradient) > 0
        loss += residuals(here, states[first:last], weights[first:last], lanes, wanted)
        if wanted:
            for m in range(last - first):
                for k in range(WIDTH):
                    total[k] += here[m, k]
            add_residuals(here, index, first, total[: WIDTH if last == depth else 0], gradient)
    return loss


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def independent_gradient(base, index, states, weights, lanes, gradient, total):  # type: ignore[no-untyped-def]
    """What `block_gradient` gives where all couplings are zero, from counts of pairs of states.

    Each sequence then has the same probabilities: its residuals need not be added row by row.
    """
    depth = len(states)
    counts = np.zeros(WIDTH)
    meff = 0.0
    for m in range(depth):
        meff += weights[m]
        for i in range(lanes):
            counts[states[m, i] * LANES + i] += weights[m]
    shares = np.zeros(WIDTH, dtype=base.dtype)
    loss = 0.0
    for i in range(lanes):
        largest, total_share = np.float64(base[i]), 0.0
        for a in range(STATES):
            largest = max(largest, np.float64(base[a * LANES + i]))
        for a in range(STATES):
            total_share += np.exp(np.float64(base[a * LANES + i]) - largest)
        for a in range(STATES):
            log_share = base[a * LANES + i] - largest - np.log(total_share)
            shares[a * LANES + i] = np.exp(log_share)
            loss -= counts[a * LANES + i] * log_share
    for k in range(WIDTH):
        total[k] = meff * shares[k] - counts[k]
    for row in range(len(gradient)):
        target = gradient[row]
        target[:] = 0
        row_weight = base.dtype.type(0)
        for lists in range(0, len(index.member_starts) - 1, len(gradient)):
            first = lists // len(gradient) * index.chunk
            for at in range(index.member_starts[lists + row], index.member_starts[lists + row + 1]):
                m = first + index.members[at]
                row_weight += weights[m]
                for i in range(lanes):
                    target[states[m, i] * LANES + i] -= weights[m]
        if row_weight > 0:
            for k in range(WIDTH):
                target[k] += row_weight * shares[k]
    for j in range(len(index.consensus)):
        _complete(gradient[j * STATES : (j + 1) * STATES], index.consensus[j], total)
    return loss


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def scatter_tile(  # type: ignore[no-untyped-def]
    first, second, length, tiles, gradients, field_gradient, centring, penalty,
    basis, slot, used, dots,
):  # fmt: skip
    """Scaled gradient of one tile: symmetrise, centre, regularise, and its products with `basis`.

    G_ij = G_ij + G_ji^T - g_i c_j^T - c_i g_j^T + penalty (J - prior), then divided by the scale.

    Args:
        first, second: The tile's blocks.
        length: L.
        tiles: All couplings.
        gradients: (blocks, 21 L, WIDTH), of `block_gradient`.
        field_gradient: (blocks, WIDTH): g.
        centring: (blocks, WIDTH): g.
        penalty: 2 lambda_J.
        basis: (vectors, parameters) bfloat16.
        slot: Which vector of `basis` is overwritten by the gradient.
        used: (vectors,) bool; whether a vector of `basis` holds anything.
        dots: (vectors,) float64; products of the gradient with each used vector are added.
    """
    parameters, prior, spread, ridge = tiles
    start = tile_offset(first, second, len(spread))
    count = min(LANES, length - second * LANES)
    lanes = min(LANES, length - first * LANES)
    other_side = np.zeros((WIDTH, WIDTH), dtype=np.float32)
    source = gradients[second, first * WIDTH : first * WIDTH + lanes * STATES]
    transpose_tile(source, lanes * STATES, count, other_side)
    g_i = field_gradient[first]
    c_i = centring[first]
    spread_i = spread[first]
    value = np.empty(WIDTH, dtype=np.float32)
    for lane in range(count):
        for b in range(STATES):
            row = lane * STATES + b
            at = start + row * WIDTH
            direct = gradients[first, second * WIDTH + row]
            transposed = other_side[row]
            factor = spread[second, b * LANES + lane]
            c_j = centring[second, b * LANES + lane]
            g_j = field_gradient[second, b * LANES + lane]
            for k in range(WIDTH):
                value[k] = direct[k] + transposed[k] - (g_i[k] * c_j + c_i[k] * g_j)
            if len(prior) > 0:
                shrunk_to = prior[at : at + WIDTH]
                for k in range(WIDTH):
                    value[k] -= penalty * shrunk_to[k]
            here = parameters[at : at + WIDTH]
            target = basis[slot, at : at + WIDTH]
            for k in range(WIDTH):
                scale = np.float32(1) / scale_of(factor, spread_i[k], ridge)
                target[k] = narrow((value[k] + penalty * scale * here[k]) * scale)
            if first == second:
                for a in range(STATES):
                    for i in range(lane, LANES):
                        target[a * LANES + i] = 0
    size = count * STATES * WIDTH
    target = basis[slot, start : start + size]
    for vector in range(len(basis)):
        if not used[vector]:
            continue
        other = basis[vector, start : start + size]
        total = 0.0
        for begin in range(0, size, WIDTH):
            left, right = target[begin : begin + WIDTH], other[begin : begin + WIDTH]
            product = np.float32(0)
            for k in range(WIDTH):
                product += widen(left[k]) * widen(right[k])
            total += product
        dots[vector] += total


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def combine(basis, coefficients, slot, step, parameters, start, end):  # type: ignore[no-untyped-def]
    """basis[slot] = sum_k coefficients_k basis_k; parameters += step basis[slot]; in [start, end).

    The basis is bfloat16, and the parameters move along what of the sum was kept.
    Slots of coefficient 0 are not read: they may hold nothing yet.
    """
    width = 2048
    sums = np.empty(width, dtype=np.float32)
    for at in range(start, end, width):
        count = min(width, end - at)
        sums[:] = 0
        for vector in range(len(basis)):
            factor = np.float32(coefficients[vector])
            if factor != 0:
                source = basis[vector, at : at + count]
                for k in range(count):
                    sums[k] += factor * widen(source[k])
        target = basis[slot, at : at + count]
        moved = parameters[at : at + count]
        for k in range(count):
            target[k] = narrow(sums[k])
            moved[k] += np.float32(step) * widen(target[k])


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def unpack_tile(first, second, length, tiles, couplings):  # type: ignore[no-untyped-def]
    """Write the couplings of one tile, unscaled, to (L, L, 21, 21), both halves."""
    parameters, _, spread, ridge = tiles
    start = tile_offset(first, second, len(spread))
    values = np.empty((STATES, WIDTH), dtype=np.float32)
    for lane in range(min(LANES, length - second * LANES)):
        j = second * LANES + lane
        for b in range(STATES):
            factor = spread[second, b * LANES + lane]
            at = start + (lane * STATES + b) * WIDTH
            source = parameters[at : at + WIDTH]
            for k in range(WIDTH):
                values[b, k] = source[k] / scale_of(factor, spread[first, k], ridge)
        for lane_i in range(min(LANES, j - first * LANES)):
            i = first * LANES + lane_i
            for a in range(STATES):
                for b in range(STATES):
                    couplings[i, j, a, b] = values[b, a * LANES + lane_i]
            for b in range(STATES):
                for a in range(STATES):
                    couplings[j, i, b, a] = values[b, a * LANES + lane_i]


@njit(cache=True, nogil=True, error_model="numpy")
def pack_tile(first, second, length, couplings, tiles):  # type: ignore[no-untyped-def]
    """The inverse of `unpack_tile`: scaled parameters of one tile from (L, L, 21, 21)."""
    parameters, _, spread, ridge = tiles
    start = tile_offset(first, second, len(spread))
    for lane in range(min(LANES, length - second * LANES)):
        j = second * LANES + lane
        for b in range(STATES):
            factor = spread[second, b * LANES + lane]
            at = start + (lane * STATES + b) * WIDTH
            for a in range(STATES):
                for i in range(min(LANES, j - first * LANES)):
                    k = a * LANES + i
                    scale = scale_of(factor, spread[first, k], ridge)
                    parameters[at + k] = couplings[first * LANES + i, j, a, b] * scale
