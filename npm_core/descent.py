"""L-BFGS's decisions along the way: how long a step is, whether it is taken, when to stop."""

import math
from dataclasses import dataclass

from npm_core.errors import SettingsError

MEMORY = 2
"""How many steps L-BFGS remembers; more save at most one evaluation in ten (docs/decisions.md)."""

FIRST_STEP = 0.3
"""Of the gradient, as the first step; in scaled coordinates 1 is what a quadratic F asks for."""

SUFFICIENT_DECREASE = 1e-4
"""Share of what the slope promised that a step must bring (Armijo)."""

RESOLUTION = 1e-7
"""Share of the uniform model's loss within which two values of F count as equal.

F is a sum in float32, and smaller differences are rounding. It is measured by the uniform model's
loss, as F itself may be near 0: that of a single row is."""

SHORTEST_STEP = 1e-6
"""After a step this short failed, none is tried."""

WINDOW = 3
"""Iterations whose gain together decides whether to stop."""


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


@dataclass
class Descent:
    """Where the descent of one family stands.

    Attributes:
        values: F at the points that were kept.
        uniform_loss: That of the model to which every state is as likely.
        slope: Of F along the direction.
        step: The next to try.
        evaluations: How many times F and its gradient were computed.
        finished: It stays where it is.
        converged: The last three iterations gained less than the asked share of F, F reached the
            target, or its gradient is zero.
    """

    values: list[float]
    uniform_loss: float
    slope: float = 0.0
    step: float = 1.0
    evaluations: int = 1
    finished: bool = False
    converged: bool = False

    @property
    def resolution(self) -> float:
        """Difference of F below which two values count as equal."""
        return RESOLUTION * self.uniform_loss

    def share_done(self, stop: Stop) -> float:
        """How far it has come to where little is gained, 0 to 1: gains shrink geometrically."""
        gain = recent_gain(self.values)
        if gain >= 1:
            return 0.0
        return math.log(max(gain, stop.rel)) / math.log(stop.rel)

    def stop_if_done(self, stop: Stop) -> None:
        """Finish at the target, where little is gained, or after so many evaluations."""
        reached = stop.reached(self.values[-1])
        self.converged = reached or recent_gain(self.values) <= stop.rel
        self.finished = self.converged or self.evaluations >= stop.evaluations

    def turn(self, slope: float) -> None:
        """Go on in a direction along which F has this slope; finish if it does not lead down.

        Only at the minimum it leads nowhere.
        """
        self.slope = slope
        self.converged = self.converged or slope == 0
        self.finished = self.finished or slope >= 0

    def accepts(self, trial: float, stop: Stop) -> bool:
        """Whether the step is taken to this F; if not, a shorter one is tried next, or none."""
        if self.finished:
            return False
        self.evaluations += 1
        if decreases(self.values[-1], trial, self.step * self.slope, self.resolution):
            self.values.append(trial)
            self.step = 1.0
            return True
        self.finished = self.evaluations >= stop.evaluations or self.step < SHORTEST_STEP
        self.step = shorter_step(self.step, self.values[-1], self.slope, trial)
        return False


def decreases(value: float, trial: float, promised: float, resolution: float) -> bool:
    """Whether a step brought enough of what the slope promised, up to the rounding of F."""
    return trial <= value + SUFFICIENT_DECREASE * promised + resolution


def shorter_step(step: float, value: float, slope: float, trial: float) -> float:
    """Minimum of the parabola through both values and the slope, kept within a tenth and a half."""
    if not math.isfinite(trial):
        return step / 10
    best = -slope * step**2 / (2 * (trial - value - slope * step))
    return min(max(best, 0.1 * step), 0.5 * step)


def recent_gain(values: list[float]) -> float:
    """Share of F that the last iterations gained, infinite if there were too few.

    What is left to gain is less, as long as such a window gains at most half of the one before.
    """
    if len(values) <= WINDOW:
        return float("inf")
    return (values[-1 - WINDOW] - values[-1]) / abs(values[-1])
