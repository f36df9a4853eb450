"""Reduce the depth of one bucket's alignments, and put them under their targets (paper, C.3).

Written are the evaluation bucket's families with DEPTH random rows each, in Pfam's columns, for
training; and of those with a structure the same rows below the target's sequence, in the target's
positions, for the independent Potts model. A smaller depth is a subset of a larger one.

--test-rows writes rows that the depth leaves out, in the targets' positions: by their loss models
are judged (the generalisation loss of section 3).
"""

import argparse
from pathlib import Path

from npm_core.cli._arguments import OutputFile, positive_int, register_identity_threshold, whole


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--families", type=Path, required=True, nargs="+", help="tables of families"
    )
    parser.add_argument(
        "--targets",
        type=Path,
        required=True,
        metavar="FILE.parquet",
        help="table of the clan's targets",
    )
    parser.add_argument(
        "--columns",
        type=Path,
        required=True,
        metavar="FILE.parquet",
        help="of `choose-clan-targets` or `import-clan`",
    )
    parser.add_argument(
        "--buckets", type=Path, required=True, metavar="FILE.tsv", help="of `split-buckets`"
    )
    parser.add_argument(
        "--round",
        required=True,
        type=whole,
        dest="cv_round",
        metavar="BUCKET",
        help="the bucket to reduce, from 0",
    )
    parser.add_argument("--depth", required=True, type=_depth, help='rows to keep, or "full"')
    parser.add_argument("--seed", required=True, type=whole, help="of the rows that are kept")
    register_identity_threshold(parser)
    parser.add_argument(
        "--output",
        type=OutputFile,
        required=True,
        metavar="FILE.parquet",
        help="table of the reduced families, for training",
    )
    parser.add_argument(
        "--target-msas",
        type=OutputFile,
        required=True,
        metavar="FILE.parquet",
        help="table of the same rows below their targets, for the independent Potts model",
    )
    parser.add_argument(
        "--test-rows",
        type=OutputFile,
        metavar="FILE.parquet",
        help="write rows that are left out of the targets' families here",
    )
    parser.add_argument(
        "--most-test-rows",
        type=positive_int,
        default=1000,
        help="most rows of a family that --test-rows gets",
    )
    parser.add_argument(
        "--evaluation-targets",
        type=OutputFile,
        metavar="FILE.parquet",
        help="write the bucket's targets here",
    )


def _depth(text: str) -> int | None:
    if text == "full":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number of rows or 'full', found {text!r}")
    return int(text)


def run(args: argparse.Namespace) -> None:
    """Reduce the families of one bucket and write both tables."""
    from npm_core.buckets import bucket_members, read_buckets
    from npm_core.clan_targets import read_columns
    from npm_core.errors import DataError
    from npm_core.progress import note, track
    from npm_core.provenance import provenance
    from npm_core.reduction import reduce_bucket
    from npm_core.tables import read_families, read_targets, write_families, write_targets

    members = bucket_members(read_buckets(args.buckets), args.cv_round)
    targets = {target.id: target for target in read_targets(args.targets) if target.id in members}
    if not targets:
        raise DataError(
            f"{args.buckets}: none of the {len(members)} families of bucket {args.cv_round} has a "
            f"target in {args.targets}, so that nothing can be evaluated there. Ask for fewer "
            "buckets (pfam_clan.buckets) or rounds, or give more families a structure"
        )
    families = read_families(*args.families, only=members)
    found = reduce_bucket(
        track(families, total=len(members), what="families reduced"),
        targets,
        read_columns(args.columns),
        depth=args.depth,
        seed=args.seed,
        cv_round=args.cv_round,
        identity_threshold=args.identity_threshold,
        most_test_rows=args.most_test_rows,
    )
    reduced, msas, test_rows = found.families, found.msas, found.test_rows
    if len(reduced) != len(members):
        missing = members - {family.id for family in reduced}
        raise DataError(f"{args.buckets}: {min(missing)} is not among the families")
    shallow = sum(args.depth is not None and family.depth < args.depth for family in reduced)
    facts = provenance(
        round=args.cv_round,
        depth=args.depth or "full",
        seed=args.seed,
        identity_threshold=args.identity_threshold,
        families=len(reduced),
        shallower_than_depth=shallow,
        rows_identical_to_targets=found.redundant,
        targets_without_test_rows=len(msas) - len(test_rows),
    )
    write_families(args.output, reduced, facts)
    write_families(args.target_msas, msas, facts)
    if args.test_rows:
        write_families(args.test_rows, test_rows, facts)
    if args.evaluation_targets:
        write_targets(args.evaluation_targets, targets.values(), facts)
    note(
        f"{len(reduced)} families at depth {args.depth or 'full'} ({shallow} have fewer rows), "
        f"{len(msas)} with a target, {found.redundant} rows identical to targets left out, "
        f"{len(test_rows)} with test rows"
    )
