"""What is measured while a model trains: a CSV, and TensorBoard where it is asked for."""

import csv
import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from npm_core.errors import DataError, OutputError, SettingsError
from npm_core.files import open_text, write_text

if TYPE_CHECKING:
    import pandas as pd


class Metrics:
    """Rows of measures by update. The CSV is whole after each row."""

    def __init__(
        self, path: Path, columns: tuple[str, ...], *, kept: Path, tensorboard: Path | None = None
    ) -> None:
        """Name the files; nothing is written yet.

        Args:
            path: The CSV.
            columns: Measures; "step" among them.
            kept: A second CSV of the same rows, for a later start: workflows delete `path` when
                a training stops.
            tensorboard: Folder of TensorBoard's event files.

        Raises:
            SettingsError: TensorBoard is asked for and not installed.
        """
        self.path, self.columns, self.kept = path, columns, kept
        self.rows: list[dict[str, str]] = []
        self._folder, self._board = tensorboard, None
        if tensorboard is not None:
            self._writer_class = _summary_writer()

    def start(self, *, after: int | None, write: bool = True) -> None:
        """Begin, with the rows of an earlier start up to the update it is gone on after, if any.

        Args:
            after: Number of that update; None if there was no earlier start.
            write: Write these rows to both CSVs at once.
        """
        if after is not None and self.kept.is_file():
            self.rows = [row for row in _whole_rows(self.kept) if int(row["step"]) <= after]
            if write:
                self._write()
        if self._folder is not None:
            first = 0 if after is None else after + 1
            self._board = self._writer_class(str(self._folder), purge_step=first)

    def append(self, row: Mapping[str, float]) -> None:
        """Add a row to both CSVs; the first takes the place of what stood there.

        Raises:
            OutputError: There is no room; the rows before are still whole.
        """
        told = {key: f"{value:.6g}" for key, value in row.items()} | {"step": f"{row['step']:.0f}"}
        line = self._lines([told])
        self.rows.append(told)
        if len(self.rows) == 1 or not (self.kept.exists() and self.path.exists()):
            self._write()
        else:
            # Lasting: a start from the next checkpoint would not write this row again.
            _add(self.kept, line, lasting=True)
            _add(self.path, line)
        if self._board is not None:
            for key, value in row.items():
                if key != "step":
                    self._board.add_scalar(key, value, int(row["step"]))
            self._board.flush()

    def _write(self) -> None:
        text = ",".join(self.columns) + "\n" + self._lines(self.rows)
        for path in (self.kept, self.path):
            write_text(path, text)

    def _lines(self, rows: Iterable[Mapping[str, str]]) -> str:
        text = io.StringIO()
        csv.DictWriter(text, self.columns, lineterminator="\n").writerows(rows)
        return text.getvalue()

    def close(self) -> None:
        if self._board is not None:
            self._board.close()


def read_metrics(path: Path | str) -> "pd.DataFrame":
    """The CSV of a training: a column `step` of whole numbers, others of numbers or NaN.

    Raises:
        DataError: The file is missing, empty or no such table.
    """
    import pandas as pd

    with open_text(path) as stream:
        try:
            rows = pd.read_csv(stream, dtype=float)
            if "step" not in rows:
                raise DataError(f"{path}: column 'step' is missing, found {list(rows.columns)}")
            return rows.astype({"step": int})
        except ValueError as error:
            raise DataError(f"{path}: not a table of metrics ({error})") from error


def _whole_rows(path: Path) -> Iterable[dict[str, str]]:
    """Rows of a CSV but for a last line that a crash or a full disk cut off."""
    text = path.read_text(encoding="utf-8", errors="replace")
    return csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1]))


def _add(path: Path, line: str, *, lasting: bool = False) -> None:
    """Add a line to a file; one that is `lasting` is on the disk when this returns."""
    try:
        with path.open("a", encoding="utf-8") as stream:
            stream.write(line)
            stream.flush()
            if lasting:
                os.fsync(stream.fileno())
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({error.strerror}); the rows before the last are still "
            "whole. Make room and give the same command again"
        ) from error


def _summary_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise SettingsError(
            f"--tensorboard needs the package tensorboard ({error}); "
            "pip install 'neural-potts-model[tensorboard]'"
        ) from error
    return SummaryWriter
