"""The same fit as `plm`, with dense products in torch: for a GPU.

The alignment is a one-hot matrix X (N, 21 L), the couplings a symmetric matrix W (21 L, 21 L): X W
are the logits and R^T X the gradient. On a CPU this is the slow way, and the reference against
which the sparse one is measured.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from npm_core import plm
from npm_core.alphabet import GAP, STATES
from npm_core.errors import SettingsError
from npm_core.plm import Fit, Penalty
from npm_core.potts import Doubles, Potts

ROWS_AT_A_TIME = 4096

Product = Literal["split", "float32", "tf32"]

_TF32_BITS = -(1 << 13)
"""Keeps sign, exponent and the first 10 bits of the fraction of a float32."""


def fit_objective(
    residues: NDArray[np.uint8], *, objective: str = "ccmpred", **settings: Any
) -> Fit:
    """`fit` of one of the two objectives by name, as `plm.fit_objective`."""
    began = time.perf_counter()
    row_weights, penalty = plm.objective_terms(residues, objective)
    took = time.perf_counter() - began
    result = fit(residues, row_weights=row_weights, penalty=penalty, **settings)
    return replace(result, seconds_setup=result.seconds_setup + took)


def fit(
    residues: NDArray[np.uint8],
    *,
    row_weights: Doubles,
    penalty: Penalty,
    stop_rel: float = 1e-4,
    target_objective: float | None = None,
    max_evaluations: int = 500,
    start: Potts | None = None,
    prior: Potts | None = None,
    threads: int = 1,
    device: str = "cuda",
    product: Product = "split",
) -> Fit:
    """Fit a Potts model on `device`; arguments and result are those of `plm.fit`.

    Args:
        threads: Not used; there so that the arguments are those of `plm.fit`.
        product: How the tensor cores of a GPU multiply, see `multiply`.

    Raises:
        SettingsError: The device is not there, or a start or prior was given.
        DataError: Residues or weights do not fit together.
    """
    began = time.perf_counter()
    if device == "cuda" and not torch.cuda.is_available():
        raise SettingsError("torch sees no CUDA device; use --device cpu")
    if start is not None or prior is not None:
        raise SettingsError("a start or a prior needs --device cpu")
    plm.check_residues(residues)
    plm.check_weights(row_weights, len(residues))
    problem = DenseProblem(residues, row_weights, penalty, device, product)
    setup = time.perf_counter()
    point, evaluations, converged = _minimise(problem, stop_rel, target_objective, max_evaluations)
    value = problem.objective(point)
    potts = problem.potts(point)
    return Fit(
        potts,
        value,
        evaluations,
        converged or (target_objective is not None and value <= target_objective),
        float(row_weights.sum()),
        setup - began,
        time.perf_counter() - setup,
    )


class DenseProblem:
    """F of `plm` and its gradient in the same centred and scaled coordinates.

    A point is one vector: the symmetric W (21 L, 21 L), then the fields (L, 21).
    """

    def __init__(
        self,
        residues: NDArray[np.uint8],
        row_weights: Doubles,
        penalty: Penalty,
        device: str,
        product: Product = "split",
    ) -> None:
        self.product = product
        self.length = residues.shape[1]
        self.states = self.length * STATES
        self.penalty = penalty
        self.device = device
        columns = torch.arange(self.length, device=device) * STATES
        self.entries = torch.from_numpy(residues).to(device).long() + columns
        self.weights = torch.from_numpy(row_weights).to(device, torch.float64)
        meff = float(row_weights.sum())
        frequencies = plm.frequencies(residues, row_weights)
        curvature = plm.field_curvature(frequencies, meff) + 2 * penalty.fields + 1e-9
        self.field_scale = self._tensor(1 / np.sqrt(curvature)).ravel()
        self.frequencies = self._tensor(frequencies).ravel()
        spread = self._tensor(frequencies * (1 - frequencies)).ravel()
        own = torch.arange(self.states, device=device) // STATES
        self.scale = torch.rsqrt(
            2 * meff * torch.outer(spread, spread) + max(2 * penalty.couplings, 1e-6)
        )
        self.scale[own[:, None] == own[None]] = 0
        self.origin = torch.zeros(self.states**2 + self.states, device=device)
        fields = plm.independent_fields(frequencies, meff)
        self.origin[self.states**2 :] = self._tensor(fields).ravel() / self.field_scale

    def _tensor(self, values: Doubles) -> torch.Tensor:
        return torch.from_numpy(values).to(self.device, torch.float32)

    def parameters(self, point: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Fields (21 L,) and couplings (21 L, 21 L) at a point."""
        couplings = point[: self.states**2].view(self.states, self.states) * self.scale
        fields = point[self.states**2 :] * self.field_scale - couplings @ self.frequencies
        if not self.penalty.gap_field:
            table = fields.view(self.length, STATES)
            fields = (table - table[:, GAP:]).ravel()
        return fields, couplings

    def evaluate(self, point: torch.Tensor) -> tuple[float, torch.Tensor]:
        """F (summed in float64) and its gradient at a point."""
        fields, couplings = self.parameters(point)
        gradient = torch.zeros_like(couplings)
        field_gradient = torch.zeros_like(fields)
        loss = 0.0
        for entries, weights in self._rows():
            one_hot = self._one_hot(entries, torch.float32)
            logs = self._log_shares(fields + multiply(one_hot, couplings, self.product))
            loss -= self._chosen(logs, entries, weights)
            residual = (logs.exp_() - one_hot) * weights[:, None].float()
            gradient += multiply(one_hot.T, residual, self.product).T
            field_gradient += residual.sum(0)
        loss += self.penalty.fields * _dot(fields, fields)
        loss += self.penalty.couplings * _dot(couplings, couplings) / 2
        field_gradient += 2 * self.penalty.fields * fields
        if not self.penalty.gap_field:
            table = field_gradient.view(self.length, STATES)
            table[:, GAP] = -table[:, :GAP].sum(1)
        gradient = gradient + gradient.T + 2 * self.penalty.couplings * couplings
        centring = torch.outer(field_gradient, self.frequencies)
        gradient -= centring + centring.T
        return loss, torch.cat([(gradient * self.scale).ravel(), field_gradient * self.field_scale])

    def objective(self, point: torch.Tensor) -> float:
        """F at a point, computed in float64 from its float32 parameters."""
        fields, couplings = (part.double() for part in self.parameters(point))
        loss = self.penalty.fields * _dot(fields, fields)
        loss += self.penalty.couplings * _dot(couplings, couplings) / 2
        for entries, weights in self._rows():
            logs = self._log_shares(fields + self._one_hot(entries, torch.float64) @ couplings)
            loss -= self._chosen(logs, entries, weights)
        return loss

    def _one_hot(self, entries: torch.Tensor, kind: torch.dtype) -> torch.Tensor:
        one_hot = torch.zeros(len(entries), self.states, device=self.device, dtype=kind)
        return one_hot.scatter_(1, entries, 1.0)

    def _log_shares(self, logits: torch.Tensor) -> torch.Tensor:
        positions = logits.view(len(logits), self.length, STATES)
        return torch.log_softmax(positions, 2).view(len(logits), self.states)

    def _chosen(self, logs: torch.Tensor, entries: torch.Tensor, weights: torch.Tensor) -> float:
        """Weighted sum over sequences of log p of what they have, float64."""
        return float(logs.gather(1, entries).sum(1, dtype=torch.float64) @ weights)

    def _rows(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for at in range(0, len(self.entries), ROWS_AT_A_TIME):
            yield (
                self.entries[at : at + ROWS_AT_A_TIME],
                self.weights[at : at + ROWS_AT_A_TIME],
            )

    def dot(self, first: torch.Tensor, second: torch.Tensor) -> float:
        """Inner product over parameters: each pair is in W twice."""
        pairs = self.states**2
        return _dot(first[:pairs], second[:pairs]) / 2 + _dot(first[pairs:], second[pairs:])

    def potts(self, point: torch.Tensor) -> Potts:
        """The model at a point."""
        fields, couplings = self.parameters(point)
        table = couplings.view(self.length, STATES, self.length, STATES).permute(0, 2, 1, 3)
        upper = torch.triu(torch.ones(self.length, self.length, device=self.device), 1)
        half = table * upper[:, :, None, None]
        full = half + half.permute(1, 0, 3, 2)
        return Potts(
            fields.view(self.length, STATES).cpu().numpy(), full.contiguous().cpu().numpy()
        )


def multiply(one_hot: torch.Tensor, dense: torch.Tensor, product: Product) -> torch.Tensor:
    """one_hot @ dense.

    "float32" leaves the product to the device in full precision. TF32 tensor cores are many times
    faster, but keep 11 bits of every factor: enough for the zeros and ones, not for the other
    side. "split" gives them that side in two halves of 11 bits and adds the products, which are
    summed in float32; "tf32" takes the first half for the whole.
    """
    if product == "float32":
        return one_hot @ dense
    high = (dense.contiguous().view(torch.int32) & _TF32_BITS).view(torch.float32)
    with _tf32():
        if product == "tf32":
            return one_hot @ high
        return one_hot @ high + one_hot @ (dense - high)


@contextmanager
def _tf32() -> Iterator[None]:
    """Let CUDA multiply float32 matrices in TF32."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def _dot(first: torch.Tensor, second: torch.Tensor) -> float:
    """Sum of products, float64: float32 sums of this length are off by a thousandth."""
    return float((first * second).sum(dtype=torch.float64))


def _minimise(
    problem: DenseProblem, stop_rel: float, target: float | None, max_evaluations: int
) -> tuple[torch.Tensor, int, bool]:
    """L-BFGS with the steps and stops of `plm`."""
    point = problem.origin
    value, gradient = problem.evaluate(point)
    evaluations = 1
    values = [value]
    history: list[tuple[torch.Tensor, torch.Tensor, float]] = []
    while True:
        if (target is not None and value <= target) or plm.recent_gain(values) <= stop_rel:
            return point, evaluations, True
        if evaluations >= max_evaluations:
            return point, evaluations, False
        direction = _direction(problem, gradient, history)
        slope = problem.dot(direction, gradient)
        step = 1.0
        while True:
            trial_point = point + step * direction
            trial, trial_gradient = problem.evaluate(trial_point)
            evaluations += 1
            if plm.decreases(value, trial, step * slope):
                break
            if evaluations >= max_evaluations or step < plm.SHORTEST_STEP:
                return point, evaluations, False
            step = plm.shorter_step(step, value, slope, trial)
        change = trial_gradient - gradient
        curvature = step * problem.dot(direction, change)
        if curvature > 0:
            history = [*history, (step * direction, change, curvature)][-plm.MEMORY :]
        point, value, gradient = trial_point, trial, trial_gradient
        values.append(value)


def _direction(
    problem: DenseProblem,
    gradient: torch.Tensor,
    history: list[tuple[torch.Tensor, torch.Tensor, float]],
) -> torch.Tensor:
    """Minus the L-BFGS approximation of the inverse curvature times the gradient."""
    if not history:
        return -plm.FIRST_STEP * gradient
    direction = gradient.clone()
    shares = []
    for s, y, curvature in reversed(history):
        share = problem.dot(s, direction) / curvature
        direction -= share * y
        shares.append(share)
    _, y, curvature = history[-1]
    direction *= curvature / problem.dot(y, y)
    for (s, y, curvature), share in zip(history, reversed(shares), strict=True):
        direction += (share - problem.dot(y, direction) / curvature) * s
    return -direction
