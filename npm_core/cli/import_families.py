"""Import the user's own query-anchored alignments and structures as training, test and targets.

The table (TSV) has the columns id and alignment, and may have query, structure, chain, columns
and split; docs/formats.md describes each. Written are OUTPUT/{train,test,targets}.ffdata and
.ffindex (A3M), OUTPUT/targets.parquet and OUTPUT/audit.tsv.
"""

import argparse
from pathlib import Path

from npm_core.cli._arguments import OutputFolder, register_min_resolved, share_from_zero


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--table",
        type=Path,
        required=True,
        metavar="FILE.tsv",
        help="of your families; docs/formats.md has its columns",
    )
    parser.add_argument("--test-share", type=share_from_zero, default=0.1, help="of the families")
    parser.add_argument("--salt", default="uniref50", help="of the split by hash of the id")
    register_min_resolved(parser)
    parser.add_argument(
        "--output", required=True, type=OutputFolder, help="for alignments, targets and audit"
    )


def run(args: argparse.Namespace) -> None:
    """Read each family, and write the datasets and the audit."""
    from npm_core.errors import DataError
    from npm_core.ffindex import write_entries
    from npm_core.local_data import (
        a3m_text,
        aligned_to_target,
        import_anchored,
        outcome,
        read_local_families,
        write_audit,
    )
    from npm_core.progress import note, track
    from npm_core.provenance import file_digest, provenance
    from npm_core.tables import write_targets

    table = read_local_families(args.table)
    imported = [
        import_anchored(
            family, test_share=args.test_share, salt=args.salt, min_resolved=args.min_resolved
        )
        for family in track(table, total=len(table), what="families imported")
    ]

    datasets = {name: [one for one in imported if one.split == name] for name in ("train", "test")}
    for name, chosen in datasets.items():
        if not chosen:
            raise DataError(
                f"{args.table}: none of its {len(table)} families is in the {name} split, and a "
                "training needs both. Set the column `split`, or change --test-share "
                f"(split.test_share in the settings), now {args.test_share:g}"
            )
    for name, chosen in datasets.items():
        write_entries(args.output / name, ((one.id, a3m_text(one.msa)) for one in chosen))
    targets = [one for one in imported if one.target is not None]
    write_entries(
        args.output / "targets", ((one.id, a3m_text(aligned_to_target(one))) for one in targets)
    )
    write_targets(
        args.output / "targets.parquet",
        (one.target for one in targets if one.target is not None),
        provenance(table=file_digest(args.table), min_resolved=args.min_resolved),
    )
    write_audit(args.output / "audit.tsv", imported)
    counts = ", ".join(f"{len(chosen)} {name}" for name, chosen in datasets.items())
    note(f"{args.table}: {counts} families; {outcome(imported, args.output / 'audit.tsv')}")
