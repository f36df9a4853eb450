"""A trunk of any kind, with random weights."""

from npm_core.architecture import TrunkSettings
from npm_core.esm_trunk import EsmTrunk
from npm_core.model import RotaryTrunk, Trunk


def build_trunk(settings: TrunkSettings) -> Trunk:
    """Our own Transformer, or fair-esm's."""
    return RotaryTrunk(settings) if settings.kind == "rotary" else EsmTrunk(settings)
