import csv
import os
import shutil
import stat
import sys

import pytest

from npm_core import assignment
from npm_core.assignment import BOTH, NEITHER, AssignmentSettings, assign
from npm_core.cli import main
from npm_core.errors import DataError, SettingsError, ToolError
from npm_core.queries import Query

needs_mmseqs = pytest.mark.skipif(
    shutil.which("mmseqs") is None, reason="mmseqs is not on PATH; `make setup` installs it"
)

LETTERS = "ACDEFGHIKLMNPQRSTVWY"


@pytest.fixture
def protein(rng):
    return lambda length=120: "".join(rng.choice(list(LETTERS), size=length))


@pytest.fixture
def mutate(rng):
    """A relative with about `identity` of its residues unchanged."""

    def mutate(sequence, identity):
        changed = rng.permutation(len(sequence)) >= round(identity * len(sequence))
        return "".join(
            LETTERS[(LETTERS.index(letter) + 7) % 20] if other else letter
            for letter, other in zip(sequence, changed, strict=True)
        )

    return mutate


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "work"


def write_fasta(path, records):
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f">{name} some words\n{text}\n" for name, text in records.items()))


def run(folder, candidates, train, test, *options):
    for name, records in (("candidates", candidates), ("train", train), ("test", test)):
        write_fasta(folder / f"{name}.fasta", records)
    files = [f"--{name}={folder / name}.fasta" for name in ("candidates", "train", "test")]
    output, reps, audit = (folder / name for name in ("assigned.tsv", "reps.fasta", "audit.tsv"))
    outputs = [f"--output={output}", f"--representatives={reps}", f"--audit={audit}"]
    assert main(["assign-structures", *files, *outputs, *options]) == 0

    def rows(path):
        with path.open() as stream:
            return {row["id"]: row for row in csv.DictReader(stream, delimiter="\t")}

    assert not list(folder.glob(".mmseqs*"))
    return rows(output), rows(audit), reps.read_text()


FAKE = """#!{python}
import itertools, pathlib, sys

def read(path):
    lines = pathlib.Path(path).read_text().splitlines()
    return list(zip((name[1:] for name in lines[::2]), lines[1::2]))

command, first, second, third = sys.argv[1:5]
if command == "easy-search":
    hits = [
        f"{{query}}\\t{{target}}\\t{{len(own)}}\\t{{len(own)}}\\t1\\t{{len(own)}}\\t{{len(own)}}\\n"
        for query, own in read(first) for target, other in read(second) if own == other
    ]
    pathlib.Path(third).write_text("".join(hits))
else:
    clusters = itertools.groupby(sorted(read(first), key=lambda r: r[1]), key=lambda r: r[1])
    members = [[name for name, _ in group] for _, group in clusters]
    lines = [f"{{group[0]}}\\t{{name}}\\n" for group in members for name in group]
    pathlib.Path(f"{{second}}_cluster.tsv").write_text("".join(lines))
"""
"""An mmseqs for which only identical sequences are similar."""


def put_mmseqs(folder, monkeypatch, script):
    folder.mkdir()
    (folder / "mmseqs").write_text(script)
    (folder / "mmseqs").chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture
def identical_is_similar(tmp_path, monkeypatch):
    put_mmseqs(tmp_path / "bin", monkeypatch, FAKE.format(python=sys.executable))


def test_a_chain_that_hits_one_split_goes_there(folder, identical_is_similar):
    candidates = {"1aaa_A": "AAAA", "1bbb_A": "CCCC", "1ccc_A": "DDDD", "1ddd_A": "EEEE"}
    train = {"sp|P1|A": "AAAA", "C;rm -rf x": "DDDD"}
    test = {"UniRef50_X": "WWWW", "UniRef50_B": "CCCC", "UniRef50_C": "DDDD"}
    assigned, audit, representatives = run(folder, candidates, train, test)
    assert [(row["id"], row["split"]) for row in assigned.values()] == [
        ("1aaa_A", "train"),
        ("1bbb_A", "test"),
    ]
    assert representatives == ">1aaa_A\nAAAA\n>1bbb_A\nCCCC\n"
    assert [(row["status"], row["reason"]) for row in audit.values()] == [
        ("representative", ""),
        ("representative", ""),
        ("discarded", BOTH),
        ("discarded", NEITHER),
    ]
    assert (audit["1aaa_A"]["train_best"], audit["1aaa_A"]["train_identity"]) == (
        "sp|P1|A",
        "1.000",
    )
    assert (audit["1ccc_A"]["train_best"], audit["1ccc_A"]["test_best"]) == ("C;rm", "UniRef50_C")
    assert (audit["1ddd_A"]["train_hits"], audit["1ddd_A"]["train_best"]) == ("0", "")


def test_an_entry_is_assigned_as_a_whole_unless_chains_are(folder, identical_is_similar):
    candidates = {"1aaa_A": "AAAA", "1aaa_B": "CCCC", "1bbb_A": "AAAA", "1bbb_C": "DDDD"}
    assigned, audit, representatives = run(folder, candidates, {"a": "AAAA"}, {"b": "CCCC"})
    # The discarded 1aaa_A, of the same sequence as 1bbb_A, stands for no cluster.
    assert representatives == ">1bbb_A\nAAAA\n>1bbb_C\nDDDD\n"
    assert {name: row["split"] for name, row in assigned.items()} == {
        "1bbb_A": "train",
        "1bbb_C": "train",
    }
    assert audit["1aaa_A"]["reason"] == audit["1aaa_B"]["reason"] == BOTH
    assert audit["1aaa_A"]["unit"] == "1aaa"
    assigned, audit, _ = run(folder, candidates, {"a": "AAAA"}, {"b": "CCCC"}, "--unit=chain")
    assert {name: row["split"] for name, row in assigned.items()} == {
        "1aaa_A": "train",
        "1aaa_B": "test",
        "1bbb_A": "train",
    }
    assert audit["1bbb_C"]["reason"] == NEITHER


def test_each_split_is_clustered_and_one_chain_stands_for_a_cluster(folder, identical_is_similar):
    candidates = {"1aaa_A": "AAAA", "1bbb_A": "AAAA", "1ccc_A": "CCCC", "1ddd_A": "DDDD"}
    assigned, audit, representatives = run(
        folder, candidates, {"a": "AAAA", "c": "CCCC"}, {"d": "DDDD"}
    )
    assert {name: row["representative"] for name, row in assigned.items()} == {
        "1aaa_A": "1aaa_A",
        "1bbb_A": "1aaa_A",
        "1ccc_A": "1ccc_A",
        "1ddd_A": "1ddd_A",
    }
    assert representatives.count(">") == 3
    assert audit["1bbb_A"]["status"] == "member"


@needs_mmseqs
@pytest.mark.slow
def test_mmseqs_finds_relatives_by_identity_and_target_coverage(folder, protein, mutate):
    a, b, c, d, e = (protein(200) for _ in range(5))
    candidates = {
        "1aaa_A": a,
        "1abb_A": mutate(a, 0.8),
        "1bbb_A": b,
        "1ccc_A": c,
        "1ddd_A": d,
        "1eee_A": e,
    }
    train = {
        "relative": mutate(a, 0.9),
        "far": mutate(b, 0.4),
        "long": c + protein(100),  # 67 % of it is covered
        "fragment": d[:100],  # all of it is covered, half of the chain
    }
    assigned, audit, _ = run(folder, candidates, train, {"other": mutate(e, 0.7)}, "--threads=2")
    assert {name: row["split"] for name, row in assigned.items()} == {
        "1aaa_A": "train",
        "1abb_A": "train",
        "1ddd_A": "train",
        "1eee_A": "test",
    }
    assert assigned["1aaa_A"]["representative"] == assigned["1abb_A"]["representative"]
    assert assigned["1ddd_A"]["representative"] == "1ddd_A"
    assert (audit["1aaa_A"]["train_best"], audit["1aaa_A"]["train_identity"]) == (
        "relative",
        "0.900",
    )
    assert float(audit["1eee_A"]["test_identity"]) == pytest.approx(0.7, abs=0.02)


@pytest.mark.parametrize("empty", ["candidates", "train and test"])
def test_nothing_to_search_is_an_empty_result_without_mmseqs(folder, monkeypatch, empty):
    monkeypatch.setenv("PATH", "")
    if empty == "candidates":
        assigned, audit, representatives = run(folder, {}, {"a": "AAAA"}, {"b": "AAAA"})
        assert audit == {}
    else:
        assigned, audit, representatives = run(folder, {"1aaa_A": "AAAA"}, {}, {})
        assert audit["1aaa_A"]["reason"] == NEITHER
    assert (assigned, representatives) == ({}, "")


def assign_one(tmp_path):
    for split, records in (("train", {"x": "ACD", "y": "ACD", "z": "ACD"}), ("test", {})):
        write_fasta(tmp_path / "data" / f"{split}.fasta", records)
    splits = {split: tmp_path / "data" / f"{split}.fasta" for split in ("train", "test")}
    (found,) = assign([Query("1abc_A", "AAAA")], splits, AssignmentSettings(), scratch=tmp_path)
    return found


def test_thresholds_are_applied_to_the_counts_of_the_hits(tmp_path, monkeypatch):
    """Half and four fifths pass; one residue less of either does not."""
    hits = ["0\t0\t45\t90\t1\t80\t100", "0\t1\t49\t100\t1\t80\t100", "0\t2\t50\t100\t2\t80\t100"]
    put_mmseqs(
        tmp_path / "bin", monkeypatch, "#!/bin/sh\ncat > $4 <<END\n" + "\n".join(hits) + "\nEND\n"
    )
    found = assign_one(tmp_path)
    assert (found.split, found.representative) == ("train", "1abc_A")
    hits = found.hits["train"]
    assert (hits.count, hits.best, hits.identity) == (1, "x", 0.5)


def test_headers_of_the_splits_may_hold_any_bytes(tmp_path, identical_is_similar):
    (tmp_path / "train.fasta").write_bytes(b">M\xfcller x\nacd\n")
    chains, settings = [Query("1abc_A", "ACD")], AssignmentSettings()
    found = assignment.search(chains, tmp_path / "train.fasta", settings, scratch=tmp_path)
    assert found["1abc_A"].best == r"M\xfcller"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"PK\x03\x04\x14\0\0\0", "a zip archive, expected text"),
        (">a\nACD\n".encode("utf-16"), "UTF-16, expected UTF-8"),
    ],
)
def test_a_split_that_is_no_text_is_told_by_its_kind(tmp_path, data, message):
    (tmp_path / "train.fasta").write_bytes(data)
    chains, settings = [Query("1abc_A", "ACD")], AssignmentSettings()
    with pytest.raises(DataError, match=rf"train\.fasta: {message}"):
        assignment.search(chains, tmp_path / "train.fasta", settings, scratch=tmp_path)


def test_a_failing_mmseqs_is_named(tmp_path, monkeypatch):
    put_mmseqs(tmp_path / "bin", monkeypatch, "#!/bin/sh\necho no disk left >&2; exit 1\n")
    with pytest.raises(ToolError, match=r"mmseqs easy-search.*no disk left"):
        assign_one(tmp_path)


ASSIGNED = ["--identity=.51", "--coverage=.81", "--cluster-identity=.52", "--cluster-coverage=.82"]


def test_mmseqs_is_called_with_every_setting(tmp_path, monkeypatch):
    told = []

    def search(queries, targets, columns, *options, max_memory_gib, scratch):
        told.append(" ".join(map(str, (*options, max_memory_gib))))
        return iter(())

    def cluster(sequences, *options, max_memory_gib, scratch):
        told.append(" ".join(map(str, (*options, max_memory_gib))))
        return [(0, 0), (0, 1)]

    monkeypatch.setattr(assignment, "easy_search", search)
    monkeypatch.setattr(assignment, "easy_cluster", cluster)
    (tmp_path / "t.fasta").write_text(">t\nACD\n")
    settings = assignment.AssignmentSettings(
        *(0.51, 0.81, 0.52, 0.82), max_hits=301, max_memory_gib=5, threads=2
    )
    chains = [Query("1abc_A", "ACD"), Query("2abc_A", "ACD")]
    assignment.search(chains, tmp_path / "t.fasta", settings, scratch=tmp_path)
    assignment.cluster(chains, settings, scratch=tmp_path)
    assert told == [
        "--min-seq-id 0.51 -c 0.81 --cov-mode 1 --max-seqs 301 --threads 2 -a 5",
        "--min-seq-id 0.52 -c 0.82 --threads 2 5",
    ]


def test_the_verb_assigns_by_its_own_thresholds(tmp_path, monkeypatch):
    given = []

    def assign(candidates, sequences, settings, *, scratch):
        given.append((sequences, settings))
        return []

    monkeypatch.setattr(assignment, "assign", assign)
    paths = {name: tmp_path / f"{name}.fasta" for name in ("candidates", "train", "test")}
    for path in paths.values():
        path.write_text("")
    words = [f"--{name}={path}" for name, path in paths.items()]
    words += [f"--{name}={tmp_path / name}" for name in ("output", "representatives", "audit")]
    more = [*ASSIGNED, "--unit=chain", "--max-hits=301", "--max-memory-gib=5"]
    assert main(["assign-structures", *words, *more]) == 0
    settings = assignment.AssignmentSettings(0.51, 0.81, 0.52, 0.82, "chain", 301, 5)
    assert given == [({"train": paths["train"], "test": paths["test"]}, settings)]


@pytest.mark.parametrize(
    ("name", "value"), [("identity", 7.0), ("coverage", -0.1), ("max_hits", 0)]
)
def test_settings_that_cannot_be_are_refused(name, value):
    with pytest.raises(SettingsError, match=f"{name} is {value}, expected"):
        AssignmentSettings(**{name: value})


def test_sequences_in_a_pipe_are_refused_before_the_search(pipe, tmp_path):
    with pytest.raises(DataError, match="expected a file: names are read when the search has end"):
        assignment.search([], pipe, AssignmentSettings(), scratch=tmp_path)
