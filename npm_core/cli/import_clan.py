"""Import the user's own family alignments of one clan, and structures in their columns.

The table (TSV) has the columns id, clan and alignment, and may have query, structure, chain and
columns; docs/formats.md describes each. Written are OUTPUT/full and OUTPUT/seed (.ffdata and
.ffindex, A3M; seed is the profile of nearest-neighbour search: 500 rows at even steps), and
OUTPUT/{targets,columns}.parquet and OUTPUT/audit.tsv. Families that `search-families` found are
added: their rows to those of the table's alignments, and those the table lacks without structure.
"""

import argparse
from pathlib import Path

from npm_core.cli._arguments import OutputFolder, positive_int, register_min_resolved


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--table",
        type=Path,
        required=True,
        metavar="FILE.tsv",
        help="of your families; docs/formats.md has its columns",
    )
    parser.add_argument("--clan", required=True, help="import the families of this clan")
    parser.add_argument(
        "--max-rows", type=positive_int, default=100_000, help="rows read of a family"
    )
    register_min_resolved(parser)
    parser.add_argument(
        "--searched",
        nargs="+",
        default=[],
        metavar="PREFIX",
        help="FFindex of each shard of `search-families`",
    )
    parser.add_argument(
        "--output", required=True, type=OutputFolder, help="for alignments, targets and audit"
    )


def run(args: argparse.Namespace) -> None:
    """Read each family of the clan, and write alignments, targets and the audit."""
    from npm_core.clan_targets import write_columns
    from npm_core.errors import DataError
    from npm_core.ffindex import read_entries, write_entries
    from npm_core.local_data import (
        PROFILE_ROWS,
        a3m_text,
        import_searched,
        import_unanchored,
        outcome,
        read_local_families,
        refuse_versions,
        write_audit,
    )
    from npm_core.progress import note, track
    from npm_core.provenance import file_digest, provenance
    from npm_core.tables import write_targets

    table = read_local_families(args.table)
    families = [family for family in table if family.clan == args.clan]
    if not families:
        clans = sorted({family.clan for family in table})
        raise DataError(f"{args.table}: no family of clan {args.clan}; there are {clans}")
    searched = dict(entry for prefix in args.searched for entry in read_entries(prefix))
    refuse_versions(families, searched, args.table)
    imported = [
        import_unanchored(
            family,
            max_rows=args.max_rows,
            min_resolved=args.min_resolved,
            searched=searched.pop(family.id, None),
        )
        for family in track(families, total=len(families), what="families imported")
    ]
    imported += [
        import_searched(name, a3m, clan=args.clan, max_rows=args.max_rows)
        for name, a3m in searched.items()
    ]
    note(f"{len(families)} families of the table, {len(searched)} that only the search has")
    for name, rows in (("full", None), ("seed", PROFILE_ROWS)):
        entries = ((one.id, a3m_text(one.msa, rows)) for one in imported)
        write_entries(args.output / name, entries)
    facts = provenance(
        table=file_digest(args.table), clan=args.clan, min_resolved=args.min_resolved
    )
    targets = [one for one in imported if one.target is not None]
    write_targets(
        args.output / "targets.parquet",
        (one.target for one in targets if one.target is not None),
        facts,
    )
    write_columns(
        args.output / "columns.parquet",
        {one.id: one.target_columns for one in targets if one.target_columns is not None},
        facts,
    )
    write_audit(args.output / "audit.tsv", imported)
    note(outcome(imported, args.output / "audit.tsv"))
