"""Choose one structure for each family of a clan, in the columns of its alignment (paper, C.3).

Candidates come from pdbmap (`extract-clan`). The one whose row fills most columns is fetched
first; its full sequence (SEQRES) is aligned to the row. It is refused, with the reason in the
audit, where they are not the same protein, too few residues are resolved, the file cannot be read
or the archive lacks it; then the next is tried. The target is the stretch the family's columns
cover.
"""

import argparse
from pathlib import Path

from npm_core.cli._arguments import OutputFile, positive_int, register_min_resolved, share_from_zero
from npm_core.cli._fetch import register_archive


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--structures",
        type=Path,
        required=True,
        metavar="FILE.tsv",
        help="candidates: structures.tsv of `extract-clan`",
    )
    parser.add_argument(
        "--families", type=Path, required=True, nargs="+", help="tables of families"
    )
    register_archive(parser)
    parser.add_argument(
        "--min-identity",
        type=share_from_zero,
        default=0.9,
        help="least share of identical residues among those of SEQRES and row that align",
    )
    parser.add_argument(
        "--min-coverage",
        type=share_from_zero,
        default=0.5,
        help="least share of the row that SEQRES covers",
    )
    register_min_resolved(parser)
    parser.add_argument(
        "--max-attempts",
        type=positive_int,
        default=20,
        help="structures to try before a family has none",
    )
    parser.add_argument(
        "--output", type=OutputFile, required=True, metavar="FILE.parquet", help="table of targets"
    )
    parser.add_argument(
        "--columns",
        type=OutputFile,
        required=True,
        metavar="FILE.parquet",
        help="the family's column of each of a target's positions",
    )
    parser.add_argument(
        "--audit",
        type=OutputFile,
        required=True,
        metavar="FILE.tsv",
        help="what became of each candidate",
    )


def run(args: argparse.Namespace) -> None:
    """Choose, fetch and align the structures, and write targets, columns and the audit."""
    from npm_core.clan_targets import (
        choose_target,
        fetched_chain,
        read_structures,
        write_audit,
        write_columns,
    )
    from npm_core.errors import DataError
    from npm_core.pdb_archive import Archive
    from npm_core.progress import note, track
    from npm_core.provenance import provenance
    from npm_core.tables import read_family_queries, write_targets

    archive = Archive(args.url_template, args.cache, args.lock)
    clans, structures = read_structures(args.structures)
    queries = read_family_queries(*args.families)
    targets, columns, attempts = [], {}, {}
    for family, query in track(queries.items(), total=len(queries), what="families"):
        target, mapped, attempts[family] = choose_target(
            family,
            clans.get(family, ""),
            len(query),
            structures.get(family, ()),
            lambda row: fetched_chain(row, archive),
            min_identity=args.min_identity,
            min_coverage=args.min_coverage,
            min_resolved=args.min_resolved,
            max_attempts=args.max_attempts,
        )
        if target is not None and mapped is not None:
            targets.append(target)
            columns[family] = mapped
    write_audit(args.audit, attempts)
    archive.check()
    tried = sum(map(len, attempts.values()))
    if tried and not targets:
        raise DataError(f"all {tried} structures were refused; {args.audit} says why")
    facts = provenance(
        families=len(queries),
        without_structure=sum(not found for found in attempts.values()),
        refused_structures=tried - len(targets),
        min_identity=args.min_identity,
        min_coverage=args.min_coverage,
        min_resolved=args.min_resolved,
        max_attempts=args.max_attempts,
    )
    write_targets(args.output, targets, facts)
    write_columns(args.columns, columns, facts)
    note(f"{len(targets)} targets for {len(queries)} families; {tried} structures were tried")
