import pytest

from npm_core.errors import DataError
from npm_core.fasta import read_fasta, refuse_nucleotides


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"PK\x03\x04\x14\0\0\0", "a zip archive, expected text"),
        (">a\nACD\n".encode("utf-16"), "UTF-16, expected UTF-8"),
        (b">a b\nAC\xfcD\n", r"a: \\xfc at position 3 is no amino acid"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path, data, message):
    (tmp_path / "a.fasta").write_bytes(data)
    with pytest.raises(DataError, match=rf"a\.fasta: {message}"):
        list(read_fasta(tmp_path / "a.fasta"))


@pytest.mark.parametrize("letters", ["ACGT" * 8, "acgu" * 8, f"{'A' * 10}{'GNNNNN' * 2}CCTTATAA"])
def test_nucleotides_are_refused(letters):
    with pytest.raises(DataError, match="b is DNA or RNA, expected a protein"):
        refuse_nucleotides(letters, "b")


@pytest.mark.parametrize(
    "letters",
    # Short, of another letter, EBNA-1's repeat, and with less of one than any gene
    ["ACGT" * 7, "ACGT" * 99 + "S", "GGTGAGAGAGGAGAGGAGAGG" * 9, "AG" * 40 + "CTTTT", "A" * 99],
)
def test_proteins_of_few_kinds_are_not(letters):
    refuse_nucleotides(letters, "a")
