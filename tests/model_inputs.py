"""Small models, a sequence for them, and a pickle that does harm."""

import torch

from npm_core.architecture import HeadSettings, TrunkSettings
from npm_core.model import NeuralPottsModel
from npm_core.trunks import build_trunk

TINY = TrunkSettings("rotary", layers=2, width=8, attention_heads=2, feed_forward=2)
SEQUENCE = "MKVLAXCDEFGHIKLMNPQRSTVWYAAGG"


def make_model(kind: str = "untied") -> NeuralPottsModel:
    torch.manual_seed(3)
    trunk = build_trunk(TrunkSettings("rotary", layers=1, width=8, attention_heads=2))
    head = HeadSettings(kind, rank=2, channels=3, initial_coupling=0.3)
    return NeuralPottsModel(trunk, head).eval()


class _Harmful:
    def __reduce__(self):
        return (exec, ("raise SystemExit('a pickle was executed')",))
