r"""The independent Potts model: the minimum of the regularised pseudolikelihood of one alignment.

.. math:: F = \sum_n w_n \sum_i -\log p(x_{ni} | x_{n,-i})
              + \lambda_h \sum_i |h_i|^2 + \lambda_J \sum_{i<j} |J_{ij}|_F^2

This is CCMpred's objective, and Meff times the paper's eq. (3). It is strictly convex, so it has
one minimum. `fit` finds it by L-BFGS in coordinates in which the curvature is close to the unit
matrix: fields centred on the mean couplings, and everything scaled by the square root of the
curvature that an independent model has (docs/decisions.md).
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from npm_core import kernels, weights
from npm_core.alphabet import GAP, STATES
from npm_core.arrays import Float32, Float64
from npm_core.errors import DataError, SettingsError
from npm_core.kernels import LANES, PANEL, TILE, WIDTH
from npm_core.potts import Potts

T = TypeVar("T")
ObjectiveName = Literal["ccmpred", "paper"]

MEMORY = 2
"""How many steps L-BFGS remembers; more save at most one evaluation in ten (docs/decisions.md)."""

CHUNK_BYTES = 1 << 18
"""Sequences are worked on in chunks whose logits of one block of positions stay in L2 cache."""

PSEUDOCOUNT = 0.3
"""Added to the weighted count of every state at the start of the fields and in their scale.

A state that a column lacks keeps a probability of about that many sequences; taken for 0, its
field alone doubles the number of evaluations."""

FIRST_STEP = 0.3
_SUFFICIENT_DECREASE = 1e-4
_RESOLUTION = 1e-7
SHORTEST_STEP = 1e-6
_WINDOW = 3


@dataclass(frozen=True)
class Penalty:
    """The regulariser in units of the sum over sequences.

    Attributes:
        fields: lambda_h.
        couplings: lambda_J, on pairs i < j.
        gap_field: Whether h_i(gap) is a parameter (the paper) or 0 (CCMpred).
    """

    fields: float
    couplings: float
    gap_field: bool


def ccmpred_penalty(length: int, *, fields: float = 0.01, couplings: float = 0.2) -> Penalty:
    """CCMpred's: lambda_h = 0.01 and lambda_J = 0.2 (L - 1), h_i(gap) = 0."""
    return Penalty(fields, couplings * (length - 1), gap_field=False)


def paper_penalty(meff: float, *, fields: float = 1e-2, couplings: float = 1e-3) -> Penalty:
    """Eq. (3) times Meff; its |J|^2 counts both halves of the tensor (table 2)."""
    return Penalty(fields * meff, 2 * couplings * meff, gap_field=True)


@dataclass(frozen=True)
class Objective:
    """One of the two objectives by name.

    Attributes:
        name: "ccmpred", CCMpred's own weights and penalty, or "paper": eq. (3) with the weights of
            Morcos et al. and the multipliers of table 2.
        lambda_fields: `fields` of `ccmpred_penalty` or `paper_penalty`; theirs when None.
        lambda_couplings: Their `couplings`, likewise.
        identity_threshold: Of the weights.

    Raises:
        SettingsError: The objective has another name, or a lambda is not positive and finite.
    """

    name: ObjectiveName = "ccmpred"
    lambda_fields: float | None = None
    lambda_couplings: float | None = None
    identity_threshold: float = weights.IDENTITY_THRESHOLD

    def __post_init__(self) -> None:
        if self.name not in get_args(ObjectiveName):
            raise SettingsError(f"objective {self.name!r} is neither ccmpred nor paper")
        for name in ("lambda_fields", "lambda_couplings"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise SettingsError(f"{name} {value} is not positive and finite")

    def terms(self, residues: NDArray[np.uint8], *, threads: int = 1) -> tuple[Float64, Penalty]:
        """Sequence weights, which so many threads count, and penalty of an alignment.

        Raises:
            DataError: As `weights.sequence_weights`.
        """
        given = {"fields": self.lambda_fields, "couplings": self.lambda_couplings}
        lambdas = {name: value for name, value in given.items() if value is not None}
        weigh = weights.ccmpred_weights if self.name == "ccmpred" else weights.sequence_weights
        row_weights = weigh(residues, identity_threshold=self.identity_threshold, threads=threads)
        if self.name == "ccmpred":
            return row_weights, ccmpred_penalty(residues.shape[1], **lambdas)
        return row_weights, paper_penalty(float(row_weights.sum()), **lambdas)


CCMPRED, PAPER = Objective("ccmpred"), Objective("paper")


@dataclass(frozen=True)
class Stop:
    """When a fit ends.

    Attributes:
        rel: Where three iterations together gained less than this share of F, in (0, 1).
        target: As soon as F is at or below this.
        evaluations: After so many in any case, not converged.

    Raises:
        SettingsError: No fit can stop there, or it would before it has begun.
    """

    rel: float = 1e-4
    target: float | None = None
    evaluations: int = 500

    def __post_init__(self) -> None:
        if not 0 < self.rel < 1:
            raise SettingsError(f"stop_rel {self.rel} is not between 0 and 1")
        if self.target is not None and not math.isfinite(self.target):
            raise SettingsError(f"target_objective {self.target} is not finite")
        if self.evaluations < 1:
            raise SettingsError(f"max_evaluations {self.evaluations} is not positive")

    def reached(self, value: float) -> bool:
        """Whether F is at the target, if there is one."""
        return self.target is not None and value <= self.target


STOP = Stop()
"""Of a fit that is not told otherwise."""


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted model and how it was found.

    Attributes:
        potts: The model.
        objective: F at the model, float64, recomputed from its float32 parameters.
        evaluations: How many times F and its gradient were computed.
        converged: Whether the last three iterations gained less than the asked share of F, or F
            reached the target.
        meff: Sum of the weights.
        seconds_setup: Wall seconds before the first evaluation, weights included.
        seconds_fit: Wall seconds from there to the model; computing `objective` is not counted.
    """

    potts: Potts
    objective: float
    evaluations: int
    converged: bool
    meff: float
    seconds_setup: float
    seconds_fit: float


def objective(
    potts: Potts,
    residues: NDArray[np.uint8],
    row_weights: Float64,
    penalty: Penalty,
    *,
    prior: Potts | None = None,
    threads: int = 1,
) -> float:
    """F of the module's docstring, computed in float64.

    Args:
        potts: The model, length L.
        residues: (N, L) uint8.
        row_weights: (N,) w.
        penalty: The regulariser.
        prior: What the penalty shrinks to; None for zero.
        threads: How many threads; the result does not depend on it.

    Raises:
        DataError: Shapes do not fit together.
    """
    depth, length = residues.shape
    if potts.length != length or row_weights.shape != (depth,):
        raise DataError(
            f"a model of length {potts.length} and {row_weights.shape} weights "
            f"for residues of {residues.shape}"
        )
    consensus = _consensus(residues)
    index = kernels.index_alignment(residues, consensus, chunk=0)
    states = _block_states(residues)
    fields = _blocked(potts.fields, np.float64)
    workspaces = _Workspaces(threads, depth, length, np.float64)

    def block_loss(block: int) -> float:
        first = block * LANES
        lanes = min(LANES, length - first)
        with workspaces.borrow() as (table, work):
            kernels.block_columns(potts.couplings, block, table)
            base, mean = np.zeros(WIDTH), np.zeros(WIDTH)
            kernels.relative_to_consensus(
                table, consensus, np.zeros(len(table)), 0, length, base, mean
            )
            base += _less_gap(fields[block])
            return kernels.block_gradient(
                table,
                base,
                index,
                states[block],
                row_weights,
                lanes,
                work,
                table[:0],
                mean,
            )

    with _Threads(threads) as pool:
        loss = sum(pool.map(block_loss, range(_blocks(length))))
    return loss + _penalty_value(potts, penalty, prior)


def _penalty_value(potts: Potts, penalty: Penalty, prior: Potts | None) -> float:
    fields = potts.fields.astype(np.float64)
    if prior is not None:
        fields -= _gap_gauge(prior, penalty).fields
    couplings = 0.0
    for i in range(potts.length):
        row = potts.couplings[i, i + 1 :].astype(np.float64).ravel()
        if prior is not None:
            row -= prior.couplings[i, i + 1 :].ravel()
        couplings += _dot(row, row)
    kept = fields if penalty.gap_field else fields[:, :GAP]
    return penalty.fields * float((kept**2).sum()) + penalty.couplings * couplings


def fit(
    residues: NDArray[np.uint8],
    *,
    row_weights: Float64 | None = None,
    penalty: Penalty | None = None,
    stop: Stop = STOP,
    start: Potts | None = None,
    prior: Potts | None = None,
    threads: int = 1,
) -> Fit:
    """Fit a Potts model to an alignment.

    Args:
        residues: (N, L) uint8, states 0..20.
        row_weights: (N,) w; CCMpred's rule when None.
        penalty: The regulariser; CCMpred's when None.
        stop: When to end.
        start: Begin at this model instead of the independent one (warm start).
        prior: Shrink to this model instead of to zero.
        threads: How many threads compute; the result does not depend on it.

    Raises:
        DataError: Residues, weights or models do not fit together.
        SettingsError: There is no thread.
    """
    began = time.perf_counter()
    if threads < 1:
        raise SettingsError(f"{threads} threads; expected 1 or more")
    check_residues(residues)
    depth, length = residues.shape
    for name, model in (("start", start), ("prior", prior)):
        if model is not None and model.length != length:
            raise DataError(f"the {name} has length {model.length}, the alignment {length}")
    if row_weights is None:
        row_weights = weights.ccmpred_weights(residues, threads=threads)
    check_weights(row_weights, depth)
    if penalty is None:
        penalty = ccmpred_penalty(length)
    with _Threads(threads) as pool:
        problem = _Problem(residues, row_weights, penalty, pool, start=start, prior=prior)
        setup = time.perf_counter()
        evaluations, converged = _minimise(problem, stop)
        potts = problem.potts()
        seconds_fit = time.perf_counter() - setup
    del problem
    value = objective(potts, residues, row_weights, penalty, prior=prior, threads=threads)
    if not np.isfinite(value):
        raise DataError("the fit diverged: the objective is not finite")
    return Fit(
        potts,
        value,
        evaluations,
        converged or stop.reached(value),
        float(row_weights.sum()),
        setup - began,
        seconds_fit,
    )


def check_residues(residues: NDArray[np.uint8]) -> None:
    """Raise a DataError unless there are rows and columns of states 0..20."""
    if residues.ndim != 2 or residues.size == 0:
        raise DataError(f"a fit needs rows and columns, found residues of {residues.shape}")
    if residues.max() >= STATES:
        raise DataError(f"state {residues.max()} is outside 0..{STATES - 1}")


def check_weights(row_weights: Float64, depth: int) -> None:
    """Raise a DataError unless there is a positive, finite weight for each row."""
    if row_weights.shape != (depth,) or not ((row_weights > 0) & np.isfinite(row_weights)).all():
        raise DataError(f"expected {depth} positive weights, found {row_weights.shape}")


def fit_objective(
    residues: NDArray[np.uint8],
    objective: Objective = CCMPRED,
    *,
    stop: Stop = STOP,
    start: Potts | None = None,
    prior: Potts | None = None,
    threads: int = 1,
) -> Fit:
    """`fit` of one of the two objectives."""
    began = time.perf_counter()
    row_weights, penalty = objective.terms(residues, threads=threads)
    took = time.perf_counter() - began
    result = fit(
        residues,
        row_weights=row_weights,
        penalty=penalty,
        stop=stop,
        start=start,
        prior=prior,
        threads=threads,
    )
    return replace(result, seconds_setup=result.seconds_setup + took)


def compile_kernels() -> None:
    """Fit something tiny: processes started later read the kernels from the cache."""
    fit_objective(np.zeros((2, 2), dtype=np.uint8))


def fit_bytes(
    depth: int, length: int, *, threads: int = 1, start: bool = False, prior: bool = False
) -> int:
    """How many bytes `fit` needs at its peak, the model it returns included.

    So are a `start` and a `prior`, as models, and the prior's couplings as the fit lays them out.
    """
    blocks = _blocks(length)
    vector = 4 * _parameters(blocks)
    columns = 4 * blocks * length * STATES * WIDTH
    model = 4 * (length * STATES) ** 2
    work = threads * 8 * WIDTH * (length * STATES + _chunk(depth, 8))
    lists = -(-depth // _chunk(depth, 4)) * length * STATES
    index = depth * (4 * length + 8 * -(-length // PANEL)) + 16 * lists
    fitting = vector + (2 * MEMORY + 1) * vector // 2 + columns
    others = (start + prior) * model + prior * vector
    return max(fitting, vector + model) + work + index + others


def _dot(left: Float64, right: Float64) -> float:
    """Their inner product, without BLAS: its threads would spin on other cores between calls."""
    return float(np.einsum("k,k->", left, right))


class _Threads:
    """`map` over threads, or in this one; results come in order either way."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None

    def map(self, work: Callable[[int], T], items: Iterable[int]) -> list[T]:
        return list(self._pool.map(work, items) if self._pool else map(work, items))

    def __enter__(self) -> "_Threads":
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool:
            self._pool.shutdown()


class _Workspaces:
    """For each thread a table (21 L, WIDTH) and work (chunk, WIDTH) of `kernels.block_gradient`."""

    def __init__(self, threads: int, depth: int, length: int, kind: type) -> None:
        self._free: SimpleQueue[tuple[NDArray, NDArray]] = SimpleQueue()
        chunk = _chunk(depth, np.dtype(kind).itemsize)
        for _ in range(threads):
            self._free.put(
                (_aligned((length * STATES, WIDTH), kind), _aligned((chunk, WIDTH), kind))
            )

    @contextmanager
    def borrow(self) -> Iterator[tuple[NDArray, NDArray]]:
        taken = self._free.get()
        yield taken
        self._free.put(taken)


class _Problem:
    """F in scaled, centred coordinates: a parameter vector, and `basis` for L-BFGS.

    Slots 0..MEMORY of `basis` take gradients, the others directions. What pads the last block of
    positions is never written, and zero from the start. The basis is bfloat16 (as uint16): reading
    it is most of the work where an alignment is shallow, and 8 bits of a search direction are
    enough, as the parameters move along what was kept of it. `independent` says that all couplings
    are still zero: the first evaluation then counts pairs instead of summing rows.
    """

    def __init__(
        self,
        residues: NDArray[np.uint8],
        row_weights: Float64,
        penalty: Penalty,
        pool: _Threads,
        *,
        start: Potts | None,
        prior: Potts | None,
    ) -> None:
        self.length = residues.shape[1]
        self.penalty = penalty
        self.pool = pool
        self.blocks = _blocks(self.length)
        self.weights = row_weights.astype(np.float32)
        self.states = _block_states(residues)
        consensus = _consensus(residues)
        self.index = kernels.index_alignment(residues, consensus, chunk=_chunk(len(residues), 4))
        meff = row_weights.sum()
        shares = frequencies(residues, row_weights)
        self.flat_frequencies = shares.astype(np.float32).ravel()
        self.frequencies = _blocked(shares)
        self.spread = np.sqrt(np.float32(2 * meff)) * _blocked(shares * (1 - shares))
        self.ridge = np.float32(max(2 * penalty.couplings, 1e-6))
        curvature = _blocked(field_curvature(shares, meff) + 2 * penalty.fields + 1e-9)
        self.field_scale = 1 / np.sqrt(np.where(curvature > 0, curvature, 1))
        self.real = _blocked(np.ones((self.length, STATES)))

        size = _parameters(self.blocks)
        self.couplings_end = size - self.blocks * WIDTH
        self.parameters = _aligned((size,), np.float32)
        self.basis = _aligned((2 * MEMORY + 1, size), np.uint16)
        self.used = np.zeros(len(self.basis), dtype=np.bool_)
        self.gradients = _aligned((self.blocks, self.length * STATES, WIDTH), np.float32)
        self.totals = np.empty((self.blocks, WIDTH), dtype=np.float32)
        self.fields = np.zeros((self.blocks, WIDTH), dtype=np.float32)
        self.prior = np.zeros(0, dtype=np.float32)
        self.prior_fields = np.zeros((self.blocks, WIDTH), dtype=np.float32)
        if prior is not None:
            prior = _gap_gauge(prior, penalty)
            self.prior = np.zeros(self.couplings_end, dtype=np.float32)
            self._each_tile(
                lambda i, j: kernels.pack_tile(
                    i,
                    j,
                    self.length,
                    np.zeros_like(self.spread),
                    np.float32(1),
                    prior.couplings,
                    self.prior,
                )
            )
            self.prior_fields[:] = _blocked(prior.fields)
        self.workspaces = _Workspaces(pool.threads, len(residues), self.length, np.float32)
        self.independent = start is None and prior is None
        self._begin_at(start, shares, meff)

    def _begin_at(self, start: Potts | None, shares: Float64, meff: float) -> None:
        centred = self.parameters[self.couplings_end :].reshape(self.blocks, WIDTH)
        if start is None:
            centred[:] = _blocked(independent_fields(shares, meff)) / self.field_scale
            return
        start = _gap_gauge(start, self.penalty)
        self._each_tile(
            lambda i, j: kernels.pack_tile(
                i, j, self.length, self.spread, self.ridge, start.couplings, self.parameters
            )
        )
        mean = np.einsum("ijab,jb->ia", start.couplings, shares.astype(np.float32))
        centred[:] = _blocked(start.fields + mean) / self.field_scale

    def _each_tile(self, work: Callable[[int, int], None]) -> None:
        def row(block: int) -> None:
            for other in range(block, self.blocks):
                work(block, other)

        self.pool.map(row, range(self.blocks))

    def _lanes(self, block: int) -> int:
        return min(LANES, self.length - block * LANES)

    def evaluate(self) -> float:
        """F at the parameters; leaves the gradient of each block for `gradient`."""
        scaled = self.parameters[self.couplings_end :].reshape(self.blocks, WIDTH)
        centred = scaled * self.field_scale
        independent, self.independent = self.independent, False

        def block_loss(block: int) -> float:
            base, mean = np.zeros(WIDTH, np.float32), np.zeros(WIDTH, np.float32)
            squares = 0.0
            with self.workspaces.borrow() as (table, work):
                if not independent:
                    squares = kernels.gather_block(
                        self.parameters,
                        self.prior,
                        self.spread,
                        self.ridge,
                        block,
                        self.index.consensus,
                        self.flat_frequencies,
                        table,
                        base,
                        mean,
                    )
                fields = self.fields[block]
                fields[:] = centred[block] - mean
                if not self.penalty.gap_field:
                    fields[:] = _less_gap(fields)
                base += _less_gap(fields)
                data = (self.index, self.states[block], self.weights, self._lanes(block))
                gradient = self.gradients[block], self.totals[block]
                if independent:
                    loss = kernels.independent_gradient(base, *data, *gradient)
                else:
                    loss = kernels.block_gradient(table, base, *data, work, *gradient)
            pull = ((fields - self.prior_fields[block]) * self.real[block]).astype(np.float64)
            loss += self.penalty.fields * float(pull @ pull)
            return loss + self.penalty.couplings * squares

        return sum(self.pool.map(block_loss, range(self.blocks)))

    def gradient(self, slot: int) -> Float64:
        """Write the gradient at the last evaluation to a slot; its products with all slots."""
        pull = 2 * np.float32(self.penalty.fields) * (self.fields - self.prior_fields)
        field_gradient = self.totals + pull * self.real
        if not self.penalty.gap_field:
            states = field_gradient.reshape(self.blocks, STATES, LANES)
            states[:, GAP] = -states[:, :GAP].sum(1)
        tail = _narrow((field_gradient * self.real * self.field_scale).ravel().astype(np.float32))
        self.basis[slot, self.couplings_end :] = tail
        self.used[slot] = True

        def tile_row(block: int) -> Float64:
            dots = np.zeros(len(self.basis))
            for other in range(block, self.blocks):
                kernels.scatter_tile(
                    block,
                    other,
                    self.length,
                    self.gradients,
                    field_gradient,
                    self.frequencies,
                    self.spread,
                    self.ridge,
                    np.float32(2 * self.penalty.couplings),
                    self.parameters,
                    self.prior,
                    self.basis,
                    slot,
                    self.used,
                    dots,
                )
            return dots

        dots = np.zeros(len(self.basis))
        fields = _widen(tail).astype(np.float64)
        for vector in np.flatnonzero(self.used):
            other = self.basis[vector, self.couplings_end :]
            dots[vector] = _dot(_widen(other).astype(np.float64), fields)
        for part in self.pool.map(tile_row, range(self.blocks)):
            dots += part
        return dots

    def move(self, coefficients: Float64, slot: int, step: float) -> None:
        """basis[slot] = coefficients . basis, and parameters += step basis[slot]."""
        self.used[slot] = True
        size = len(self.parameters)
        piece = max(TILE, -(-size // (4 * self.pool.threads)))

        def work(begin: int) -> None:
            kernels.combine(
                self.basis,
                coefficients,
                slot,
                step,
                self.parameters,
                begin,
                min(begin + piece, size),
            )

        self.pool.map(work, range(0, size, piece))

    def potts(self) -> Potts:
        """The model at the parameters; the workspace is released."""
        del self.basis, self.gradients, self.index, self.workspaces
        couplings = np.zeros((self.length, self.length, STATES, STATES), dtype=np.float32)
        self._each_tile(
            lambda i, j: kernels.unpack_tile(
                i, j, self.length, self.spread, self.ridge, self.parameters, couplings
            )
        )
        fields = _from_blocks(self.fields * self.real, self.length)
        return Potts(fields, couplings)


def _minimise(problem: _Problem, stop: Stop) -> tuple[int, bool]:
    """L-BFGS whose vectors are combinations of `basis`, known by their inner products."""
    vectors = 2 * MEMORY + 1
    products = np.zeros((vectors, vectors))
    pairs: list[tuple[int, int, int, float]] = []
    newest = 0
    iteration = 0
    value = problem.evaluate()
    evaluations = 1
    values = [value]
    while True:
        if stop.reached(value) or recent_gain(values) <= stop.rel:
            return evaluations, True
        if evaluations >= stop.evaluations:
            return evaluations, False
        products[newest] = products[:, newest] = problem.gradient(newest)
        coefficients = _direction(products, pairs, newest)
        slope = float(coefficients @ products[:, newest])
        if slope >= 0:
            return evaluations, False
        direction = MEMORY + 1 + iteration % MEMORY
        iteration += 1
        pairs = pairs[-(MEMORY - 1) :]
        row = coefficients @ products
        length = float(coefficients @ products @ coefficients)
        products[direction] = products[:, direction] = row
        products[direction, direction] = length
        step = 1.0
        problem.move(coefficients, direction, step)
        trial = problem.evaluate()
        evaluations += 1
        same = np.zeros(vectors)
        same[direction] = 1
        while not decreases(value, trial, step * slope):
            if evaluations >= stop.evaluations or step < SHORTEST_STEP:
                problem.move(same, direction, -step)
                problem.evaluate()
                return evaluations + 1, False
            shorter = shorter_step(step, value, slope, trial)
            problem.move(same, direction, shorter - step)
            step = shorter
            trial = problem.evaluate()
            evaluations += 1
        value = trial
        values.append(value)
        following = (newest + 1) % (MEMORY + 1)
        pairs.append((newest, following, direction, step))
        newest = following


def _direction(products: Float64, pairs: list[tuple[int, int, int, float]], newest: int) -> Float64:
    """Coefficients of the L-BFGS direction (two loops, Nocedal 1980) over the basis."""
    unit = np.eye(len(products))
    direction = unit[newest].copy()
    history = []
    for before, after, moved, step in pairs:
        s, y = step * unit[moved], unit[after] - unit[before]
        curvature = float(s @ products @ y)
        if curvature > 0:
            history.append((s, y, curvature))
    if not history:
        return -FIRST_STEP * direction
    shares = []
    for s, y, curvature in reversed(history):
        share = float(s @ products @ direction) / curvature
        direction -= share * y
        shares.append(share)
    _, y, curvature = history[-1]
    direction *= curvature / float(y @ products @ y)
    for (s, y, curvature), share in zip(history, reversed(shares), strict=True):
        direction += (share - float(y @ products @ direction) / curvature) * s
    return -direction


def decreases(value: float, trial: float, promised: float) -> bool:
    """Whether a step brought enough of what the slope promised, up to the rounding of F."""
    return trial <= value + _SUFFICIENT_DECREASE * promised + _RESOLUTION * abs(value)


def shorter_step(step: float, value: float, slope: float, trial: float) -> float:
    """Minimum of the parabola through both values and the slope, kept within a tenth and a half."""
    if not np.isfinite(trial):
        return step / 10
    best = -slope * step**2 / (2 * (trial - value - slope * step))
    return min(max(best, 0.1 * step), 0.5 * step)


def recent_gain(values: list[float]) -> float:
    """Share of F that the last iterations gained, infinite if there were too few.

    What is left to gain is less, as long as such a window gains at most half of the one before.
    """
    if len(values) <= _WINDOW:
        return float("inf")
    return (values[-1 - _WINDOW] - values[-1]) / abs(values[-1])


def _blocks(length: int) -> int:
    return -(-length // LANES)


def _parameters(blocks: int) -> int:
    return blocks * (blocks + 1) // 2 * TILE + blocks * WIDTH


def _consensus(residues: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(L,) commonest state of each position; the result of a fit does not depend on it."""
    return kernels.count_states(residues, np.ones(len(residues))).argmax(1)


def frequencies(residues: NDArray[np.uint8], row_weights: Float64) -> Float64:
    """(L, 21) weighted share of each state at each position."""
    return kernels.count_states(residues, row_weights) / row_weights.sum()


def _smoothed(shares: Float64, meff: float) -> Float64:
    return (meff * shares + PSEUDOCOUNT) / (meff + STATES * PSEUDOCOUNT)


def independent_fields(shares: Float64, meff: float) -> Float64:
    """(L, 21) fields of the model without couplings, where a fit begins; each row sums to 0."""
    fields = np.log(_smoothed(shares, meff))
    return fields - fields.mean(1, keepdims=True)


def field_curvature(shares: Float64, meff: float) -> Float64:
    """(L, 21) second derivatives of the loss by the fields of the model without couplings."""
    smoothed = _smoothed(shares, meff)
    return meff * smoothed * (1 - smoothed)


def _block_states(residues: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(blocks, N, LANES) states of the positions of each block, padded with 0."""
    depth, length = residues.shape
    blocks = _blocks(length)
    padded = np.pad(residues, ((0, 0), (0, blocks * LANES - length)))
    return np.ascontiguousarray(padded.reshape(depth, blocks, LANES).swapaxes(0, 1))


def _narrow(values: Float32) -> NDArray[np.uint16]:
    """`kernels.narrow` of an array."""
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def _widen(values: NDArray[np.uint16]) -> Float32:
    """`kernels.widen` of an array."""
    return (values.astype(np.uint32) << 16).view(np.float32)


def _less_gap(values: NDArray) -> NDArray:
    """(WIDTH,) less the gap's value of each lane."""
    return (values.reshape(STATES, LANES) - values[GAP * LANES :]).ravel()


def _chunk(depth: int, itemsize: int) -> int:
    return min(depth, CHUNK_BYTES // (WIDTH * itemsize))


def _aligned(shape: tuple[int, ...], kind: type) -> NDArray:
    """Zeros that start at a cache line: half of the vectors would straddle two lines otherwise."""
    size = int(np.prod(shape))
    line = 64 // np.dtype(kind).itemsize
    whole: NDArray = np.zeros(size + line, dtype=kind)
    begin = -whole.ctypes.data // whole.itemsize % line
    return whole[begin : begin + size].reshape(shape)


def _blocked(values: NDArray, kind: type = np.float32) -> NDArray:
    """(blocks, WIDTH) of a type, laid out (state, lane), from (L, 21), padded with 0."""
    blocks = _blocks(len(values))
    padded: NDArray = np.pad(values.astype(kind), ((0, blocks * LANES - len(values)), (0, 0)))
    return padded.reshape(blocks, LANES, STATES).swapaxes(1, 2).reshape(blocks, WIDTH)


def _from_blocks(values: Float32, length: int) -> Float32:
    """The inverse of `_blocked`."""
    positions = values.reshape(-1, STATES, LANES).transpose(0, 2, 1).reshape(-1, STATES)
    return np.ascontiguousarray(positions[:length])


def _gap_gauge(potts: Potts, penalty: Penalty) -> Potts:
    """The model with h_i(gap) = 0 if the penalty asks so; the distribution does not change."""
    if penalty.gap_field:
        return potts
    return Potts(potts.fields - potts.fields[:, GAP:], potts.couplings, potts.metadata)
