"""Generators of random numbers that depend on a key alone, not on what was drawn before."""

import hashlib

import numpy as np

PURPOSES = ("order", "buckets", "rows", "masks", "validation")
"""What a draw is for; its place in this list is part of the counter."""

VALIDATION_SEED = 0
"""Seed of every draw in a validation, whatever the training's own: trainings can be compared."""


def generator(seed: int, purpose: str, *counters: int) -> np.random.Generator:
    """Of one draw of a training, e.g. (seed, "rows", item number): any step can be replayed."""
    return np.random.default_rng((seed, PURPOSES.index(purpose), *counters))


def keyed_generator(*key: object) -> np.random.Generator:
    """Of a key that has names in it, e.g. (seed, round, family)."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16]))
