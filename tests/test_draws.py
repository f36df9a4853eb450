"""Random numbers depend on what they are drawn for and not on what was drawn before."""

import hashlib

import numpy as np

from npm_core.draws import generator, keyed_generator


def test_random_numbers_depend_on_the_key_alone():
    first = keyed_generator(1, 0, "PF00001").permutation(20)
    assert (first == keyed_generator(1, 0, "PF00001").permutation(20)).all()
    assert (first != keyed_generator(1, 1, "PF00001").permutation(20)).any()


def test_each_seed_purpose_and_counter_has_draws_of_its_own():
    keys = [(1, "rows", 2, 3), (2, "rows", 2, 3), (1, "masks", 2, 3), (1, "rows", 3, 2)]
    draws = [generator(*key).random() for key in (*keys, keys[0])]
    assert draws[0] == draws[4]
    assert len(set(draws)) == 4


def test_a_training_of_an_earlier_day_is_replayed():
    # What a checkpoint of it does not hold: each purpose keeps its number, and a key its digest.
    for number, purpose in enumerate(("order", "buckets", "rows", "masks", "validation")):
        expected = np.random.default_rng((5, number, 7)).random()
        assert generator(5, purpose, 7).random() == expected
    digest = hashlib.sha256(b"1/0/PF00001").hexdigest()
    expected = np.random.default_rng(int(digest[:32], 16)).random()
    assert keyed_generator(1, 0, "PF00001").random() == expected
