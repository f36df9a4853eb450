import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from npm_core import ffindex, hhsuite
from npm_core.cli import main
from npm_core.errors import DataError, SettingsError, ToolError
from npm_core.hhsuite import (
    FilterSettings,
    HhblitsSettings,
    check_database,
    hhfilter,
    parse_alignment,
    parse_hit_list,
)
from npm_core.hhsuite_database import build_database
from npm_core.programs import Programs


def test_an_ffindex_gives_back_its_texts_in_the_order_written(tmp_path):
    texts = [("b", b"second\n"), ("a.x", b""), ("a", b"bytes\0inside\0")]
    assert ffindex.write_entries(tmp_path / "some.v1", texts) == 3
    assert list(ffindex.read_entries(tmp_path / "some.v1")) == texts
    index = (tmp_path / "some.v1.ffindex").read_text()
    assert index == "a\t9\t14\na.x\t8\t1\nb\t0\t8\n"


def test_an_ffindex_may_be_empty(tmp_path):
    assert ffindex.write_entries(tmp_path / "none", []) == 0
    assert list(ffindex.read_entries(tmp_path / "none")) == []


@pytest.mark.parametrize("key", ["", "a\tb", "a\nb"])
def test_a_key_that_would_break_the_index_is_refused(tmp_path, key):
    with pytest.raises(DataError, match="cannot be a key"):
        ffindex.write_entries(tmp_path / "x", [(key, b"text")])
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_occurs_twice_is_refused(tmp_path):
    with pytest.raises(DataError, match="a occurs twice"):
        ffindex.write_entries(tmp_path / "x", [("a", b"1"), ("a", b"2")])


@pytest.mark.parametrize(
    ("index", "complaint"),
    [
        ("a\t0\t9\n", "ends at byte 9"),
        ("a\t0\t5\n", "ends at byte 5"),
        ("a\t0\n", "line 1: expected 'key offset length'"),
        ("a\t0\tx\n", "line 1"),
        ("a\t-1\t2\n", "no place"),
        ("a\t0\t2\na\t2\t2\n", "occurs twice"),
    ],
)
def test_a_damaged_ffindex_is_refused(tmp_path, index, complaint):
    (tmp_path / "x.ffdata").write_bytes(b"1234")
    (tmp_path / "x.ffindex").write_text(index)
    with pytest.raises(DataError, match=complaint):
        ffindex.read_index(tmp_path / "x")


def test_half_an_ffindex_is_refused(tmp_path):
    (tmp_path / "x.ffindex").write_text("")
    with pytest.raises(DataError, match=r"x\.ffdata: no such file"):
        ffindex.read_index(tmp_path / "x")


def test_data_files_are_found_where_hhlib_points(monkeypatch, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "some.lib").write_text("")
    with pytest.raises(ToolError, match=r"some\.lib"):
        hhsuite.data_file("some.lib")
    monkeypatch.setenv("HHLIB", str(tmp_path))
    assert hhsuite.data_file("some.lib") == tmp_path / "data" / "some.lib"


def test_data_files_are_found_beside_programs_that_are_linked(monkeypatch, tmp_path):
    for folder in ("tools/bin", "tools/data", "bin"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "tools" / "data" / "some.lib").touch()
    (tmp_path / "tools" / "bin" / "hhblits").touch(mode=0o755)
    (tmp_path / "bin" / "hhblits").symlink_to("../tools/bin/hhblits")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert hhsuite.data_file("some.lib").samefile(tmp_path / "tools" / "data" / "some.lib")


def test_hhblits_is_called_with_every_setting():
    settings = HhblitsSettings("some/db", iterations=3, e_value=0.001, cpu=2, max_memory_gib=4.5)
    line = " ".join(settings.argv("hhblits", "q.fasta", "q.a3m"))
    assert line == (
        f"hhblits -i q.fasta -oa3m q.a3m -o {os.devnull} -d some/db -n 3 -e 0.001 -cpu 2"
        " -maxmem 4.5 -v 1"
    )


@pytest.mark.parametrize("knobs", [{"iterations": 9}, {"iterations": 0}, {"max_memory_gib": 0.5}])
def test_settings_hhblits_would_clamp_are_refused(knobs):
    with pytest.raises(SettingsError):
        HhblitsSettings("db", **knobs)


A3M = b">query\nMKVLAMKVLA\n>twin\nMKVLAMKVLA\n>part some words\n---LAWRILAgg\n"


def filtered(a3m, settings):
    with Programs() as programs:
        done = hhfilter(programs, a3m, settings)
    assert done.failure == ""
    return [line[1:] for line in done.output.decode().splitlines() if line.startswith(">")]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (FilterSettings(), ["query", "part some words"]),
        (FilterSettings(identity=100), ["query", "twin", "part some words"]),
        (FilterSettings(coverage=80), ["query"]),
    ],
)
def test_hhfilter_drops_near_copies_and_short_rows(settings, expected):
    assert filtered(A3M, settings) == expected


@pytest.mark.slow
def test_hhfilter_reads_more_than_65535_rows(rng):
    letters = rng.choice(list("ARNDCQEGHILKMFPSTWYV"), (70_000, 12))
    rows = [f">row{number}\n{''.join(row)}\n" for number, row in enumerate(letters)]
    # Random rows of 12 letters are nearly all different, so that a cut would show.
    assert len(filtered("".join(rows).encode(), FilterSettings(identity=100))) > 69_900


def test_hhfilter_is_called_with_every_setting_and_the_size_of_the_alignment(monkeypatch):
    called = []
    monkeypatch.setattr(hhsuite, "program", str)
    running = SimpleNamespace(run=lambda argv, stdin: called.append(" ".join(argv)))
    settings = FilterSettings(identity=80, coverage=70, diff=3)
    for a3m in (b">query\nMKV\n", b">query\n" + b"A" * 20_000 + b"\n" + b">x\nA\n" * 65_535):
        hhfilter(running, a3m, settings)
    line = "hhfilter -i stdin -o stdout -v 1 -id 80 -cov 70 -diff 3"
    assert called == [
        f"{line} -maxseq 65535 -maxres 20001",
        f"{line} -maxseq 65537 -maxres 20002",
    ]


def test_hhfilter_takes_an_alignment_of_depth_one():
    assert filtered(b">query\nMKV\n", FilterSettings()) == ["query"]


def test_a_database_holds_each_cluster_once_under_the_same_keys(toy_database):
    prefix, _ = toy_database
    alignments = dict(ffindex.read_entries(f"{prefix}_a3m"))
    profiles = dict(ffindex.read_entries(f"{prefix}_cs219"))
    assert alignments.keys() == profiles.keys()
    assert check_database(prefix) == len(alignments)
    names = [
        line.split()[0]
        for text in alignments.values()
        for line in text.decode().splitlines()
        if line.startswith(">")
    ]
    expected = [f">member{number}" for number in range(12)]
    expected += [f">decoy{number}" for number in range(6)]
    assert sorted(names) == sorted(expected)
    # One state of 219 for each column of the cluster's first sequence.
    for key, profile in profiles.items():
        assert len(profile) == len(alignments[key].split(b"\n")[1])
    lengths = list(map(len, profiles.values()))
    assert lengths == sorted(lengths, reverse=True)
    assert list(alignments) == list(profiles)


@pytest.mark.slow
def test_a_database_has_the_same_bytes_with_two_threads(toy_database, tmp_path):
    prefix, _ = toy_database
    again = tmp_path / "again"
    arguments = ["--fasta", f"{prefix}.fasta", "--output", str(again), "--threads", "2"]
    assert main(["build-database", *arguments]) == 0
    for part in ("a3m.ffdata", "a3m.ffindex", "cs219.ffdata", "cs219.ffindex"):
        assert Path(f"{prefix}_{part}").read_bytes() == Path(f"{again}_{part}").read_bytes()
    assert len(list(tmp_path.iterdir())) == 4


def test_a_database_of_no_sequences_is_refused(tmp_path):
    (tmp_path / "none.fasta").write_text("")
    with pytest.raises(DataError, match="no sequences to build"):
        build_database(tmp_path / "none.fasta", tmp_path / "db")


def write_database(folder, **parts):
    for part, keys in parts.items():
        ffindex.write_entries(folder / f"db_{part}", ((key, b"text") for key in keys))
    return folder / "db"


@pytest.mark.parametrize(
    ("parts", "complaint"),
    [
        ({"a3m": "ab"}, r"db_cs219\.ffdata: missing or empty"),
        ({"a3m": "ab", "cs219": ""}, r"db_cs219\.ffdata: missing or empty"),
        ({"a3m": "a", "cs219": "ab"}, "2 profiles .* for 1 alignments"),
        ({"a3m": "ab", "cs219": "ab", "hhm": ""}, r"db_hhm\.ffdata: missing or empty"),
    ],
)
def test_a_database_hhblits_would_crash_on_is_refused(tmp_path, parts, complaint):
    with pytest.raises(DataError, match=complaint):
        check_database(write_database(tmp_path, **parts))


@pytest.mark.parametrize("parts", [{}, {"hhm": "a"}])
def test_a_database_without_some_hhm_is_sound(tmp_path, parts):
    assert check_database(write_database(tmp_path, a3m="ab", cs219="ab", **parts)) == 2


REPORT = """\
Query         query
Match_columns 177

 No Hit                             Prob E-value P-value  Score    SS Cols Query HMM  Template HMM
  1 20                              95.4 5.1E-07 1.7E-08   47.5   0.0   66   38-103     2-75  (120)
  2 7                               86.3 0.00014 4.8E-06   42.0   0.0  102   24-128    12-130(214)
  3 20                               1.0    0.49   0.016   23.3   0.0   33   31-63    178-210 (532)

No 1
>20
"""

TABLE = """\
>7
missing dssp
    i     j  score     SS  probab
   38     2   0.06   0.00  0.4123
   39     4   1.08   0.00  0.6991
>7
   90    91   0.48   0.00  0.8428
"""


def test_a_hit_list_gives_the_most_probable_hit_of_each_name():
    assert parse_hit_list(REPORT) == {"20": (95.4, 47.5), "7": (86.3, 42.0)}
    with pytest.raises(ToolError, match="no list of hits"):
        parse_hit_list("Query query\n")


def test_only_the_first_alignment_of_a_table_counts_and_numbers_start_at_0():
    positions, columns = parse_alignment(TABLE)
    assert positions.tolist() == [37, 38]
    assert columns.tolist() == [1, 3]
    assert parse_alignment("")[0].size == 0
