"""The universe as files: what UniProt, the PDB and Pfam publish, and the truth behind them."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from npm_core import alphabet
from npm_core.errors import DataError
from npm_core.files import write_gzip, write_text
from npm_core.progress import note
from npm_core.universe.deposits import Deposit, domain_ranges, entity_contacts
from npm_core.universe.families import Family, Protein, Universe
from npm_core.universe.mmcif import write_mmcif

SEED_ROWS = 30
"""Most rows of a Pfam seed alignment."""

INDEX_HEADER = (
    "IDCODE, HEADER, ACCESSION DATE, COMPOUND, SOURCE, AUTHOR LIST, RESOLUTION, "
    "EXPERIMENT TYPE (IF NOT X-RAY)\n" + "------- ------- --------------- --------- ------- "
    "------------ ----------- " + "-" * 60 + "\n"
)


def write_mirror(universe: Universe, deposited: Sequence[Deposit], output: Path) -> None:
    """Write every file of the mirror; equal universes give equal bytes.

    Args:
        deposited: `deposits(universe)`.
        output: Folder.
    """
    write_gzip(output / "uniref50.fasta.gz", uniref_fasta(universe))
    write_gzip(output / "uniprot.fasta.gz", uniprot_fasta(universe))
    write_text(output / "pdb" / "entries.idx", entries_index(deposited))
    write_gzip(output / "pdb" / "pdb_seqres.txt.gz", seqres(deposited))
    for entry in (deposit.entry for deposit in deposited):
        folder = output / "pdb" / "mmCIF" / entry.id[1:3]
        write_gzip(folder / f"{entry.id}.cif.gz", write_mmcif(entry))
    write_gzip(output / "pfam" / "Pfam-A.full.gz", pfam_full(universe, deposited), "latin-1")
    write_gzip(output / "pfam" / "Pfam-A.seed.gz", pfam_seed(universe), "latin-1")
    write_gzip(output / "pfam" / "Pfam-A.clans.tsv.gz", clans_table(universe))
    write_gzip(output / "pfam" / "pdbmap.gz", pdbmap(universe, deposited))
    for name, text in truth(universe, deposited).items():
        write_text(output / "truth" / name, text)
    clusters = {protein.cluster for protein in universe.proteins}
    note(
        f"{output}: {len(universe.families)} families, {len(universe.proteins)} sequences, "
        f"{len(clusters)} UniRef50 clusters, {len(deposited)} PDB entries"
    )


def _fasta(records: Iterable[tuple[str, str]]) -> str:
    lines = []
    for header, sequence in records:
        lines.append(f">{header}")
        lines += [sequence[start : start + 60] for start in range(0, len(sequence), 60)]
    return "\n".join(lines) + "\n"


def uniref_fasta(universe: Universe) -> str:
    """`>UniRef50_ACC name n=SIZE Tax=... TaxID=... RepID=...`: cluster representatives."""
    sizes: dict[str, int] = {}
    for protein in universe.proteins:
        sizes[protein.cluster] = sizes.get(protein.cluster, 0) + 1
    return _fasta(
        (
            f"UniRef50_{protein.accession} {universe.describe(protein)} "
            f"n={sizes[protein.accession]} Tax=synthetic construct TaxID=32630 "
            f"RepID={protein.entry_name}",
            protein.sequence,
        )
        for protein in universe.proteins
        if protein.accession in sizes
    )


def uniprot_fasta(universe: Universe) -> str:
    """`>tr|ACC|NAME description OS=... OX=... PE=4 SV=1`: all sequences."""
    return _fasta(
        (
            f"tr|{protein.accession}|{protein.entry_name} {universe.describe(protein)} "
            "OS=synthetic construct OX=32630 PE=4 SV=1",
            protein.sequence,
        )
        for protein in universe.proteins
    )


def entries_index(deposited: Sequence[Deposit]) -> str:
    """`entries.idx`: two header lines, then tab-separated columns; dates are mm/dd/yy."""
    lines = [INDEX_HEADER]
    for entry in (deposit.entry for deposit in deposited):
        year, month, day = entry.deposited.split("-")
        resolution = "NOT" if entry.resolution is None else f"{entry.resolution:g}"
        lines.append(
            "\t".join(
                (
                    entry.id.upper(),
                    "SYNTHETIC PROTEIN",
                    f"{month}/{day}/{year[2:]}",
                    entry.title.upper(),
                    "synthetic construct",
                    "Demonstrator, A.",
                    resolution,
                    entry.method,
                )
            )
            + "\n"
        )
    return "".join(lines)


def seqres(deposited: Sequence[Deposit]) -> str:
    """`pdb_seqres.txt`: `>1abc_A mol:protein length:112  NAME`, by author chain."""
    return "".join(
        f">{entry.id}_{auth} mol:{'protein' if entity.is_protein else 'na'} "
        f"length:{len(entity.sequence)}  {entry.title.upper()}\n{entity.sequence}\n"
        for entry in (deposit.entry for deposit in deposited)
        for entity in entry.entities
        for _, auth in entity.chains
    )


def row_name(protein: Protein) -> str:
    """Name of a protein's row in Pfam, e.g. `A0A0X0AAA0_9ZZZZ/8-92`."""
    if protein.member is None:
        raise DataError(f"{protein.accession} is a decoy and has no row in Pfam")
    return f"{protein.entry_name}/{protein.member.start}-{protein.member.end}"


def aligned_rows(proteins: Sequence[Protein]) -> list[str]:
    """Rows in Pfam's convention: match columns upper case or `-`, inserts lower case or `.`."""
    members = [protein.member for protein in proteins if protein.member is not None]
    width: dict[int, int] = {}
    for member in members:
        for column, letters in member.inserts.items():
            width[column] = max(width.get(column, 0), len(letters))
    return [
        "".join(
            letter + member.inserts.get(column, "").lower().ljust(width.get(column, 0), ".")
            for column, letter in enumerate(alphabet.decode(member.columns))
        )
        for member in members
    ]


def _stockholm(
    family: Family, proteins: Sequence[Protein], rows: list[str], references: list[str]
) -> str:
    names = [row_name(protein) for protein in proteins]
    pad = max(len(name) for name in names) + 2
    lines = [
        "# STOCKHOLM 1.0",
        f"#=GF ID   {family.name}",
        f"#=GF AC   {family.accession}.1",
        f"#=GF DE   Synthetic domain of class {family.clan.kind}",
        "#=GF AU   Müller D",
        "#=GF TP   Domain",
        *([f"#=GF CL   {family.clan.accession}"] if family.in_clan else []),
        f"#=GF SQ   {len(proteins)}",
        *(
            f"#=GS {name:<{pad}} AC {protein.accession}.1"
            for name, protein in zip(names, proteins, strict=True)
        ),
        *references,
        *(f"{name:<{pad + 5}} {row}" for name, row in zip(names, rows, strict=True)),
        f"{'#=GC seq_cons':<{pad + 5}} {_consensus(rows)}",
        "//",
    ]
    return "\n".join(lines) + "\n"


def _consensus(rows: list[str]) -> str:
    """The letter of each column that more than half of the rows have, else `.`."""
    columns = []
    for letters in zip(*rows, strict=True):
        common = max(sorted(set(letters)), key=letters.count)
        columns.append(
            common if common.isupper() and 2 * letters.count(common) > len(rows) else "."
        )
    return "".join(columns)


def pfam_full(universe: Universe, deposited: Sequence[Deposit]) -> str:
    """`Pfam-A.full`: every member of every family, with its structures as `DR PDB`."""
    known = domain_ranges(deposited)
    blocks = []
    for family in universe.families:
        pad = max(len(row_name(protein)) for protein in family.proteins) + 2
        references = [
            f"#=GS {row_name(protein):<{pad}} DR PDB; {entry} {chain}; {start}-{end};"
            for protein in family.proteins
            for entry, chain, start, end in known.get(protein.accession, ())
        ]
        rows = aligned_rows(family.proteins)
        blocks.append(_stockholm(family, family.proteins, rows, references))
    return "".join(blocks)


def pfam_seed(universe: Universe) -> str:
    """`Pfam-A.seed`: cluster representatives, all letters upper case and all gaps `.`."""
    blocks = []
    for family in universe.families:
        own = [p for p in family.proteins if p.accession == p.cluster][:SEED_ROWS]
        rows = [row.upper().replace("-", ".") for row in aligned_rows(own)]
        blocks.append(_stockholm(family, own, rows, []))
    return "".join(blocks)


def clans_table(universe: Universe) -> str:
    """`Pfam-A.clans.tsv`: family, clan accession, clan, name, description; no clan is empty."""
    return "".join(
        "\t".join(
            (
                family.accession,
                family.clan.accession if family.in_clan else "",
                family.clan.name if family.in_clan else "",
                family.name,
                f"Synthetic domain of class {family.clan.kind}",
            )
        )
        + "\n"
        for family in universe.families
    )


def pdbmap(universe: Universe, deposited: Sequence[Deposit]) -> str:
    """`pdbmap`: PDB entry, chain, nothing, family name and accession, UniProt, its range."""
    known = domain_ranges(deposited)
    lines = []
    for family in universe.families:
        for protein in family.proteins:
            for entry, chain, _, _ in known.get(protein.accession, ()):
                span = row_name(protein).split("/")[1]
                lines.append(
                    f"{entry};\t{chain};\t;\t{family.name};\t{family.accession};"
                    f"\t{protein.accession};\t{span};\n"
                )
    return "".join(lines)


def truth(universe: Universe, deposited: Sequence[Deposit]) -> dict[str, str]:
    """What the files above come from, by name: families, members and contacts."""
    known = domain_ranges(deposited)
    families = ["family\tname\tclan\tfold\tlength\tdepth\tstructures\n"]
    members = ["sequence\tfamily\tstart\tend\tcluster\n"]
    for family in universe.families:
        structures = [
            f"{entry.lower()}_{chain}"
            for protein in family.proteins
            for entry, chain, _, _ in known.get(protein.accession, ())
        ]
        clan = family.clan.name if family.in_clan else ""
        families.append(
            f"{family.accession}\t{family.name}\t{clan}\t{family.clan.kind}\t"
            f"{family.fold.length}\t{len(family.proteins)}\t{','.join(structures)}\n"
        )
        for protein in family.proteins:
            span = row_name(protein).split("/")[1].replace("-", "\t")
            members.append(f"{protein.accession}\t{family.accession}\t{span}\t{protein.cluster}\n")
    contacts = ["chain\ti\tj\n"]
    for entry in (deposit.entry for deposit in deposited):
        for entity in entry.entities:
            if entity.alphas is None:
                continue
            for i, j in entity_contacts(entity):
                contacts += [f"{entry.id}_{auth}\t{i}\t{j}\n" for _, auth in entity.chains[:1]]
    return {
        "families.tsv": "".join(families),
        "members.tsv": "".join(members),
        "contacts.tsv": "".join(contacts),
    }
