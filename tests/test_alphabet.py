"""The alphabet is CCMpred's; letters outside it become a parent, a gap or an error."""

import pytest

from npm_core import alphabet
from npm_core.errors import DataError


def test_the_alphabet_is_ccmpreds_with_the_gap_last():
    assert alphabet.ALPHABET == "ARNDCQEGHILKMFPSTWYV-"
    assert alphabet.encode("ARV-").tolist() == [0, 1, 19, 20]


def test_nonstandard_letters_become_their_parent_or_a_gap_and_are_counted():
    assert alphabet.decode(alphabet.encode("UOBJZX*.")) == "CK------"
    assert alphabet.count_nonstandard("AUOBX-") == 4


def test_a_letter_outside_the_alphabet_is_named_with_its_position():
    with pytest.raises(DataError, match=r"'1' at position 3"):
        alphabet.encode("AR1")
    with pytest.raises(DataError, match="'a' at position 1"):
        alphabet.encode("ar")
