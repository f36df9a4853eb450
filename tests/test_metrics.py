"""Rows of metrics are added one by one, and those of an earlier start come whole or not at all."""

import os
from pathlib import Path

import pytest

from npm_core import metrics
from npm_core.errors import OutputError
from npm_core.metrics import Metrics

COLUMNS = ("step", "loss", "validation")


def table(folder: Path) -> Metrics:
    return Metrics(folder / "m.csv", COLUMNS, kept=folder / "kept.csv")


def begun(folder: Path, rows: int) -> Metrics:
    made = table(folder)
    made.start(after=None)
    for step in range(rows):
        made.append({"step": step, "loss": step / 8})
    return made


def lines(folder: Path) -> list[str]:
    text = (folder / "m.csv").read_text()
    assert (folder / "kept.csv").read_text() == text
    return text.split("\n")


def test_a_row_is_a_line_at_the_end_of_both_files(tmp_path, monkeypatch):
    made = begun(tmp_path, 2)
    monkeypatch.delattr(metrics, "write_text")
    made.append({"step": 2, "validation": 1e-9})
    assert lines(tmp_path) == ["step,loss,validation", "0,0,", "1,0.125,", "2,,1e-09", ""]


def test_a_training_begun_anew_takes_the_place_of_an_earlier_one(tmp_path):
    begun(tmp_path, 3)
    begun(tmp_path, 1)
    assert lines(tmp_path) == ["step,loss,validation", "0,0,", ""]


def test_a_later_start_goes_on_behind_the_rows_up_to_its_checkpoint(tmp_path):
    begun(tmp_path, 5)
    (tmp_path / "m.csv").unlink()
    made = table(tmp_path)
    made.start(after=2)
    made.append({"step": 3, "loss": 7})
    assert lines(tmp_path)[1:] == ["0,0,", "1,0.125,", "2,0.25,", "3,7,", ""]
    assert len(made.rows) == 4


@pytest.mark.parametrize("cut", range(1, len("4,0.5,\n")))
def test_a_last_line_that_was_cut_off_is_dropped(tmp_path, cut):
    begun(tmp_path, 5)
    with (tmp_path / "kept.csv").open("rb+") as stream:
        stream.truncate(stream.seek(-cut, os.SEEK_END))
    made = table(tmp_path)
    made.start(after=9)
    assert [row["step"] for row in made.rows] == ["0", "1", "2", "3"]
    assert lines(tmp_path)[-2:] == ["3,0.375,", ""]


def test_a_table_that_was_deleted_meanwhile_is_written_whole(tmp_path):
    made = begun(tmp_path, 2)
    (tmp_path / "m.csv").unlink()
    made.append({"step": 2, "loss": 1})
    assert lines(tmp_path) == ["step,loss,validation", "0,0,", "1,0.125,", "2,1,", ""]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
def test_a_full_disk_is_an_error_that_names_the_file():
    made = Metrics(Path("/dev/full"), COLUMNS, kept=Path(os.devnull))
    with pytest.raises(OutputError, match=r"/dev/full: .*; the rows before the last are still"):
        metrics._add(made.path, "0,0,\n")


def test_a_measure_that_is_no_column_is_refused(tmp_path):
    with pytest.raises(ValueError, match="accuracy"):
        begun(tmp_path, 1).append({"step": 1, "accuracy": 1})
    assert len(lines(tmp_path)) == 3
