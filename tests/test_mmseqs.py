import shutil
from functools import partial
from pathlib import Path

import pytest
from waiting import wait_until

from npm_core import ffindex, mmseqs
from npm_core.cli import main
from npm_core.errors import DataError, SettingsError, ToolError
from npm_core.files import read_tsv
from npm_core.ledger import Row
from npm_core.mmseqs import MmseqsSettings
from npm_core.programs import Finished, Programs
from npm_core.queries import Query
from npm_core.search import Limits, search_batch
from npm_core.shard import Engine, Found, Shard

STRANGER = "WCHMY" * 6


@pytest.fixture(scope="module")
def databases(toy_sequences, tmp_path_factory) -> tuple[Path, Path]:
    """The toy sequences as MMseqs2 needs them, by one thread and by two."""

    def build(threads: str) -> Path:
        built, moved = (tmp_path_factory.mktemp("mmseqs") / name for name in ("built", "moved"))
        arguments = ["--fasta", str(toy_sequences[0]), "--threads", threads]
        arguments += ["--engine", "mmseqs2", "--output", str(built)]
        assert main(["build-database", *arguments]) == 0
        # A database must not remember where it was built.
        shutil.move(built, moved)
        return moved

    return build("1"), build("2")


@pytest.fixture(scope="module")
def searches(databases, toy_sequences, tmp_path_factory):
    """Ledger and alignments of six queries, twice: in one call; reversed, in calls of four by two
    threads, which built their database too. It takes seconds, so that the tests share these."""
    member = toy_sequences[1]
    queries = {
        "x;rm": member,
        "stranger": STRANGER,
        "long": "MK" * 60,
        "none": "XX",
        "part": member[10:],
        "odd": f"{member[:20]}UBOZXJ{member[26:]}",
    }
    folder = tmp_path_factory.mktemp("searches")

    def search(name, queries, database, *arguments):
        fasta = folder / f"{name}.fasta"
        fasta.write_text("".join(f">{key}\n{sequence}\n" for key, sequence in queries.items()))
        arguments = ["--engine", "mmseqs2", "--queries", str(fasta), *arguments]
        arguments += ["--database", str(database), "--max-length", "100"]
        arguments += ["--scratch", str(folder / "s"), "--output", str(folder / name)]
        assert main(["search", *arguments, "--ledger", str(folder / f"{name}.tsv")]) == 0
        found = dict(ffindex.read_entries(folder / name))
        rows = {row["query"]: row for row in read_tsv(folder / f"{name}.tsv")}
        return rows, {key: text.decode() for key, text in found.items()}

    return (
        search("whole", queries, databases[0]),
        search(
            *("parts", dict(reversed(queries.items())), databases[1]),
            *("--threads", "2", "--mmseqs-batch", "4"),
        ),
        queries,
    )


def test_mmseqs_finds_a_family_and_nothing_for_a_stranger(searches):
    (rows, found), _, queries = searches
    assert {name: row["status"] for name, row in rows.items()} == {
        "x;rm": "ok",
        "stranger": "empty",
        "long": "skipped",
        "none": "skipped",
        "part": "ok",
        "odd": "ok",
    }
    lines = found["x;rm"].splitlines()
    assert lines[:2] == [">x;rm", queries["x;rm"]]
    names = [line[1:] for line in lines[2::2]]
    assert sum(name.startswith("member") for name in names) >= 10
    assert not any(name.startswith("decoy") for name in names)
    for row in lines[1::2]:
        assert sum(not letter.islower() for letter in row) == len(queries["x;rm"])
    assert int(rows["x;rm"]["depth"]) == len(names) + 1
    assert found["stranger"] == f">stranger\n{STRANGER}\n"


def test_letters_that_mmseqs_does_not_know_come_back_as_they_were(searches):
    (_, found), _, queries = searches
    assert found["odd"].splitlines()[1] == queries["odd"]


def test_an_alignment_does_not_depend_on_threads_order_or_batch(searches):
    (_, whole), (_, parts), _ = searches
    assert list(parts) == list(whole)[::-1]
    assert parts == whole


def batch(queries, scratch, **limits):
    with Programs() as programs:
        knobs = {"settings": MmseqsSettings("db"), "limits": Limits(**limits), "threads": 1}
        return list(search_batch(queries, programs, scratch, **knobs))


class Fake:
    """Stands for programs: the last of MMseqs2's commands finds an alignment of a query alone for
    the first and the third sequence."""

    def run(self, argv, **_):
        if argv[1] == "result2msa":
            Path(argv[5]).write_bytes(b">2\nMKL\n\0\0>0\nMKV\n\0")
            Path(f"{argv[5]}.index").write_text("0\t9\t8\n1\t8\t1\n2\t0\t8\n")
        return Finished("", b"", 1.0)


def test_alignments_stay_in_the_scratch_folder_until_they_are_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(mmseqs, "program", lambda name: name)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    queries = [Query("a", "MKV"), Query("b", "MKW"), Query("c", "MKL")]
    found = search_batch(
        queries,
        Fake(),
        tmp_path,
        settings=MmseqsSettings("db"),
        limits=Limits(),
        threads=1,
    )
    first = next(found)
    assert (first.row.query, first.a3m) == ("c", ">c\nMKL\n")
    (folder,) = tmp_path.iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["0.ffdata", "0.ffindex"]
    assert [(one.row.query, one.row.status) for one in found] == [("a", "empty"), ("b", "failed")]
    assert list(tmp_path.iterdir()) == []


def test_only_the_query_to_blame_fails(monkeypatch, tmp_path):
    calls = []

    def fail_on_k(sequences, programs, **_):
        calls.append(list(sequences))
        if "KKK" in sequences:
            return Finished("align: segmentation fault", b"", 1.0), ()
        a3ms = {n: f">{n}\n{one}\n>hit\n{one[:2]}-\n" for n, one in enumerate(sequences)}
        return Finished("", b"", 1.0), a3ms.items()

    monkeypatch.setattr(mmseqs, "search", fail_on_k)
    queries = [Query("a", "AAA"), Query("k", "KKK"), Query("m", "MMM"), Query("v", "VVV")]
    found = batch(queries, tmp_path)
    rows = {one.row.query: one.row for one in found}
    assert {name: row.status for name, row in rows.items()} == {
        "a": "ok",
        "k": "failed",
        "m": "ok",
        "v": "ok",
    }
    assert rows["k"].reason == "align: segmentation fault"
    assert len(calls) == 5


@pytest.mark.parametrize(
    ("bad", "calls_made"),
    # Both halves fail and the shortest, s, does not: each half is halved to the end (1 + 2 + 1
    # calls, then 2 + 2 for the quarters that fail and the single queries of each).
    [("KV", 1 + 2 + 1 + 4), ("AKVMS", 1 + 2 + 1)],
)
def test_a_batch_that_fails_whatever_it_holds_is_not_halved_to_its_end(
    monkeypatch, tmp_path, bad, calls_made
):
    calls = []

    def fail(sequences, programs, **_):
        calls.append(sequences)
        if any(sequence[0] in bad for sequence in sequences):
            return Finished(f"search: no space left {len(calls)}", b"", 1.0), ()
        return Finished("", b"", 1.0), [(n, f">{n}\n{one}\n") for n, one in enumerate(sequences)]

    monkeypatch.setattr(mmseqs, "search", fail)
    queries = [Query(word[0], word) for word in ("KKK", "AAA", "VVV", "SS")]
    found = batch(queries, tmp_path)
    assert {one.row.query for one in found if one.row.status == "failed"} == {
        query.id for query in queries if query.id in bad
    }
    assert len(calls) == calls_made
    if len(bad) > 2:
        assert {one.row.reason for one in found} == {"search: no space left 4"}


def test_the_query_found_in_the_database_is_no_other_row(monkeypatch, tmp_path):
    def itself(sequences, programs, **_):
        copied = ">0\nMKX\n>copy\nMKX\n"
        return Finished("", b"", 1.0), [(0, copied), (1, f"{copied}>longer\naMKX\n")]

    monkeypatch.setattr(mmseqs, "search", itself)
    queries = [Query("a", "MKU"), Query("b", "MKU")]
    alone, beside = batch(queries, tmp_path)
    assert (alone.row.status, alone.row.depth, alone.a3m) == ("empty", 1, ">a\nMKU\n")
    assert (beside.row.status, beside.row.depth) == ("ok", 2)
    assert beside.a3m == ">b\nMKU\n>longer\naMKX\n"


def test_an_alignment_of_something_else_is_refused(monkeypatch, tmp_path):
    def another(sequences, programs, **_):
        return Finished("", b"", 1.0), [(0, ">0\nMKW\n"), (1, ">1\nMK\n")]

    monkeypatch.setattr(mmseqs, "search", another)
    queries = [Query("a", "MKV"), Query("b", "MKV"), Query("c", "MKV")]
    found = batch(queries, tmp_path)
    assert [one.row.status for one in found] == ["failed"] * 3
    assert "is not the query: 2 letters for 3 residues" in found[1].row.reason
    assert found[2].row.reason == "mmseqs ended well but its alignment is empty"


def test_a_batch_may_take_the_time_of_its_queries_and_the_memory_of_its_longest(
    monkeypatch, tmp_path
):
    given = {}

    def search(sequences, programs, **knobs):
        given.update(knobs)
        return Finished("", b"", 6.0), [(n, f">{n}\n{one}\n") for n, one in enumerate(sequences)]

    monkeypatch.setattr(mmseqs, "search", search)
    queries = [Query("a", "MKV"), Query("b", "M" * 2500), Query("c", "MKL")]
    found = batch(queries, tmp_path, timeout=10.0, memory_limit_gib=2.0)
    assert (given["timeout"], given["memory_limit_gib"]) == (30.0, 6.0)
    assert [one.row.seconds for one in found] == [2.0, 2.0, 2.0]


def test_the_search_is_called_with_every_setting(tmp_path):
    settings = MmseqsSettings("some/db", 2, 0.01, sensitivity=5.5, max_hits=7, max_memory_gib=1.5)
    _, search, _, align, *_ = settings.argvs("mmseqs", tmp_path, threads=4)
    assert " ".join(search) == (
        f"mmseqs search {tmp_path}/queries some/db/representatives {tmp_path}/hits {tmp_path}/tmp"
        " -a --num-iterations 2 -e 0.01 --e-profile 0.01 -s 5.5 --max-seqs 7"
        " --split-memory-limit 1536M --threads 4 -v 1"
    )
    assert align[2] == f"{tmp_path}/tmp/latest/profile_0"


def test_the_easy_workflows_are_told_their_memory_not_left_to_the_machines(tmp_path, monkeypatch):
    told = []

    def easy(command, *words):
        told.append(" ".join(map(str, words[words.index("-e") :])))
        name = words[2] if command == "easy-search" else f"{words[1]}_cluster.tsv"
        Path(name).write_text("0\t0\n")

    monkeypatch.setattr(mmseqs, "_easy", easy)
    knobs = {"max_memory_gib": 1.5, "scratch": tmp_path}
    hits = mmseqs.easy_search(["MKV"], ["MKL"], "query,target", "-e", 1, **knobs)
    assert list(hits) == [["0", "0"]]
    assert list(mmseqs.easy_cluster(["MKV"], "-e", 1, **knobs)) == [(0, 0)]
    assert told == [
        "-e 1 --split-memory-limit 1536M --format-output query,target",
        "-e 1 --split-memory-limit 1536M",
    ]


def test_a_database_is_built_of_sequences_whose_headers_hold_any_bytes(tmp_path):
    (tmp_path / "a.fasta").write_bytes(b">a M\xfcller\nACD\n>b\nAC\nDE\n")
    assert mmseqs.copy_fasta(tmp_path / "a.fasta", tmp_path / "b.fasta") == 2
    assert (tmp_path / "b.fasta").read_text() == ">a M\\xfcller\nACD\n>b\nACDE\n"


def test_parts_of_a_database_are_joined_by_their_numbers(tmp_path):
    for number in range(11):
        (tmp_path / f"clusters.{number}").write_text(f"{number} ")
    mmseqs._join(tmp_path / "clusters")
    assert (tmp_path / "clusters").read_text() == "0 1 2 3 4 5 6 7 8 9 10 "
    assert [path.name for path in tmp_path.iterdir()] == ["clusters"]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_build_that_fails_leaves_the_database_as_it_was(
    databases, toy_sequences, tmp_path, monkeypatch
):
    folder = shutil.copytree(databases[0], tmp_path / "database", symlinks=True)
    before = contents(folder)
    run = Programs.run

    def quick(self, argv, **knobs):
        # One sequence is one cluster by either; `cluster` takes seconds for it.
        argv = ["linclust" if word == "cluster" else word for word in argv]
        return run(self, argv, **knobs)

    def fails_at_the_end(self, argv, **knobs):
        return Finished("failed", b"", 0.0) if argv[1] == "align" else quick(self, argv, **knobs)

    monkeypatch.setattr(Programs, "run", quick)
    (tmp_path / "other.fasta").write_text(f">other\n{toy_sequences[1]}\n")
    with monkeypatch.context() as patched:
        patched.setattr(Programs, "run", fails_at_the_end)
        with pytest.raises(ToolError, match="mmseqs align: failed"):
            mmseqs.build_database(tmp_path / "other.fasta", folder)
    assert contents(folder) == before
    rename, renamed = Path.rename, []

    def is_killed_at_the_fifth(self, target):
        renamed.append(target)
        if len(renamed) == 5:
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", is_killed_at_the_fifth)
        with pytest.raises(KeyboardInterrupt):
            mmseqs.build_database(tmp_path / "other.fasta", folder)
    with pytest.raises(DataError, match=r"clusters\.index: missing"):
        mmseqs.check_database(folder)
    # Left by a build of several threads that was killed in this folder.
    (folder / "clusters.0").write_bytes(b"old")
    assert mmseqs.build_database(tmp_path / "other.fasta", folder) == (1, 1)
    assert not (folder / "clusters.0").exists()


def wait_for_line(folder):
    wait_until(lambda: any(path.read_bytes().count(b"\n") >= 2 for path in folder.glob("*.jsonl")))


def test_a_shard_goes_on_after_the_last_batch_that_ended(tmp_path):
    queries = [Query(name, "MKV") for name in "abcde"]
    seen = []

    def engine(some, programs, folder, *, broken):
        assert list(folder.iterdir()) == []
        if broken and some[0].id == "c":
            # Not before the first batch is in the journal.
            wait_for_line(tmp_path / "scratch")
            raise KeyboardInterrupt
        seen.append("".join(query.id for query in some))
        return [Found(Row(query.id, "empty", depth=1), f">{query.id}\nMKV\n") for query in some]

    def run(broken):
        shard = Shard(
            queries,
            tmp_path / "out",
            tmp_path / "out.tsv",
            scratch=tmp_path / "scratch",
            max_failed_share=0,
            where="here",
        )
        return shard.run(Engine("", partial(engine, broken=broken), signature="", batch=2))

    with pytest.raises(KeyboardInterrupt):
        run(broken=True)
    # What a killed run would leave of MMseqs2's files.
    (journal,) = (tmp_path / "scratch").glob("*.jsonl")
    left = journal.with_suffix(".work")
    assert not left.exists()
    left.mkdir()
    (left / "prefilter").write_text("gigabytes")
    assert [row.query for row in run(broken=False)] == list("abcde")
    # "e" may have been searched beside the batch that broke, and is then searched again.
    assert [seen.count(batch) for batch in ("ab", "cd")] == [1, 1]
    assert set(seen) == {"ab", "cd", "e"}


def test_a_folder_that_is_no_database_is_refused(tmp_path):
    with pytest.raises(DataError, match="sequences: missing or empty"):
        mmseqs.check_database(tmp_path)


@pytest.mark.parametrize(
    "knobs",
    [{"iterations": 0}, {"sensitivity": 9}, {"batch": 0}, {"e_value": 0}, {"max_memory_gib": 0}],
)
def test_settings_mmseqs_would_not_take_are_refused(knobs):
    with pytest.raises(SettingsError):
        MmseqsSettings("db", **knobs)


def test_hits_are_filtered_as_colabfold_filters_them(tmp_path):
    *_, expand, _, filtered, msa = MmseqsSettings("db").argvs("mmseqs", tmp_path, threads=1)
    assert " ".join(expand[6:]) == (
        f"{tmp_path}/expanded --expansion-mode 0 -e inf --expand-filter-clusters 1"
        " --max-seq-id 0.95 --threads 1 -v 1"
    )
    assert " ".join(filtered[6:]) == (
        "--qid 0 --qsc 0.8 --cov 0 --diff 0 --max-seq-id 1.0 --filter-min-enable 100"
        " --threads 1 -v 1"
    )
    assert " ".join(msa[6:]) == (
        "--msa-format-mode 5 --filter-msa 1 --filter-min-enable 1000 --diff 3000"
        " --qid 0.0,0.2,0.4,0.6,0.8,1.0 --qsc 0 --max-seq-id 0.95 --threads 1 -v 1"
    )
