"""What a training can be told: its data, its loss and its loop.

Without torch, so that verbs show their help at once.
"""

import math
from dataclasses import dataclass

from npm_core.errors import SettingsError
from npm_core.settings import knob, require_non_negative, require_positive, require_share

FORMS = ("cheapest", "held", "symmetric", "matrix_free")
"""Of computing the loss; `npm_loss` says what each does."""


@dataclass(frozen=True)
class TrainSettings:
    """What is trained and what it sees (Table 2, appendix C.1)."""

    rows: int = knob(100, "rows M sampled from the MSA of each query")
    max_length: int = knob(512, "longer queries are cropped at random to so many positions")
    query: str = knob(
        "first",
        "which row of an MSA the model reads: its first, or any at random (Pfam)",
        choices=("first", "random"),
    )
    weighting: str = knob(
        "none",
        "weight of a family's term: one, or the root of its Meff (Pfam)",
        choices=("none", "sqrt_meff"),
    )
    frozen: bool = knob(False, "leave the trunk's weights as they are; train the heads alone")
    head_learning_rate: float = knob(1e-4, "of fields and couplings heads")
    trunk_learning_rate: float = knob(1e-4, "of the trunk, unless frozen")

    def __post_init__(self) -> None:
        require_positive(self, "rows", "max_length", "head_learning_rate")
        require_non_negative(self, "trunk_learning_rate")


@dataclass(frozen=True)
class PretrainSettings:
    """Masked language modelling (Table 2)."""

    learning_rate: float = knob(4e-4, "of all weights")
    asked: float = knob(0.15, "share of the residues the model is asked for")
    max_length: int = knob(512, "longer sequences are cropped at random to so many residues")

    def __post_init__(self) -> None:
        require_positive(self, "learning_rate", "asked", "max_length")
        require_share(self, "asked")


@dataclass(frozen=True)
class ObjectiveSettings:
    """The regularisation of eq. (8), and the way to compute it."""

    lambda_couplings: float = knob(1e-3, "multiplier of |J|^2 over i and j, both halves (eq. 8)")
    lambda_fields: float = knob(1e-2, "multiplier of |h|^2")
    form: str = knob("cheapest", "how the loss is computed; the value is the same", choices=FORMS)

    def __post_init__(self) -> None:
        require_non_negative(self, "lambda_couplings", "lambda_fields")


@dataclass(frozen=True)
class LoopSettings:
    """How long and how fast to optimise."""

    steps: int = knob(1000, "updates of the weights")
    batch: int = knob(64, "proteins (or sequences) of one update, over all processes")
    micro_batch: int = knob(64, "at most this many of them at a time; gradients are summed")
    warm_up: int = knob(100, "updates over which the learning rates rise from zero")
    decay: str = knob(
        "none",
        "what the learning rates do after the warm-up",
        choices=("none", "linear", "cosine", "inverse_sqrt"),
    )
    weight_decay: float = knob(0.0, "AdamW's decay of matrices")
    clip: float = knob(0.0, "largest norm of a gradient; 0 leaves gradients as they are")
    ema: float = knob(
        0.0,
        "decay of a running mean of the weights, which validation and the saved model use; "
        "0: the weights themselves",
    )
    precision: str = knob(
        "float32", "of the matrix products; sums are float32", choices=("float32", "bfloat16")
    )
    seed: int = knob(0, "of initial weights and of every draw")
    max_seconds: float = knob(
        0.0, "end after this wall time, with the weights there are; 0 is no limit; not repeatable"
    )
    log_every: int = knob(20, "updates from one row of metrics to the next")
    validate_every: int = knob(200, "updates from one validation to the next")
    checkpoint_every: int = knob(200, "updates from one checkpoint to the next")

    def __post_init__(self) -> None:
        require_positive(
            self, "steps", "batch", "micro_batch", "log_every", "validate_every", "checkpoint_every"
        )
        require_non_negative(self, "warm_up", "weight_decay", "clip", "max_seconds")
        if not 0 <= self.seed < 1 << 63:
            raise SettingsError(f"LoopSettings: seed is {self.seed}, expected 0 to below 2^63")
        if not 0 <= self.ema < 1:
            raise SettingsError(f"LoopSettings: ema is {self.ema}, expected 0 to below 1")

    def learning_rate(self, step: int) -> float:
        """Factor of the learning rates in update `step` (0-based)."""
        risen = (step + 1) / (self.warm_up + 1)
        left = 1 - min(1.0, max(0, step - self.warm_up) / max(1, self.steps - self.warm_up))
        fall = {
            "none": 1.0,
            "linear": left,
            "cosine": (1 - math.cos(math.pi * left)) / 2,
            "inverse_sqrt": 1 / math.sqrt(max(1.0, risen)),
        }
        return min(1.0, risen) * fall[self.decay]
