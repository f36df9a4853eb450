"""Cut the families of clans out of Pfam-A.full and Pfam-A.seed, and find their structures.

Written is, for each clan, OUTPUT/CLAN/full and OUTPUT/CLAN/seed (.ffdata and .ffindex, A3M by
family accession), structures.tsv (which structure belongs to which row) and counts.tsv.
"""

import argparse
import re
from collections.abc import Iterable
from pathlib import Path

COUNTS = ("family", "rows", "kept_rows", "structures", "structures_from", "seed_rows")

_CLAN = re.compile(r"([A-Za-z0-9_-]+)(?:=(\d+))?")


def register(parser: argparse.ArgumentParser) -> None:
    """Arguments of `extract-clans`."""
    parser.add_argument("--full", type=Path, required=True, help="Pfam-A.full[.gz]")
    parser.add_argument("--seed", type=Path, required=True, help="Pfam-A.seed[.gz]")
    parser.add_argument("--clans", type=Path, required=True, help="Pfam-A.clans.tsv[.gz]")
    parser.add_argument("--pdbmap", type=Path, required=True, help="pdbmap[.gz]")
    parser.add_argument(
        "--clan",
        required=True,
        nargs="+",
        metavar="NAME[=N]",
        help="clans by name, e.g. NADP_Rossmann=181: with N, it must have N families",
    )
    parser.add_argument(
        "--max-rows", type=int, default=100_000, help="rows kept of a full alignment (C.3)"
    )
    parser.add_argument("--output-dir", required=True, type=Path, metavar="DIR")


def run(args: argparse.Namespace) -> None:
    """Stream both files once, and write each clan's folder."""
    import tempfile

    from npm_core.clan_targets import write_structures
    from npm_core.ffindex import write_entries
    from npm_core.files import write_tsv
    from npm_core.msa import fasta_text
    from npm_core.pfam import StructureRow, read_clans, read_pdbmap, read_pfam, seed_a3m
    from npm_core.progress import track

    clans = _clans(args.clan)
    families = read_clans(args.clans, clans)
    regions = read_pdbmap(args.pdbmap, families)
    structures: dict[str, tuple[StructureRow, ...]] = {}
    counts: dict[str, tuple[str, ...]] = {}
    args.output_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".extract.", dir=args.output_dir) as scratch:
        # Entries of several clans come mixed, and a clan may be larger than memory.
        places = {
            (part, family): Path(scratch, f"{number}.{part}")
            for number, family in enumerate(families)
            for part in ("full", "seed")
        }
        full = read_pfam(args.full, families, max_rows=args.max_rows, regions=regions)
        for one in track(full, total=len(families), what="families of Pfam-A.full"):
            places["full", one.accession].write_text(fasta_text(one.rows), encoding="ascii")
            structures[one.accession] = one.structures
            sizes = map(str, (one.depth, len(one.rows), len(one.structures)))
            counts[one.accession] = (*sizes, one.structures_from)
        seed = read_pfam(args.seed, families, convert=str)
        for one in track(seed, total=len(families), what="families of Pfam-A.seed"):
            rows = seed_a3m(one.rows, f"{args.seed}: {one.accession}")
            places["seed", one.accession].write_text(fasta_text(rows), encoding="ascii")
            counts[one.accession] += (str(one.depth),)
        for clan in clans:
            own = [family for family, name in families.items() if name == clan]
            folder = args.output_dir / clan
            for part in ("full", "seed"):
                entries = ((family, places[part, family].read_bytes()) for family in own)
                write_entries(folder / part, entries)
            found = {family: structures[family] for family in own}
            write_structures(folder / "structures.tsv", clan, found)
            write_tsv(folder / "counts.tsv", COUNTS, ((family, *counts[family]) for family in own))


def _clans(words: Iterable[str]) -> dict[str, int | None]:
    from npm_core.errors import SettingsError

    clans: dict[str, int | None] = {}
    for word in words:
        found = _CLAN.fullmatch(word)
        if not found:
            raise SettingsError(f"--clan {word}: expected NAME or NAME=N, as in Pfam-A.clans.tsv")
        clans[found[1]] = int(found[2]) if found[2] else None
    return clans
