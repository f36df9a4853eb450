r"""The independent Potts model: what its fit minimises, and the coordinates in which it does.

.. math:: F = \sum_m w^m \sum_i -\log p(x^m_i | x^m_{-i})
              + \lambda_h \sum_i |h_i|^2 + \lambda_J \sum_{i<j} |J_{ij}|_F^2

with m over the M rows of an alignment. This is CCMpred's objective, and Meff times the paper's
eq. (3). It is strictly convex, so it has one minimum, which `plm_sparse` and `plm_dense` find by
L-BFGS over coordinates p and c in which the curvature is close to the unit matrix: couplings and
fields are scaled by the square root of the curvature that a model without couplings has, and fields
are centred on the mean couplings unless their penalty forbids it (docs/decisions.md).

.. math:: J_{ij}(a, b) &= p_{ij}(a, b) / \sqrt{2 M_{eff} v_i(a) v_j(b) + r} \\
          h_i(a) &= c_i(a) / \sqrt{k_i(a)} - \sum_{j \ne i} \sum_b J_{ij}(a, b) g_j(b)

g are the weighted shares of states, or zero (`centring`), v, r and k a `Curvature`. If the gap has
no field, the gap's is then taken from all fields of its position.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from npm_core import kernels, weights
from npm_core.alphabet import GAP, STATES
from npm_core.arrays import Float64, States
from npm_core.blocks import Threads, Workspaces, block_states, blocked, lanes_of, less_gap
from npm_core.errors import DataError, SettingsError
from npm_core.kernels import WIDTH
from npm_core.potts import ObjectiveName, Potts, require_length

PSEUDOCOUNT = 0.3
"""Added to the weighted count of every state at the start of the fields and in their scale.

A state that a column lacks keeps a probability of about that many sequences; taken for 0, its
field alone doubles the number of evaluations."""

LEAST_RIDGE = 1e-6
"""Of couplings without a penalty, so that those of padding, without curvature, have a scale."""


@dataclass(frozen=True)
class Penalty:
    """The regulariser in units of the sum over sequences.

    Attributes:
        lambda_fields: lambda_h of F.
        lambda_couplings: lambda_J of F, on pairs i < j.
        gap_field: Whether h_i(gap) is a parameter (the paper) or 0 (CCMpred).
    """

    lambda_fields: float
    lambda_couplings: float
    gap_field: bool


def ccmpred_penalty(
    length: int, *, lambda_fields: float = 0.01, lambda_couplings: float = 0.2
) -> Penalty:
    """CCMpred's: lambda_h = 0.01 and lambda_J = 0.2 (L - 1), h_i(gap) = 0."""
    return Penalty(lambda_fields, lambda_couplings * (length - 1), gap_field=False)


def paper_penalty(
    meff: float, *, lambda_fields: float = 1e-2, lambda_couplings: float = 1e-3
) -> Penalty:
    """Eq. (3) times Meff; its |J|^2 counts both halves of the tensor (table 2)."""
    return Penalty(lambda_fields * meff, 2 * lambda_couplings * meff, gap_field=True)


@dataclass(frozen=True, eq=False)
class Problem:
    """What one fit is of.

    Attributes:
        residues: x, (M, L) uint8, states 0..20.
        weights: w, (M,), positive.
        penalty: The regulariser.

    Raises:
        DataError: There are no rows or columns, another state, or not a positive, finite weight
            for each row.
    """

    residues: States
    weights: Float64
    penalty: Penalty

    def __post_init__(self) -> None:
        if self.residues.ndim != 2 or self.residues.size == 0:
            raise DataError(
                f"a fit needs rows and columns, found residues of {self.residues.shape}"
            )
        if self.residues.max() >= STATES:
            raise DataError(f"state {self.residues.max()} is outside 0..{STATES - 1}")
        if self.weights.shape != (self.depth,):
            raise DataError(f"weights are {self.weights.shape} for {self.depth} rows")
        wrong = ~((self.weights > 0) & np.isfinite(self.weights))
        if wrong.any():
            row = int(wrong.argmax())
            raise DataError(
                f"row {row + 1} has weight {self.weights[row]}, expected a finite number above 0"
            )

    @property
    def depth(self) -> int:
        """M."""
        return len(self.residues)

    @property
    def length(self) -> int:
        """L."""
        return self.residues.shape[1]

    @property
    def meff(self) -> float:
        """Sum of the weights."""
        return float(self.weights.sum())

    @property
    def uniform_loss(self) -> float:
        """F of the model of zeros, to which every state is as likely."""
        return self.meff * self.length * math.log(STATES)


@dataclass(frozen=True)
class Objective:
    """One of the two objectives by name.

    Attributes:
        name: "ccmpred", CCMpred's own weights and penalty, or "paper": eq. (3) with the weights of
            Morcos et al. and the multipliers of table 2.
        lambda_fields: That of `ccmpred_penalty` or `paper_penalty`; theirs when None.
        lambda_couplings: Likewise.
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
        for name, value in self._lambdas().items():
            if not 0 < value < math.inf:
                raise SettingsError(f"{name} {value} is not positive and finite")

    def problem(self, residues: States, *, threads: int = 1) -> Problem:
        """The fit to an alignment (M, L); so many threads count its weights.

        Raises:
            DataError: As `weights.sequence_weights`.
        """
        weigh = weights.ccmpred_weights if self.name == "ccmpred" else weights.sequence_weights
        row_weights = weigh(residues, identity_threshold=self.identity_threshold, threads=threads)
        if self.name == "ccmpred":
            penalty = ccmpred_penalty(residues.shape[1], **self._lambdas())
        else:
            penalty = paper_penalty(float(row_weights.sum()), **self._lambdas())
        return Problem(residues, row_weights, penalty)

    def _lambdas(self) -> dict[str, float]:
        """Those that are given."""
        given = {
            "lambda_fields": self.lambda_fields,
            "lambda_couplings": self.lambda_couplings,
        }
        return {name: value for name, value in given.items() if value is not None}


CCMPRED, PAPER = Objective("ccmpred"), Objective("paper")


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
        seconds_fit: Wall seconds from there to the model; `plm_sparse` does not count those in
            which `objective` is computed.
    """

    potts: Potts
    objective: float
    evaluations: int
    converged: bool
    meff: float
    seconds_setup: float
    seconds_fit: float

    def require_finite(self) -> "Fit":
        """The fit itself.

        Raises:
            DataError: It diverged.
        """
        if not math.isfinite(self.objective):
            raise DataError("the fit diverged: the objective is not finite")
        return self


def pseudolikelihood_loss(
    potts: Potts, residues: States, row_weights: Float64, *, threads: int = 1
) -> float:
    """The first sum of F, computed in float64: that of the rows of any alignment.

    Args:
        potts: The model, length L.
        residues: x, (M, L) states.
        row_weights: w, (M,).
        threads: How many threads; the result does not depend on it.

    Raises:
        DataError: The model has another length.
    """
    depth, length = residues.shape
    require_length(potts, length)
    common = consensus(residues)
    index = kernels.index_alignment(residues, common, chunk=0)
    states = block_states(residues)
    fields = blocked(potts.fields, np.float64)
    workspaces = Workspaces(threads, depth, length, np.float64)

    def block_loss(block: int) -> float:
        with workspaces.borrow() as (table, work):
            kernels.block_columns(potts.couplings, block, table)
            base, mean = np.zeros(WIDTH), np.zeros(WIDTH)
            kernels.relative_to_consensus(
                table, common, np.zeros(len(table)), 0, length, base, mean
            )
            base += less_gap(fields[block])
            return kernels.block_gradient(
                table,
                base,
                index,
                states[block],
                row_weights,
                lanes_of(block, length),
                work,
                table[:0],
                mean,
            )

    with Threads(threads) as pool:
        return sum(pool.map(block_loss, range(len(fields))))


def regularised_loss(
    potts: Potts, problem: Problem, *, prior: Potts | None = None, threads: int = 1
) -> float:
    """F of the module's docstring, computed in float64.

    Args:
        potts: The model, length L.
        problem: Of which fit.
        prior: What the penalty shrinks to; None for zero.
        threads: How many threads; the result does not depend on it.

    Raises:
        DataError: The model has another length.
    """
    loss = pseudolikelihood_loss(potts, problem.residues, problem.weights, threads=threads)
    return loss + _penalty_value(potts, problem.penalty, prior)


def _penalty_value(potts: Potts, penalty: Penalty, prior: Potts | None) -> float:
    fields = potts.fields.astype(np.float64)
    if prior is not None:
        fields -= in_gap_gauge(prior, penalty).fields
    couplings = 0.0
    for i in range(potts.length):
        row = potts.couplings[i, i + 1 :].astype(np.float64).ravel()
        if prior is not None:
            row -= prior.couplings[i, i + 1 :].ravel()
        couplings += dot(row, row)
    kept = fields if penalty.gap_field else fields[:, :GAP]
    return penalty.lambda_fields * float((kept**2).sum()) + penalty.lambda_couplings * couplings


def in_gap_gauge(potts: Potts, penalty: Penalty) -> Potts:
    """The model with h_i(gap) = 0 if the penalty asks so; the distribution does not change."""
    if penalty.gap_field:
        return potts
    return Potts(potts.fields - potts.fields[:, GAP:], potts.couplings, potts.metadata)


def dot(left: Float64, right: Float64) -> float:
    """Their inner product, without BLAS: its threads would spin on other cores between calls."""
    return float(np.einsum("k,k->", left, right))


def consensus(residues: States) -> NDArray[np.int64]:
    """(L,) commonest state of each position; the result of a fit does not depend on it."""
    return kernels.count_states(residues, np.ones(len(residues))).argmax(1)


def frequencies(problem: Problem) -> Float64:
    """f, (L, 21): the weighted share of each state at each position."""
    return kernels.count_states(problem.residues, problem.weights) / problem.meff


def centring(problem: Problem, shares: Float64) -> Float64:
    r"""g, (L, 21): the `frequencies` if fields are centred on the mean couplings, or else zero.

    Centred, they do not explain over again what couplings explain on average. But the penalty of
    the fields is then one of the mean couplings too, and shears the coordinates where it is not
    small beside theirs: lambda_h L against lambda_J. CCMpred's is a twentieth. The paper's is 5 L
    times as large, and where rows are few and nearly learnt by heart it is all the curvature left.
    """
    penalty = problem.penalty
    centred = penalty.lambda_fields * problem.length <= penalty.lambda_couplings
    return shares if centred else np.zeros_like(shares)


class Curvature(NamedTuple):
    """Second derivatives of F at the model without couplings: what scales the coordinates.

    Attributes:
        fields: k = Meff s (1 - s) + 2 lambda_h, (L, 21), with the smoothed shares s.
        variance: v = s (1 - s), (L, 21): a state that a column lacks has a probability, too.
        ridge: r = 2 lambda_J, at least LEAST_RIDGE.
    """

    fields: Float64
    variance: Float64
    ridge: float


def curvature(problem: Problem, shares: Float64) -> Curvature:
    """Of a problem with these `frequencies`."""
    smoothed = _smoothed(problem, shares)
    variance = smoothed * (1 - smoothed)
    fields = problem.meff * variance + 2 * problem.penalty.lambda_fields
    ridge = max(2 * problem.penalty.lambda_couplings, LEAST_RIDGE)
    return Curvature(fields, variance, ridge)


def independent_fields(problem: Problem, shares: Float64) -> Float64:
    """(L, 21) fields of the model without couplings, where a fit begins; each row sums to 0."""
    fields = np.log(_smoothed(problem, shares))
    return fields - fields.mean(1, keepdims=True)


def _smoothed(problem: Problem, shares: Float64) -> Float64:
    """(L, 21) shares with PSEUDOCOUNT more sequences of every state."""
    return (problem.meff * shares + PSEUDOCOUNT) / (problem.meff + STATES * PSEUDOCOUNT)
