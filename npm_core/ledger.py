"""The ledger of a shard: one row for each query, with what became of it."""

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

from npm_core.errors import DataError, ToolError
from npm_core.files import atomic_path, open_text

Status = Literal["ok", "empty", "failed", "skipped"]


@dataclass(frozen=True)
class Row:
    """What became of one query.

    Attributes:
        query: Its id.
        status: "ok"; "empty" (nothing was found: the alignment is the query alone, which is a
            family of depth 1 and goes on); "failed" or "skipped" (no alignment).
        reason: Why it failed or was skipped, else empty.
        depth: Rows of the alignment, the query counted; 0 where there is none.
        seconds: Wall time.
    """

    query: str
    status: Status
    reason: str = ""
    depth: int = 0
    seconds: float = 0.0


def write_ledger(path: Path | str, rows: Sequence[Row], kind: type[Row] = Row) -> None:
    """Write rows, all of one `kind`, as tab-separated values under a header."""
    with atomic_path(path) as part, part.open("w", encoding="utf-8", newline="") as stream:
        names = [field.name for field in fields(kind)]
        writer = csv.DictWriter(stream, names, dialect="excel-tab", lineterminator="\n")
        writer.writeheader()
        for row in rows:
            values = asdict(row)
            writer.writerow(values | {"seconds": f"{row.seconds:.2f}"})


def read_ledger(path: Path | str) -> list[dict[str, str]]:
    """Rows as written, each value as text; ledgers of other steps may have more columns.

    Raises:
        DataError: The file is missing or has not the columns of a ledger.
    """
    with open_text(path) as stream:
        reader = csv.DictReader(stream, dialect="excel-tab")
        missing = {field.name for field in fields(Row)} - set(reader.fieldnames or ())
        if missing:
            raise DataError(f"{path}: not a ledger; columns {sorted(missing)} are missing")
        return list(reader)


def summary(rows: Sequence[Row]) -> str:
    """E.g. "95 ok, 3 empty, 2 skipped"."""
    counts = Counter(row.status for row in rows)
    order: tuple[Status, ...] = ("ok", "empty", "failed", "skipped")
    return ", ".join(f"{counts[status]} {status}" for status in order if counts[status]) or "none"


def check_failed_share(rows: Sequence[Row], *, total: int, allowed: float, where: str) -> None:
    """Raise when more than a share of all queries has failed.

    Args:
        rows: Rows so far.
        total: How many rows there will be.
        allowed: Share of `total` that may fail.
        where: The work, for the message.

    Raises:
        ToolError: More have failed; the message counts the commonest reasons.
    """
    failed = [row for row in rows if row.status == "failed"]
    if len(failed) > allowed * total:
        reasons = Counter(row.reason for row in failed).most_common(3)
        listed = "; ".join(f"{count} x {reason}" for reason, count in reasons)
        raise ToolError(
            f"{where}: {len(failed)} of {total} failed, at most {allowed:.1%} may. "
            f"First {failed[0].query}. {listed}"
        )
