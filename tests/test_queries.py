import gzip
import os
import threading

import pytest

from npm_core.cli import main
from npm_core.errors import DataError, SettingsError
from npm_core.queries import is_test, read_queries, shard_queries, split_queries


@pytest.fixture
def fasta(tmp_path):
    def write(text, name="in.fasta"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def ids(path):
    return [query.id for query in read_queries(path, may_be_empty=True)]


def many(names):
    return "".join(f">{name} n=1\nACD\n" for name in names)


def test_reads_the_first_word_of_each_header_and_joins_lines(fasta):
    path = fasta(">UniRef50_A Cluster: x n=2\nacd\nEFG*\n>x;rm -rf y\nMK*V\n")
    assert [(query.id, query.sequence) for query in read_queries(path)] == [
        ("UniRef50_A", "ACDEFG"),
        ("x;rm", "MKXV"),
    ]


def test_reads_gzipped_files(tmp_path):
    (tmp_path / "in.fasta.gz").write_bytes(gzip.compress(b">a\nMKV\n"))
    assert ids(tmp_path / "in.fasta.gz") == ["a"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no sequences"),
        ("\n\n", "no sequences"),
        (">a\n>b\nMK\n", "a has no sequence"),
        (">a\nMK-V\n", "a is aligned"),
        (">a\nMK1V\n", "a: character '1' at position 3"),
        (">a\nMK\n>b\nMK\n>a x\nMV\n", "the id a occurs twice"),
        ("MKV\n", "expected '>'"),
        (">\nMKV\n", "without a name"),
    ],
)
def test_refuses_what_is_no_set_of_sequences(fasta, text, complaint):
    with pytest.raises(DataError, match=complaint):
        list(read_queries(fasta(text)))


def test_ids_that_occur_twice_in_a_pipe_are_refused_too(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    text = b">a\nMK\n>a\nMV\n"
    threading.Thread(daemon=True, target=(tmp_path / "fifo").write_bytes, args=(text,)).start()
    with pytest.raises(DataError, match="1 ids occur twice"):
        list(read_queries(tmp_path / "fifo"))


def test_an_empty_shard_is_no_error(fasta):
    assert list(read_queries(fasta(""), may_be_empty=True)) == []


def test_the_split_of_an_id_is_fixed_for_ever():
    held = [name for name in map(str, range(40)) if is_test(name, share=0.1, salt="uniref50")]
    # printf uniref500 | sha256sum begins with less than 1999, a tenth of ffff; and so on.
    assert held == ["0", "8", "14", "15", "26"]


def test_the_split_has_the_asked_share():
    held = sum(is_test(f"UniRef50_{number}", share=0.1, salt="s") for number in range(10_000))
    # Three standard deviations of a binomial count are 90.
    assert abs(held - 1000) < 90


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (1.0, 50)])
def test_the_extremes_of_the_share_hold_nothing_or_everything(share, expected):
    assert sum(is_test(str(number), share=share, salt="") for number in range(50)) == expected


def test_the_split_does_not_depend_on_the_order_of_the_file(fasta, tmp_path):
    names = [f"name{number}" for number in range(60)]
    found = []
    for order in (names, names[::-1]):
        train, test = tmp_path / "train", tmp_path / "test"
        counts = split_queries(fasta(many(order)), train=train, test=test, share=0.3, salt="s")
        assert counts == (len(ids(train)), len(ids(test)))
        assert sorted(ids(train) + ids(test)) == sorted(names)
        found.append((set(ids(train)), set(ids(test))))
    assert found[0] == found[1]
    assert all(found[0])


def test_another_salt_makes_another_split():
    names = [f"name{number}" for number in range(100)]
    splits = [[is_test(name, share=0.5, salt=salt) for name in names] for salt in ("a", "b")]
    assert splits[0] != splits[1]


def test_a_published_list_decides_the_split(fasta, tmp_path):
    held = fasta(">b Cluster\nzzz\n\n", "held")
    train, test = tmp_path / "train", tmp_path / "test"
    knobs = {"train": train, "test": test, "share": 0.5, "salt": ""}
    assert split_queries(fasta(many("abc")), held_out=held, **knobs) == (2, 1)
    assert ids(test) == ["b"]
    with pytest.raises(DataError, match="none of its 1 ids"):
        split_queries(fasta(many("abc")), held_out=fasta("zzz\n", "held"), **knobs)


def test_a_share_above_one_is_refused(fasta, tmp_path):
    with pytest.raises(SettingsError, match=r"share is 1\.5"):
        split_queries(
            fasta(many("a")), train=tmp_path / "a", test=tmp_path / "b", share=1.5, salt=""
        )


def test_a_split_that_fails_leaves_no_files(fasta, tmp_path):
    with pytest.raises(DataError):
        split_queries(
            fasta(many("aba")), train=tmp_path / "a", test=tmp_path / "b", share=0.5, salt=""
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.fasta"]


def test_shards_hold_every_query_once(fasta, tmp_path):
    names = [f"name{number}" for number in range(50)]
    counts = shard_queries(fasta(many(names)), tmp_path / "shards", shards=4)
    shards = [ids(tmp_path / "shards" / f"{number:04d}.fasta") for number in range(4)]
    assert counts == [len(shard) for shard in shards]
    assert sorted(name for shard in shards for name in shard) == sorted(names)
    assert min(counts) > 0


def test_a_pipe_is_not_cut_into_empty_shards(pipe, tmp_path, capsys):
    words = ["shard-queries", "--fasta", str(pipe), "--may-be-empty", "--shards", "2"]
    assert main([*words, "--output", str(tmp_path / "shards")]) == 2
    assert "expected a file: its ids are read before its sequences" in capsys.readouterr().err
    assert not list(tmp_path.glob("shards/*"))


def test_a_shard_is_in_no_order_of_the_source_but_always_in_the_same(fasta, tmp_path):
    names = [f"name{number:03d}" for number in range(400)]
    shards = []
    for order in (names, names[::-1]):
        shard_queries(fasta(many(order)), tmp_path / order[0], shards=1)
        shards.append(ids(tmp_path / order[0] / "0000.fasta"))
    assert shards[0] == shards[1]
    places = [names.index(name) for name in shards[0]]
    halves = [sum(place < 200 for place in places[start : start + 100]) for start in (0, 300)]
    assert all(30 < half < 70 for half in halves)


def test_a_query_goes_to_the_same_shard_whatever_the_order_and_the_others(fasta, tmp_path):
    names = [f"name{number}" for number in range(50)]
    places = []
    for order in (names, names[:0:-1]):
        folder = tmp_path / str(len(order))
        shard_queries(fasta(many(order)), folder, shards=4)
        places.append({name: path.name for path in folder.iterdir() for name in ids(path)})
    del places[0]["name0"]
    assert places[0] == places[1]


def test_the_number_of_shards_is_exact_even_when_some_are_empty(fasta, tmp_path):
    counts = shard_queries(fasta(many("ab")), tmp_path / "shards", shards=9)
    assert sum(counts) == 2
    names = [path.name for path in sorted((tmp_path / "shards").iterdir())]
    assert names == [f"{number:04d}.fasta" for number in range(9)]


def test_no_query_at_all_makes_empty_shards_where_that_is_asked_for(fasta, tmp_path, capsys):
    words = ["shard-queries", "--fasta", str(fasta("")), "--shards", "2", "--max-queries", "5"]
    words += ["--output", str(tmp_path / "shards")]
    assert main(words) == 2
    assert "no sequences" in capsys.readouterr().err
    assert main([*words, "--may-be-empty"]) == 0
    shards = {path.name: path.read_text() for path in (tmp_path / "shards").iterdir()}
    assert shards == {"0000.fasta": "", "0001.fasta": ""}


def test_a_cap_chooses_the_same_queries_whatever_the_order_and_the_shards(fasta, tmp_path):
    names = [f"name{number}" for number in range(50)]
    chosen = []
    for order, shards in ((names, 2), (names[::-1], 5)):
        folder = tmp_path / f"shards{shards}"
        shard_queries(fasta(many(order)), folder, shards=shards, max_queries=7)
        chosen.append(sorted(name for path in folder.iterdir() for name in ids(path)))
    assert chosen[0] == chosen[1]
    assert len(chosen[0]) == 7


def test_a_larger_cap_keeps_what_a_smaller_one_chose(fasta, tmp_path):
    names = [f"name{number}" for number in range(50)]
    sets = []
    for cap in (5, 20, 500):
        folder = tmp_path / str(cap)
        shard_queries(fasta(many(names)), folder, shards=1, max_queries=cap)
        sets.append(set(ids(folder / "0000.fasta")))
    assert sets[0] < sets[1] < sets[2] == set(names)


@pytest.mark.parametrize("knobs", [{"shards": 0}, {"shards": 1, "max_queries": 0}])
def test_no_shards_and_no_queries_are_refused(fasta, tmp_path, knobs):
    with pytest.raises(SettingsError, match="at least 1"):
        shard_queries(fasta(many("ab")), tmp_path / "shards", **knobs)


def test_nucleotides_are_refused(fasta):
    with pytest.raises(DataError, match=r"in\.fasta: b is DNA or RNA, expected a protein"):
        ids(fasta(f">a\nMK\n>b\n{'ACGT' * 8}\n"))


def test_a_header_may_hold_bytes_that_are_no_utf8(tmp_path):
    (tmp_path / "in.fasta").write_bytes(b">M\xfcller x\nMKV\n>b M\xfcller\nMKV\n")
    (tmp_path / "ids").write_bytes(b"M\xfcller\n")
    assert ids(tmp_path / "in.fasta") == [r"M\xfcller", "b"]
    places = {"train": tmp_path / "train", "test": tmp_path / "test"}
    split_queries(tmp_path / "in.fasta", **places, share=0, salt="", held_out=tmp_path / "ids")
    assert ids(tmp_path / "test") == [r"M\xfcller"]
