"""The same fits as `plm_sparse`, with dense products in torch, many families at a time: for a GPU.

Each alignment is a one-hot matrix X (M, 21 L), its couplings a symmetric matrix W (21 L, 21 L):
X W are the logits and R^T X the gradient. Families of a batch are padded to the deepest and the
longest: what pads a family weighs nothing in its objective, and its parameters stay zero. On a CPU
this is the slow way, and the reference against which the sparse one is measured.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch

from npm_core import memory, plm
from npm_core.alphabet import GAP, STATES
from npm_core.arrays import Float64, States
from npm_core.descent import FIRST_STEP, MEMORY, STOP, Descent, Stop
from npm_core.devices import within_memory
from npm_core.errors import DataError, SettingsError
from npm_core.plm import CCMPRED, Fit, Objective, Problem
from npm_core.potts import Potts

ROWS_AT_A_TIME = 4096
"""Sequences of all families of a batch whose logits are held at a time."""

VECTORS = 22
"""Vectors of the size of W that a fit holds at its peak: points, gradients, history, scale."""

ROW_TABLES = 6
"""Tables of the size of the logits that an evaluation holds at its peak."""

_TF32_BITS = -(1 << 13)
"""Keeps sign, exponent and the first 10 bits of the fraction of a float32."""


def fit_objectives(
    alignments: Sequence[States],
    objective: Objective = CCMPRED,
    *,
    stop: Stop = STOP,
    threads: int = 1,
    device: str = "cuda",
) -> list[Fit]:
    """`fit` of one of the two objectives, of several alignments together.

    Sequence weights are counted on the CPU, by so many threads.
    """
    began = time.perf_counter()
    problems = [objective.problem(residues, threads=threads) for residues in alignments]
    took = (time.perf_counter() - began) / len(problems)
    return [
        replace(result, seconds_setup=result.seconds_setup + took)
        for result in fit(problems, stop=stop, device=device)
    ]


def fit(
    problems: Sequence[Problem],
    *,
    stop: Stop = STOP,
    device: str = "cuda",
) -> list[Fit]:
    """Fit a Potts model to each of some families, all at once, on `device`.

    Results are those of `plm_sparse.fit`, but a fit that diverged does not stop the others: its
    objective is not finite. A batch's seconds are shared out evenly.

    Args:
        problems: They should be of similar size: each costs as much as the largest.
        stop: When each ends.
        device: PyTorch's name of it.

    Raises:
        SettingsError: The device is not there, or its memory is too small.
        DataError: Some problems have fields of the gap, and others none.
    """
    began = time.perf_counter()
    shape = max(each.depth for each in problems), max(each.length for each in problems)
    needed, free = fit_bytes(len(problems), *shape), free_bytes(device)
    cure = "fit fewer columns or use --device cpu"
    if needed > free:
        raise SettingsError(
            f"{len(problems)} Potts models of up to {shape[1]} columns need "
            f"{needed / memory.MIB:,.0f} MiB of memory on {device}, {free / memory.MIB:,.0f} MiB "
            f"are free; {cure}"
        )
    with within_memory(cure):
        batch = Batch.of(problems, device)
        seconds_setup = (time.perf_counter() - began) / len(problems)
        found = _minimise(batch, stop, [problem.uniform_loss for problem in problems])
    seconds_fit = (time.perf_counter() - began) / len(problems) - seconds_setup
    return [
        Fit(
            potts=minimum.potts,
            objective=minimum.objective,
            evaluations=minimum.descent.evaluations,
            converged=minimum.descent.converged or stop.reached(minimum.objective),
            meff=problem.meff,
            seconds_setup=seconds_setup,
            seconds_fit=seconds_fit,
        )
        for problem, minimum in zip(problems, found, strict=True)
    ]


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
class Batch:
    """F of each of some problems and its gradient, in the coordinates of `plm`, on a device.

    The first axis of every tensor is the family; problems are padded to the deepest and the
    longest. A point is one vector a family: the symmetric W (21 L, 21 L) of all p, then c (L, 21).

    Attributes:
        gap_field: As in the penalty of each.
        entries: (families, depth, L) int64, the column of each residue in the one-hot matrix.
        weights: w, (families, depth) float64; 0 for rows that pad.
        real: (families, L) float64, 1 for positions that do not pad.
        real_states: (families, 21 L), likewise.
        centring: g, (families, 21 L).
        lambda_fields: (families,), of the penalty.
        lambda_couplings: (families,), likewise.
        field_scale: 1 / sqrt(k), (families, 21 L).
        scale: 1 / sqrt(2 Meff v v + r), (families, 21 L, 21 L); 0 for what is no coupling.
        origin: (families, 21 L (21 L + 1)), the point of the models without couplings.
    """

    gap_field: bool
    entries: torch.Tensor
    weights: torch.Tensor
    real: torch.Tensor
    real_states: torch.Tensor
    centring: torch.Tensor
    lambda_fields: torch.Tensor
    lambda_couplings: torch.Tensor
    field_scale: torch.Tensor
    scale: torch.Tensor
    origin: torch.Tensor

    @classmethod
    def of(cls, problems: Sequence[Problem], device: str) -> "Batch":
        """Pad problems and put them on a device.

        Raises:
            DataError: They do not agree on whether gaps have fields.
        """
        gap_field = problems[0].penalty.gap_field
        if any(problem.penalty.gap_field != gap_field for problem in problems):
            raise DataError("families of one batch must agree on whether gaps have fields")
        depth = max(problem.depth for problem in problems)
        length = max(problem.length for problem in problems)
        count, states = len(problems), length * STATES
        entries = np.zeros((count, depth, length), dtype=np.uint8)
        weights = np.zeros((count, depth))
        real = np.zeros((count, length))
        centring, variance, fields = np.zeros((3, count, length, STATES))
        field_curvature = np.ones((count, length, STATES))
        ridge = np.zeros(count)
        for number, problem in enumerate(problems):
            columns = problem.length
            entries[number, : problem.depth, :columns] = problem.residues
            weights[number, : problem.depth] = problem.weights
            real[number, :columns] = 1
            here = plm.frequencies(problem)
            curvature = plm.curvature(problem, here)
            centring[number, :columns] = plm.centring(problem, here)
            variance[number, :columns] = curvature.variance
            field_curvature[number, :columns] = curvature.fields
            ridge[number] = curvature.ridge
            fields[number, :columns] = plm.independent_fields(problem, here)

        def floats(values: Float64) -> torch.Tensor:
            return torch.from_numpy(values).to(device, torch.float32)

        real_states = floats(real).repeat_interleave(STATES, 1)
        meff = torch.from_numpy(weights).to(device).sum(1).float()
        v = floats(variance).flatten(1)
        scale = torch.einsum("f,fa,fb->fab", 2 * meff, v, v)
        scale += floats(ridge)[:, None, None]
        scale = torch.rsqrt(scale)
        scale *= real_states[:, :, None] * real_states[:, None, :]
        own = torch.arange(states, device=device) // STATES
        scale[:, own[:, None] == own[None]] = 0
        field_scale = floats(1 / np.sqrt(field_curvature)).flatten(1)
        origin = torch.zeros(count, states**2 + states, device=device)
        origin[:, states**2 :] = floats(fields).flatten(1) / field_scale
        penalties = [problem.penalty for problem in problems]
        return cls(
            gap_field=gap_field,
            entries=torch.from_numpy(entries).to(device).long()
            + torch.arange(length, device=device) * STATES,
            weights=torch.from_numpy(weights).to(device),
            real=torch.from_numpy(real).to(device),
            real_states=real_states,
            centring=floats(centring).flatten(1),
            lambda_fields=floats(np.array([each.lambda_fields for each in penalties])),
            lambda_couplings=floats(np.array([each.lambda_couplings for each in penalties])),
            field_scale=field_scale,
            scale=scale,
            origin=origin,
        )

    def __len__(self) -> int:
        """How many families."""
        return len(self.weights)

    @property
    def length(self) -> int:
        """Of the longest."""
        return self.real.shape[1]

    @property
    def states(self) -> int:
        """Rows of W."""
        return self.length * STATES

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.real.device

    def kept(self, numbers: list[int]) -> "Batch":
        """The same for some of the families; padding stays as it is."""
        tensors = {
            name: value[numbers]
            for name, value in vars(self).items()
            if isinstance(value, torch.Tensor)
        }
        return Batch(gap_field=self.gap_field, **tensors)

    def parameters(self, point: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Fields (families, 21 L) and couplings (families, 21 L, 21 L) at a point."""
        couplings = point[:, : self.states**2].view(-1, self.states, self.states) * self.scale
        mean = torch.einsum("fab,fb->fa", couplings, self.centring)
        fields = point[:, self.states**2 :] * self.field_scale - mean
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
            residual *= self.real_states[:, None]
            gradient += multiply(one_hot.mT, residual)
            field_gradient += residual.sum(1)
        field_gradient += 2 * self.lambda_fields[:, None] * fields
        if not self.gap_field:
            table = field_gradient.view(-1, self.length, STATES)
            table[:, :, GAP] = -table[:, :, :GAP].sum(2)
        gradient = gradient + gradient.mT
        gradient += 2 * self.lambda_couplings[:, None, None] * couplings
        centring = torch.einsum("fa,fb->fab", field_gradient, self.centring)
        gradient -= centring + centring.mT
        scaled = (gradient * self.scale).flatten(1)
        return loss.tolist(), torch.cat([scaled, field_gradient * self.field_scale], 1)

    def regularised_loss(self, number: int, point: torch.Tensor) -> float:
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
        value = self.lambda_fields.double() * _dots(fields, fields)
        return value + self.lambda_couplings.double() / 2 * _dots(couplings, couplings)

    def _one_hot(self, entries: torch.Tensor, kind: torch.dtype) -> torch.Tensor:
        one_hot = torch.zeros(*entries.shape[:2], self.states, device=self.device, dtype=kind)
        return one_hot.scatter_(2, entries, 1.0)

    def _log_shares(self, logits: torch.Tensor) -> torch.Tensor:
        positions = logits.view(*logits.shape[:2], self.length, STATES)
        return torch.log_softmax(positions, 3).flatten(2)

    def _chosen(
        self, logs: torch.Tensor, entries: torch.Tensor, weights: torch.Tensor
    ) -> torch.Tensor:
        """(families,) float64: weighted sum over sequences of log p of what they have."""
        chosen = logs.gather(2, entries).double()
        total: torch.Tensor = torch.einsum("fml,fl,fm->f", chosen, self.real, weights)
        return total

    def _rows(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        rows = max(1, ROWS_AT_A_TIME // len(self))
        for at in range(0, self.entries.shape[1], rows):
            yield self.entries[:, at : at + rows], self.weights[:, at : at + rows]

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
        length = int(self.real[number].sum())
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


class _Minimum(NamedTuple):
    """Where the descent of one family ended, F there in float64, and how it got there."""

    potts: Potts
    objective: float
    descent: Descent


def _minimise(batch: Batch, stop: Stop, uniform_losses: Sequence[float]) -> list[_Minimum]:
    """L-BFGS of each family with the steps and stops of `descent`; all are evaluated together.

    Once half of the families are finished the others go on without them.
    """
    found: dict[int, _Minimum] = {}
    numbers = list(range(len(batch)))
    point = batch.origin
    values, gradient = batch.evaluate(point)
    descents = list(map(Descent, [[value] for value in values], uniform_losses))
    zero = torch.zeros_like(point)
    history = [(zero, zero, batch.dots(zero, zero))] * MEMORY
    while True:
        for descent in descents:
            if not descent.finished:
                descent.stop_if_done(stop)
        if 2 * sum(descent.finished for descent in descents) >= len(descents):
            for place, descent in enumerate(descents):
                if descent.finished:
                    here = point[place]
                    found[numbers[place]] = _Minimum(
                        batch.potts(place, here), batch.regularised_loss(place, here), descent
                    )
            left = [place for place, descent in enumerate(descents) if not descent.finished]
            if not left:
                return [found[number] for number in range(len(found))]
            batch = batch.kept(left)
            numbers = [numbers[place] for place in left]
            descents = [descents[place] for place in left]
            point, gradient = point[left], gradient[left]
            history = [(s[left], y[left], curvature[left]) for s, y, curvature in history]
        direction = _direction(batch, gradient, history)
        for descent, slope in zip(descents, batch.dots(direction, gradient).tolist(), strict=True):
            descent.turn(slope)
        steps = torch.tensor([descent.step for descent in descents], device=batch.device)
        move = steps[:, None] * direction
        trials, trial_gradient = batch.evaluate(point + move)
        accepted = [
            descent.accepts(trial, stop) for descent, trial in zip(descents, trials, strict=True)
        ]
        taken = torch.tensor(accepted, device=batch.device)
        history = _remembered(batch, history, move, trial_gradient - gradient, taken)
        point = torch.where(taken[:, None], point + move, point)
        gradient = torch.where(taken[:, None], trial_gradient, gradient)


_History = list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]
"""Steps s, changes y of the gradient and s . y, the newest last; s . y = 0 where there is none."""


def _remembered(
    batch: Batch, history: _History, s: torch.Tensor, y: torch.Tensor, taken: torch.Tensor
) -> _History:
    """The history of each family with the step that it took, unless F is not convex along it."""
    curvature = batch.dots(s, y)
    new = taken & (curvature > 0)
    return [
        (
            torch.where(new[:, None], after[0], before[0]),
            torch.where(new[:, None], after[1], before[1]),
            torch.where(new, after[2], before[2]),
        )
        for before, after in zip(history, [*history[1:], (s, y, curvature)], strict=True)
    ]


def _direction(batch: Batch, gradient: torch.Tensor, history: _History) -> torch.Tensor:
    """Minus the L-BFGS approximation of the inverse curvature times the gradient."""

    def ratio(above: torch.Tensor, below: torch.Tensor, otherwise: float) -> torch.Tensor:
        known = below > 0
        return torch.where(known, above / torch.where(known, below, 1.0), otherwise)

    direction = gradient
    shares = []
    for s, y, curvature in reversed(history):
        share = ratio(batch.dots(s, direction), curvature, 0.0)
        direction = direction - share[:, None].float() * y
        shares.append(share)
    _, y, curvature = history[-1]
    direction = direction * ratio(curvature, batch.dots(y, y), FIRST_STEP)[:, None].float()
    for (s, y, curvature), share in zip(history, reversed(shares), strict=True):
        share = share - ratio(batch.dots(y, direction), curvature, 0.0)
        direction = direction + share[:, None].float() * s
    return -direction
