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
from pathlib import Path
from typing import TYPE_CHECKING

from npm_core.cli._arguments import output_file

if TYPE_CHECKING:
    from npm_core.arrays import Indices


def register(parser: argparse.ArgumentParser) -> None:
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
        help="of the CSV: say the Spearman correlation of delta with it, over rows that have both",
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

    from npm_core import potts_files
    from npm_core.errors import DataError, SettingsError
    from npm_core.files import write_text
    from npm_core.numbering import LONGEST
    from npm_core.progress import note
    from npm_core.variants import (
        Table,
        log_odds,
        measured_numbers,
        numbering_misfit,
        parse_variant,
        places,
        rank_correlation,
        read_table,
        single_mutants,
    )

    if args.all_singles and (args.measured or args.skip_unscorable):
        raise SettingsError("--all-singles reads no table: no --measured, no --skip-unscorable")
    if abs(args.offset) > LONGEST:
        raise SettingsError(f"--offset is {args.offset}, expected -{LONGEST} to {LONGEST}")
    model = potts_files.read_model(args.potts)
    query, numbers = potts_files.query_of(model), potts_files.numbers_of(model)
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
        table = read_table(args.variants, added)
    measured = measured_numbers(table, args.measured, args.variants) if args.measured else None
    mutants = table.column("mutant")
    other_numbers = numbering_misfit(mutants, query, numbers, args.offset)
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
        note(rank_correlation(args.measured, measured, deltas))


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
