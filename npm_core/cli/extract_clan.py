"""Cut the families of a clan out of Pfam-A.full and Pfam-A.seed, and find their structures.

Written are OUTPUT/full and OUTPUT/seed (.ffdata and .ffindex, A3M by family accession),
structures.tsv (which structure belongs to which row) and counts.tsv.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from npm_core.cli._arguments import OutputFolder, positive_int

COUNTS = ("family", "rows", "kept_rows", "structures", "structures_from", "seed_rows")


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--full", type=Path, required=True, help="Pfam-A.full[.gz]")
    parser.add_argument("--seed", type=Path, required=True, help="Pfam-A.seed[.gz]")
    parser.add_argument("--clans", type=Path, required=True, help="Pfam-A.clans.tsv[.gz]")
    parser.add_argument("--pdbmap", type=Path, required=True, help="pdbmap[.gz]")
    parser.add_argument("--clan", required=True, help="its name, e.g. NADP_Rossmann")
    parser.add_argument(
        "--size", type=positive_int, metavar="N", help="stop unless the clan has so many families"
    )
    parser.add_argument(
        "--max-rows", type=positive_int, default=100_000, help="rows kept of a full alignment (C.3)"
    )
    parser.add_argument(
        "--output", required=True, type=OutputFolder, help="for alignments, structures and counts"
    )


def run(args: argparse.Namespace) -> None:
    """Stream each file once, a family at a time."""
    from npm_core.clan_targets import write_structures
    from npm_core.fasta import fasta_text
    from npm_core.ffindex import write_entries
    from npm_core.files import write_tsv
    from npm_core.pfam import StructureRow, read_clan, read_pdbmap, read_pfam, seed_a3m
    from npm_core.progress import track

    families = read_clan(args.clans, args.clan, size=args.size)
    regions = read_pdbmap(args.pdbmap, families)
    structures: dict[str, tuple[StructureRow, ...]] = {}
    counts: dict[str, tuple[object, ...]] = {}

    def full() -> Iterator[tuple[str, bytes]]:
        found = read_pfam(args.full, families, max_rows=args.max_rows, regions=regions)
        for one in track(found, total=len(families), what="families of Pfam-A.full"):
            structures[one.accession] = one.structures
            sizes = one.depth, len(one.rows), len(one.structures)
            counts[one.accession] = (*sizes, one.structures_from)
            yield one.accession, fasta_text(one.rows).encode()

    def seed() -> Iterator[tuple[str, bytes]]:
        found = read_pfam(args.seed, families, convert=str)
        for one in track(found, total=len(families), what="families of Pfam-A.seed"):
            counts[one.accession] += (one.depth,)
            rows = seed_a3m(one.rows, f"{args.seed}: {one.accession}")
            yield one.accession, fasta_text(rows).encode()

    write_entries(args.output / "full", full())
    write_entries(args.output / "seed", seed())
    write_structures(args.output / "structures.tsv", args.clan, structures)
    write_tsv(
        args.output / "counts.tsv", COUNTS, ((family, *row) for family, row in counts.items())
    )
