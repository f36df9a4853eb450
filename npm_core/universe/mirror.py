"""The universe as files: what UniProt, the PDB and Pfam publish, and the truth behind them."""

import gzip
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from npm_core import alphabet
from npm_core.errors import DataError
from npm_core.files import atomic_path, write_text
from npm_core.progress import note, track
from npm_core.universe import folds
from npm_core.universe.families import Family, Protein, Universe
from npm_core.universe.folds import Floats
from npm_core.universe.mmcif import Entity, Entry, write_mmcif

TAIL_RESOLVED = 3
"""Residues of a tail next to the domain that have coordinates; the rest is disordered."""

SEED_ROWS = 30
"""Most rows of a Pfam seed alignment."""

INDEX_HEADER = (
    "IDCODE, HEADER, ACCESSION DATE, COMPOUND, SOURCE, AUTHOR LIST, RESOLUTION, "
    "EXPERIMENT TYPE (IF NOT X-RAY)\n" + "------- ------- --------------- --------- ------- "
    "------------ ----------- " + "-" * 60 + "\n"
)


def write_mirror(universe: Universe, output: Path) -> None:
    """Write every file of the mirror; equal universes give equal bytes.

    Raises:
        DataError: A structure's trace could not be closed.
    """
    entries = pdb_entries(universe)
    _write_gzip(output / "uniref50.fasta.gz", uniref_fasta(universe))
    _write_gzip(output / "uniprot.fasta.gz", uniprot_fasta(universe))
    write_text(output / "pdb" / "entries.idx", entries_index(entries))
    _write_gzip(output / "pdb" / "pdb_seqres.txt.gz", seqres(entries))
    for entry, _ in entries:
        folder = output / "pdb" / "mmCIF" / entry.id[1:3]
        _write_gzip(folder / f"{entry.id}.cif.gz", write_mmcif(entry))
    _write_gzip(output / "pfam" / "Pfam-A.full.gz", pfam_full(universe, entries), "latin-1")
    _write_gzip(output / "pfam" / "Pfam-A.seed.gz", pfam_seed(universe), "latin-1")
    _write_gzip(output / "pfam" / "Pfam-A.clans.tsv.gz", clans_table(universe))
    _write_gzip(output / "pfam" / "pdbmap.gz", pdbmap(universe, entries))
    for name, text in truth(universe, entries).items():
        write_text(output / "truth" / name, text)
    clusters = {protein.cluster for protein in universe.proteins}
    note(
        f"{output}: {len(universe.families)} families, {len(universe.proteins)} sequences, "
        f"{len(clusters)} UniRef50 clusters, {len(entries)} PDB entries"
    )


def _write_gzip(path: Path, text: str, encoding: str = "utf-8") -> None:
    with atomic_path(path) as temporary:
        # No time and no name in the header: the same text is the same bytes.
        temporary.write_bytes(gzip.compress(text.encode(encoding), mtime=0))


def _fasta(records: Iterable[tuple[str, str]]) -> str:
    lines = []
    for header, sequence in records:
        lines.append(f">{header}")
        lines += [sequence[start : start + 60] for start in range(0, len(sequence), 60)]
    return "\n".join(lines) + "\n"


def _description(universe: Universe, protein: Protein) -> str:
    if protein.family is None:
        return "Uncharacterized protein"
    return f"{universe.families[protein.family].name} domain-containing protein"


def uniref_fasta(universe: Universe) -> str:
    """`>UniRef50_ACC name n=SIZE Tax=... TaxID=... RepID=...`: cluster representatives."""
    sizes: dict[str, int] = {}
    for protein in universe.proteins:
        sizes[protein.cluster] = sizes.get(protein.cluster, 0) + 1
    return _fasta(
        (
            f"UniRef50_{protein.accession} {_description(universe, protein)} "
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
            f"tr|{protein.accession}|{protein.entry_name} {_description(universe, protein)} "
            "OS=synthetic construct OX=32630 PE=4 SV=1",
            protein.sequence,
        )
        for protein in universe.proteins
    )


def pdb_entries(universe: Universe) -> list[tuple[Entry, tuple[Protein | None, ...]]]:
    """Entries in the order of their ids, with the protein each entity is (None for RNA).

    Beside one entry for each structure there are those a selection must refuse: NMR, a
    resolution of 2.5 and 3.0, a deposition in 2021, a chain of 30 residues, RNA; and one whose
    chain has no resolved residue, one with RNA and one with two families beside each other.
    """
    settings = universe.settings
    rng = settings.rng(7)
    structures = [protein for family in universe.families for protein in family.structures]
    used = {protein.accession for protein in structures}
    spare = [
        protein
        for family in universe.families
        if family.structures
        for protein in family.proteins
        if protein.accession not in used
    ]
    spare = [spare[index] for index in rng.permutation(len(spare))]
    ids = _entry_ids(len(structures) + 9, rng)
    entries: list[tuple[Entry, tuple[Protein | None, ...]]] = []

    def entry(
        *parts: tuple[Entity, Protein | None],
        method: str = "X-RAY DIFFRACTION",
        resolution: float | None = None,
        year: int | None = None,
    ) -> None:
        if resolution is None and method != "SOLUTION NMR":
            resolution = round(float(rng.uniform(1.2, 2.45)), 2)
        date = (
            f"{year or int(rng.integers(1996, 2020))}-"
            f"{int(rng.integers(1, 13)):02}-{int(rng.integers(1, 29)):02}"
        )
        protein = parts[0][1]
        title = "RNA" if protein is None else _description(universe, protein)
        entities = tuple(entity for entity, _ in parts)
        made = Entry(next(ids), title, method, resolution, date, entities)
        entries.append((made, tuple(protein for _, protein in parts)))

    def polymer(protein: Protein, **features: object) -> tuple[Entity, Protein]:
        return _entity(universe, protein, rng, **features), protein  # type: ignore[arg-type]

    rna = (_rna(rng), None)
    for index, protein in enumerate(track(structures, total=len(structures), what="structures")):
        features: dict[str, object] = {
            "chains": (
                (("A", "A"), ("B", "B")) if index % 5 == 2
                else (("A", "H"),) if index % 4 == 3
                else (("A", "A"),)
            ),
            "first_auth": (1, 1, -1, 101)[index % 4],
            "insertion": index % 6 == 5,
            "selenium": index % 7 == 1,
            "alternate": index % 3 == 1,
            "broken_loop": index % 2 == 1,
        }  # fmt: skip
        method = "ELECTRON MICROSCOPY" if index % 8 == 6 else "X-RAY DIFFRACTION"
        entry(polymer(protein, **features), method=method)
    for refused in ("nmr", "at-limit", "coarse", "late", "short", "unresolved", "rna", "pair"):
        if not spare:
            break
        protein = spare.pop()
        if refused == "nmr":
            entry(polymer(protein), method="SOLUTION NMR")
        elif refused == "at-limit":
            entry(polymer(protein), resolution=2.5)
        elif refused == "coarse":
            entry(polymer(protein), resolution=3.0)
        elif refused == "late":
            entry(polymer(protein), year=2021)
        elif refused == "short":
            entry(polymer(protein, length=30))
        elif refused == "unresolved":
            entry(polymer(protein, unresolved=True))
        elif refused == "rna":
            entry(polymer(protein), rna)
        elif spare:
            other = polymer(spare.pop(), chains=(("B", "B"),))
            entry(polymer(protein), other)
    entry(rna)
    return sorted(entries, key=lambda pair: pair[0].id)


def _entry_ids(count: int, rng: np.random.Generator) -> Iterator[str]:
    """Distinct ids such as `4kx2`, drawn at random."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    seen: set[str] = set()
    while len(seen) < count:
        digit, *rest = rng.integers(0, (9, 26, 36, 36))
        identifier = f"{digit + 1}{''.join(letters[int(place)] for place in rest)}"
        if identifier not in seen:
            seen.add(identifier)
            yield identifier


def _rna(rng: np.random.Generator) -> Entity:
    sequence = "".join("ACGU"[int(base)] for base in rng.integers(0, 4, 48))
    return Entity(
        sequence, "polyribonucleotide", None, np.zeros(len(sequence), bool), (("R", "R"),)
    )


def _entity(
    universe: Universe,
    protein: Protein,
    rng: np.random.Generator,
    *,
    chains: tuple[tuple[str, str], ...] = (("A", "A"),),
    first_auth: int = 1,
    insertion: bool = False,
    selenium: bool = False,
    alternate: bool = False,
    broken_loop: bool = False,
    unresolved: bool = False,
    length: int | None = None,
) -> Entity:
    """The full protein as an entity: domain resolved, tails mostly not."""
    alphas, resolved = trace(universe, protein)
    sequence = protein.sequence
    seen = np.flatnonzero(resolved)
    if broken_loop:
        # Three disordered residues inside the domain, away from its ends.
        first = int(rng.integers(seen[0] + 8, seen[-1] - 10))
        resolved[first : first + 3] = False
    if unresolved:
        resolved[:] = False
    if length is not None:
        window = slice(int(seen[0]), int(seen[0]) + length)
        sequence, alphas, resolved = sequence[window], alphas[window], resolved[window]
    seen = np.flatnonzero(resolved)
    doubled = rng.choice(seen, 2, replace=False) + 1 if alternate else ()
    return Entity(
        sequence,
        "polypeptide(L)",
        alphas,
        resolved,
        chains,
        first_auth=first_auth,
        insertion=int(seen[len(seen) // 2]) + 1 if insertion else None,
        selenium=selenium and "M" in sequence,
        alternate=tuple(sorted(int(position) for position in doubled)),
    )


def trace(universe: Universe, protein: Protein) -> tuple[Floats, np.ndarray]:
    """C-alpha positions (L, 3) of a family's protein, NaN in the tails, and (L,) which are there.

    Raises:
        DataError: The protein is a decoy, or its trace could not be closed.
    """
    if protein.member is None or protein.family is None:
        raise DataError(f"{protein.accession} is a decoy and has no structure")
    member = protein.member
    left = min(TAIL_RESOLVED, len(member.left.letters))
    right = min(TAIL_RESOLVED, len(member.right.letters))
    placed = folds.thread(
        universe.families[protein.family].fold,
        member.columns != alphabet.GAP,
        {column: len(letters) for column, letters in member.inserts.items()},
        left,
        right,
    )
    alphas = np.full((len(protein.sequence), 3), np.nan)
    alphas[member.start - 1 - left : member.end + right] = placed
    return alphas, ~np.isnan(alphas[:, 0])


def entries_index(entries: Sequence[tuple[Entry, tuple[Protein | None, ...]]]) -> str:
    """`entries.idx`: two header lines, then tab-separated columns; dates are mm/dd/yy."""
    lines = [INDEX_HEADER]
    for entry, _ in entries:
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


def seqres(entries: Sequence[tuple[Entry, tuple[Protein | None, ...]]]) -> str:
    """`pdb_seqres.txt`: `>1abc_A mol:protein length:112  NAME`, by author chain."""
    return "".join(
        f">{entry.id}_{auth} mol:{'protein' if entity.is_protein else 'na'} "
        f"length:{len(entity.sequence)}  {entry.title.upper()}\n{entity.sequence}\n"
        for entry, _ in entries
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


def pfam_full(
    universe: Universe, entries: Sequence[tuple[Entry, tuple[Protein | None, ...]]]
) -> str:
    """`Pfam-A.full`: every member of every family, with its structures as `DR PDB`."""
    known = _structure_ranges(entries)
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


def _structure_ranges(
    entries: Sequence[tuple[Entry, tuple[Protein | None, ...]]],
) -> dict[str, list[tuple[str, str, int, int]]]:
    """(entry, author chain, first and last author number of the domain) by accession."""
    known: dict[str, list[tuple[str, str, int, int]]] = {}
    for entry, proteins in entries:
        for entity, protein in zip(entry.entities, proteins, strict=True):
            if protein is None or protein.member is None or entity.sequence != protein.sequence:
                continue
            start, end = (
                entity.auth_number(position)[0]
                for position in (protein.member.start, protein.member.end)
            )
            for _, auth in entity.chains:
                known.setdefault(protein.accession, []).append((entry.id.upper(), auth, start, end))
    return known


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


def pdbmap(universe: Universe, entries: Sequence[tuple[Entry, tuple[Protein | None, ...]]]) -> str:
    """`pdbmap`: PDB entry, chain, nothing, family name and accession, UniProt, its range."""
    known = _structure_ranges(entries)
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


def truth(
    universe: Universe, entries: Sequence[tuple[Entry, tuple[Protein | None, ...]]]
) -> dict[str, str]:
    """What the files above come from, by name: families, members and contacts."""
    known = _structure_ranges(entries)
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
    for entry, _ in entries:
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


def entity_contacts(entity: Entity) -> list[tuple[int, int]]:
    """Contacts (1-based, 6 or more apart along the chain) between resolved residues."""
    if entity.alphas is None:
        return []
    glycine = np.array([letter == "G" for letter in entity.sequence])
    betas = np.where(glycine[:, None], entity.alphas, folds.beta_atoms(entity.alphas))
    betas[~entity.resolved] = np.nan
    i, j = np.nonzero(np.triu(folds.pair_distances(betas) <= folds.CONTACT, 6))
    return [(int(a) + 1, int(b) + 1) for a, b in zip(i, j, strict=True)]
