"""The fit of `plm`'s objective by sparse sums over an alignment, on the CPU, one family at a time.

A row's logits are those of the consensus and what its other states change. The couplings are cut
into tiles (`kernels`). What L-BFGS remembers are slots of a basis of vectors,
and a direction is coefficients over them: it needs no more than their inner products.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from npm_core import kernels, memory, plm
from npm_core.alphabet import GAP, STATES
from npm_core.arrays import Float32, Float64, States
from npm_core.blocks import (
    Threads,
    Workspaces,
    aligned,
    block_states,
    blocked,
    chunk_rows,
    count_blocks,
    count_parameters,
    from_blocks,
    lanes_of,
    less_gap,
)
from npm_core.descent import FIRST_STEP, MEMORY, STOP, Descent, Stop
from npm_core.errors import DataError, SettingsError
from npm_core.kernels import LANES, PANEL, TILE, WIDTH, Tiles
from npm_core.parallel import map_in_processes
from npm_core.plm import CCMPRED, Fit, Objective, Problem
from npm_core.potts import Potts
from npm_core.progress import Tell, note

A = TypeVar("A")
B = TypeVar("B")


def fit(
    problem: Problem,
    *,
    stop: Stop = STOP,
    start: Potts | None = None,
    prior: Potts | None = None,
    threads: int = 1,
    tell: Tell | None = None,
) -> Fit:
    """Fit a Potts model to an alignment.

    Args:
        problem: The alignment, its weights and the regulariser.
        stop: When to end.
        start: Begin at this model instead of the independent one (warm start).
        prior: Shrink to this model instead of to zero.
        threads: How many threads compute; the result does not depend on it.
        tell: Is told after each iteration how far the fit is.

    Raises:
        DataError: A model has another length, or the fit diverged.
        SettingsError: There is no thread.
    """
    began = time.perf_counter()
    if threads < 1:
        raise SettingsError(f"{threads} threads; expected 1 or more")
    for name, model in (("start", start), ("prior", prior)):
        if model is not None and model.length != problem.length:
            raise DataError(f"the {name} has length {model.length}, the alignment {problem.length}")
    with Threads(threads) as pool:
        solver = _TileSolver(problem, pool, start=start, prior=prior)
        setup = time.perf_counter()
        descent = _minimise(solver, stop, problem.uniform_loss, tell)
        potts = solver.potts()
        seconds_fit = time.perf_counter() - setup
    del solver
    value = plm.regularised_loss(potts, problem, prior=prior, threads=threads)
    return Fit(
        potts=potts,
        objective=value,
        evaluations=descent.evaluations,
        converged=descent.converged or stop.reached(value),
        meff=problem.meff,
        seconds_setup=setup - began,
        seconds_fit=seconds_fit,
    ).require_finite()


def fit_objective(
    residues: States,
    objective: Objective = CCMPRED,
    *,
    stop: Stop = STOP,
    start: Potts | None = None,
    prior: Potts | None = None,
    threads: int = 1,
    tell: Tell | None = None,
) -> Fit:
    """`fit` of one of the two objectives to an alignment (M, L)."""
    began = time.perf_counter()
    problem = objective.problem(residues, threads=threads)
    took = time.perf_counter() - began
    result = fit(problem, stop=stop, start=start, prior=prior, threads=threads, tell=tell)
    return replace(result, seconds_setup=result.seconds_setup + took)


def compile_kernels() -> None:
    """Fit something tiny: processes started later read the kernels from the cache."""
    fit_objective(np.zeros((2, 2), dtype=np.uint8))


def note_compilation() -> None:
    """Say that a fit will compile its kernels, where Numba's cache lacks the one it runs last."""
    stats = getattr(kernels.unpack_tile, "stats", None)  # none where NUMBA_DISABLE_JIT is set
    if stats and not any(Path(stats.cache_path).glob("kernels.unpack_tile-*.nbi")):
        note("compiling the kernels of the fit, once on this machine: about a minute")


def fit_in_processes(
    function: Callable[[A], B],
    items: Iterable[A],
    *,
    workers: int,
    needed: Mapping[str, int],
    needed_by: Callable[[A], int],
    standing: int = 0,
    cure: str,
) -> Iterator[B]:
    """Results of fits in the order of the items, from processes that share the machine's memory.

    Args:
        function: Fits an item; picklable, as are items and results.
        items: Drawn a little ahead.
        workers: Processes; with 1 the work is done in this one.
        needed: Bytes of each fit, by a name for its error.
        needed_by: Gives those of an item.
        standing: Bytes that each process holds all the time, beside those of its libraries.
        cure: What to do where there is too little for the largest.

    Raises:
        SettingsError: The largest does not fit into memory; raised at once.
        ToolError: A process was killed, usually for want of memory.
    """
    room = memory.shared_room(needed, workers=workers, standing=standing, cure=cure)
    if workers > 1:
        note_compilation()
        compile_kernels()
    return map_in_processes(
        function, items, workers=workers, within=lambda item: room.held(needed_by(item))
    )


def fit_bytes(
    depth: int, length: int, *, threads: int = 1, start: bool = False, prior: bool = False
) -> int:
    """How many bytes `fit` needs at its peak, which comes before the model that it returns.

    A `start` and a `prior` are included, as models, and the prior's couplings as the fit lays them
    out.
    """
    blocks = count_blocks(length)
    vector = 4 * count_parameters(blocks)
    columns = 4 * blocks * length * STATES * WIDTH
    work = threads * 8 * WIDTH * (length * STATES + chunk_rows(depth, 8))
    lists = -(-depth // chunk_rows(depth, 4)) * length * STATES
    index = depth * (4 * length + 8 * -(-length // PANEL)) + 16 * lists
    fitting = vector + (2 * MEMORY + 1) * vector // 2 + columns
    others = (start + prior) * 4 * (length * STATES) ** 2 + prior * vector
    return fitting + work + index + others


class _TileSolver:
    """F of a problem in scaled, centred coordinates, its gradient, and the basis of L-BFGS.

    What pads the last block of positions is never written, and zero from the start. The basis is
    bfloat16 (as uint16): reading it is most of the work where an alignment is shallow, and 8 bits
    of a search direction are enough, as the parameters move along what was kept of it.

    Attributes:
        length: L.
        blocks: How many blocks of positions there are.
        couplings_end: Where in the parameters the fields begin.
        index: The alignment, as `kernels` reads it.
        states: (blocks, M, LANES), of each block's positions.
        weights: w, (M,) float32.
        penalty: The regulariser.
        centring: g, (blocks, WIDTH).
        flat_centring: g, (21 L,).
        field_scale: 1 / sqrt(k), (blocks, WIDTH); 0 for what pads.
        parameters: (P,), p of all tiles, then c (blocks, WIDTH).
        tiles: p, J that the penalty shrinks to, and their scale: spread is sqrt(2 Meff) v, ridge r.
        basis: (2 MEMORY + 1, P) bfloat16: slots 0..MEMORY take gradients, the others directions.
        used: (2 MEMORY + 1,), whether a slot holds anything.
        fields: h at the last evaluation, (blocks, WIDTH).
        gradients: (blocks, 21 L, WIDTH), of the last evaluation by the couplings of each block.
        totals: (blocks, WIDTH), by its fields; both without the penalty.
        prior_fields: h that the penalty shrinks to, (blocks, WIDTH).
        independent: Whether all couplings are zero, as at first without start and prior: that
            evaluation counts pairs of states instead of summing rows.
        workspaces: Of each thread.
        pool: The threads.
    """

    def __init__(
        self, problem: Problem, pool: Threads, *, start: Potts | None, prior: Potts | None
    ) -> None:
        self.length = problem.length
        self.penalty = problem.penalty
        self.pool = pool
        self.blocks = count_blocks(self.length)
        self.weights = problem.weights.astype(np.float32)
        self.states = block_states(problem.residues)
        self.index = kernels.index_alignment(
            problem.residues,
            plm.consensus(problem.residues),
            chunk=chunk_rows(problem.depth, self.weights.itemsize),
        )
        shares = plm.frequencies(problem)
        centring = plm.centring(problem, shares)
        self.centring = blocked(centring)
        self.flat_centring = centring.astype(np.float32).ravel()
        curvature = plm.curvature(problem, shares)
        self.field_scale = blocked(1 / np.sqrt(curvature.fields))

        size = count_parameters(self.blocks)
        self.couplings_end = size - self.blocks * WIDTH
        self.parameters = aligned((size,), np.float32)
        self.basis = aligned((2 * MEMORY + 1, size), np.uint16)
        self.used = np.zeros(len(self.basis), dtype=np.bool_)
        self.gradients = aligned((self.blocks, self.length * STATES, WIDTH), np.float32)
        self.totals = np.empty((self.blocks, WIDTH), dtype=np.float32)
        self.fields = np.zeros((self.blocks, WIDTH), dtype=np.float32)
        self.prior_fields = np.zeros((self.blocks, WIDTH), dtype=np.float32)
        self.tiles = Tiles(
            parameters=self.parameters,
            prior=np.zeros(0, dtype=np.float32),
            spread=np.sqrt(np.float32(2 * problem.meff)) * blocked(curvature.variance),
            ridge=np.float32(curvature.ridge),
        )
        if prior is not None:
            prior = plm.in_gap_gauge(prior, self.penalty)
            self.prior_fields[:] = blocked(prior.fields)
            shrunk_to = np.zeros(self.couplings_end, dtype=np.float32)
            self._pack(prior.couplings, _unscaled(self.tiles, shrunk_to))
            self.tiles = self.tiles._replace(prior=shrunk_to)
        self.workspaces = Workspaces(pool.threads, problem.depth, self.length, np.float32)
        self.independent = start is None and prior is None
        centred = plm.independent_fields(problem, shares)
        if start is not None:
            self._pack(start.couplings, self.tiles)
            mean = np.einsum("ijab,jb->ia", start.couplings, centring.astype(np.float32))
            centred = start.fields + mean
        self._scaled_fields()[:] = blocked(centred * np.sqrt(curvature.fields))

    def _pack(self, couplings: Float32, tiles: Tiles) -> None:
        """Write couplings (L, L, 21, 21) to the parameters of tiles."""
        self._each_tile(lambda i, j: kernels.pack_tile(i, j, self.length, couplings, tiles))

    def _scaled_fields(self) -> Float32:
        """c, (blocks, WIDTH): a view of the parameters."""
        return self.parameters[self.couplings_end :].reshape(self.blocks, WIDTH)

    def _each_tile(self, work: Callable[[int, int], None]) -> None:
        def row(block: int) -> None:
            for other in range(block, self.blocks):
                work(block, other)

        self.pool.map(row, range(self.blocks))

    def evaluate(self) -> float:
        """F at the parameters; leaves the gradient of each block for `gradient`."""
        centred = self._scaled_fields() * self.field_scale
        independent, self.independent = self.independent, False

        def block_loss(block: int) -> float:
            base, mean = np.zeros(WIDTH, np.float32), np.zeros(WIDTH, np.float32)
            squares = 0.0
            with self.workspaces.borrow() as (table, work):
                if not independent:
                    squares = kernels.gather_block(
                        self.tiles,
                        block,
                        self.index.consensus,
                        self.flat_centring,
                        table,
                        base,
                        mean,
                    )
                fields = self.fields[block]
                fields[:] = centred[block] - mean
                if not self.penalty.gap_field:
                    fields[:] = less_gap(fields)
                base += less_gap(fields)
                lanes = lanes_of(block, self.length)
                data = (self.index, self.states[block], self.weights, lanes)
                gradient = self.gradients[block], self.totals[block]
                if independent:
                    loss = kernels.independent_gradient(base, *data, *gradient)
                else:
                    loss = kernels.block_gradient(table, base, *data, work, *gradient)
            pull = (fields - self.prior_fields[block]).astype(np.float64)
            loss += self.penalty.lambda_fields * float(pull @ pull)
            return loss + self.penalty.lambda_couplings * squares

        return sum(self.pool.map(block_loss, range(self.blocks)))

    def gradient(self, slot: int) -> Float64:
        """Write the gradient at the last evaluation to a slot; its products with all slots."""
        pull = 2 * np.float32(self.penalty.lambda_fields) * (self.fields - self.prior_fields)
        field_gradient = self.totals + pull
        if not self.penalty.gap_field:
            states = field_gradient.reshape(self.blocks, STATES, LANES)
            states[:, GAP] = -states[:, :GAP].sum(1)
        tail = _narrow((field_gradient * self.field_scale).ravel())
        self.basis[slot, self.couplings_end :] = tail
        self.used[slot] = True

        def tile_row(block: int) -> Float64:
            dots = np.zeros(len(self.basis))
            for other in range(block, self.blocks):
                kernels.scatter_tile(
                    block,
                    other,
                    self.length,
                    self.tiles,
                    self.gradients,
                    field_gradient,
                    self.centring,
                    np.float32(2 * self.penalty.lambda_couplings),
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
            dots[vector] = plm.dot(_widen(other).astype(np.float64), fields)
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
        self._each_tile(lambda i, j: kernels.unpack_tile(i, j, self.length, self.tiles, couplings))
        return Potts(from_blocks(self.fields, self.length), couplings)


def _unscaled(tiles: Tiles, parameters: Float32) -> Tiles:
    """Other parameters, whose couplings are the parameters themselves: sqrt(0 0 + 1) = 1."""
    zero = np.zeros_like(tiles.spread)
    return tiles._replace(parameters=parameters, spread=zero, ridge=np.float32(1))


def _minimise(
    solver: _TileSolver, stop: Stop, uniform_loss: float, tell: Tell | None = None
) -> Descent:
    """L-BFGS whose vectors are combinations of the basis, known by their inner products."""
    slots = 2 * MEMORY + 1
    products = np.zeros((slots, slots))
    pairs: deque[tuple[int, int, int, float]] = deque(maxlen=MEMORY)
    newest = 0
    directions = cycle(range(MEMORY + 1, slots))
    descent = Descent([solver.evaluate()], uniform_loss)
    descent.stop_if_done(stop)
    while not descent.finished:
        products[newest] = products[:, newest] = solver.gradient(newest)
        coefficients = _direction(products, pairs, newest)
        descent.turn(float(coefficients @ products[:, newest]))
        if descent.finished:
            break
        direction = next(directions)
        products[direction] = products[:, direction] = coefficients @ products
        step = descent.step
        solver.move(coefficients, direction, step)
        same = np.eye(slots)[direction]
        while not descent.accepts(solver.evaluate(), stop):
            if descent.finished:
                # Back to where the step began; the model's fields are those of an evaluation.
                solver.move(same, direction, -step)
                solver.evaluate()
                descent.evaluations += 1
                return descent
            solver.move(same, direction, descent.step - step)
            step = descent.step
        following = (newest + 1) % (MEMORY + 1)
        pairs.append((newest, following, direction, step))
        newest = following
        descent.stop_if_done(stop)
        if tell:
            tell(descent.share_done(stop), f"{descent.evaluations} evaluations")
    return descent


def _direction(
    products: Float64, pairs: Iterable[tuple[int, int, int, float]], newest: int
) -> Float64:
    """Coefficients of the L-BFGS direction (two loops, Nocedal 1980) over the basis.

    Args:
        products: Inner products of the basis; those of two directions do not matter.
        pairs: Of each step that is remembered the slots of the gradients before and after it and of
            its direction, and its length.
        newest: Slot of the gradient at the parameters.
    """
    unit = np.eye(len(products))
    direction = unit[newest].copy()
    history = []
    for before, after, moved, step in pairs:
        s, y = step * unit[moved], unit[after] - unit[before]
        curvature = float(s @ products @ y)
        # Near the minimum of one row rounding can leave no difference of gradients.
        if curvature > 0 and float(y @ products @ y) > 0:
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


def _narrow(values: Float32) -> NDArray[np.uint16]:
    """`kernels.narrow` of an array."""
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def _widen(values: NDArray[np.uint16]) -> Float32:
    """`kernels.widen` of an array."""
    return (values.astype(np.uint32) << 16).view(np.float32)
