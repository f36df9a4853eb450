"""Files that are read once and appear whole."""

import gzip
import os
import shlex
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from training_inputs import files_of_at_most

from npm_core.errors import DataError, OutputError
from npm_core.files import (
    atomic_path,
    file_stem,
    open_gzip,
    open_text,
    read_tsv,
    require_file,
    write_tensors,
    write_text,
    write_tsv,
)
from npm_core.queries import read_queries

TEXT = "".join(f">{number}\nMKVLAWHDEG\n" for number in range(10_000))


@pytest.fixture
def fifo(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


@pytest.mark.parametrize("packed", [str.encode, lambda text: gzip.compress(text.encode())])
def test_a_pipe_is_read_from_its_first_byte(fifo, packed):
    writer = threading.Thread(daemon=True, target=fifo.write_bytes, args=(packed(TEXT),))
    writer.start()
    with open_text(fifo) as stream:
        assert stream.read() == TEXT
    writer.join()


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_byte_order_mark_is_no_text(tmp_path, pack):
    (tmp_path / "table").write_bytes(pack(b"\xef\xbb\xbfid\tn\none\t1\n"))
    assert list(read_tsv(tmp_path / "table", ("id", "n"))) == [{"id": "one", "n": "1"}]
    (tmp_path / "fasta").write_bytes(pack(b"\xef\xbb\xbf>q\nMKV\n"))
    assert [(one.id, one.sequence) for one in read_queries(tmp_path / "fasta")] == [("q", "MKV")]
    (tmp_path / "latin").write_bytes(pack(b"\xef\xbb\xbfa\xe9"))
    with open_text(tmp_path / "latin", "latin-1") as stream:
        assert stream.read() == "a\xe9"


@pytest.mark.parametrize("position", [20, 60])
def test_damaged_gzip_data_are_an_error(tmp_path, position):
    whole = bytearray(gzip.compress(b"".join(bytes([65 + n % 26, 65 + n % 7]) for n in range(999))))
    whole[position] ^= 0xFF
    (tmp_path / "a.gz").write_bytes(whole)
    with pytest.raises(DataError, match="truncated or corrupt"), open_text(tmp_path / "a.gz") as s:
        s.read()


def test_what_cannot_be_read_again_is_refused_and_what_is_missing_is_not(pipe, tmp_path):
    for path in (pipe, tmp_path):
        with pytest.raises(DataError, match=r"a pipe or a folder.*: it is read twice"):
            require_file(path, "it is read twice")
    (tmp_path / "file").touch()
    require_file(tmp_path / "file", "")
    require_file(tmp_path / "nowhere", "")


@pytest.mark.parametrize(("line", "status"), [("{} < a", 0), ("cat a | {}", 1)])
def test_standard_input_can_be_read_again_where_it_is_a_file(tmp_path, line, status):
    (tmp_path / "a").touch()
    code = "from npm_core.files import require_file; require_file('-', 'it is read twice')"
    line = line.format(shlex.join([sys.executable, "-c", code]))
    run = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, check=False)
    assert run.returncode == status
    assert (b"-: a pipe or a folder" in run.stderr) == bool(status)


def test_what_is_written_to_a_pipe_reaches_its_reader(fifo):
    read = []
    reader = threading.Thread(daemon=True, target=lambda: read.append(fifo.read_text()))
    reader.start()
    write_text(fifo, TEXT)
    reader.join()
    assert read == [TEXT]
    assert fifo.is_fifo()
    assert list(fifo.parent.iterdir()) == [fifo]


def test_the_file_behind_a_link_is_replaced(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("old")
    (tmp_path / "link").symlink_to("folder/file")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "folder" / "file").read_text() == "new"


def test_a_device_stays_a_device(tmp_path):
    (tmp_path / "null").symlink_to(os.devnull)
    write_text(tmp_path / "null", "gone")
    assert (tmp_path / "null").is_char_device()
    assert (tmp_path / "null").samefile(os.devnull)


def test_the_same_content_is_the_same_gzip_file(tmp_path):
    for name in ("one.gz", "other.gz"):
        with open_gzip(tmp_path / name, level=1) as stream:
            stream.write(TEXT.encode())
    whole = (tmp_path / "one.gz").read_bytes()
    assert gzip.decompress(whole) == TEXT.encode()
    assert whole == (tmp_path / "other.gz").read_bytes()


def test_a_table_keeps_one_line_a_row_whatever_a_field_holds(tmp_path):
    path = tmp_path / "table.tsv"
    write_tsv(path, ("id", "reason"), [('a"b', "first\n      second\tthird"), ("c", None)])
    assert len(path.read_text().splitlines()) == 3
    assert list(read_tsv(path, ("id",))) == [
        {"id": 'a"b', "reason": "first second third"},
        {"id": "c", "reason": ""},
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", r"columns \['id'\] are missing"),
        ("name\nx\n", r"columns \['id'\] are missing"),
        ("id\tname\nx\ty\nz\n", "line 3: 1 tab-separated values, expected 2"),
        ("id\nx\ty\n", "line 2: 2 tab-separated values, expected 1"),
    ],
)
def test_a_table_that_lacks_a_column_or_a_value_is_an_error(tmp_path, text, complaint):
    (tmp_path / "table.tsv").write_text(text)
    with pytest.raises(DataError, match=complaint):
        list(read_tsv(tmp_path / "table.tsv", ("id",)))


@pytest.mark.parametrize("name", ["folder", "file/x", "/proc/x"])
def test_where_no_file_can_be_is_an_error(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"is a folder|cannot be written"):
        write_text(tmp_path / name, "x")
    with pytest.raises(OutputError), atomic_path(tmp_path / name):
        pass


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_bytes_that_are_no_utf8_are_told_by_their_line(tmp_path, pack):
    lines = "".join(f"{number}\tx\n" for number in range(9999)).encode()
    (tmp_path / "a.tsv").write_bytes(pack(b"id\tn\n" + lines + b"M\xfcller\t1\n"))
    told = r"a\.tsv, line 10001: 'M\\xfc' is not in utf-8, as expected; .* iconv -f latin1 -t utf-8"
    with pytest.raises(DataError, match=told):
        list(read_tsv(tmp_path / "a.tsv"))


def test_bytes_of_a_pipe_that_are_no_utf8_are_told_without_a_line(fifo):
    writer = threading.Thread(daemon=True, target=fifo.write_bytes, args=(b"M\xfcller\n",))
    writer.start()
    with (
        pytest.raises(DataError, match="fifo: the text is not in utf-8"),
        open_text(fifo) as stream,
    ):
        stream.read()
    writer.join()


@pytest.mark.parametrize(
    ("name", "stem"), [("sp|P1.2 text", "sp_P1.2-"), ("1abc_A", "1abc_A"), ("../../x;rm", "_.._x")]
)
def test_names_cannot_leave_the_output_folder(name, stem):
    found = file_stem(name)
    assert found.startswith(stem)
    assert "/" not in found
    assert file_stem("a/b") != file_stem("a_b")


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "x"
    path.write_text("old")

    class Interruption(Exception):
        pass

    with pytest.raises(Interruption), atomic_path(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise Interruption
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize(
    "write",
    [
        lambda path: write_text(path, "x" * 101),
        lambda path: write_tensors(path, {"x": torch.zeros(99)}),
        # NumPy writes by itself and says "99 requested and 9 written".
        lambda path: write_npy(path, np.zeros(99)),
    ],
)
def test_on_a_full_disk_the_file_is_named_and_the_old_one_stays(tmp_path, write):
    path = tmp_path / "x"
    path.write_text("old")
    told = r"x: cannot be written \(.*\); what stood there is still whole"
    with files_of_at_most(100), pytest.raises(OutputError, match=told):
        write(path)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]


def write_npy(path, array):
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, array)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
def test_a_device_that_takes_nothing_is_named_and_nothing_said_to_be_whole():
    told = r"/dev/full: cannot be written \(No space left on device\)\."
    with pytest.raises(OutputError, match=told):
        write_text("/dev/full", "x")


@pytest.mark.parametrize(
    "error",
    [FileNotFoundError(2, "No such file", "y"), BrokenPipeError(), gzip.BadGzipFile("CRC")],
)
def test_an_error_of_another_file_or_of_a_reader_that_went_away_is_not_of_the_file(tmp_path, error):
    with pytest.raises(type(error)), atomic_path(tmp_path / "x"):
        raise error


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none: no such file"), open_text(tmp_path / "none"):
        pass
