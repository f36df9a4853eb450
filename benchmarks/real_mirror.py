"""The files that UniProt and the PDB publish, written from the real proteins of NPM_REAL_DATA.

    python benchmarks/real_mirror.py DIR [--sequences 3200] [--max-length 200] [--also FASTA]
        [--clans]

writes DIR/uniprot.fasta.gz (UniProt sequences: what the PDB chains resemble, then any; with --clans
the members of the clans' families, too, each cut to its domain),
DIR/uniref50.fasta.gz (representatives of their clusters at 50 % identity, named as UniRef50's),
DIR/held_out.txt (those of clusters with a member that half of the PDB entries resemble, the entries
of the families' structures included),
DIR/members.fasta.gz (all members of the other clusters),
DIR/pdb/entries.idx, DIR/pdb/pdb_seqres.txt.gz and DIR/pdb/mmCIF. config/real_uniref50.yaml and
config/small_model.yaml read them as a mirror.
"""

import argparse
import hashlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import gemmi
from real_tables import entry_and_chain, manifest

from npm_core.fasta import fasta_records, fasta_text
from npm_core.files import open_text, write_gzip, write_text
from npm_core.mmseqs import easy_cluster, easy_search
from npm_core.structures import read_chain, read_structure
from npm_core.universe.mirror import INDEX_HEADER

RELATIVES = 40
"""Most sequences taken for one PDB chain."""

MEMORY_GIB = 3
"""Of MMseqs2's index."""

HELD_OUT_IDENTITY = 0.3
"""What is at least this identical to a held-out chain is kept from every training."""


def proteins(paths: list[Path], max_length: int) -> dict[str, str]:
    """Distinct UniProt sequences by accession, domains (of A3M) by accession and range."""
    found: dict[str, str] = {}
    seen: set[str] = set()
    for path in paths:
        with open_text(path) as stream:
            for header, row in fasta_records(stream, str(path)):
                word = header.split(maxsplit=1)[0]
                accession = word.split("|")[1] if "|" in word else word.replace("/", "_")
                sequence = row.replace("-", "").upper()
                if len(sequence) <= max_length and sequence not in seen:
                    seen.add(sequence)
                    found.setdefault(accession, sequence)
    return found


def family_chains(data: Path) -> dict[str, str]:
    """Sequences of the chains on which families of Pfam and of the clans are judged."""
    chains = {}
    for row in (*manifest(data, "pfam40"), *manifest(data, "clans")):
        _, *structures = row["files"].split(";")
        if structures:
            path = data / structures[0]
            entry, chain = entry_and_chain(path)
            chains[f"{entry.lower()}_{chain}"] = read_chain(path, chain).sequence
    return chains


def entries(data: Path) -> Iterator[gemmi.Structure]:
    """PDB entries at hand, each once: mmCIF files first, then PDB files of single chains."""
    seen: set[str] = set()
    places = sorted((data / "struct_cif").glob("*.cif.gz"))
    places += [data / row["files"].split(";")[1] for row in manifest(data, "pdb_sprot")]
    for path in places:
        entry = path.name[:4].lower()
        if entry in seen or not path.name.endswith((".pdb.gz", ".cif.gz")):
            continue
        seen.add(entry)
        structure = gemmi.read_structure(str(path))
        structure.setup_entities()
        structure.assign_label_seq_id()
        structure.name = entry
        yield structure


def index_line(structure: gemmi.Structure) -> str:
    """One line of entries.idx."""
    date = structure.info["_pdbx_database_status.recvd_initial_deposition_date"]
    year, month, day = date.split("-")
    title = structure.info["_struct.title"] or "NO TITLE"
    method = structure.info["_exptl.method"]
    return "\t".join(
        (
            structure.name.upper(),
            "PROTEIN",
            f"{month}/{day}/{year[2:]}",
            " ".join(title.split()),
            "",
            "",
            f"{structure.resolution:.2f}" if structure.resolution > 0 else "NOT",
            "" if method == "X-RAY DIFFRACTION" else method,
        )
    )


def choose(
    pool: dict[str, str], chains: dict[str, str], *, count: int, folder: Path
) -> dict[str, str]:
    """Relatives of the chains, then those of the smallest hash, in the order of accessions."""
    hits = easy_search(
        chains.values(),
        pool.values(),
        "target",
        *("-e", 0.001, "-c", 0.6, "--max-seqs", RELATIVES, "--threads", 1),
        max_memory_gib=MEMORY_GIB,
        scratch=folder,
    )
    names = list(pool)
    relatives = {names[int(target)] for (target,) in hits}
    print(f"{len(relatives)} of {len(pool)} sequences resemble a PDB chain", file=sys.stderr)
    ranked = sorted(
        pool, key=lambda name: (name not in relatives, hashlib.sha256(name.encode()).digest())
    )
    return {name: pool[name] for name in sorted(ranked[:count])}


def representatives(chosen: dict[str, str], folder: Path) -> dict[str, list[str]]:
    """Members of each cluster at 50 % identity by its representative."""
    names = list(chosen)
    clusters: dict[str, list[str]] = {}
    for representative, member in easy_cluster(
        chosen.values(),
        *("--min-seq-id", 0.5, "-c", 0.8, "--threads", 1),
        max_memory_gib=MEMORY_GIB,
        scratch=folder,
    ):
        clusters.setdefault(names[representative], []).append(names[member])
    return clusters


def similar(
    queries: dict[str, str], targets: dict[str, str], folder: Path, *, side: str
) -> set[str]:
    """Names of the sequences of one side that resemble one of the other by HELD_OUT_IDENTITY.

    Args:
        queries, targets: Sequences by name.
        folder: Where MMseqs2 works.
        side: "query" or "target".
    """
    hits = easy_search(
        queries.values(),
        targets.values(),
        side,
        *("-e", 0.001, "-s", 7.5, "--min-seq-id", HELD_OUT_IDENTITY),
        *("--max-seqs", 100_000, "--threads", 1),
        max_memory_gib=MEMORY_GIB,
        scratch=folder,
    )
    names = list(queries if side == "query" else targets)
    return {names[int(number)] for (number,) in hits}


def held_out(
    chains: dict[str, str],
    chosen: dict[str, str],
    clusters: dict[str, list[str]],
    folder: Path,
) -> list[str]:
    """Representatives of clusters that the chains of half of the PDB entries resemble."""
    half = {name: sequence for name, sequence in chains.items() if in_held_out_half(name)}
    near = similar(half, chosen, folder, side="target")
    return sorted(name for name, members in clusters.items() if near.intersection(members))


def in_held_out_half(chain: str) -> bool:
    """By the hash of the entry's id, so that all its chains fall on one side."""
    return hashlib.sha256(chain.split("_")[0].encode()).digest()[0] % 2 == 0


def main() -> None:
    """Write the mirror into the folder named by the first argument."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--sequences", type=int, default=3200)
    parser.add_argument("--max-length", type=int, default=200)
    parser.add_argument("--also", type=Path, nargs="+", default=[], help="more sequences, as FASTA")
    parser.add_argument("--clans", action="store_true", help="the clans' families, too")
    args = parser.parse_args()
    if not os.environ.get("NPM_REAL_DATA"):
        parser.error("set NPM_REAL_DATA to the folder of real proteins")
    data, output = Path(os.environ["NPM_REAL_DATA"]), args.output
    index, seqres, chains = [INDEX_HEADER], [], {}
    for structure in entries(data):
        path = output / "pdb" / "mmCIF" / structure.name[1:3] / f"{structure.name}.cif.gz"
        write_gzip(path, structure.make_mmcif_document().as_string())
        index.append(index_line(structure) + "\n")
        for chain in read_structure(path).chains:
            name = f"{structure.name}_{chain.author}"
            seqres.append(f">{name} mol:protein length:{len(chain.sequence)}\n{chain.sequence}\n")
            chains[name] = chain.sequence
    write_text(output / "pdb" / "entries.idx", "".join(index))
    write_gzip(output / "pdb" / "pdb_seqres.txt.gz", "".join(seqres))
    seqdb = ("mmseqs2_examples_DB", "mmseqs2_examples_QUERY", "swissprot2014_40k")
    clans = sorted((data / "clans").glob("*/*.a3m.gz")) if args.clans else []
    pool = proteins(
        [*(data / "seqdb" / f"{name}.fasta.gz" for name in seqdb), *args.also, *clans],
        args.max_length,
    )
    with tempfile.TemporaryDirectory() as name:
        chosen = choose(pool, chains, count=args.sequences, folder=Path(name))
        clusters = representatives(chosen, Path(name))
        kept_back = held_out(chains | family_chains(data), chosen, clusters, Path(name))
    write_gzip(
        output / "uniprot.fasta.gz",
        fasta_text((f"tr|{name}|{name}", sequence) for name, sequence in chosen.items()),
    )
    write_gzip(
        output / "uniref50.fasta.gz",
        fasta_text(
            (f"UniRef50_{name} n={len(clusters[name])}", chosen[name]) for name in sorted(clusters)
        ),
    )
    write_text(output / "held_out.txt", "".join(f"UniRef50_{name}\n" for name in kept_back))
    trained = sorted(set(clusters).difference(kept_back))
    write_gzip(
        output / "members.fasta.gz",
        fasta_text((member, chosen[member]) for name in trained for member in clusters[name]),
    )
    print(
        f"{output}: {len(chosen)} UniProt sequences in {len(clusters)} clusters, "
        f"{len(kept_back)} of them held out, {len(chains)} chains of {len(index) - 1} PDB entries",
        file=sys.stderr,
    )


if __name__ == "__main__":
    main()
