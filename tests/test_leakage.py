import numpy as np
import pyarrow.parquet as pq
import pytest

from npm_core import ffindex
from npm_core.cli import main
from npm_core.errors import DataError
from npm_core.leakage import accession, nearest_test_sequences, occurrences, tally
from npm_core.tables import Target, write_targets


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("UniRef50_P12345 Kinase n=3", "P12345"),
        ("UniRef100_UPI000012", "UPI000012"),
        ("sp|P12345|KIN_HUMAN Kinase", "P12345"),
        ("tr|A0A000|A0A000_9ZZZZ", "A0A000"),
        ("P12345", "P12345"),
        ("my|own_name", "my|own_name"),
    ],
)
def test_one_sequence_has_one_name_everywhere(name, expected):
    assert accession(name) == expected


@pytest.fixture
def folder(tmp_path):
    """Two training shards; P1 is a row of two alignments (of one twice), P2 of one, P3 of none."""

    def a3m(query, *rows):
        return "".join(f">{name} x\nMKV\n" for name in (query, *rows)).encode()

    ffindex.write_entries(
        tmp_path / "0000",
        [
            ("UniRef50_T1", a3m("UniRef50_T1", "sp|P1|A_B", "tr|P1|A_B", "sp|P9|A_B")),
            ("UniRef50_T2", a3m("UniRef50_T2", "UniRef100_P1")),
        ],
    )
    ffindex.write_entries(
        tmp_path / "0001", [("UniRef50_T3", a3m("UniRef50_T3", "tr|P2|X_Y", "tr|P22|X_Y"))]
    )
    names = ("UniRef50_P1", "UniRef50_P2", "UniRef50_P3")
    (tmp_path / "test.fasta").write_text("".join(f">{name}\nMKV\n" for name in names))
    (tmp_path / "queries").mkdir()
    (tmp_path / "queries" / "0000.fasta").write_text(">UniRef50_P2\nMKV\n>UniRef50_P3\nMKV\n")
    (tmp_path / "audit.tsv").write_text(
        "id\ttest_best\n1abc_A\tUniRef50_P1\n1abc_B\t\n2abc_A\tUniRef50_P3\n3abc_A\t\n"
    )
    nowhere = np.zeros((3, 3), dtype=np.float32)
    splits = {"1abc_A": "test", "1abc_B": "test", "2abc_A": "test", "3abc_A": "train"}
    targets = (Target(name, split, "MKV", nowhere, name) for name, split in splits.items())
    write_targets(tmp_path / "targets.parquet", targets, {})
    return tmp_path


def test_test_sequences_in_a_pipe_are_refused(folder, pipe):
    with pytest.raises(DataError, match="expected a file: each process reads it"):
        occurrences([folder / "0000"], pipe, workers=1)


@pytest.mark.parametrize("workers", [1, 2])
def test_alignments_that_hold_a_test_sequence_are_counted_once_each(folder, workers):
    prefixes = [folder / "0000", folder / "0001"]
    assert occurrences(prefixes, folder / "test.fasta", workers=workers) == ({"P1": 2, "P2": 1}, 3)


def test_the_verb_counts_sequences_queries_and_targets(folder):
    arguments = ["--msas", str(folder / "0000.ffdata"), str(folder / "0001.ffdata")]
    arguments += ["--test", str(folder / "test.fasta"), "--queries", str(folder / "queries")]
    arguments += ["--targets", str(folder / "targets.parquet")]
    arguments += ["--assignments", str(folder / "audit.tsv")]
    arguments += ["--output", str(folder / "out.parquet"), "--audit", str(folder / "out.tsv")]
    assert main(["count-leakage", *arguments]) == 0
    assert pq.read_table(folder / "out.parquet").to_pylist() == [
        {"id": "P1", "alignments": 2},
        {"id": "P2", "alignments": 1},
    ]
    yes, no = "row of a training alignment", "in no training alignment"
    assert (folder / "out.tsv").read_text().splitlines()[1:] == [
        f"{yes}\ttest sequences\t2",
        f"{no}\ttest sequences\t1",
        f"{yes}\ttest queries\t1",
        f"{no}\ttest queries\t1",
        f"{yes}\ttest targets, by the test sequence nearest to each\t1",
        f"{no}\ttest targets, by the test sequence nearest to each\t1",
        "without a test sequence of its own\ttest targets, by the test sequence nearest to each\t1",
    ]


def test_a_target_that_was_never_assigned_is_an_error(folder):
    (folder / "audit.tsv").write_text("id\ttest_best\n1abc_A\tUniRef50_P1\n")
    with pytest.raises(DataError, match="target 1abc_B is not in it"):
        nearest_test_sequences([folder / "targets.parquet"], folder / "audit.tsv")


def test_an_empty_set_is_counted_as_such():
    assert [count for *_, count in tally("nothing", [], {})] == [0, 0]
