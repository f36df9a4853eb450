"""Tables of `source: local` for the real proteins that NPM_REAL_DATA names.

    python benchmarks/real_tables.py DIR

writes DIR/uniref50.tsv (PDB chains with query-anchored alignments), DIR/pfam_clan.tsv (families of
two Pfam clans, each structure with its map to the alignment's columns), DIR/sequences.fasta and
DIR/Pfam-A.clans.tsv.gz.
"""

import csv
import gzip
import os
import shutil
import sys
from pathlib import Path

from npm_core.errors import DataError
from npm_core.files import atomic_path, write_tsv
from npm_core.pairwise import aligned_positions
from npm_core.structures import read_chain


def manifest(data: Path, name: str) -> list[dict[str, str]]:
    """Entries of one set."""
    with (data / "MANIFEST.tsv").open(encoding="utf-8") as stream:
        return [row for row in csv.DictReader(stream, delimiter="\t") if row["set"] == name]


def entry_and_chain(structure: Path) -> tuple[str, str]:
    """PDB entry and chain of a family's structure, from its name FAMILY_ENTRY_CHAIN.pdb.gz."""
    _, entry, chain = structure.name.split(".")[0].split("_", 2)
    return entry, chain


def clan_columns(path: Path) -> list[tuple[str, str]]:
    """Letter and alignment column (from 1) of each mapped residue of a clan's structure."""
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        return [(row["aa"], row["hmm_col"]) for row in csv.DictReader(stream, delimiter="\t")]


def structure_map(mapped: list[tuple[str, str]], structure: Path, chain: str, output: Path) -> None:
    """Write the columns of observed residues by their numbers in the chain's full sequence."""
    residues = "".join(letter for letter, _ in mapped)
    sequence = read_chain(structure, chain).sequence
    pairs = zip(*aligned_positions(sequence, residues), strict=True)
    same = [(i, k) for i, k in pairs if sequence[i] == residues[k]]
    if len(same) < 0.95 * len(mapped):
        raise DataError(
            f"{output}: {len(same)} of its {len(mapped)} residues are those of {structure}, "
            f"chain {chain}; expected 95 %"
        )
    rows = [(str(i + 1), mapped[k][1]) for i, k in same]
    write_tsv(output, ("residue", "column"), rows)


def main() -> None:
    """Write the files into the folder named by the first argument."""
    folder = os.environ.get("NPM_REAL_DATA")
    if not folder or len(sys.argv) != 2:
        sys.exit("usage: NPM_REAL_DATA=FOLDER python benchmarks/real_tables.py DIR")
    data, output = Path(folder).resolve(), Path(sys.argv[1])

    chains = []
    for entry in manifest(data, "pdb_sprot"):
        alignment, structure = entry["files"].split(";")
        chain = entry["id"].partition("_")[2]
        chains.append((entry["id"], str(data / alignment), str(data / structure), chain))
    write_tsv(output / "uniref50.tsv", ("id", "alignment", "structure", "chain"), chains)

    families = []
    for entry in manifest(data, "clans"):
        alignment, *structures = entry["files"].split(";")
        place = entry["id"], alignment.split("/")[1], str(data / alignment)
        if not structures:
            families.append((*place, "", "", ""))
            continue
        model, mapping = (data / name for name in structures[:2])
        _, chain = entry_and_chain(model)
        columns = output / "columns" / f"{entry['id']}.tsv"
        structure_map(clan_columns(mapping), model, chain, columns)
        families.append((*place, str(model), chain, f"columns/{columns.name}"))
    header = ("id", "clan", "alignment", "structure", "chain", "columns")
    write_tsv(output / "pfam_clan.tsv", header, families)

    with atomic_path(output / "Pfam-A.clans.tsv.gz") as temporary:
        shutil.copyfile(data / "pfam_misc" / "Pfam-A.clans.tsv.gz", temporary)

    (sequences,) = (row for row in manifest(data, "seqdb") if row["id"] == "swissprot2014_40k")
    with (
        gzip.open(data / sequences["files"], "rb") as source,
        atomic_path(output / "sequences.fasta") as temporary,
        temporary.open("wb") as target,
    ):
        shutil.copyfileobj(source, target)


if __name__ == "__main__":
    main()
