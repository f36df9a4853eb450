"""Find the family of the training buckets nearest to each target, by HHsearch (paper, C.3).

The nearest is the one whose seed profile matches with the highest probability; the target is
aligned to that family's own alignment by HHalign.
"""

import argparse
from pathlib import Path

from npm_core.cli._arguments import positive_int, whole
from npm_core.cli._neighbours import register_inputs, register_output, write_found


def register(parser: argparse.ArgumentParser) -> None:
    register_inputs(parser)
    parser.add_argument(
        "--profiles",
        required=True,
        metavar="PREFIX",
        help="FFindex of the families' seed alignments (A3M by family)",
    )
    parser.add_argument(
        "--buckets",
        type=Path,
        required=True,
        metavar="FILE.tsv",
        help="of `split-buckets`; the families of the other buckets are those trained on",
    )
    parser.add_argument(
        "--round",
        type=whole,
        required=True,
        dest="cv_round",
        metavar="BUCKET",
        help="only the targets of this bucket, from 0",
    )
    parser.add_argument("--workers", type=positive_int, default=1, help="programs at a time")
    register_output(parser)


def run(args: argparse.Namespace) -> None:
    """Search, align and write the neighbours."""
    from npm_core.buckets import bucket_members, read_buckets
    from npm_core.errors import DataError
    from npm_core.ffindex import read_entries
    from npm_core.neighbour_search import nearest_by_hhsearch, scratch_folder
    from npm_core.tables import read_families, read_family_queries, read_targets

    buckets = read_buckets(args.buckets)
    members = bucket_members(buckets, args.cv_round)
    targets = [target for target in read_targets(*args.targets) if target.id in members]
    ids = read_family_queries(*args.families).keys()
    profiles = {
        family: text.decode() for family, text in read_entries(args.profiles) if family in ids
    }
    if missing := ids - profiles.keys():
        raise DataError(f"{args.profiles}: family {min(missing)} has no profile")
    with scratch_folder(args.output) as folder:
        found = nearest_by_hhsearch(
            targets,
            buckets,
            profiles=profiles,
            alignments=lambda chosen: read_families(*args.families, only=chosen),
            workers=args.workers,
            scratch=Path(folder),
        )
    write_found(args.output, found, method="hhsearch", round=args.cv_round)
