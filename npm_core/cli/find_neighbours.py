"""Find the training family nearest to each target, and align the target to it (paper, C.3).

With hhsearch the family is the one whose seed profile matches with the highest probability, and
the target is aligned to that family's own alignment by HHalign. With mmseqs, for query-centred
families, it is the one whose query has the highest bit score, in that alignment.
"""

import argparse
from pathlib import Path

from npm_core.arguments import OutputFile, positive_int


def register(parser: argparse.ArgumentParser) -> None:
    """Arguments of `find-neighbours`."""
    parser.add_argument("--targets", type=Path, required=True, nargs="+", metavar="FILE.parquet")
    parser.add_argument("--families", type=Path, required=True, nargs="+", metavar="FILE.parquet")
    parser.add_argument(
        "--method",
        choices=("hhsearch", "mmseqs"),
        default="hhsearch",
        help="how the nearest family is found, see above",
    )
    parser.add_argument(
        "--profiles",
        metavar="PREFIX",
        help="FFindex of seed alignments (A3M by family), needed by hhsearch",
    )
    parser.add_argument(
        "--buckets",
        type=Path,
        metavar="FILE.tsv",
        help="train on the families outside a target's own bucket; without it on all",
    )
    parser.add_argument(
        "--round", type=int, dest="cv_round", help="only the targets of this bucket, from 0"
    )
    parser.add_argument("--e-value", type=float, default=1e-3, help="of MMseqs2")
    parser.add_argument(
        "--keep-own", action="store_true", help="do not leave out a family called like its target"
    )
    parser.add_argument("--workers", type=positive_int, default=1, help="programs at a time")
    parser.add_argument("--output", required=True, type=OutputFile, metavar="FILE.parquet")


def run(args: argparse.Namespace) -> None:
    """Search, align and write the neighbours."""
    from npm_core.errors import DataError, SettingsError
    from npm_core.ffindex import read_entries
    from npm_core.neighbours import (
        TrainingSet,
        nearest_by_hhsearch,
        nearest_by_mmseqs,
        scratch_folder,
        write_neighbours,
    )
    from npm_core.progress import note
    from npm_core.provenance import provenance
    from npm_core.reduction import bucket_members, read_buckets
    from npm_core.tables import read_families, read_queries, read_targets

    if args.method == "hhsearch" and args.profiles is None:
        raise SettingsError("--method hhsearch needs --profiles, the families' seed alignments")
    if args.cv_round is not None and args.buckets is None:
        raise SettingsError("--round needs --buckets")
    targets = list(read_targets(*args.targets))
    buckets = read_buckets(args.buckets) if args.buckets else None
    if buckets is not None and args.cv_round is not None:
        members = bucket_members(buckets, args.cv_round)
        targets = [target for target in targets if target.id in members]
    training = TrainingSet(buckets, args.keep_own)
    with scratch_folder(args.output) as folder:
        if args.method == "hhsearch":
            ids = read_queries(*args.families).keys()
            profiles = {
                family: text.decode()
                for family, text in read_entries(args.profiles)
                if family in ids
            }
            if missing := ids - profiles.keys():
                raise DataError(f"{args.profiles}: family {min(missing)} has no profile")
            found = nearest_by_hhsearch(
                targets,
                training,
                profiles=profiles,
                alignments=lambda chosen: (
                    family for family in read_families(*args.families) if family.id in chosen
                ),
                workers=args.workers,
                scratch=Path(folder),
            )
        else:
            found = nearest_by_mmseqs(
                targets,
                training,
                # A gap in a query is a residue nobody knows, and a column like the others.
                queries=(
                    (family, query.replace("-", "X"))
                    for path in args.families
                    for family, query in read_queries(path).items()
                ),
                e_value=args.e_value,
                threads=args.workers,
                scratch=Path(folder),
            )
    without = sum(neighbour.family is None for neighbour in found)
    facts = provenance(
        method=args.method,
        round=args.cv_round,
        targets=len(found),
        targets_without_hit=without,
    )
    write_neighbours(args.output, found, facts)
    note(f"{len(found)} targets, {without} without a hit")
