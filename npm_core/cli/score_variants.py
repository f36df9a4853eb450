"""Score mutants of a Potts model's query: log-odds against it, higher is more favourable.

The input is a CSV with a column `mutant`: A23G, or A23G:L40P for several mutations together, with
the numbers of the residues in the query, M-2A where one is negative; WT is the query itself. The
output is the same table with a column `delta` = E(query) - E(mutant) in nats, the sign of
EVmutation. An X of the query counts as a gap. With --all-singles there is no input: every exchange
of one residue is scored.

The model needs a query: .safetensors, .npz and plmc files hold it and its residue numbers: from 1,
or from FIRST where the query, of an alignment or of `predict`, is called NAME/FIRST-LAST and has
LAST - FIRST + 1 residues, those without a column included.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from npm_core.arguments import output_file

if TYPE_CHECKING:
    from npm_core.arrays import Indices

MAX_WRONG = 0.1
"""Share of the residues named that may be others in the query; more is another numbering."""


def register(parser: argparse.ArgumentParser) -> None:
    """Arguments of `score-variants`."""
    parser.add_argument(
        "--potts", type=Path, required=True, metavar="FILE", help="any format that `convert` reads"
    )
    mutants = parser.add_mutually_exclusive_group(required=True)
    mutants.add_argument(
        "--variants",
        type=Path,
        metavar="FILE.csv",
        help="with a column mutant; may be gzipped",
    )
    mutants.add_argument(
        "--all-singles", action="store_true", help="score every exchange of one residue instead"
    )
    parser.add_argument(
        "--query",
        type=Path,
        metavar="FILE.fasta",
        help="one sequence, of the model's length: the query where the model's file holds none",
    )
    parser.add_argument(
        "--offset",
        type=int,
        default=0,
        metavar="NUMBER",
        help="added to the query's residue numbers, where those of the mutants are others",
    )
    parser.add_argument(
        "--measured",
        metavar="COLUMN",
        help="of the CSV: say the Spearman correlation of delta with it",
    )
    parser.add_argument(
        "--skip-unscorable",
        action="store_true",
        help="leave delta empty where the model has no answer (a stop, a deletion, a residue "
        "without a column or another than the query's), and say why in a column reason; else such "
        "a row is an error",
    )
    parser.add_argument(
        "--output",
        type=output_file(".csv"),
        required=True,
        metavar="FILE.csv",
        help="the same rows with a column delta",
    )


def run(args: argparse.Namespace) -> None:
    """Read, check every mutant, score, write."""
    import csv
    import io

    from npm_core import model_files
    from npm_core.errors import DataError, SettingsError
    from npm_core.files import write_text
    from npm_core.numbering import LONGEST
    from npm_core.progress import note
    from npm_core.variants import log_odds, parse_variant, places, single_mutants

    if args.all_singles and (args.measured or args.skip_unscorable):
        raise SettingsError("--all-singles reads no table: no --measured, no --skip-unscorable")
    if abs(args.offset) > LONGEST:
        raise SettingsError(f"--offset is {args.offset}, expected -{LONGEST} to {LONGEST}")
    model = model_files.read_model(args.potts)
    query, numbers = model_files.query_of(model), model_files.numbers_of(model)
    if args.query:
        query, numbers = _read_query(args.query, model.length)
    if query is None:
        raise DataError(
            f"{args.potts}: no query is stored with the model, so mutants have no reference; "
            "name one by --query"
        )
    numbers = numbers + args.offset
    added = ["delta", *(["reason"] if args.skip_unscorable else [])]
    if args.all_singles:
        rows = [[mutant] for mutant in single_mutants(query, numbers)]
        table = Table(["mutant"], rows, range(1, len(rows) + 1))
    else:
        table = _read_table(args.variants, added)
    measured = _measured(table, args.measured, args.variants) if args.measured else None
    mutants = table.column("mutant")
    other_numbers = _other_numbers(mutants, query, numbers, args.offset)
    place = places(numbers)
    variants, reasons = [], []
    for line, mutant in zip(table.lines, mutants, strict=True):
        try:
            variants.append(parse_variant(mutant, query, place))
            reasons.append("")
        except DataError as error:
            if not args.skip_unscorable:
                cure = other_numbers or "--skip-unscorable leaves such rows without a delta"
                raise DataError(f"{args.variants}, line {line}: {error}; {cure}") from error
            reasons.append(str(error))
    if other_numbers:
        raise DataError(f"{args.variants}: {other_numbers}")
    if not variants:
        where = args.variants or args.potts
        raise DataError(f"{where}: no mutants that can be scored, of {len(mutants)} rows")
    found = iter(log_odds(model, query, variants).tolist())
    deltas = [None if reason else next(found) for reason in reasons]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*table.header, *added])
    for row, delta, reason in zip(table.rows, deltas, reasons, strict=True):
        told = "" if delta is None else f"{delta:.6f}"
        writer.writerow([*row, told, *([reason] if args.skip_unscorable else [])])
    write_text(args.output, text.getvalue())
    note(f"{args.output}: {len(variants)} mutants scored, {len(mutants) - len(variants)} not")
    if measured is not None:
        note(_correlation(args.measured, measured, deltas))


@dataclass(frozen=True)
class Table:
    """A CSV.

    Attributes:
        header: Names of its columns.
        rows: The others.
        lines: On which each row ends.
    """

    header: list[str]
    rows: list[list[str]]
    lines: Sequence[int]

    def column(self, name: str) -> list[str]:
        place = self.header.index(name)
        return [row[place] for row in self.rows]


def _read_table(path: Path, added: Sequence[str]) -> Table:
    """The mutants, with whatever else is known of them.

    Raises:
        DataError: That is no CSV with a column `mutant` and without those that will be added.
    """
    import csv

    from npm_core.errors import DataError
    from npm_core.files import open_text

    rows, lines = [], []
    with open_text(path) as stream:
        table = csv.reader(stream)
        header = next(table, None)
        if header is None:
            raise DataError(f"{path}: is empty, expected a CSV with a column mutant")
        if "mutant" not in header:
            parted = " (are they separated by commas?)" if len(header) == 1 else ""
            raise DataError(
                f"{path}: columns are {', '.join(header)}{parted}; expected one called mutant"
            )
        if already := set(added) & set(header):
            raise DataError(f"{path}: has a column {min(already)}, which would be there twice")
        for row in filter(None, table):
            if len(row) != len(header):
                raise DataError(
                    f"{path}, line {table.line_num}: {len(row)} cells, {len(header)} columns"
                )
            rows.append(row)
            lines.append(table.line_num)
    return Table(header, rows, lines)


def _other_numbers(
    mutants: Sequence[str], query: str, numbers: "Indices", offset: int
) -> str | None:
    """That mutants are of another numbering than the query, and of which; None if they are not."""
    from npm_core.variants import agreement

    found = agreement(mutants, query, numbers)
    if found.wrong <= MAX_WRONG * found.named:
        return None
    said = f"{found.wrong} of {found.named} residues that the mutants name are others in the query"
    if found.right <= found.named - found.wrong:
        return f"{said}, whatever is added to its numbers: is it the same protein?"
    return f"{said}; with --offset {offset + found.offset} {found.right} would be the query's"


def _measured(table: Table, name: str, where: Path) -> list[float | None]:
    """The numbers of a column; None where a cell is empty.

    Raises:
        DataError: There is no such column, or something else in it.
    """
    import math

    from npm_core.errors import DataError

    if name not in table.header:
        raise DataError(f"{where}: no column {name}; there are {', '.join(table.header)}")
    found: list[float | None] = []
    for line, cell in zip(table.lines, table.column(name), strict=True):
        try:
            found.append(float(cell) if cell.strip() else None)
        except ValueError as error:
            raise DataError(f"{where}, line {line}: {name} is {cell!r}, no number") from error
        if found[-1] is not None and not math.isfinite(found[-1]):
            raise DataError(f"{where}, line {line}: {name} is {cell}, expected a finite number")
    return found


def _correlation(
    name: str, measured: Sequence[float | None], deltas: Sequence[float | None]
) -> str:
    """Spearman's, over the rows that have both, in words."""
    from scipy.stats import spearmanr

    both = [
        (m, d) for m, d in zip(measured, deltas, strict=True) if m is not None and d is not None
    ]
    if min(map(len, map(set, zip(*both, strict=True))), default=0) < 2:
        return f"no Spearman correlation of delta with {name}: one of them has a single value"
    rho = spearmanr(*zip(*both, strict=True)).statistic
    return f"Spearman correlation of delta with {name}: {rho:.3f} (n = {len(both)})"


def _read_query(path: Path, length: int) -> tuple[str, "Indices"]:
    """The query of a model without one, and its residues' numbers."""
    from npm_core.errors import DataError
    from npm_core.numbering import residue_numbers
    from npm_core.queries import read_queries

    queries = list(read_queries(path))
    if [len(query.sequence) for query in queries] != [length]:
        found = ", ".join(f"{query.id} of {len(query.sequence)}" for query in queries[:3])
        raise DataError(f"{path}: {found}; expected one sequence of the model's {length} residues")
    return queries[0].sequence, residue_numbers(queries[0].id, queries[0].sequence)
