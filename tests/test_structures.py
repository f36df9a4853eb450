import gzip
import re

import gemmi
import numpy as np
import pytest

from npm_core.cli import main
from npm_core.errors import DataError
from npm_core.queries import read_queries
from npm_core.structures import read_chain, read_structure

HEADER = """data_1ABC
loop_
_entity_poly.entity_id
_entity_poly.type
1 'polypeptide(L)'
2 polyribonucleotide
loop_
_entity_poly_seq.entity_id
_entity_poly_seq.num
_entity_poly_seq.mon_id
{sequence}
2 1 A
loop_
_struct_asym.id
_struct_asym.entity_id
A 2
B 1
C 3
loop_
_atom_site.group_PDB
_atom_site.label_atom_id
_atom_site.label_alt_id
_atom_site.label_comp_id
_atom_site.label_asym_id
_atom_site.label_seq_id
_atom_site.Cartn_x
_atom_site.Cartn_y
_atom_site.Cartn_z
_atom_site.occupancy
_atom_site.auth_seq_id
_atom_site.auth_asym_id
_atom_site.pdbx_PDB_model_num
"""

SEQUENCE = "1 1 ALA\n1 2 GLY\n1 3 MSE\n1 4 SER\n1 5 XYZ"

ATOMS = """ATOM CA . ALA B 1 0 0 0 1.0 101 H 1
ATOM CB . ALA B 1 1 0 0 1.0 101 H 1
ATOM CA . GLY B 2 4 0 0 1.0 102 H 1
HETATM CA . MSE B 3 8 0 0 1.0 102A H 1
HETATM CB A MSE B 3 8 1 0 0.4 102A H 1
HETATM CB B MSE B 3 8 2 0 0.6 102A H 1
ATOM CA . SER B 4 12 0 0 1.0 90 H 1
HETATM CA . CA C . 0 0 9 1.0 300 H 1
ATOM CB . ALA B 1 7 7 7 1.0 101 H 2
"""


@pytest.fixture
def write(tmp_path):
    def write(text, name="1abc.cif"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


@pytest.fixture
def entry(write):
    """One chain, label B and author H: alanine, glycine, selenomethionine with two locations of
    C-beta, serine without C-beta, an unseen residue of unknown kind; and RNA and calcium."""
    return write(HEADER.format(sequence=SEQUENCE) + ATOMS)


def test_a_chain_is_numbered_like_its_full_sequence(entry):
    chain = read_chain(entry)
    assert (chain.label, chain.author, chain.sequence) == ("B", "H", "AGMSX")
    assert chain.resolved.tolist() == [True, True, True, False, False]
    assert chain.coordinates[:3].tolist() == [[1, 0, 0], [4, 0, 0], [8, 2, 0]]
    assert np.isnan(chain.coordinates[3:]).all()


def test_the_authors_numbers_stand_beside_it(entry):
    assert read_chain(entry).author_numbers == ("101", "102", "102A", "90", "")


def test_an_insertion_code_of_its_own_column_belongs_to_the_number(write):
    atoms = re.sub(r" H (?=[12]$)", " H B ", ATOMS, flags=re.MULTILINE)
    header = HEADER.replace("_atom_site.pdbx", "_atom_site.pdbx_PDB_ins_code\n_atom_site.pdbx")
    path = write(header.format(sequence=SEQUENCE) + atoms.replace(" H B ", " H ? ", 1))
    assert read_chain(path).author_numbers == ("101B", "102B", "102AB", "90B", "")


def test_the_verb_writes_the_authors_numbers(entry, tmp_path):
    out = tmp_path / "c.npz"
    assert main(["contacts", "--structure", str(entry), "--output", str(out)]) == 0
    with np.load(out) as found:
        assert found["author_numbers"].tolist() == ["101", "102", "102A", "90", ""]


def test_distances_are_nan_where_a_residue_is_unresolved(entry):
    distances = read_chain(entry).target("1abc_H").distances
    assert distances[0, 1] == pytest.approx(3.0)
    assert distances[1, 2] == pytest.approx(np.sqrt(20))
    assert np.isnan(distances[3:]).all()
    assert np.isnan(distances[:, 3:]).all()


def test_the_first_of_equally_occupied_locations_counts(write):
    text = HEADER.format(sequence=SEQUENCE) + ATOMS.replace("0.4", "0.6")
    assert read_chain(write(text)).coordinates[2].tolist() == [8, 1, 0]


@pytest.mark.parametrize(
    ("first", "second", "taken"), [("0.4", "?", 2), ("0.00", "0.00", 1), ("0.1", "0.00", 1)]
)
def test_an_unknown_occupancy_is_a_whole_one_and_an_atom_of_none_is_still_there(
    write, first, second, taken
):
    atoms = ATOMS.replace("8 1 0 0.4", f"8 1 0 {first}").replace("8 2 0 0.6", f"8 2 0 {second}")
    chain = read_chain(write(HEADER.format(sequence=SEQUENCE) + atoms))
    assert chain.coordinates[2].tolist() == [8, taken, 0]


def test_gzipped_files_read_the_same(entry, tmp_path):
    zipped = tmp_path / "zipped"
    zipped.write_bytes(gzip.compress(entry.read_bytes()))
    assert read_chain(zipped).sequence == "AGMSX"


def test_a_chain_goes_by_its_authors_name_before_its_label(entry):
    assert read_chain(entry, "H").label == "B"
    assert read_chain(entry, "B").label == "B"
    with pytest.raises(DataError, match=r"'A'; choose one of the protein chains: H \(label B\)"):
        read_chain(entry, "A")


def test_two_chains_whose_names_are_crossed_go_by_their_authors(write):
    header = HEADER.format(sequence="1 1 ALA").replace("C 3", "D 1")
    atoms = "ATOM CB . ALA B 1 1 0 0 1.0 1 D 1\nATOM CB . ALA D 1 2 0 0 1.0 1 B 1\n"
    path = write(header + atoms)
    assert read_chain(path, "B").label == "D"
    assert read_chain(path, "D").label == "B"


def test_nucleic_chains_are_refused_with_their_kind(entry):
    structure = read_structure(entry)
    assert structure.refused == {"A": "polyribonucleotide, not polypeptide(L)"}


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("ALA B 1 0", "VAL B 1 0", "at position 1 are VAL, the sequence has ALA"),
        ("SER B 4", "SER B 6", "label_seq_id 6, outside the sequence of 5"),
        ("SER B 4", "SER B .", "label_seq_id ., outside"),
        ("1 4 SER", "1 6 SER", "jumps from 3 to 6"),
    ],
)
def test_atoms_that_contradict_the_sequence_refuse_the_chain(write, old, new, reason):
    text = HEADER.format(sequence=SEQUENCE) + ATOMS
    assert old in text
    structure = read_structure(write(text.replace(old, new)))
    assert structure.chains == ()
    assert reason in structure.refused["B"]


def test_the_first_alternative_of_a_heterogeneous_residue_counts(write):
    sequence = SEQUENCE.replace("1 4 SER", "1 4 SER\n1 4 THR")
    atoms = "ATOM CB A SER B 4 12 1 0 0.3 90 H 1\nATOM CB B THR B 4 12 2 0 0.7 90 H 1\n" + ATOMS
    chain = read_chain(write(HEADER.format(sequence=sequence) + atoms))
    assert chain.sequence == "AGMSX"
    assert chain.coordinates[3].tolist() == [12, 1, 0]


def test_the_file_names_the_parent_of_a_residue_nobody_else_knows(write):
    parents = "loop_\n_chem_comp.id\n_chem_comp.mon_nstd_parent_comp_id\nXYZ LYS\nALA ?\n"
    text = HEADER.format(sequence=SEQUENCE) + ATOMS + parents
    assert read_chain(write(text)).sequence == "AGMSK"
    two = text.replace("XYZ LYS", "XYZ LYS\nXYZ ARG")
    assert read_chain(write(two)).sequence == "AGMSX", "two parents are none"


def test_a_modified_glycine_stands_at_its_c_alpha(write):
    parents = "loop_\n_chem_comp.id\n_chem_comp.mon_nstd_parent_comp_id\nXYZ GLY\n"
    atoms = ATOMS + "HETATM CA . XYZ B 5 16 0 0 1.0 91 H 1\n"
    chain = read_chain(write(HEADER.format(sequence=SEQUENCE) + atoms + parents))
    assert chain.sequence == "AGMSG"
    assert chain.coordinates[4].tolist() == [16, 0, 0]


def test_a_chain_nobody_saw_is_no_target(write):
    atoms = ATOMS.replace(" B ", " D ")
    structure = read_structure(write(HEADER.format(sequence=SEQUENCE) + atoms))
    assert "no row in _struct_asym" in structure.refused["D"]
    with pytest.raises(DataError, match="no residue is resolved"):
        structure.chain("B").target("1abc_B")


@pytest.mark.parametrize(
    ("part", "share", "told"),
    [(None, 0.6, "3 of 5 residues"), (slice(1, 5), 0.5, "2 of 4 residues of the domain")],
)
def test_a_target_needs_a_share_of_its_residues(entry, part, share, told):
    chain = read_chain(entry)
    length = len(chain.sequence[part or slice(None)])
    assert chain.target("1abc_H", part=part, min_resolved=share).length == length
    with pytest.raises(DataError, match=rf"^{told} are resolved, expected at least {share:.0%}$"):
        chain.target("1abc_H", part=part, min_resolved=share + 1e-6)


def test_a_coordinate_that_is_no_number_is_an_error(write):
    text = HEADER.format(sequence=SEQUENCE) + ATOMS.replace("GLY B 2 4", "GLY B 2 four")
    with pytest.raises(DataError, match=r"1abc\.cif: .*'four' where a coordinate"):
        read_structure(write(text))


@pytest.mark.parametrize("text", ["", "data_x\n_entry.id x\n", "data_x\nloop_\n", "no atoms\n"])
def test_a_file_without_atoms_is_an_error(write, text):
    with pytest.raises(DataError, match=r"1abc\.cif"):
        read_structure(write(text))


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_structure(tmp_path / "none.cif")


def atoms_alone(*residues):
    """mmCIF of atoms without entities: name, chain, label_seq_id, place and author's number."""
    tags = "_atom_site.id\n_atom_site.type_symbol\n_atom_site.label_entity_id\n_atom_site"
    header = f"data_x\nloop_\n{tags}" + HEADER.partition("loop_\n_atom_site")[2]
    return header + "".join(
        f"1 C 1 ATOM {atom} . {name} {chain} {label} {x} 0 0 1.0 {author} {chain} 1\n"
        for name, chain, label, x, author in residues
        for atom in ("CA", "CB")
    )


def test_an_mmcif_file_of_atoms_alone_is_numbered_by_what_was_observed(write):
    """As some programs write it: no entities, author numbers as labels."""
    text = atoms_alone(("ALA", "A", 7, 0, 7), ("SER", "A", 8, 3.8, 8), ("VAL", "A", 11, 12, 11))
    chain = read_chain(write(text))
    assert (chain.label, chain.sequence) == ("A", "ASXXV")
    assert chain.sequence_from == "observed residues"
    assert chain.resolved.tolist() == [True, True, False, False, True]
    with pytest.raises(DataError, match="no atoms; expected _atom_site with id"):
        read_chain(write(text.replace("_atom_site.id\n", "_atom_site.other\n")))


LABELLED = (
    ("SER", "A", 2, 3.8, 10),
    ("THR", "A", 3, 7.6, 11),
    ("VAL", "A", 6, 18, 12),
    ("LEU", "A", 7, 21.8, 13),
)


def test_an_mmcif_file_of_atoms_alone_keeps_label_numbers_of_its_own(write):
    """Author's numbers 10 to 13 skip nothing; labels 2, 3, 6 and 7 skip three residues."""
    chain = read_chain(write(atoms_alone(*LABELLED)))
    assert (chain.sequence, chain.sequence_from) == ("STXXVL", "observed residues")
    assert chain.author_numbers == ("10", "11", "", "", "12", "13")
    assert chain.coordinates[:, 0].tolist() == pytest.approx(
        [3.8, 7.6, np.nan, np.nan, 18, 21.8], nan_ok=True
    )


def test_labels_of_no_protein_are_not_followed(write):
    far = (*LABELLED[:3], ("LEU", "A", 2_000_000, 21.8, 13))
    assert read_chain(write(atoms_alone(*far))).sequence == "STVL"


@pytest.mark.parametrize("order", ["AB", "BA"])
def test_chains_of_one_entity_that_are_numbered_by_what_was_observed_are_each_their_own(
    write, order
):
    residues = {
        "A": [("ALA", "A", 7, 0, 7), ("SER", "A", 8, 3.8, 8), ("VAL", "A", 11, 12, 11)],
        "B": [("SER", "B", 8, 3.8, 8), ("THR", "B", 9, 7.6, 9)],
    }
    structure = read_structure(write(atoms_alone(*(one for n in order for one in residues[n]))))
    found = {chain.label: (chain.sequence, chain.sequence_from) for chain in structure.chains}
    assert found == {"A": ("ASXXV", "observed residues"), "B": ("ST", "observed residues")}


def test_chains_of_one_entity_show_each_other_what_they_lack(write):
    other = (("ALA", "B", 1, 0, 9), ("SER", "B", 2, 3.8, 10))
    first, second = read_structure(write(atoms_alone(*LABELLED, *other))).chains
    assert (first.sequence, second.sequence) == ("ASTXXVL", "ASTXXVL")
    assert first.resolved.tolist() == [False, True, True, False, False, True, True]
    assert second.resolved.tolist() == [True, True, False, False, False, False, False]


@pytest.mark.parametrize("labels", [(2, 3, 3, 7), (2, 6, 3, 7), (2, 3, ".", 7)])
def test_label_numbers_that_do_not_increase_are_not_followed(write, labels):
    residues = [
        (name, chain, label, x, author)
        for (name, chain, _, x, author), label in zip(LABELLED, labels, strict=True)
    ]
    assert read_chain(write(atoms_alone(*residues))).sequence == "STVL"


def test_peptides_of_the_other_hand_are_refused(write):
    text = (HEADER.format(sequence=SEQUENCE) + ATOMS).replace("polypeptide(L)", "polypeptide(D)")
    structure = read_structure(write(text))
    assert structure.refused["B"] == "polypeptide(D), not polypeptide(L)"


def pdb_atom(name, residue, number, x, chain="A", altloc=" ", occupancy=1.0):
    return (
        f"ATOM      1  {name:<3}{altloc}{residue} {chain}{number:>4}    "
        f"{x:8.3f}{0:8.3f}{0:8.3f}{occupancy:6.2f}{0:6.2f}          {name[0]:>2}\n"
    )


def trace(*residues, chain="A"):
    return "".join(
        pdb_atom(name, residue, number, x, chain)
        for residue, number, x in residues
        for name in ("CA", "CB")
    )


def test_a_pdb_file_with_seqres_keeps_the_residues_nobody_saw(write):
    seqres = "SEQRES   1 A    6  MET ALA VAL SER THR LEU\n"
    atoms = trace(("ALA", 12, 0), ("VAL", 13, 3.8), ("THR", 15, 11), ("LEU", 16, 14.8))
    chain = read_chain(write(seqres + atoms, "1abc.pdb"))
    assert (chain.label, chain.sequence, chain.sequence_from) == ("A", "MAVSTL", "SEQRES")
    assert chain.resolved.tolist() == [False, True, True, False, True, True]
    assert chain.author_numbers == ("", "12", "13", "", "15", "16")
    inserted = read_chain(write(seqres + atoms.replace("A  13 ", "A  12A"), "1abc.pdb"))
    assert inserted.author_numbers == ("", "12", "12A", "", "15", "16")


def test_without_seqres_a_break_is_filled_by_the_numbers_left_out(write):
    broken = trace(("ALA", 12, 0), ("VAL", 13, 3.8), ("THR", 16, 12), ("LEU", 17, 15.8))
    chain = read_chain(write(broken, "1abc.pdb"))
    assert (chain.sequence, chain.sequence_from) == ("AVXXTL", "observed residues")
    assert chain.resolved.tolist() == [True, True, False, False, True, True]


def test_one_missing_residue_is_a_break_though_its_neighbours_are_near(write):
    # Across one residue C-alphas are 5 to 7.5 angstrom apart, bonded ones 3.8.
    broken = trace(("ALA", 12, 0), ("VAL", 13, 3.8), ("THR", 15, 9.3), ("LEU", 16, 13.1))
    assert read_chain(write(broken, "1abc.pdb")).sequence == "AVXTL"


def test_a_number_skipped_without_a_break_is_not_missing(write):
    bonded = trace(("ALA", 12, 0), ("VAL", 13, 3.8), ("THR", 16, 7.6), ("LEU", 17, 11.4))
    assert read_chain(write(bonded, "1abc.pdb")).sequence == "AVTL"


def alternatives(first, second):
    """Alanine, two kinds of residue 2 (at 3.8 and 4 angstrom, the second fuller), and valine."""
    return (
        trace(("ALA", 1, 0))
        + "".join(pdb_atom(name, "LYS", 2, 3.8, "A", first, 0.4) for name in ("CA", "CB"))
        + "".join(pdb_atom(name, "ARG", 2, 4.0, "A", second, 0.6) for name in ("CA", "CB"))
        + trace(("VAL", 3, 7.6))
    )


@pytest.mark.parametrize(
    ("seqres", "sequence", "x"),
    [
        ("", "AKV", 3.8),
        ("SEQRES   1 A    3  ALA LYS VAL\n", "AKV", 3.8),
        ("SEQRES   1 A    3  ALA ARG VAL\n", "ARV", 4.0),
        ("SEQRES   1 A    4  MET ALA ARG VAL\n", "MARV", 4.0),
    ],
)
def test_of_alternative_residues_of_a_pdb_file_that_of_seqres_or_the_first_counts(
    write, seqres, sequence, x
):
    chain = read_chain(write(seqres + alternatives("A", "B"), "1abc.pdb"))
    assert chain.sequence == sequence
    assert chain.coordinates[-3:, 0].tolist() == pytest.approx([0, x, 7.6])
    assert chain.author_numbers[-3:] == ("1", "2", "3")


@pytest.mark.parametrize(
    ("seqres", "first", "second", "reason"),
    [
        ("", " ", " ", "a ARG has label_seq_id ."),
        ("SEQRES   1 A    3  ALA SER VAL\n", "A", "B", "are LYS, the sequence has SER"),
    ],
)
def test_residues_of_one_number_that_are_no_alternatives_refuse_the_chain(
    write, seqres, first, second, reason
):
    structure = read_structure(write(seqres + alternatives(first, second), "1abc.pdb"))
    assert structure.chains == ()
    assert reason in structure.refused["A"]


@pytest.mark.parametrize("broken", ["  xx.000", "        ", "   1.0e1", "     nan"])
def test_a_coordinate_of_a_pdb_file_that_is_no_number_is_an_error(write, broken):
    atoms = trace(("ALA", 1, 0), ("VAL", 2, 3.8)).replace("   3.800", broken, 1)
    with pytest.raises(DataError, match=rf"1abc\.pdb: line 3: '{broken}' in columns 31 to 38"):
        read_structure(write(atoms, "1abc.pdb"))


def test_only_the_first_model_of_a_pdb_file_is_read(write):
    models = [
        f"MODEL     {number:>4}\n{trace(('ALA', 1, x), ('VAL', 2, x + 3.8))}ENDMDL\n"
        for number, x in ((1, 5), (2, 50))
    ]
    chain = read_chain(write("".join(models), "1abc.pdb"))
    assert chain.coordinates[:, 0].tolist() == pytest.approx([5, 8.8])


def test_a_seqres_of_one_chain_says_nothing_about_another(write):
    seqres = "SEQRES   1 A    3  MET ALA VAL\n"
    atoms = trace(("ALA", 2, 0), ("VAL", 3, 3.8)) + trace(("SER", 1, 0), ("LEU", 2, 3.8), chain="B")
    first, second = read_structure(write(seqres + atoms, "1abc.pdb")).chains
    assert (first.sequence, first.sequence_from) == ("MAV", "SEQRES")
    assert (second.sequence, second.sequence_from) == ("SL", "observed residues")


def test_chains_of_a_pdb_file_go_by_their_letters(write):
    atoms = trace(("ALA", 1, 0), ("VAL", 2, 3.8)) + trace(("SER", 1, 0), ("LEU", 2, 3.8), chain=" ")
    path = write(atoms, "1abc.pdb")
    assert read_chain(path, "_").sequence == "SL"
    with pytest.raises(DataError, match="choose one of the protein chains: A, _"):
        read_chain(path)


def test_real_entries_agree_with_gemmis_own_model(real_data):
    """Sequence, resolved residues and distances of every protein chain of every file."""
    files = sorted((real_data / "struct_cif").glob("*.cif.gz"))
    compared = 0
    for path in files:
        found = {chain.label: chain for chain in read_structure(path).chains}
        model = gemmi.read_structure(str(path))
        model.setup_entities()
        canonical = {
            row.str(0): "".join(row.str(1).split())
            for row in gemmi.cif.read(str(path))
            .sole_block()
            .find("_entity_poly.", ["entity_id", "pdbx_seq_one_letter_code_can"])
        }
        for entity in model.entities:
            if entity.polymer_type != gemmi.PolymerType.PeptideL:
                assert not found.keys() & set(entity.subchains), path
                continue
            for label in entity.subchains:
                chain = found.pop(label)
                names = [gemmi.Entity.first_mon(item) for item in entity.full_sequence]
                assert len(chain.sequence) == len(names), path
                # One file is cut after 100 residues but keeps its canonical sequence.
                assert canonical[entity.name].startswith(chain.sequence), path
                expected = gemmi_coordinates(model[0].get_subchain(label), names)
                assert (chain.resolved == ~np.isnan(expected[:, 0])).all(), path
                distances = np.linalg.norm(expected[:, None] - expected[None], axis=-1)
                np.testing.assert_allclose(chain.target("x").distances, distances, atol=1e-3)
                compared += 1
        assert not found, path
    assert len(files) >= 27
    assert compared >= 30


def gemmi_coordinates(residues, names):
    coordinates = np.full((len(names), 3), np.nan)
    for residue in residues:
        if residue.name != names[residue.label_seq - 1]:
            continue
        letter = gemmi.find_tabulated_residue(residue.name).one_letter_code.upper()
        atoms = [atom for atom in residue if atom.name == ("CA" if letter == "G" else "CB")]
        if atoms:
            best = max(atoms, key=lambda atom: atom.occ)
            coordinates[residue.label_seq - 1] = best.pos.tolist()
    return coordinates


def test_real_pdb_chains_hold_the_observed_residues(real_data):
    """The alignments beside these files were searched with the residues somebody saw."""
    files = sorted((real_data / "pdb_sprot").glob("*.pdb.gz"))[::4]
    for path in files:
        name = path.name.removesuffix(".pdb.gz")
        chain = read_chain(path, name.split("_")[1])
        query = next(read_queries(path.with_name(f"{name}.a3m.gz"))).sequence
        letters = iter(chain.sequence)
        assert all(any(letter in ("X", found) for found in letters) for letter in query), path
        assert abs(chain.resolved.sum() - len(query)) <= 3, path
    assert len(files) >= 30


def test_only_the_first_model_of_an_mmcif_file_is_read(tmp_path):
    second = "ATOM CB . SER B 4 12 9 9 1.0 90 H 2\n"
    path = tmp_path / "1abc.cif"
    path.write_text(HEADER.format(sequence=SEQUENCE) + ATOMS + second)
    assert read_chain(path).resolved.tolist() == [True, True, True, False, False]
