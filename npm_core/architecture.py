"""What a Neural Potts Model is made of: settings of its trunk and heads, and the paper's two.

Without torch, so that verbs show their help at once.
"""

from dataclasses import dataclass
from typing import NamedTuple

from npm_core.errors import SettingsError
from npm_core.settings import knob, require_positive


@dataclass(frozen=True)
class TrunkSettings:
    """The Transformer g that embeds a sequence."""

    kind: str = knob(
        "rotary",
        "ours with rotary positions, or fair-esm's ESM-1 or ESM-2",
        choices=("rotary", "esm1", "esm2"),
    )
    layers: int = knob(12, "Transformer layers")
    width: int = knob(768, "width d of the embedding of one residue")
    attention_heads: int = knob(12, "attention heads a layer")
    feed_forward: int = knob(4, "width of the hidden layer of a feed-forward block, in units of d")

    def __post_init__(self) -> None:
        require_positive(self, "layers", "width", "attention_heads", "feed_forward")
        if self.width % (2 * self.attention_heads):
            raise SettingsError(
                f"width {self.width} over {self.attention_heads} attention heads: "
                "the width of one head must be a whole even number"
            )


@dataclass(frozen=True)
class HeadSettings:
    """The multi-head bilinear form (mhbf) that writes the couplings."""

    kind: str = knob(
        "untied",
        "untied: symmetric, one bilinear form for each pair of amino acids; tied: symmetric, "
        "projections shared between pairs; asymmetric: untied U and V; conv: F heads, then "
        "three 1x1 convolutions",
        choices=("untied", "tied", "asymmetric", "conv"),
    )
    rank: int = knob(128, "projection dimension d' of U and V")
    channels: int = knob(128, "number of heads F of the conv head; the others have 441")
    initial_coupling: float = knob(
        0.01, "standard deviation of the couplings that random weights give to unit embeddings"
    )

    def __post_init__(self) -> None:
        require_positive(self, "rank", "channels", "initial_coupling")


class Architecture(NamedTuple):
    """The parts of a Neural Potts Model.

    Attributes:
        trunk, head: Their settings.
        frozen: Only the heads are trained; the trunk stays as it was pretrained.
    """

    trunk: TrunkSettings
    head: HeadSettings
    frozen: bool = False


PAPER = {
    "pfam_clan": Architecture(
        TrunkSettings("esm1", layers=12, width=768, attention_heads=12),
        HeadSettings("conv", rank=128, channels=128),
        frozen=True,
    ),
    "uniref50": Architecture(
        TrunkSettings("rotary", layers=32, width=1024, attention_heads=16),
        HeadSettings("untied", rank=256),
    ),
}
"""Table 2. Its UniRef50 model has 519 M parameters, which is d' = 256; it prints d' = 512."""
