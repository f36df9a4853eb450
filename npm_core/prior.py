"""The Neural Potts Model as the prior of a family's fit (paper, section 6)."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from npm_core import potts
from npm_core.model import NeuralPottsModel
from npm_core.potts import Potts
from npm_core.predict import load_predictor, potts_model, predict_windows
from npm_core.tables import Family


@dataclass(frozen=True)
class Prior:
    """a W(x) of a family's first row; read as masked where that has a gap."""

    checkpoint: Path
    weight: float
    window: int

    def __call__(self, family: Family) -> Potts:
        model = _predictor(self.checkpoint)
        windows = predict_windows(model, family.residues[0], window=self.window)
        return potts.scaled(potts_model(windows), self.weight)


@cache
def _predictor(folder: Path) -> NeuralPottsModel:
    """The checkpoint, read once a process."""
    torch.set_num_threads(1)
    return load_predictor(folder)
