"""Compiled loops of the Potts fit: sparse sums over an alignment, and tiles of the couplings.

Positions are cut into blocks of LANES, and the data of a block are laid out (state, lane), so
that every inner loop runs over WIDTH contiguous numbers. The couplings of two blocks I <= J are one
tile (21 * LANES, WIDTH): row (j in J, state b), column (state a, i in I). Only pairs i < j < L are
parameters; the rest of the tiles of the diagonal, and what pads L, stays zero. An evaluation never
holds the whole symmetric J: each block gathers its own columns of it.
"""

import numpy as np
from numba import njit

STATES = 21
LANES = 8
WIDTH = STATES * LANES
TILE = WIDTH * WIDTH

_FAST = {"reassoc", "contract", "arcp", "nsz"}
"""May reorder sums, must keep NaN and infinity: the line search needs to see them."""


@njit(cache=True, nogil=True, error_model="numpy")
def tile_offset(first, second, blocks):  # type: ignore[no-untyped-def]
    """Where the tile of blocks first <= second starts in the parameter vector."""
    return (first * blocks - first * (first - 1) // 2 + second - first) * TILE


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def gather_block(  # type: ignore[no-untyped-def]
    parameters, prior, spread, ridge, block, length, table
):
    """Couplings of every (j, b) with the positions of one block, unscaled.

    Args:
        parameters: All tiles, scaled: J = parameter / sqrt(spread_i(a) spread_j(b) + ridge).
        prior: Couplings that the penalty shrinks to, laid out alike, not scaled; empty for zero.
        spread: (blocks, WIDTH) float32, laid out (state, lane).
        ridge: float32, the part of the curvature that the penalty gives.
        block: Which positions.
        length: L.
        table: (21 L, WIDTH), overwritten: row (j, b), column (a, i).

    Returns:
        The sum of (J - prior) squared over the pairs i < j with i in this block.
    """
    blocks = len(spread)
    squares = 0.0
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
                        value = source[k] / np.sqrt(factor * spread[block, k] + ridge)
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
            for lane in range(count):
                for b in range(STATES):
                    target = table[other * WIDTH + lane * STATES + b]
                    factor = spread[other, b * LANES + lane]
                    column = start + b * LANES + lane
                    for a in range(STATES):
                        for i in range(LANES):
                            k = a * LANES + i
                            value = parameters[column + (i * STATES + a) * WIDTH] / np.sqrt(
                                factor * spread[block, k] + ridge
                            )
                            if other == block:
                                target[k] += value
                            else:
                                target[k] = value
    return squares


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def relative_to_consensus(table, consensus, frequencies, base, mean):  # type: ignore[no-untyped-def]
    """Move the consensus row of every position out, so that it need not be summed.

    Args:
        table: (21 L, WIDTH), changed: each row of a position less its consensus row.
        consensus: (L,) commonest state of each position.
        frequencies: (21 L,) of each (j, b).
        base: (WIDTH,), overwritten: what a sequence of nothing but consensus states sums to.
        mean: (WIDTH,), overwritten: u = sum of the rows times their frequencies.
    """
    base[:] = 0
    mean[:] = 0
    for j in range(len(consensus)):
        common = table[j * STATES + consensus[j]].copy()
        for k in range(WIDTH):
            base[k] += common[k]
        for b in range(STATES):
            row = table[j * STATES + b]
            frequency = frequencies[j * STATES + b]
            for k in range(WIDTH):
                mean[k] += frequency * row[k]
                row[k] -= common[k]


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def sum_rows(table, starts, rows, first, last, base, sums):  # type: ignore[no-untyped-def]
    """sums[n - first] = base + the rows of `table` that entry n lists, for n in [first, last).

    Serves both directions: logits of a sequence from the rows of its residues, and the gradient
    of a (position, residue) from the residuals of the sequences that have it.
    """
    for n in range(first, last):
        target = sums[n - first]
        at, end = starts[n], starts[n + 1]
        for k in range(WIDTH):
            target[k] = base[k]
        while at + 8 <= end:
            r0, r1 = table[rows[at]], table[rows[at + 1]]
            r2, r3 = table[rows[at + 2]], table[rows[at + 3]]
            r4, r5 = table[rows[at + 4]], table[rows[at + 5]]
            r6, r7 = table[rows[at + 6]], table[rows[at + 7]]
            for k in range(WIDTH):
                target[k] += ((r0[k] + r1[k]) + (r2[k] + r3[k])) + (
                    (r4[k] + r5[k]) + (r6[k] + r7[k])
                )
            at += 8
        while at + 2 <= end:
            r0, r1 = table[rows[at]], table[rows[at + 1]]
            for k in range(WIDTH):
                target[k] += r0[k] + r1[k]
            at += 2
        if at < end:
            r0 = table[rows[at]]
            for k in range(WIDTH):
                target[k] += r0[k]


@njit(cache=True, nogil=True, error_model="numpy")
def index_alignment(residues, consensus, chunk):  # type: ignore[no-untyped-def]
    """Where an alignment differs from its consensus: by sequence, and by (position, state).

    Args:
        residues: (N, L) uint8.
        consensus: (L,).
        chunk: Sequences to a chunk.

    Returns:
        row_starts (N + 1,), rows: the entries 21 j + b of each sequence;
        state_starts (chunks, 21 L + 1), members: the sequences, counted within their chunk, of
        each (j, b).
    """
    depth, length = residues.shape
    row_starts = np.zeros(depth + 1, dtype=np.int64)
    for n in range(depth):
        count = 0
        for j in range(length):
            count += residues[n, j] != consensus[j]
        row_starts[n + 1] = row_starts[n] + count
    rows = np.empty(row_starts[depth], dtype=np.int32)
    members = np.empty(row_starts[depth], dtype=np.int32)
    chunks = (depth + chunk - 1) // chunk
    state_starts = np.zeros((chunks, STATES * length + 1), dtype=np.int64)
    for piece in range(chunks):
        first, last = piece * chunk, min((piece + 1) * chunk, depth)
        counts = np.zeros(STATES * length, dtype=np.int64)
        for n in range(first, last):
            at = row_starts[n]
            for j in range(length):
                if residues[n, j] != consensus[j]:
                    rows[at] = j * STATES + residues[n, j]
                    counts[rows[at]] += 1
                    at += 1
        starts = state_starts[piece]
        starts[0] = row_starts[first]
        for row in range(STATES * length):
            starts[row + 1] = starts[row] + counts[row]
        filled = starts.copy()
        for n in range(first, last):
            for at in range(row_starts[n], row_starts[n + 1]):
                members[filled[rows[at]]] = n - first
                filled[rows[at]] += 1
    return row_starts, rows, state_starts, members


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
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


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def fold_max(t):  # type: ignore[no-untyped-def]
    """t[lane] = largest of t over states, in place."""
    for k in range(10 * LANES):
        t[k] = max(t[k], t[10 * LANES + k])
    for k in range(5 * LANES):
        t[k] = max(t[k], t[5 * LANES + k])
    for k in range(2 * LANES):
        t[k] = max(t[k], t[2 * LANES + k])
    for k in range(LANES):
        t[k] = max(max(t[k], t[LANES + k]), max(t[4 * LANES + k], t[20 * LANES + k]))


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
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


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def log_losses(logits, states, weights, lanes):  # type: ignore[no-untyped-def]
    """Weighted sum of -log p(observed) in float64.

    Args:
        logits: (n, WIDTH) float64, laid out (state, lane); overwritten.
        states: (n, LANES) uint8, observed states.
        weights: (n,) float64.
        lanes: How many lanes are positions.
    """
    t = np.empty(WIDTH)
    loss = 0.0
    for n in range(len(logits)):
        row = logits[n]
        here = 0.0
        for i in range(lanes):
            here -= row[states[n, i] * LANES + i]
        for k in range(WIDTH):
            t[k] = row[k]
        fold_max(t)
        for i in range(lanes):
            here += t[i]
        repeat_lanes(t)
        for k in range(WIDTH):
            # exp(x) = 2^n exp(r), |r| <= log(2)/2: a Taylor sum to 13 terms is exact to 1e-16.
            x = max(row[k] - t[k], -700.0)
            power = np.floor(x * 1.4426950408889634 + 0.5)
            r = x - power * 0.693145751953125 - power * 1.42860682030941723212e-6
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
            row[k] = value * np.int64(exponent).view(np.float64)
        for k in range(WIDTH):
            t[k] = row[k]
        fold_sum(t)
        product = 1.0
        for i in range(lanes):
            product *= t[i]
        here += np.log(product)
        loss += weights[n] * here
    return loss


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def residuals(logits, states, weights, lanes):  # type: ignore[no-untyped-def]
    """Turn logits into weighted residuals w (p - observed); return the weighted loss.

    Args:
        logits: (n, WIDTH) float32, laid out (state, lane); overwritten.
        states: (n, LANES) uint8, observed states.
        weights: (n,) float32.
        lanes: How many lanes are positions; the rest is padding, its residuals are set to 0.

    Returns:
        sum_n w_n sum_lanes -log p(observed), float64.
    """
    t = np.empty(WIDTH, dtype=np.float32)
    loss = 0.0
    for n in range(len(logits)):
        row = logits[n]
        here = 0.0
        for i in range(lanes):
            here -= row[states[n, i] * LANES + i]
        for k in range(WIDTH):
            t[k] = row[k]
        fold_max(t)
        for i in range(lanes):
            here += t[i]
        repeat_lanes(t)
        for k in range(WIDTH):
            # exp(x) = 2^n exp(r), |r| <= log(2)/2, as libm does it, but in vectors.
            x = max(row[k] - t[k], np.float32(-87.0))
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
            row[k] = value * np.int32(exponent).view(np.float32)
        for k in range(WIDTH):
            t[k] = row[k]
        fold_sum(t)
        product = 1.0
        for i in range(lanes):
            product *= t[i]
        weight = weights[n]
        loss += weight * (here + np.log(product))
        for i in range(LANES):
            t[i] = weight / t[i] if i < lanes else np.float32(0)
        repeat_lanes(t)
        for k in range(WIDTH):
            row[k] *= t[k]
        for i in range(lanes):
            row[states[n, i] * LANES + i] -= weight
    return loss


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def block_gradient(  # type: ignore[no-untyped-def]
    table, base, row_starts, rows, state_starts, members, chunk, consensus, states, weights, lanes,
    gradient, total,
):  # fmt: skip
    """Loss of one block of positions and its gradient with respect to `table` and `base`.

    Args:
        table: (21 L, WIDTH) couplings less the consensus, `relative_to_consensus`.
        base: (WIDTH,) logits of a row of consensus states.
        row_starts: (N + 1,), and
        rows: the (j, b) rows of each sequence where it differs from the consensus.
        state_starts: (chunks, 21 L + 1), and
        members: for each chunk and (j, b) the sequences, counted within the chunk, that have b
            at j; none for the consensus state.
        chunk: How many sequences are worked on at a time, so that they stay in cache.
        consensus: (L,).
        states: (N, LANES) uint8, observed states of the block's positions.
        weights: (N,) float32.
        lanes: How many lanes are positions.
        gradient: (21 L, WIDTH), overwritten.
        total: (WIDTH,), overwritten: sum of the residuals.

    Returns:
        The loss, float64.
    """
    depth = len(states)
    gradient[:] = 0
    total[:] = 0
    work = np.empty((min(chunk, depth), WIDTH), dtype=np.float32)
    loss = 0.0
    for piece in range(len(state_starts)):
        first = piece * chunk
        last = min(first + chunk, depth)
        here = work[: last - first]
        sum_rows(table, row_starts, rows, first, last, base, here)
        loss += residuals(here, states[first:last], weights[first:last], lanes)
        for n in range(last - first):
            for k in range(WIDTH):
                total[k] += here[n, k]
        starts = state_starts[piece]
        for row in range(len(table)):
            if starts[row] < starts[row + 1]:
                so_far = gradient[row]
                sum_rows(here, starts, members, row, row + 1, so_far, gradient[row : row + 1])
    for j in range(len(consensus)):
        common = gradient[j * STATES + consensus[j]]
        common[:] = total
        for b in range(STATES):
            if b != consensus[j]:
                other = gradient[j * STATES + b]
                for k in range(WIDTH):
                    common[k] -= other[k]
    return loss


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def scatter_tile(  # type: ignore[no-untyped-def]
    first, second, length, gradients, field_gradient, frequencies, spread, ridge, penalty,
    parameters, prior, basis, slot, used, dots,
):  # fmt: skip
    """Scaled gradient of one tile: symmetrise, centre, regularise, and its products with `basis`.

    G_ij = G_ij + G_ji^T - g_i f_j^T - f_i g_j^T + penalty (J - prior), then divided by the scale.

    Args:
        first, second: The tile's blocks.
        length: L.
        gradients: (blocks, 21 L, WIDTH), of `block_gradient`.
        field_gradient: (blocks, WIDTH): g.
        frequencies: (blocks, WIDTH): f.
        spread, ridge: The scale, as in `gather_block`.
        penalty: 2 lambda_J.
        parameters: Scaled parameters.
        prior: Couplings that the penalty shrinks to, laid out like the parameters but not scaled;
            empty for zero.
        basis: (vectors, parameters).
        slot: Which vector of `basis` is overwritten by the gradient.
        used: (vectors,) bool; whether a vector of `basis` holds anything.
        dots: (vectors,) float64; products of the gradient with each used vector are added.
    """
    start = tile_offset(first, second, len(spread))
    count = min(LANES, length - second * LANES)
    lanes = min(LANES, length - first * LANES)
    other_side = np.zeros((WIDTH, WIDTH), dtype=np.float32)
    source = gradients[second, first * WIDTH : first * WIDTH + lanes * STATES]
    for b in range(STATES):
        for lane in range(LANES):
            target = other_side[lane * STATES + b]
            column = b * LANES + lane
            for a in range(STATES):
                for i in range(lanes):
                    target[a * LANES + i] = source[i * STATES + a, column]
    g_i = field_gradient[first]
    f_i = frequencies[first]
    spread_i = spread[first]
    value = np.empty(WIDTH, dtype=np.float32)
    for lane in range(count):
        for b in range(STATES):
            row = lane * STATES + b
            at = start + row * WIDTH
            direct = gradients[first, second * WIDTH + row]
            transposed = other_side[row]
            factor = spread[second, b * LANES + lane]
            f_j = frequencies[second, b * LANES + lane]
            g_j = field_gradient[second, b * LANES + lane]
            for k in range(WIDTH):
                value[k] = direct[k] + transposed[k] - (g_i[k] * f_j + f_i[k] * g_j)
            if len(prior) > 0:
                shrunk_to = prior[at : at + WIDTH]
                for k in range(WIDTH):
                    value[k] -= penalty * shrunk_to[k]
            here = parameters[at : at + WIDTH]
            target = basis[slot, at : at + WIDTH]
            for k in range(WIDTH):
                scale = np.float32(1) / np.sqrt(factor * spread_i[k] + ridge)
                target[k] = (value[k] + penalty * scale * here[k]) * scale
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
                product += left[k] * right[k]
            total += product
        dots[vector] += total


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def combine(basis, coefficients, slot, step, parameters, start, end):  # type: ignore[no-untyped-def]
    """basis[slot] = sum_k coefficients_k basis_k; parameters += step basis[slot]; in [start, end).

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
                    sums[k] += factor * source[k]
        target = basis[slot, at : at + count]
        moved = parameters[at : at + count]
        for k in range(count):
            target[k] = sums[k]
            moved[k] += np.float32(step) * sums[k]


@njit(cache=True, nogil=True, error_model="numpy")
def unpack_tile(first, second, length, spread, ridge, parameters, couplings):  # type: ignore[no-untyped-def]
    """Write the couplings of one tile, unscaled, to (L, L, 21, 21), both halves."""
    start = tile_offset(first, second, len(spread))
    for lane in range(min(LANES, length - second * LANES)):
        j = second * LANES + lane
        for b in range(STATES):
            factor = spread[second, b * LANES + lane]
            at = start + (lane * STATES + b) * WIDTH
            for a in range(STATES):
                for i in range(min(LANES, j - first * LANES)):
                    k = a * LANES + i
                    value = parameters[at + k] / np.sqrt(factor * spread[first, k] + ridge)
                    couplings[first * LANES + i, j, a, b] = value
                    couplings[j, first * LANES + i, b, a] = value


@njit(cache=True, nogil=True, error_model="numpy")
def pack_tile(first, second, length, spread, ridge, couplings, parameters):  # type: ignore[no-untyped-def]
    """The inverse of `unpack_tile`: scaled parameters of one tile from (L, L, 21, 21)."""
    start = tile_offset(first, second, len(spread))
    for lane in range(min(LANES, length - second * LANES)):
        j = second * LANES + lane
        for b in range(STATES):
            factor = spread[second, b * LANES + lane]
            at = start + (lane * STATES + b) * WIDTH
            for a in range(STATES):
                for i in range(min(LANES, j - first * LANES)):
                    k = a * LANES + i
                    scale = np.sqrt(factor * spread[first, k] + ridge)
                    parameters[at + k] = couplings[first * LANES + i, j, a, b] * scale
