"""Fetch the mmCIF files of assigned PDB chains and tabulate their C-beta coordinates.

A chain whose entry is not in the archive, whose file cannot be read, whose sequence differs from
the one searched with, or of which too few residues are resolved is dropped with its reason; a fetch
that fails for another reason stops the run, and the next run goes on from there; an archive that
has none of three or more entries stops it, too. The audit has a row for every chain: id, split,
status (built or dropped), reason, length, resolved.
"""

import argparse
from pathlib import Path

from npm_core.cli._arguments import OutputFile, positive_int, register_min_resolved
from npm_core.cli._fetch import register_archive


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--assigned", type=Path, required=True, help="table of assign-structures")
    parser.add_argument(
        "--queries", type=Path, required=True, help="FASTA of the chains to build (a shard)"
    )
    register_archive(parser)
    register_min_resolved(parser)
    parser.add_argument("--workers", type=positive_int, default=4, help="files fetched at a time")
    parser.add_argument("--output", type=OutputFile, required=True, help="Parquet table of targets")
    parser.add_argument("--audit", type=OutputFile, required=True, help="tab-separated table")


def run(args: argparse.Namespace) -> None:
    from collections import Counter

    from npm_core.errors import DataError
    from npm_core.files import write_tsv
    from npm_core.parallel import map_in_order
    from npm_core.pdb_archive import Archive
    from npm_core.progress import note, track
    from npm_core.provenance import provenance
    from npm_core.queries import read_queries
    from npm_core.tables import write_targets
    from npm_core.targets import build_target, read_assigned

    archive = Archive(args.url_template, args.cache, args.lock)
    splits = read_assigned(args.assigned)
    queries = list(read_queries(args.queries, may_be_empty=True))
    strange = [query.id for query in queries if query.id not in splits]
    if strange:
        raise DataError(f"{args.queries}: {strange[0]} is not in {args.assigned}")
    built = list(
        track(
            map_in_order(
                lambda query: build_target(
                    query, splits[query.id], archive.fetch, min_resolved=args.min_resolved
                ),
                queries,
                workers=args.workers,
                stop=archive.stop,
            ),
            total=len(queries),
            what="structures read",
        )
    )
    archive.check()
    write_tsv(
        args.audit,
        ("id", "split", "status", "reason", "length", "resolved"),
        (
            (item.id, item.split, "dropped", item.reason, "", "")
            if item.target is None
            else (item.id, item.split, "built", "", item.target.length, item.target.resolved.sum())
            for item in built
        ),
    )
    count = write_targets(
        args.output,
        (item.target for item in built if item.target is not None),
        provenance(url_template=args.url_template, min_resolved=args.min_resolved),
    )
    dropped = Counter(item.reason for item in built if item.target is None)
    note(f"{args.output}: {count} targets of {len(queries)} chains, {dropped.total()} dropped")
    for reason, times in dropped.most_common(5):
        note(f"  {times} x {reason}")
