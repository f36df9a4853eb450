"""Score mutants of a Potts model's query: log-odds against it, higher is more favourable.

The input is a CSV with a column `mutant`: A23G, or A23G:L40P for several mutations together,
numbered along the model's query. The output is the same table with a column `delta` =
E(query) - E(mutant), the sign of EVmutation. The model needs a query: `fit-potts` and `predict`
store it in .safetensors, .npz and plmc files, the other formats have no place for it.
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
        "--first", type=int, default=1, help="number that the query's first residue has in it"
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

    from npm_core import formats
    from npm_core.errors import DataError
    from npm_core.files import open_text, write_text
    from npm_core.variants import log_odds, parse_variant

    model = formats.read_model(args.potts)
    query = formats.query_of(model)
    if query is None:
        raise DataError(
            f"{args.potts}: no query is stored with the model, so mutants have no reference; "
            "use the .safetensors file that `fit-potts` or `predict` wrote"
        )
    variants = []
    with open_text(args.variants, encoding="utf-8-sig") as stream:
        table = csv.reader(stream)
        header = next(table, [])
        if "mutant" not in header or "delta" in header:
            raise DataError(
                f"{args.variants}: columns are {header}; expected one called mutant, none delta"
            )
        column = header.index("mutant")
        rows = []
        for row in table:
            at = f"{args.variants}, line {table.line_num}"
            if len(row) != len(header):
                raise DataError(f"{at}: {len(row)} cells, {len(header)} columns")
            try:
                variants.append(parse_variant(row[column], query, first=args.first))
            except DataError as error:
                raise DataError(f"{at}: {error}") from error
            rows.append(row)
    if not rows:
        raise DataError(f"{args.variants}: no mutants")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*header, "delta"])
    for row, delta in zip(rows, log_odds(model, query, variants), strict=True):
        writer.writerow([*row, f"{delta:.6f}"])
    write_text(args.output, text.getvalue())
