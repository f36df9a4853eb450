"""The ledger of a shard: one row for each query, with what became of it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

from npm_core.errors import ToolError
from npm_core.files import write_tsv

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
    columns = [field.name for field in fields(kind)]
    values = ((asdict(row) | {"seconds": f"{row.seconds:.2f}"}).values() for row in rows)
    write_tsv(path, columns, map(tuple, values))


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
