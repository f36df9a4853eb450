import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from test_programs import ended
from waiting import PATIENCE, wait_until

from npm_core import ffindex, mmseqs, programs
from npm_core import search as search_module
from npm_core.cli import main
from npm_core.errors import SettingsError, ToolError
from npm_core.files import read_tsv
from npm_core.hhsuite import HhblitsSettings
from npm_core.ledger import Row, check_failed_share, summary, write_ledger
from npm_core.mmseqs import MmseqsSettings
from npm_core.parallel import HELD, map_as_ready, map_in_order
from npm_core.search import Limits, hhblits_engine, mmseqs_engine, search_shard
from npm_core.shard import Found, Journal

FAKES = Path(__file__).parent / "fakes"
TAIL = "MKVLAW"


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """The stand-in for hhblits on PATH, with a database it never opens; its log of calls."""
    monkeypatch.setenv("PATH", f"{FAKES}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_HHBLITS_LOG", str(tmp_path / "calls"))
    for part in ("a3m", "cs219"):
        ffindex.write_entries(tmp_path / f"db_{part}", [("1", b"text")])
    return tmp_path / "calls"


@pytest.fixture
def search(fake, tmp_path):
    def run(words, name="out", **knobs):
        queries = tmp_path / f"{name}.fasta"
        queries.write_text(
            "".join(f">{word.lower()}{n} x\n{word}{TAIL}\n" for n, word in enumerate(words))
        )
        knobs = {"timeout": 120.0, "memory_limit_gib": 1.0, "max_length": 100} | knobs
        names = ("timeout", "memory_limit_gib", "max_length")
        limits = Limits(**{name: knobs.pop(name) for name in names})
        rows = search_shard(
            queries,
            tmp_path / name,
            tmp_path / f"{name}.tsv",
            settings=HhblitsSettings(str(tmp_path / "db")),
            limits=limits,
            scratch=tmp_path / "scratch",
            **{"threads": 2, "max_failed_share": 0.0} | knobs,
        )
        return rows, dict(ffindex.read_entries(tmp_path / name))

    return run


def calls(log):
    return [line.split()[1] for line in log.read_text().splitlines()] if log.exists() else []


def pids(log):
    return [line.split()[0] for line in log.read_text().splitlines()]


def test_each_query_gets_an_alignment_in_the_order_of_the_file(search):
    words = ["SLEE", "CDE", "LINE", "FGH"]
    rows, found = search(words)
    assert [(row.query, row.status, row.depth) for row in rows] == [
        ("slee0", "ok", 2),
        ("cde1", "ok", 2),
        ("line2", "empty", 1),
        ("fgh3", "ok", 2),
    ]
    assert list(found) == ["slee0", "cde1", "line2", "fgh3"]
    assert found["cde1"].decode() == ">cde1\nCDEMKVLAW\n>found some words\naCDEMKVLA-\n"
    assert found["line2"].decode() == ">line2\nLINEMKVLAW\n"


def test_the_alignments_do_not_depend_on_the_number_of_workers(search, tmp_path):
    words = ["SLEE", "CDE", "FGH", "SLEE", "IKL"]
    for workers in (1, 3):
        search(words, name=f"by{workers}", threads=workers)
    for suffix in ("ffdata", "ffindex"):
        first, second = (tmp_path / f"by{workers}.{suffix}" for workers in (1, 3))
        assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        (
            "CRAS",
            "segmentation fault (a damaged database, or one built for another CPU), exit "
            "status 139: opening the database",
        ),
        ("KILL", "killed from outside (often for want of memory), exit status 137"),
        ("FAIL", "failed, exit status 4: ERROR: no match states found in this query"),
        ("EMPT", "hhblits ended well but its alignment is empty"),
        ("SILE", "hhblits ended well but wrote no alignment"),
        (
            "ALTE",
            "the first row of the alignment by hhblits is not the query: 9 letters for 10 residues",
        ),
        ("GREE", "out of memory (limit 1 GiB), exit status 134: std::bad_alloc"),
    ],
)
def test_a_query_that_fails_leaves_its_reason_and_the_rest_goes_on(search, word, reason, tmp_path):
    rows, found = search([word, "CDE"], max_failed_share=0.5)
    assert (rows[0].status, rows[0].reason, rows[0].depth) == ("failed", reason, 0)
    assert rows[1].status == "ok"
    assert list(found) == ["cde1"]
    assert next(read_tsv(tmp_path / "out.tsv"))["reason"] == reason


def test_a_query_that_hangs_is_ended_by_its_time_limit(search, fake):
    rows, _ = search(["HANG"], max_failed_share=1, timeout=5)
    assert (rows[0].status, rows[0].reason) == ("failed", "no end after 5 s")
    (pid,) = pids(fake)
    wait_until(lambda: ended(pid))


def test_a_query_of_only_x_and_one_too_long_are_skipped_without_a_search(fake, tmp_path):
    (tmp_path / "in.fasta").write_text(">x;rm -rf y\nXXXX\n>b\nXBX\n>long\nMKVLA\n>edge\nMKVL\n")
    rows = search_shard(
        tmp_path / "in.fasta",
        tmp_path / "out",
        tmp_path / "out.tsv",
        settings=HhblitsSettings(str(tmp_path / "db")),
        limits=Limits(max_length=4),
        threads=1,
        max_failed_share=0,
        scratch=tmp_path / "scratch",
    )
    assert [(row.query, row.status, row.reason) for row in rows] == [
        ("x;rm", "skipped", "no amino acids, only X"),
        ("b", "skipped", "no amino acids, only B, X"),
        ("long", "skipped", "5 residues, longer than 4"),
        ("edge", "ok", ""),
    ]
    assert calls(fake) == ["MKVL"]


def test_rows_that_are_no_sequences_are_dropped(search):
    _, found = search(["NAME"])
    assert found["name0"].decode() == ">name0\nNAMEMKVLAW\n>found some words\naNAMEMKVLA-\n"


def test_an_id_never_reaches_a_shell_or_a_path(fake, tmp_path):
    name = "../../x;touch$IFS'y'|\"`z`"
    (tmp_path / "in.fasta").write_text(f">{name}\nMKVL\n")
    arguments = ["--queries", str(tmp_path / "in.fasta"), "--database", str(tmp_path / "db")]
    arguments += ["--scratch", str(tmp_path / "scratch"), "--output", str(tmp_path / "out")]
    assert main(["search", *arguments, "--ledger", str(tmp_path / "out.tsv")]) == 0
    assert [row["query"] for row in read_tsv(tmp_path / "out.tsv")] == [name]
    assert list(dict(ffindex.read_entries(tmp_path / "out"))) == [name]


def test_an_empty_shard_has_an_empty_result(search, tmp_path):
    assert search([]) == ([], {})
    assert list(read_tsv(tmp_path / "out.tsv")) == []


def test_too_many_failures_fail_the_shard_and_name_the_reason(search, tmp_path):
    with pytest.raises(
        ToolError, match=r"1 of 2 failed, at most 40\.0% may\. First fail0\. 1 x fa"
    ):
        search(["FAIL", "CDE"], max_failed_share=0.4, threads=1)
    assert not (tmp_path / "out.ffdata").exists()
    assert not (tmp_path / "out.tsv").exists()


def test_after_too_many_failures_only_the_failed_queries_are_searched_again(search, fake):
    words = ["CDE", "FGH", "IKL", "FAIL"]
    with pytest.raises(ToolError):
        search(words, threads=1)
    before = calls(fake)
    assert len(before) == 4
    rows, _ = search(words, threads=1, max_failed_share=0.5)
    assert calls(fake)[4:] == [f"FAIL{TAIL}"]
    assert [row.status for row in rows] == ["ok", "ok", "ok", "failed"]


@pytest.mark.parametrize(
    ("knobs", "times"),
    [({"max_length": 99}, 2), ({"timeout": 90}, 1), ({"memory_limit_gib": 2}, 1)],
)
def test_other_settings_do_not_use_what_was_found_before_but_other_limits_do(
    search, fake, knobs, times
):
    with pytest.raises(ToolError):
        search(["CDE", "FAIL"], threads=1)
    search(["CDE", "FAIL"], threads=1, max_failed_share=0.5, **knobs)
    assert calls(fake).count(f"CDE{TAIL}") == times
    assert calls(fake).count(f"FAIL{TAIL}") == 2


def test_a_query_is_searched_again_once_its_sequence_is_another(search, fake):
    with pytest.raises(ToolError):
        search(["CDE", "FAIL"], threads=1)
    (fake.parent / "out.fasta").write_text(f">cde0\nFGH{TAIL}\n")
    rows, found = search_file(fake.parent / "out.fasta", fake.parent)
    assert [row.status for row in rows] == ["ok"]
    assert found["cde0"].startswith(f">cde0\nFGH{TAIL}\n".encode())


def search_file(queries, folder, out="out"):
    """Search with a file's queries in the scratch folder of `search`."""
    rows = search_shard(
        queries,
        folder / out,
        folder / f"{out}.tsv",
        settings=HhblitsSettings(str(folder / "db")),
        limits=Limits(120.0, 1.0, 100),
        threads=1,
        max_failed_share=0,
        scratch=folder / "scratch",
    )
    return rows, dict(ffindex.read_entries(folder / out))


def test_queries_of_one_sequence_have_each_an_alignment_under_its_own_name(search):
    _, found = search(["CDE", "FGH", "CDE"])
    assert [text.split(b"\n")[0].decode() for text in found.values()] == [
        ">cde0",
        ">fgh1",
        ">cde2",
    ]


def test_shards_of_one_name_in_two_folders_do_not_share_a_journal(fake, tmp_path):
    (tmp_path / "in.fasta").write_text(f">a\nCDE{TAIL}\n>b\nFAIL{TAIL}\n")
    for folder in ("train", "test"):
        with pytest.raises(ToolError, match="1 of 2 failed"):
            search_file(tmp_path / "in.fasta", tmp_path, f"{folder}/0000")
    assert len(list((tmp_path / "scratch").glob("*.jsonl"))) == 2


def test_another_program_database_or_setting_is_another_search(fake, tmp_path, monkeypatch):
    database = str(tmp_path / "db")

    def signature(**knobs):
        return hhblits_engine(HhblitsSettings(database, **knobs), Limits(), 1).signature

    first = signature()
    assert signature() == first
    assert signature(e_value=0.1) != first
    with monkeypatch.context() as changed:
        changed.setattr("npm_core.search.version", lambda *_: "HHblits 4.0.0")
        assert signature() != first
    ffindex.write_entries(f"{database}_a3m", [("1", b"another text")])
    assert signature() != first


def test_smaller_calls_of_mmseqs_go_on_with_the_search_of_larger_ones(monkeypatch, tmp_path):
    monkeypatch.setattr("npm_core.search.version", lambda *_: "18")
    for part in mmseqs.PARTS:
        for suffix in ("", ".index"):
            (tmp_path / f"{part}{suffix}").write_text("1\n")

    def signature(**knobs):
        settings = MmseqsSettings(str(tmp_path), **knobs)
        return mmseqs_engine(settings, Limits(), 1).signature

    assert signature(batch=20) == signature(batch=500)
    assert signature(sensitivity=5.7) != signature()


@pytest.mark.parametrize(("threads", "workers"), [(1, 1), (5, 2), (6, 3)])
def test_processes_at_a_time_share_the_threads(fake, tmp_path, threads, workers):
    settings = HhblitsSettings(str(tmp_path / "db"), cpu=2)
    assert hhblits_engine(settings, Limits(), threads).workers == workers


def test_a_missing_hhblits_is_an_error_and_not_a_ledger_of_failures(monkeypatch, search, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(programs, "DEBIAN_PROGRAMS", tmp_path)
    with pytest.raises(ToolError, match="hhblits: program not found"):
        search(["CDE"])


@pytest.mark.parametrize(
    ("length", "reason"),
    [(1000, "out of memory (limit 1 GiB)"), (1001, "out of memory (limit 2 GiB)"), (2001, "")],
)
def test_a_longer_query_may_take_more_memory(fake, tmp_path, length, reason):
    (tmp_path / "in.fasta").write_text(f">q\n{'GREE'.ljust(length, 'A')}\n")
    [row] = search_shard(
        tmp_path / "in.fasta",
        tmp_path / "out",
        tmp_path / "out.tsv",
        settings=HhblitsSettings(str(tmp_path / "db")),
        limits=Limits(memory_limit_gib=1),
        threads=1,
        max_failed_share=1,
        scratch=tmp_path / "scratch",
    )
    assert row.reason.partition(",")[0] == reason


def test_a_length_hhblits_cannot_read_is_refused():
    with pytest.raises(SettingsError, match="20000"):
        Limits(max_length=30_000)
    with pytest.raises(SettingsError, match="timeout is nan"):
        Limits(timeout=math.nan)
    with pytest.raises(SettingsError, match="memory_limit_gib is 0, expected above 0"):
        Limits(memory_limit_gib=0)


def start(tmp_path, words):
    (tmp_path / "in.fasta").write_text(
        "".join(f">{word.lower()}{n}\n{word}{TAIL}\n" for n, word in enumerate(words))
    )
    arguments = ["--queries", "in.fasta", "--database", "db", "--scratch", "scratch"]
    arguments += ["--output", "out", "--ledger", "out.tsv", "--threads", "1"]
    return subprocess.Popen(
        [sys.executable, "-m", "npm_core", "search", *arguments],
        cwd=tmp_path,
        # What a kill leaves among temporary files goes with the test.
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "TMPDIR": str(tmp_path)},
        stderr=subprocess.PIPE,
    )


def test_a_shard_killed_in_the_middle_goes_on_and_ends_with_the_same_bytes(search, fake, tmp_path):
    words = ["CDE", "FGH", "WAIT", "IKL"]
    (tmp_path / "go").touch()
    search(words, name="in")
    undisturbed = (tmp_path / "in.ffdata").read_bytes()
    (tmp_path / "go").unlink()
    fake.unlink()

    def is_at_the_third():
        journals = (tmp_path / "scratch").glob("*.jsonl")
        done = [journal.read_bytes().count(b"\n") for journal in journals]
        return done == [2] and len(calls(fake)) == 3

    process = start(tmp_path, words)
    wait_until(is_at_the_third, process)
    process.kill()
    process.communicate()
    (tmp_path / "go").touch()
    process = start(tmp_path, words)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    assert b"2 of 4 queries were done before" in errors
    # What was done is not searched again; what was under way when the kill came is.
    assert [call.removesuffix(TAIL) for call in calls(fake)] == [*words[:3], *words[2:]]
    assert (tmp_path / "out.ffdata").read_bytes() == undisturbed
    assert list((tmp_path / "scratch").glob("*.jsonl")) == []


def test_a_stopped_shard_takes_its_programs_with_it(fake, tmp_path):
    process = start(tmp_path, ["HANG"])
    wait_until(lambda: calls(fake), process)
    (pid,) = pids(fake)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + signal.SIGTERM
    wait_until(lambda: ended(pid))


def test_two_runs_of_one_shard_at_once_are_refused(fake, search, tmp_path):
    process = start(tmp_path, ["HANG"])
    try:
        wait_until(lambda: calls(fake), process)
        with pytest.raises(ToolError, match="another run is writing"):
            search(["CDE"])
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)


def test_a_torn_journal_loses_only_its_last_line(tmp_path):
    path = tmp_path / "journal"
    found = [search_result(name) for name in "abc"]
    with Journal(path) as journal:
        for one in found:
            journal.add(one.row.query, one)
    path.write_bytes(path.read_bytes()[:-5])
    with Journal(path) as again:
        assert [name in again for name in "abc"] == [True, True, False]
        assert again["b"] == found[1]
        again.add("c", found[2])
    with Journal(path) as whole:
        assert [whole[name] for name in "abc"] == found


def search_result(name):
    return Found(Row(name, "ok", depth=1, seconds=0.5), f">{name}\nMKV\n")


def test_a_ledger_gives_back_what_was_written(tmp_path):
    rows = [Row('a"b', "ok", depth=3, seconds=1.234), Row("c", "failed", "tab\there, 'quote\"")]
    write_ledger(tmp_path / "l.tsv", rows)
    assert list(read_tsv(tmp_path / "l.tsv")) == [
        {"query": 'a"b', "status": "ok", "reason": "", "depth": "3", "seconds": "1.23"},
        {
            "query": "c",
            "status": "failed",
            "reason": "tab here, 'quote\"",
            "depth": "0",
            "seconds": "0.00",
        },
    ]
    assert summary(rows) == "1 ok, 1 failed"


def test_the_allowed_share_of_failures_is_of_all_queries():
    rows = [Row("a", "failed", "x"), Row("b", "ok")]
    check_failed_share(rows, total=20, allowed=0.05, where="here")
    with pytest.raises(ToolError, match="here: 1 of 19 failed"):
        check_failed_share(rows, total=19, allowed=0.05, where="here")
    check_failed_share([*rows, Row("c", "skipped", "x")], total=20, allowed=0.05, where="here")


def test_results_come_in_order_or_as_they_are_ready():
    last_began = threading.Event()

    def first_waits_for_last(number):
        if number == 19:
            last_began.set()
        assert number > 0 or last_began.wait(PATIENCE)
        return number

    assert list(map_in_order(first_waits_for_last, range(20), workers=3)) == list(range(20))
    last_began.clear()
    ready = list(map_as_ready(first_waits_for_last, range(20), workers=3))
    assert sorted(ready) == list(range(20))
    assert ready[0] != 0


def test_items_are_drawn_only_a_little_ahead():
    drawn = []
    results = map_in_order(lambda item: item, (drawn.append(n) or n for n in range(100)), workers=1)
    assert next(results) == 0
    assert len(drawn) < 20
    results.close()


def test_behind_a_slow_item_the_work_goes_on_within_bounds():
    drawn, behind_the_first = [], []

    def slow_first(number):
        if number == 0:
            wait_until(lambda: len(drawn) >= 2 * HELD)
            time.sleep(0.1)  # in which more would be drawn
            behind_the_first.append(len(drawn))

    list(map_in_order(slow_first, (drawn.append(n) or n for n in range(100)), workers=2))
    assert behind_the_first == [2 * HELD]


def test_an_error_in_the_work_stops_it():
    stopped = []

    def fails(number):
        raise ValueError(number)

    with pytest.raises(ValueError, match="0"):
        list(map_as_ready(fails, [0], workers=1, stop=lambda: stopped.append(True)))
    assert stopped == [True]


def test_hhblits_finds_a_family_and_nothing_for_a_stranger(toy_database, tmp_path):
    prefix, member = toy_database
    (tmp_path / "in.fasta").write_text(f">relative\n{member}\n>stranger\n{'WCHMY' * 6}\n")
    arguments = ["--queries", str(tmp_path / "in.fasta"), "--database", prefix]
    arguments += ["--scratch", str(tmp_path / "s"), "--output", str(tmp_path / "out")]
    assert main(["search", *arguments, "--ledger", str(tmp_path / "out.tsv")]) == 0
    relative, stranger = read_tsv(tmp_path / "out.tsv")
    assert (relative["status"], stranger["status"]) == ("ok", "empty")
    names = [
        line[1:]
        for line in dict(ffindex.read_entries(tmp_path / "out"))["relative"].decode().splitlines()
        if line.startswith(">")
    ]
    assert names[0] == "relative"
    assert sum(name.startswith("member") for name in names) >= 10
    assert not any(name.startswith("decoy") for name in names)


def test_the_verb_searches_with_the_settings_it_is_told(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(search_module, "search_shard", lambda *_, **knobs: told.append(knobs))
    words = ["--queries=q", "--database=db", "--scratch=s", "--output=o"]
    words += [f"--ledger={tmp_path / 'l'}", "--iterations=4", "--e-value=0.5"]
    words += ["--max-memory-gib=2", "--max-length=9", "--timeout=7", "--memory-limit-gib=6"]
    assert main(["search", *words, "--cpu=3", "--max-failed-share=0.25"]) == 0
    more = ["--engine=mmseqs2", "--mmseqs-sensitivity=5", "--mmseqs-max-hits=8", "--mmseqs-batch=2"]
    assert main(["search", *words, *more]) == 0
    assert [knobs["settings"] for knobs in told] == [
        HhblitsSettings("db", 4, 0.5, 3, 2.0),
        MmseqsSettings("db", 4, 0.5, 5.0, 8, 2.0, 2),
    ]
    assert (told[0]["limits"], told[0]["max_failed_share"]) == (Limits(7.0, 6.0, 9), 0.25)
