"""The same fits as `plm`, with dense products in torch, many families at a time: for a GPU.

Each alignment is a one-hot matrix X (N, 21 L), its couplings a symmetric matrix W (21 L, 21 L):
X W are the logits and R^T X the gradient. Families of a batch are padded to the deepest and the
longest: what pads a family weighs nothing in its objective, and its parameters stay zero. On a CPU
this is the slow way, and the reference against which the sparse one is measured.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from npm_core import memory, plm
from npm_core.alphabet import GAP, STATES
from npm_core.arrays import Float64
from npm_core.errors import DataError, SettingsError
from npm_core.plm import Fit, Objective, Penalty, Stop
from npm_core.potts import Potts

ROWS_AT_A_TIME = 4096
"""Sequences of all families of a batch whose logits are held at a time."""

VECTORS = 22
"""Vectors of the size of W that a fit holds at its peak: points, gradients, history, scale."""

ROW_TABLES = 6
"""Tables of the size of the logits that an evaluation holds at its peak."""

_TF32_BITS = -(1 << 13)
"""Keeps sign, exponent and the first 10 bits of the fraction of a float32."""


class Problem(NamedTuple):
    """What one fit is of."""

    residues: NDArray[np.uint8]
    weights: Float64
    penalty: Penalty


def fit_objectives(
    alignments: Sequence[NDArray[np.uint8]],
    objective: Objective = plm.CCMPRED,
    *,
    stop: Stop = plm.STOP,
    threads: int = 1,
    device: str = "cuda",
) -> list[Fit]:
    """`fit` of one of the two objectives, of several alignments together.

    Sequence weights are counted on the CPU, by so many threads.
    """
    began = time.perf_counter()
    problems = [
        Problem(residues, *objective.terms(residues, threads=threads)) for residues in alignments
    ]
    took = (time.perf_counter() - began) / len(problems)
    return [
        replace(result, seconds_setup=result.seconds_setup + took)
        for result in fit(problems, stop=stop, device=device)
    ]


def fit(
    problems: Sequence[Problem],
    *,
    stop: Stop = plm.STOP,
    device: str = "cuda",
) -> list[Fit]:
    """Fit a Potts model to each of some families, all at once, on `device`.

    Arguments and results are those of `plm.fit`; the seconds of a batch are shared out evenly.

    Args:
        problems: They should be of similar size: each costs as much as the largest.

    Raises:
        SettingsError: The device is not there, or its memory is too small.
        DataError: Residues or weights do not fit together.
    """
    began = time.perf_counter()
    for residues, row_weights, _ in problems:
        plm.check_residues(residues)
        plm.check_weights(row_weights, len(residues))
    shape = max(len(p.residues) for p in problems), max(p.residues.shape[1] for p in problems)
    needed, free = fit_bytes(len(problems), *shape), free_bytes(device)
    if needed > free:
        raise SettingsError(
            f"{len(problems)} Potts models of up to {shape[1]} columns need "
            f"{needed / memory.MIB:,.0f} MiB of memory on {device}, {free / memory.MIB:,.0f} MiB "
            "are free; fit fewer columns or use --device cpu"
        )
    placed = Problems.of(problems, device)
    seconds_setup = (time.perf_counter() - began) / len(problems)
    fits = _minimise(placed, stop)
    seconds_fit = (time.perf_counter() - began) / len(problems) - seconds_setup
    return [replace(fit, seconds_setup=seconds_setup, seconds_fit=seconds_fit) for fit in fits]


def fit_bytes(families: int, depth: int, length: int) -> int:
    """How many bytes of the device's memory `fit` needs, the largest family having this shape."""
    states = length * STATES
    rows = min(families * depth, max(ROWS_AT_A_TIME, families))
    return 4 * (families * VECTORS * states**2 + ROW_TABLES * rows * states)


def free_bytes(device: str) -> float:
    """Memory that a device has left; infinite where that cannot be told.

    Raises:
        SettingsError: The device is not there.
    """
    if device == "cpu":
        free = memory.available_bytes()
        return float("inf") if free is None else free
    if not torch.cuda.is_available():
        raise SettingsError(f"torch sees no {device} device; use --device cpu")
    # What torch keeps of earlier fits lies in pieces of other sizes.
    torch.cuda.empty_cache()
    return torch.cuda.mem_get_info(device)[0]


def batches(
    shapes: Sequence[tuple[int, int]], budget: float, *, most: int = 256
) -> Iterator[list[int]]:
    """Cut families, longest first, into batches that `budget` bytes hold; their numbers.

    A family that does not fit alone comes alone: `fit` refuses it with the figures. One that is
    shorter than three quarters of the longest of a batch begins the next.
    """
    batch: list[int] = []
    for number in sorted(range(len(shapes)), key=lambda n: shapes[n][::-1], reverse=True):
        together = [shapes[n] for n in (*batch, number)]
        longest = together[0][1]
        deepest = max(depth for depth, _ in together)
        full = len(together) > most or fit_bytes(len(together), deepest, longest) > budget
        if batch and (full or shapes[number][1] < 0.75 * longest):
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch


@dataclass(frozen=True, eq=False)
class Stacked:
    """What an evaluation needs to know of each family: the first axis of every tensor.

    Attributes:
        entries: (families, depth, L) int64, the column of each residue in the one-hot matrix.
        weights: (families, depth) float64; 0 for rows that pad.
        real: (families, L) float64, 1 for positions that do not pad.
        real_states: (families, 21 L), likewise.
        frequencies: (families, 21 L), weighted share of each state.
        field_penalty: (families,) lambda_h.
        coupling_penalty: (families,) lambda_J.
        field_scale: (families, 21 L), what a coordinate of 1 is as a field.
        scale: (families, 21 L, 21 L), and as a coupling; 0 for what is none.
        origin: (families, 21 L (21 L + 1)), the point of the models without couplings.
    """

    entries: torch.Tensor
    weights: torch.Tensor
    real: torch.Tensor
    real_states: torch.Tensor
    frequencies: torch.Tensor
    field_penalty: torch.Tensor
    coupling_penalty: torch.Tensor
    field_scale: torch.Tensor
    scale: torch.Tensor
    origin: torch.Tensor

    def __getitem__(self, numbers: list[int]) -> "Stacked":
        """The same for some of the families; padding stays as it is."""
        return Stacked(**{name: tensor[numbers] for name, tensor in vars(self).items()})


def stack(problems: Sequence[Problem], device: str) -> Stacked:
    """Pad problems to the deepest and the longest."""
    depth = max(len(problem.residues) for problem in problems)
    length = max(problem.residues.shape[1] for problem in problems)
    count, states = len(problems), length * STATES
    entries = np.zeros((count, depth, length), dtype=np.uint8)
    weights = np.zeros((count, depth))
    real = np.zeros((count, length))
    shares = np.zeros((count, length, STATES))
    curvature = np.ones((count, length, STATES))
    fields = np.zeros((count, length, STATES))
    for number, (residues, row_weights, penalty) in enumerate(problems):
        rows, columns = residues.shape
        entries[number, :rows, :columns] = residues
        weights[number, :rows] = row_weights
        real[number, :columns] = 1
        here = plm.frequencies(residues, row_weights)
        shares[number, :columns] = here
        curvature[number, :columns] = plm.field_curvature(here, row_weights.sum())
        curvature[number, :columns] += 2 * penalty.fields + 1e-9
        fields[number, :columns] = plm.independent_fields(here, row_weights.sum())

    def floats(values: Float64) -> torch.Tensor:
        return torch.from_numpy(values).to(device, torch.float32)

    real_states = floats(real).repeat_interleave(STATES, 1)
    coupling_penalty = floats(np.array([problem.penalty.couplings for problem in problems]))
    meff = torch.from_numpy(weights).to(device).sum(1).float()
    spread = floats(shares * (1 - shares)).flatten(1)
    scale = torch.einsum("f,fa,fb->fab", 2 * meff, spread, spread)
    scale += torch.clamp(2 * coupling_penalty, min=1e-6)[:, None, None]
    scale = torch.rsqrt(scale)
    scale *= real_states[:, :, None] * real_states[:, None, :]
    own = torch.arange(states, device=device) // STATES
    scale[:, own[:, None] == own[None]] = 0
    field_scale = floats(1 / np.sqrt(curvature)).flatten(1)
    origin = torch.zeros(count, states**2 + states, device=device)
    origin[:, states**2 :] = floats(fields).flatten(1) / field_scale
    return Stacked(
        entries=torch.from_numpy(entries).to(device).long()
        + torch.arange(length, device=device) * STATES,
        weights=torch.from_numpy(weights).to(device),
        real=torch.from_numpy(real).to(device),
        real_states=real_states,
        frequencies=floats(shares).flatten(1),
        field_penalty=floats(np.array([problem.penalty.fields for problem in problems])),
        coupling_penalty=coupling_penalty,
        field_scale=field_scale,
        scale=scale,
        origin=origin,
    )


@dataclass(frozen=True, eq=False)
class Problems:
    """F of `plm` and its gradient, for each family, in the same centred and scaled coordinates.

    A point is one vector a family: the symmetric W (21 L, 21 L), then the fields (L, 21).

    Attributes:
        alone: Each as it is.
        each: Each padded, on the device.
        gap_field: As in the penalty of each.
    """

    alone: list[Problem]
    each: Stacked
    gap_field: bool

    @classmethod
    def of(cls, problems: Sequence[Problem], device: str) -> "Problems":
        """Put problems on a device.

        Raises:
            DataError: They do not agree on whether gaps have fields.
        """
        gap_field = problems[0].penalty.gap_field
        if any(problem.penalty.gap_field != gap_field for problem in problems):
            raise DataError("families of one batch must agree on whether gaps have fields")
        return cls(list(problems), stack(problems, device), gap_field)

    @property
    def length(self) -> int:
        """Of the longest."""
        return self.each.real.shape[1]

    @property
    def states(self) -> int:
        """Rows of W."""
        return self.length * STATES

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.each.real.device

    def kept(self, numbers: list[int]) -> "Problems":
        """The same for some of the families."""
        return replace(
            self, alone=[self.alone[number] for number in numbers], each=self.each[numbers]
        )

    def parameters(self, point: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Fields (families, 21 L) and couplings (families, 21 L, 21 L) at a point."""
        couplings = point[:, : self.states**2].view(-1, self.states, self.states) * self.each.scale
        mean = torch.einsum("fab,fb->fa", couplings, self.each.frequencies)
        fields = point[:, self.states**2 :] * self.each.field_scale - mean
        if not self.gap_field:
            table = fields.view(-1, self.length, STATES)
            fields = (table - table[:, :, GAP:]).flatten(1)
        return fields, couplings

    def evaluate(self, point: torch.Tensor) -> tuple[list[float], torch.Tensor]:
        """F of each family (summed in float64) and the gradient at a point."""
        fields, couplings = self.parameters(point)
        gradient = torch.zeros_like(couplings)
        field_gradient = torch.zeros_like(fields)
        loss = self._penalty(fields, couplings)
        for entries, weights in self._rows():
            one_hot = self._one_hot(entries, torch.float32)
            logs = self._log_shares(fields[:, None] + multiply(one_hot, couplings))
            loss -= self._chosen(logs, entries, weights)
            residual = (logs.exp_() - one_hot) * weights[:, :, None].float()
            residual *= self.each.real_states[:, None]
            gradient += multiply(one_hot.mT, residual).mT
            field_gradient += residual.sum(1)
        field_gradient += 2 * self.each.field_penalty[:, None] * fields
        if not self.gap_field:
            table = field_gradient.view(-1, self.length, STATES)
            table[:, :, GAP] = -table[:, :, :GAP].sum(2)
        gradient = gradient + gradient.mT
        gradient += 2 * self.each.coupling_penalty[:, None, None] * couplings
        centring = torch.einsum("fa,fb->fab", field_gradient, self.each.frequencies)
        gradient -= centring + centring.mT
        scaled = (gradient * self.each.scale).flatten(1)
        return loss.tolist(), torch.cat([scaled, field_gradient * self.each.field_scale], 1)

    def objective(self, number: int, point: torch.Tensor) -> float:
        """F of one family at its point, computed in float64 from its float32 parameters."""
        alone = self.kept([number])
        fields, couplings = (part.double() for part in alone.parameters(point[None]))
        loss = alone._penalty(fields, couplings)
        for entries, weights in alone._rows():
            logits = fields[:, None] + self._one_hot(entries, torch.float64) @ couplings
            loss -= alone._chosen(self._log_shares(logits), entries, weights)
        return float(loss)

    def _penalty(self, fields: torch.Tensor, couplings: torch.Tensor) -> torch.Tensor:
        """(families,) float64."""
        value = self.each.field_penalty.double() * _dots(fields, fields)
        return value + self.each.coupling_penalty.double() / 2 * _dots(couplings, couplings)

    def _one_hot(self, entries: torch.Tensor, kind: torch.dtype) -> torch.Tensor:
        one_hot = torch.zeros(*entries.shape[:2], self.states, device=self.device, dtype=kind)
        return one_hot.scatter_(2, entries, 1.0)

    def _log_shares(self, logits: torch.Tensor) -> torch.Tensor:
        positions = logits.view(*logits.shape[:2], self.length, STATES)
        return torch.log_softmax(positions, 3).flatten(2)

    def _chosen(self, logs: torch.Tensor, entries: torch.Tensor, weights: torch.Tensor) -> Any:
        """(families,) float64: weighted sum over sequences of log p of what they have."""
        chosen = logs.gather(2, entries).double()
        return torch.einsum("fnl,fl,fn->f", chosen, self.each.real, weights)

    def _rows(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        rows = max(1, ROWS_AT_A_TIME // len(self.alone))
        for at in range(0, self.each.entries.shape[1], rows):
            yield self.each.entries[:, at : at + rows], self.each.weights[:, at : at + rows]

    def dots(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """(families,) float64 inner products over parameters: each pair is in W twice."""
        pairs = self.states**2
        return _dots(first[:, :pairs], second[:, :pairs]) / 2 + _dots(
            first[:, pairs:], second[:, pairs:]
        )

    def potts(self, number: int, point: torch.Tensor) -> Potts:
        """The model of one family at its point."""
        alone = self.kept([number])
        fields, couplings = (part[0] for part in alone.parameters(point[None]))
        length = self.alone[number].residues.shape[1]
        table = couplings.view(self.length, STATES, self.length, STATES).permute(0, 2, 1, 3)
        table = table[:length, :length]
        upper = torch.triu(torch.ones(length, length, device=self.device), 1)
        half = table * upper[:, :, None, None]
        full = half + half.permute(1, 0, 3, 2)
        return Potts(
            fields.view(self.length, STATES)[:length].contiguous().cpu().numpy(),
            full.contiguous().cpu().numpy(),
        )


def multiply(one_hot: torch.Tensor, dense: torch.Tensor) -> torch.Tensor:
    """one_hot @ dense in float32 precision, on a GPU by its tensor cores.

    These are many times faster in TF32, but keep 11 bits of every factor: enough for the zeros and
    ones, not for the other side. So that side comes in two halves of 11 bits, whose products are
    summed in float32.
    """
    if not dense.is_cuda:
        return one_hot @ dense
    high, low = halves(dense)
    with _tf32():
        return one_hot @ high + one_hot @ low


def halves(dense: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The first 11 bits of each float32, and the rest."""
    high = (dense.contiguous().view(torch.int32) & _TF32_BITS).view(torch.float32)
    return high, dense - high


@contextmanager
def _tf32() -> Iterator[None]:
    """Let CUDA multiply float32 matrices in TF32."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def _dots(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """(families,) float64 sums of products: float32 sums this long are off by a thousandth."""
    return (first * second).flatten(1).sum(1, dtype=torch.float64)


@dataclass
class _Search:
    """Where the descent of one family stands.

    Attributes:
        values: F at the points that were kept.
        slope: Of F along the direction.
        step: The next to try.
        evaluations: How many times F and its gradient were computed.
        finished: It stays where it is.
        converged: As in `plm.Fit`.
    """

    values: list[float]
    slope: float = 0.0
    step: float = 1.0
    evaluations: int = 1
    finished: bool = False
    converged: bool = False

    def stop_if_done(self, stop: Stop) -> None:
        """Finish at the target, where little is gained, or after so many evaluations."""
        reached = stop.reached(self.values[-1])
        self.converged = reached or plm.recent_gain(self.values) <= stop.rel
        self.finished = self.converged or self.evaluations >= stop.evaluations

    def accepts(self, trial: float, stop: Stop) -> bool:
        """Whether the step is taken; if not, a shorter one is tried next, or none."""
        if self.finished:
            return False
        self.evaluations += 1
        if plm.decreases(self.values[-1], trial, self.step * self.slope):
            self.values.append(trial)
            self.step = 1.0
            return True
        self.finished = self.evaluations >= stop.evaluations or self.step < plm.SHORTEST_STEP
        self.step = plm.shorter_step(self.step, self.values[-1], self.slope, trial)
        return False


def _minimise(problems: Problems, stop: Stop) -> list[Fit]:
    """L-BFGS of each family with the steps and stops of `plm`; all are evaluated together.

    Once half of the families are finished the others go on without them.
    """
    fits: dict[int, Fit] = {}
    numbers = list(range(len(problems.alone)))
    point = direction = problems.each.origin
    values, gradient = problems.evaluate(point)
    searches = [_Search([value]) for value in values]
    taken = torch.ones(len(numbers), dtype=torch.bool, device=problems.device)
    zero = torch.zeros_like(point)
    history = [(zero, zero, taken.double() * 0)] * plm.MEMORY
    while True:
        for search in searches:
            if not search.finished:
                search.stop_if_done(stop)
        if 2 * sum(search.finished for search in searches) >= len(searches):
            for place, search in enumerate(searches):
                if search.finished:
                    fits[numbers[place]] = _result(problems, place, point[place], search)
            left = [place for place, search in enumerate(searches) if not search.finished]
            if not left:
                return [fits[number] for number in range(len(fits))]
            problems = problems.kept(left)
            numbers = [numbers[place] for place in left]
            searches = [searches[place] for place in left]
            point, gradient, direction = point[left], gradient[left], direction[left]
            taken = taken[left]
            history = [(s[left], y[left], curvature[left]) for s, y, curvature in history]
        direction = torch.where(taken[:, None], _direction(problems, gradient, history), direction)
        for search, slope in zip(
            searches, problems.dots(direction, gradient).tolist(), strict=True
        ):
            search.slope = slope
            search.finished = search.finished or slope >= 0
        steps = torch.tensor([search.step for search in searches], device=problems.device)
        move = steps[:, None] * direction
        trials, trial_gradient = problems.evaluate(point + move)
        accepted = [
            search.accepts(trial, stop) for search, trial in zip(searches, trials, strict=True)
        ]
        taken = torch.tensor(accepted, device=problems.device)
        history = _remembered(problems, history, move, trial_gradient - gradient, taken)
        point = torch.where(taken[:, None], point + move, point)
        gradient = torch.where(taken[:, None], trial_gradient, gradient)


def _result(problems: Problems, place: int, point: torch.Tensor, search: _Search) -> Fit:
    """The fit of a finished family; its seconds are not known here."""
    return Fit(
        problems.potts(place, point),
        problems.objective(place, point),
        search.evaluations,
        search.converged,
        float(problems.alone[place].weights.sum()),
        0.0,
        0.0,
    )


_History = list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]
"""Steps s, changes y of the gradient and s . y, the newest last; s . y = 0 where there is none."""


def _remembered(
    problems: Problems, history: _History, s: torch.Tensor, y: torch.Tensor, taken: torch.Tensor
) -> _History:
    """The history of each family with the step that it took, unless F is not convex along it."""
    curvature = problems.dots(s, y)
    new = taken & (curvature > 0)
    return [
        (
            torch.where(new[:, None], after[0], before[0]),
            torch.where(new[:, None], after[1], before[1]),
            torch.where(new, after[2], before[2]),
        )
        for before, after in zip(history, [*history[1:], (s, y, curvature)], strict=True)
    ]


def _direction(problems: Problems, gradient: torch.Tensor, history: _History) -> torch.Tensor:
    """Minus the L-BFGS approximation of the inverse curvature times the gradient."""

    def ratio(above: torch.Tensor, below: torch.Tensor, otherwise: float) -> torch.Tensor:
        known = below > 0
        return torch.where(known, above / torch.where(known, below, 1.0), otherwise)

    direction = gradient
    shares = []
    for s, y, curvature in reversed(history):
        share = ratio(problems.dots(s, direction), curvature, 0.0)
        direction = direction - share[:, None].float() * y
        shares.append(share)
    _, y, curvature = history[-1]
    direction = direction * ratio(curvature, problems.dots(y, y), plm.FIRST_STEP)[:, None].float()
    for (s, y, curvature), share in zip(history, reversed(shares), strict=True):
        share = share - ratio(problems.dots(y, direction), curvature, 0.0)
        direction = direction + share[:, None].float() * s
    return -direction
