"""Random numbers depend on what they are drawn for and not on what was drawn before."""

from npm_core.draws import keyed_generator


def test_random_numbers_depend_on_the_key_alone():
    first = keyed_generator(1, 0, "PF00001").permutation(20)
    assert (first == keyed_generator(1, 0, "PF00001").permutation(20)).all()
    assert (first != keyed_generator(1, 1, "PF00001").permutation(20)).any()
