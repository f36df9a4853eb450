"""The generated universe: geometry, evolution, and files in the form of their sources."""

import dataclasses
import gzip
import io
from pathlib import Path

import gemmi
import numpy as np
import pytest
from Bio import AlignIO, SeqIO

from npm_core import alphabet
from npm_core.cli import main
from npm_core.errors import DataError, SettingsError
from npm_core.universe import evolution, folds
from npm_core.universe.deposits import Deposit, deposits, entity_contacts, trace
from npm_core.universe.evolution import Drift, Member, SparsePotts, Strength, Tail
from npm_core.universe.families import (
    Universe,
    UniverseSettings,
    _cluster,
    family_depths,
    generate,
)
from npm_core.universe.mirror import aligned_rows, pfam_seed, row_name, write_mirror
from npm_core.universe.mmcif import Entity

SMALL = UniverseSettings(
    seed=3, clans=1, families_per_clan=2, lone_families=1, max_depth=24, decoys=3
)


@pytest.fixture(scope="module")
def universe() -> Universe:
    return generate(SMALL)


@pytest.fixture(scope="module")
def deposited(universe) -> list[Deposit]:
    return deposits(universe)


@pytest.fixture(scope="module")
def mirror(universe, deposited, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("mirror")
    write_mirror(universe, deposited, folder)
    return folder


def text(path: Path, encoding: str = "utf-8") -> str:
    return gzip.decompress(path.read_bytes()).decode(encoding)


@pytest.mark.parametrize("kind", folds.CLASSES)
@pytest.mark.parametrize("variant", [0, 1, 3])
def test_folds_have_bonds_of_3_8_angstrom_no_clash_and_long_range_contacts(kind, variant):
    rng = np.random.default_rng([7, variant])
    fold = folds.build(folds.template(kind, variant, rng), rng)
    distances = folds.pair_distances(fold.alphas)
    np.testing.assert_allclose(np.diagonal(distances, 1), 3.8, atol=0.03)
    assert distances[np.triu_indices(fold.length, 2)].min() > 4.09
    long_range = np.triu(fold.contacts, 24).sum() / fold.length
    assert 0.4 < long_range < 1.8
    assert 45 <= fold.length <= 115


def test_a_fold_of_no_known_class_is_refused():
    with pytest.raises(DataError, match="knot"):
        folds.template("knot", 0, np.random.default_rng(0))


def test_a_chain_that_cannot_be_closed_is_refused():
    with pytest.raises(DataError, match="cannot be traced"):
        folds.relax(np.zeros((4, 3)), hold=np.ones(4), rounds=3)


def test_c_beta_atoms_are_bonded_and_point_out_of_a_bend():
    alphas = np.array([[-3.0, 0.0, 0.0], [0.0, 2.0, 0.0], [3.0, 0.0, 0.0]])
    betas = folds.beta_atoms(alphas)
    np.testing.assert_allclose(np.linalg.norm(betas - alphas, axis=1), 1.53, atol=0.01)
    assert betas[1, 1] > 2.0


def test_c_beta_atoms_at_the_ends_of_what_is_placed_are_placed_too():
    rng = np.random.default_rng(2)
    alphas = folds.build(folds.template("beta-beta", 0, rng), rng).alphas
    padded = np.concatenate([np.full((4, 3), np.nan), alphas, np.full((2, 3), np.nan)])
    np.testing.assert_array_equal(folds.beta_atoms(padded)[4:-2], folds.beta_atoms(alphas))
    assert np.isfinite(folds.backbone(padded)["O"][4:-2]).all()


def test_families_of_a_clan_share_a_fold_but_not_every_contact():
    rng = np.random.default_rng(5)
    elements = folds.template("alpha-beta", 0, rng)
    first, second = (folds.build(folds.relative(elements, rng), rng) for _ in range(2))
    assert first.length != second.length or not np.array_equal(first.contacts, second.contacts)
    maps = []
    for fold in (first, second):
        i, j = np.nonzero(np.triu(fold.contacts, 6))
        names = [tuple(place) for place in fold.places.tolist()]
        maps.append({(names[a], names[b]) for a, b in zip(i, j, strict=True)})
    common = len(maps[0] & maps[1]) / len(maps[0] | maps[1])
    assert 0.3 < common < 1.0


def test_couplings_are_symmetric_and_only_on_contacts(rng):
    contacts = np.zeros((8, 8), dtype=bool)
    contacts[0, 7] = contacts[7, 0] = contacts[2, 3] = contacts[3, 2] = True
    potts = evolution.potts_of_fold(contacts, np.zeros((8, 20)), Strength(0.5, 0.5, 0.5, 0.0), rng)
    assert potts.neighbours[0, 0] == 7
    np.testing.assert_allclose(potts.couplings[0, 0, :20], potts.couplings[7, 0, :20].T)
    assert np.abs(potts.couplings[0, 0, :20]).max() > 0
    # Neighbours along the chain touch whatever they are; a gap or padding says nothing.
    assert not potts.couplings[[1, 2, 3, 4, 5, 6]].any()
    assert not potts.couplings[:, :, alphabet.GAP].any()


def test_sampling_follows_the_fields_and_leaves_gaps_alone(rng):
    fields = np.full((3, 20), -50.0)
    fields[:, 4] = 0.0
    potts = SparsePotts(fields, np.zeros((3, 1), dtype=np.int64), np.zeros((3, 1, 21, 20)))
    states = np.array([[0, 1, alphabet.GAP], [5, 6, 7]], dtype=np.uint8)
    drawn = evolution.sample(potts, states, np.array([60, 0]), rng)
    assert drawn.tolist() == [[4, 4, alphabet.GAP], [5, 6, 7]]


def test_coupled_sites_agree_as_their_energy_says(rng):
    # Two sites of two states, J = 1 for equal ones: P(equal) = e / (e + 1).
    fields = np.full((2, 20), -50.0)
    fields[:, :2] = 0.0
    couplings = np.zeros((2, 1, 21, 20))
    couplings[:, 0, 0, 0] = couplings[:, 0, 1, 1] = 1.0
    potts = SparsePotts(fields, np.array([[1], [0]]), couplings)
    drawn = evolution.sample(potts, np.zeros((4000, 2), dtype=np.uint8), np.full(4000, 30), rng)
    equal = float(np.mean(drawn[:, 0] == drawn[:, 1]))
    assert equal == pytest.approx(np.e / (np.e + 1), abs=0.03)


def test_a_tree_has_its_leaves_and_parents_before_children(rng):
    tree = evolution.yule_tree(9, 0.3, rng)
    assert len(tree.leaves) == 9
    assert len(tree.parents) == 17
    assert (tree.parents[1:] < np.arange(1, 17)).all()
    assert not set(tree.leaves) & set(tree.parents)
    assert sum(len(nodes) for nodes in tree.generations()) == 17


def test_longer_branches_lead_to_more_distant_sequences(rng):
    fields = np.zeros((60, 20))
    potts = SparsePotts(fields, np.zeros((60, 1), dtype=np.int64), np.zeros((60, 1, 21, 20)))
    drift = Drift(0.0, 0.0, 0.0)
    identity = []
    for scale in (0.05, 3.0):
        members = evolution.evolve(
            potts, np.zeros(60, bool), depth=8, branch_scale=scale, drift=drift, rng=rng
        )
        columns = np.stack([member.columns for member in members])
        identity.append(float(np.mean(columns[:, None] == columns[None])))
    assert identity[0] > identity[1] + 0.3


def test_a_member_counts_deletions_inserts_and_tails():
    member = Member(alphabet.encode("AC-D"), {1: "GG"}, Tail(0, "MK"), Tail(1, "W"))
    assert member.sequence == "MKACGGDW"
    assert (member.start, member.end) == (3, 7)
    assert member.sequence[member.start - 1 : member.end] == member.domain


def test_depths_run_from_the_smallest_to_the_largest_and_every_clan_gets_both():
    settings = UniverseSettings(clans=2, families_per_clan=3, lone_families=1, max_depth=100)
    depths = family_depths(settings)
    assert len(depths) == 7
    assert (min(depths), max(depths)) == (1, 100)
    assert max(depths[:3]) > 4 * min(depths[:3])
    assert max(depths[3:6]) > 4 * min(depths[3:6])


@pytest.mark.parametrize(
    "wrong",
    [
        {"clans": 99},
        {"min_depth": 0},
        {"clan_share": 2.0},
        {"clans": 0, "lone_families": 0},
        {"families_without_structure": 0},
        {"families_per_clan": -1},
        {"seed": -1},
        {"branch_scale": float("nan")},
    ],
)
def test_settings_that_cannot_be_are_refused(wrong):
    with pytest.raises(SettingsError):
        UniverseSettings(**wrong)


def test_every_protein_is_half_identical_to_its_representative(universe):
    by_accession = {protein.accession: protein for protein in universe.proteins}
    assert len(by_accession) == len(universe.proteins)
    for protein in universe.proteins:
        representative = by_accession[protein.cluster]
        assert representative.cluster == representative.accession
        assert protein.identity >= 0.5
        assert len(representative.sequence) >= len(protein.sequence)
        if protein.member is not None:
            assert representative.family == protein.family


def test_a_cluster_holds_what_aligns_to_most_of_its_longest_sequence():
    def member(letters):
        return Member(alphabet.encode(letters), {}, Tail(0, ""), Tail(0, ""))

    rows = ["ACDEFGHIKL", "ACDEFGHI--", "ACDEFGH---", "ACDEFVVVVV", "ACDEWVVVVV"]
    # The third covers 70 % of the first; the last shares four letters with either.
    assert _cluster([member(row) for row in rows]) == [(0, 1), (0, 1), (2, 1), (0, 0.5), (4, 1)]


def test_numbers_of_authors_repeat_where_residues_were_inserted():
    entity = Entity("A" * 6, "polypeptide(L)", None, np.ones(6, bool), (("A", "A"),), 5, 3)
    assert [entity.auth_number(position) for position in range(1, 7)] == [
        (5, "?"),
        (6, "?"),
        (6, "A"),
        (6, "B"),
        (7, "?"),
        (8, "?"),
    ]


def test_a_seed_holds_the_representatives_of_its_family(universe):
    blocks = pfam_seed(universe).split("//\n")[:-1]
    for block, family in zip(blocks, universe.families, strict=True):
        names = [line.split("_")[0] for line in block.splitlines() if not line.startswith("#")]
        assert names == [p.accession for p in family.proteins if p.accession == p.cluster][:30]
    assert any(protein.accession != protein.cluster for protein in universe.proteins)


def test_a_universe_may_hold_lone_families_only():
    universe = generate(
        UniverseSettings(clans=0, families_per_clan=0, lone_families=2, max_depth=1, decoys=0)
    )
    assert [family.name for family in universe.families] == ["Lone_1", "Lone_2"]


def test_another_seed_is_another_universe():
    tiny = UniverseSettings(clans=0, lone_families=1, max_depth=1, decoys=1)
    first, second = (generate(dataclasses.replace(tiny, seed=seed)) for seed in (1, 2))
    assert [p.sequence for p in first.proteins] != [p.sequence for p in second.proteins]


def test_the_same_settings_give_the_same_bytes(mirror, tmp_path):
    flags = [
        word
        for name in ("clans", "families_per_clan", "lone_families", "max_depth", "decoys")
        for word in (f"--{name.replace('_', '-')}", str(getattr(SMALL, name)))
    ]
    assert main(["universe", "--output", str(tmp_path / "a"), "--seed", "3", *flags]) == 0
    files = sorted(path.relative_to(mirror) for path in mirror.rglob("*") if path.is_file())
    again = sorted(
        path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file()
    )
    assert files == again
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (mirror / name).read_bytes(), name


def test_fasta_files_hold_all_sequences_and_the_representatives(universe, mirror):
    everything = {
        record.id: str(record.seq)
        for record in SeqIO.parse(io.StringIO(text(mirror / "uniprot.fasta.gz")), "fasta")
    }
    assert everything == {
        f"tr|{protein.accession}|{protein.entry_name}": protein.sequence
        for protein in universe.proteins
    }
    sizes = 0
    for record in SeqIO.parse(io.StringIO(text(mirror / "uniref50.fasta.gz")), "fasta"):
        accession = record.id.removeprefix("UniRef50_")
        assert record.description.endswith(
            f"Tax=synthetic construct TaxID=32630 RepID={accession}_9ZZZZ"
        )
        assert everything[f"tr|{accession}|{accession}_9ZZZZ"] == str(record.seq)
        sizes += int(record.description.split(" n=")[1].split()[0])
    assert sizes == len(universe.proteins)


def test_pfam_rows_are_the_members_with_inserts_in_lower_case(universe, mirror):
    full = text(mirror / "pfam" / "Pfam-A.full.gz", "latin-1")
    sequences = {protein.accession: protein.sequence for protein in universe.proteins}
    blocks = full.split("//\n")[:-1]
    assert len(blocks) == len(universe.families)
    for block, family in zip(blocks, universe.families, strict=True):
        lines = block.splitlines()
        assert lines[0] == "# STOCKHOLM 1.0"
        assert f"#=GF AC   {family.accession}.1" in lines
        assert f"#=GF SQ   {len(family.proteins)}" in lines
        rows = [line.split() for line in lines if not line.startswith("#")]
        assert len(rows) == len(family.proteins)
        assert len({len(row) for _, row in rows}) == 1
        for name, row in rows:
            accession, _, span = name.partition("_9ZZZZ/")
            start, end = map(int, span.split("-"))
            letters = row.replace(".", "").replace("-", "").upper()
            assert letters == sequences[accession][start - 1 : end]
            assert sum(letter.isupper() or letter == "-" for letter in row) == family.fold.length
    alignments = AlignIO.parse(io.StringIO(full), "stockholm")
    assert [len(block) for block in alignments] == [len(f.proteins) for f in universe.families]


def test_insert_columns_are_as_wide_as_the_longest_insert(universe):
    proteins = universe.families[0].proteins[:1]
    plain = proteins[0].member
    longer = Member(plain.columns, {2: "ACD"}, plain.left, plain.right)
    twin = type(proteins[0])("X", longer.sequence, "X", 1.0, 0, longer)
    bare = Member(plain.columns, {}, plain.left, plain.right)
    other = type(proteins[0])("Y", bare.sequence, "Y", 1.0, 0, bare)
    with_insert, without = aligned_rows([twin, other])
    assert with_insert[3:6] == "acd"
    assert without[3:6] == "..."
    assert with_insert.replace("acd", "") == without.replace("...", "")


def test_clans_and_pdbmap_name_the_families_and_their_structures(universe, mirror):
    clans = [line.split("\t") for line in text(mirror / "pfam/Pfam-A.clans.tsv.gz").splitlines()]
    assert [row[:3] for row in clans] == [
        ["PF90001", "CL0063", "NADP_Rossmann"],
        ["PF90002", "CL0063", "NADP_Rossmann"],
        ["PF90003", "", ""],
    ]
    rows = {row_name(protein) for family in universe.families for protein in family.proteins}
    sequences = {
        record.id: str(record.seq)
        for record in SeqIO.parse(io.StringIO(text(mirror / "pdb/pdb_seqres.txt.gz")), "fasta")
    }
    lines = text(mirror / "pfam/pdbmap.gz").splitlines()
    assert lines
    proteins = {protein.accession: protein for protein in universe.proteins}
    for line in lines:
        entry, chain, nothing, _, family, accession, span, _ = (
            field.strip() for field in line.split(";")
        )
        assert nothing == ""
        assert family in {row[0] for row in clans}
        assert f"{accession}_9ZZZZ/{span}" in rows
        assert sequences[f"{entry.lower()}_{chain}"] == proteins[accession].sequence


def test_entries_hold_every_case_a_selection_meets(universe, mirror):
    lines = (mirror / "pdb/entries.idx").read_text().splitlines()
    assert lines[0].startswith("IDCODE, HEADER, ACCESSION DATE")
    rows = [line.split("\t") for line in lines[2:]]
    assert all(len(row) == 8 for row in rows)
    assert any(row[6:] == ["NOT", "SOLUTION NMR"] for row in rows)
    assert {"2.5", "3"} <= {row[6] for row in rows}
    assert any(row[2].endswith("/21") for row in rows)
    headers = [line for line in text(mirror / "pdb/pdb_seqres.txt.gz").splitlines() if ">" in line]
    assert any("mol:na" in header for header in headers)
    assert any("length:30 " in header for header in headers)
    assert {header[1:5].upper() for header in headers} == {row[0] for row in rows}


def test_mmcif_entries_are_read_as_they_were_built(deposited, mirror):
    kinds = set()
    for deposit in deposited:
        entry = deposit.entry
        path = mirror / "pdb" / "mmCIF" / entry.id[1:3] / f"{entry.id}.cif.gz"
        structure = gemmi.read_structure(str(path))
        block = gemmi.cif.read(str(path)).sole_block()
        assert block.find_value("_exptl.method").strip("'") == entry.method
        date = block.find_value("_pdbx_database_status.recvd_initial_deposition_date")
        assert date == entry.deposited
        if entry.method == "X-RAY DIFFRACTION":
            assert structure.resolution == pytest.approx(entry.resolution)
        for number, entity in enumerate(entry.entities, start=1):
            known = structure.get_entity(str(number))
            assert len(known.full_sequence) == len(entity.sequence)
            for label, auth in entity.chains:
                spans = structure[0].find_chain(auth) if len(structure) else None
                residues = [
                    residue
                    for residue in spans or ()
                    if residue.subchain == label and residue.label_seq is not None
                ]
                positions = [residue.label_seq for residue in residues]
                assert positions == (np.flatnonzero(entity.resolved) + 1).tolist()
                for residue in residues:
                    letter = entity.sequence[residue.label_seq - 1]
                    assert gemmi.find_tabulated_residue(residue.name).one_letter_code.upper() == (
                        letter
                    )
                    assert (residue.find_atom("CB", "*") is None) == (letter == "G")
                    assert residue.seqid.num == entity.auth_number(residue.label_seq)[0]
                    assert all(np.isfinite(atom.pos.tolist()).all() for atom in residue)
                    if residue.name == "MSE":
                        kinds.add("MSE")
                    if residue.seqid.icode != " ":
                        kinds.add("insertion code")
                    if residue[0].altloc != "\0":
                        kinds.add("alternate")
                kinds |= {"nothing resolved"} if not residues else set()
                kinds |= {"two names"} if label != auth else set()
    assert {"alternate", "nothing resolved"} <= kinds


def test_a_structure_is_a_chain_with_unresolved_tails(universe):
    protein = max(
        (p for family in universe.families for p in family.proteins),
        key=lambda protein: len(protein.member.left.letters),
    )
    alphas, resolved = trace(universe, protein)
    assert len(alphas) == len(protein.sequence)
    assert resolved[protein.member.start - 1 : protein.member.end].all()
    assert not resolved[: protein.member.start - 4].any()
    seen = alphas[resolved]
    np.testing.assert_allclose(np.linalg.norm(np.diff(seen, axis=0), axis=1), 3.8, atol=0.03)


def test_a_decoy_has_no_structure(universe):
    decoy = next(protein for protein in universe.proteins if protein.family is None)
    with pytest.raises(DataError, match="decoy"):
        trace(universe, decoy)


def test_true_contacts_are_those_of_the_resolved_residues(deposited, mirror):
    listed = {}
    for line in (mirror / "truth/contacts.tsv").read_text().splitlines()[1:]:
        chain, i, j = line.split("\t")
        listed.setdefault(chain, []).append((int(i), int(j)))
    for deposit in deposited:
        for entity in deposit.entry.entities:
            name = f"{deposit.entry.id}_{entity.chains[0][1]}"
            pairs = entity_contacts(entity)
            assert listed.get(name, []) == pairs
            assert all(j - i >= 6 and entity.resolved[[i - 1, j - 1]].all() for i, j in pairs)
