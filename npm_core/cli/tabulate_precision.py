"""Tabulate contact precision: one row per model, target, separation range and cut-off.

The model "chance" is added: the exact expectation for scores that know nothing. depth and meff
are those of the model "potts" for the same target, generalisation_loss is the model's own and the
same in all its rows of a target. Ranges in which no two residues are resolved
have no rows; the file's metadata counts them.
"""

import argparse
from pathlib import Path

from npm_core.cli._arguments import OutputFile, register_contact_distance


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scores", type=Path, nargs="+", required=True, help="tables of scores")
    parser.add_argument("--targets", type=Path, nargs="+", required=True, help="tables of targets")
    parser.add_argument(
        "--column",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        help="a column of text that every row carries, e.g. round=0",
    )
    register_contact_distance(parser)
    parser.add_argument("--output", type=OutputFile, required=True, help="Parquet table")


def run(args: argparse.Namespace) -> None:
    from npm_core import tabulation
    from npm_core.errors import DataError, SettingsError
    from npm_core.progress import note, track
    from npm_core.provenance import provenance
    from npm_core.tables import Target, read_scores, read_targets

    columns: dict[str, str] = {}
    for assignment in args.column:
        name, equals, value = assignment.partition("=")
        if not equals or not name or name in columns:
            raise SettingsError(f"--column {assignment}: expected NAME=VALUE, each name once")
        columns[name] = value
    targets: dict[str, Target] = {}
    for target in read_targets(*args.targets):
        if target.id in targets:
            raise DataError(f"target {target.id} occurs twice in the tables of targets")
        targets[target.id] = target
    scored = tabulation.index_scores(*args.scores)
    left_out = tabulation.count_left_out(targets, scored)
    scores = track(
        read_scores(*args.scores),
        total=sum(len(ids) for ids in scored.values()),
        what="targets measured",
    )
    count = tabulation.write_precision(
        args.output,
        tabulation.precision_rows(
            scores,
            targets,
            scored.get(tabulation.ALIGNED, {}),
            contact_distance=args.contact_distance,
        ),
        columns=columns,
        metadata=provenance(
            contact_distance=args.contact_distance,
            columns=columns,
            scores=[str(path) for path in args.scores],
        ),
        left_out=left_out,
    )
    note(
        f"{args.output}: {count} rows; {len(targets)} targets; "
        f"no resolved pair in a range: {left_out.unscorable}; "
        f"without scores: {left_out.unscored}"
    )
