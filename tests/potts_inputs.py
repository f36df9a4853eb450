"""Random models and scores for tests of their files and of what is computed from them."""

import numpy as np

from npm_core import potts
from npm_core.alphabet import STATES
from npm_core.potts import Potts


def random_model(rng, length=6):
    upper = rng.normal(size=(length * (length - 1) // 2, STATES, STATES)).astype(np.float32)
    fields = rng.normal(size=(length, STATES)).astype(np.float32)
    return Potts(fields, potts.full_couplings(upper, length), {"query": "ACDEFG"[:length]})


def random_scores(rng):
    upper = np.triu(rng.normal(size=(5, 5)), 1)
    return upper + upper.T
