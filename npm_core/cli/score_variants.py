"""Score mutants of a Potts model's query: log-odds against it, higher is more favourable.

The input is a CSV with a column `mutant`: A23G, or A23G:L40P for several mutations together, with
the numbers of the residues in the query; WT is the query itself. The output is the same table with
a column `delta` = E(query) - E(mutant) in nats, the sign of EVmutation. An X of the query counts as
a gap.

The model needs a query: .safetensors, .npz and plmc files hold it and its residue numbers: from 1,
or from FIRST where the query, of an alignment or of `predict`, is called NAME/FIRST-LAST.
"""

import argparse
from pathlib import Path

from npm_core.arguments import output_file


def register(parser: argparse.ArgumentParser) -> None:
    """Arguments of `score-variants`."""
    parser.add_argument(
        "--potts", type=Path, required=True, metavar="FILE", help="any format that `convert` reads"
    )
    parser.add_argument(
        "--variants",
        type=Path,
        required=True,
        metavar="FILE.csv",
        help="with a column mutant; may be gzipped",
    )
    parser.add_argument(
        "--query",
        type=Path,
        metavar="FILE.fasta",
        help="one sequence, of the model's length: the query where the model's file holds none",
    )
    parser.add_argument(
        "--first",
        type=int,
        metavar="NUMBER",
        help="that the query's first residue has in the CSV, where it is not the stored one",
    )
    parser.add_argument(
        "--skip-unscorable",
        action="store_true",
        help="leave delta empty where the model has no answer (a stop, a deletion, a residue "
        "without a column), and say why in a column reason; else such a row is an error",
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
    from npm_core.errors import DataError
    from npm_core.files import open_text, write_text
    from npm_core.progress import note
    from npm_core.variants import log_odds, parse_variant

    model = model_files.read_model(args.potts)
    query = _read_query(args.query, model.length) if args.query else model_files.query_of(model)
    if query is None:
        raise DataError(
            f"{args.potts}: no query is stored with the model, so mutants have no reference; "
            "name one by --query"
        )
    numbers = model_files.numbers_of(model)
    if args.first is not None:
        numbers = numbers - numbers[0] + args.first
    added = ["delta", *(["reason"] if args.skip_unscorable else [])]
    variants, rows, reasons = [], [], []
    with open_text(args.variants) as stream:
        table = csv.reader(stream)
        header = next(table, [])
        if "mutant" not in header or set(added) & set(header):
            raise DataError(
                f"{args.variants}: columns are {header}; expected one called mutant, none "
                f"{' or '.join(added)}"
            )
        column = header.index("mutant")
        for row in filter(None, table):
            at = f"{args.variants}, line {table.line_num}"
            if len(row) != len(header):
                raise DataError(f"{at}: {len(row)} cells, {len(header)} columns")
            try:
                variants.append(parse_variant(row[column], query, numbers))
                reasons.append("")
            except DataError as error:
                if not args.skip_unscorable:
                    raise DataError(
                        f"{at}: {error}; --skip-unscorable leaves such rows without a delta"
                    ) from error
                reasons.append(str(error))
            rows.append(row)
    if not variants:
        raise DataError(f"{args.variants}: no mutants that can be scored, of {len(rows)} rows")
    deltas = iter(log_odds(model, query, variants))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*header, *added])
    for row, reason in zip(rows, reasons, strict=True):
        delta = "" if reason else f"{next(deltas):.6f}"
        writer.writerow([*row, delta, *([reason] if args.skip_unscorable else [])])
    write_text(args.output, text.getvalue())
    if args.skip_unscorable:
        note(f"{args.output}: {len(variants)} mutants scored, {len(rows) - len(variants)} not")


def _read_query(path: Path, length: int) -> str:
    from npm_core.errors import DataError
    from npm_core.queries import read_queries

    queries = list(read_queries(path))
    if [len(query.sequence) for query in queries] != [length]:
        found = ", ".join(f"{query.id} of {len(query.sequence)}" for query in queries[:3])
        raise DataError(f"{path}: {found}; expected one sequence of the model's {length} residues")
    return queries[0].sequence
