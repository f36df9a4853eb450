"""A small Neural Potts Model, and a sequence for it."""

import torch

from npm_core.architecture import HeadSettings, TrunkSettings
from npm_core.model import NeuralPottsModel, build_trunk

SEQUENCE = "MKVLAXCDEFGHIKLMNPQRSTVWYAAGG"


def make_model(kind: str = "untied") -> NeuralPottsModel:
    torch.manual_seed(3)
    trunk = build_trunk(TrunkSettings("rotary", layers=1, width=8, attention_heads=2))
    head = HeadSettings(kind, rank=2, channels=3, initial_coupling=0.3)
    return NeuralPottsModel(trunk, head).eval()
