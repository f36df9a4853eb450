"""The user's own alignments and structures."""

import gzip
from dataclasses import replace

import gemmi
import numpy as np
import pytest

from npm_core import alphabet, local_data
from npm_core.buckets import shared_structures
from npm_core.clan_targets import read_columns
from npm_core.cli import main
from npm_core.errors import DataError
from npm_core.ffindex import read_entries, write_entries
from npm_core.local_data import (
    a3m_text,
    aligned_to_target,
    import_anchored,
    import_unanchored,
    outcome,
    read_local_families,
)
from npm_core.msa import Msa
from npm_core.pairwise import aligned_positions, domain
from npm_core.tables import read_targets

SEQUENCE = "MKVLAWHDEG"
UNRESOLVED = 4


def write_structure(path, sequence=SEQUENCE, missing=(UNRESOLVED,)):
    """A straight chain with SEQRES: C-alpha and C-beta, 3.8 angstrom a residue."""
    structure = gemmi.Structure()
    structure.name = "1abc"
    model = gemmi.Model(1)
    chain = gemmi.Chain("A")
    names = gemmi.expand_one_letter_sequence(sequence, gemmi.ResidueKind.AA)
    for number, name in enumerate(names, start=1):
        if number - 1 in missing:
            continue
        residue = gemmi.Residue()
        residue.name, residue.seqid = name, gemmi.SeqId(str(number))
        for atom_name in ("CA", "CB") if name != "GLY" else ("CA",):
            atom = gemmi.Atom()
            atom.name, atom.element = atom_name, gemmi.Element("C")
            atom.pos = gemmi.Position(3.8 * number, 1.5 * (atom_name == "CB"), 0)
            residue.add_atom(atom)
        chain.add_residue(residue)
    model.add_chain(chain)
    structure.add_model(model)
    structure.setup_entities()
    structure.entities[0].full_sequence = names
    structure.assign_label_seq_id()
    path.write_text(structure.make_mmcif_document().as_string())


@pytest.fixture
def folder(tmp_path):
    # The query lacks the unresolved residue, as alignments made from coordinates do.
    observed = SEQUENCE[:UNRESOLVED] + SEQUENCE[UNRESOLVED + 1 :]
    with gzip.open(tmp_path / "one.a3m.gz", "wt") as stream:
        stream.write(f">one\n{observed}\n>b\n{'A' * len(observed)}\n")
    (tmp_path / "two.sto").write_text(f"other AAAAA\nq     -{SEQUENCE[2:6]}\n//\n")
    write_structure(tmp_path / "one.cif")
    (tmp_path / "table.tsv").write_text(
        "id\tclan\talignment\tquery\tstructure\tsplit\n"
        "one\t\tone.a3m.gz\t\tone.cif\ttest\n"
        "two\tC\ttwo.sto\tq\tone.cif\ttrain\n"
        "three\tC\ttwo.sto\t1\t\ttrain\n"
    )
    return tmp_path


def test_a_query_is_aligned_to_the_full_sequence_of_its_chain():
    here, there = aligned_positions("MKVLAWHDEG", "VLWHD")
    assert here.tolist() == [2, 3, 5, 6, 7]
    assert there.tolist() == [0, 1, 2, 3, 4]
    assert domain(np.array([-1, 3, -1, 4, -1])) == slice(1, 4)


def test_a_target_is_numbered_like_seqres_and_its_alignment_with_it(folder):
    one, *_ = (
        import_anchored(f, test_share=0.1, salt="", min_resolved=0.5)
        for f in read_local_families(folder / "table.tsv")
    )
    assert one.target.sequence == SEQUENCE
    assert np.isnan(one.target.coordinates[UNRESOLVED]).all()
    msa = aligned_to_target(one)
    assert [alphabet.decode(row) for row in msa.residues] == [
        SEQUENCE,
        "AAAA-AAAAA",
    ][:2]
    assert msa.depth == 2  # the query is the target itself and is not kept twice


def test_a_query_that_is_not_the_target_stays_below_it(folder):
    rows = ["A" + SEQUENCE[1:], "C" * 10]
    (folder / "m.a3m").write_text(f">m\n{rows[0]}\n>b\n{rows[1]}\n")
    (folder / "t.tsv").write_text("id\talignment\tstructure\nm\tm.a3m\tone.cif\n")
    (family,) = read_local_families(folder / "t.tsv")
    msa = aligned_to_target(import_anchored(family, test_share=0.1, salt="", min_resolved=0.5))
    assert [alphabet.decode(row) for row in msa.residues] == [SEQUENCE, *rows]


def test_a_clan_family_keeps_its_columns_and_its_target_the_stretch_they_cover(folder):
    _, two, three = (
        import_unanchored(f, max_rows=10, min_resolved=0.5)
        for f in read_local_families(folder / "table.tsv")
    )
    assert two.msa.depth == 2
    assert two.msa.length == 5
    assert two.target.sequence == SEQUENCE[2:6]
    assert two.target_columns.tolist() == [1, 2, 3, 4]
    assert three.target is None
    assert three.refusal == ""


def test_a_query_row_without_residues_refuses_its_target(folder):
    (folder / "gaps.sto").write_text("q ----\nr ACDE\n//\n")
    (folder / "t.tsv").write_text("id\talignment\tstructure\nx\tgaps.sto\tone.cif\n")
    (family,) = read_local_families(folder / "t.tsv")
    imported = import_unanchored(family, max_rows=10, min_resolved=0.5)
    assert imported.target is None
    assert "0 of 0 residues align to the 10 of the structure" in imported.refusal


def test_a_given_map_of_columns_is_followed(folder):
    (folder / "map.tsv").write_text("residue\tcolumn\n3\t1\n5\t4\n")
    (folder / "t.tsv").write_text(
        "id\talignment\tstructure\tcolumns\nx\ttwo.sto\tone.cif\tmap.tsv\n"
    )
    (family,) = read_local_families(folder / "t.tsv")
    imported = import_unanchored(family, max_rows=10, min_resolved=0.5)
    assert imported.target.sequence == "VLA"
    assert imported.target_columns.tolist() == [0, -1, 3]


def test_a_gap_of_the_row_counts_neither_for_nor_against_identity(folder):
    # Row q is -VLAW: residue 2 of the chain meets its gap, 3 to 6 their own letters.
    rows = "".join(f"{residue}\t{residue - 1}\n" for residue in range(2, 7))
    (folder / "map.tsv").write_text(f"residue\tcolumn\n{rows}")
    (folder / "t.tsv").write_text(
        "id\talignment\tquery\tstructure\tcolumns\nx\ttwo.sto\tq\tone.cif\tmap.tsv\n"
    )
    (family,) = read_local_families(folder / "t.tsv")
    assert import_unanchored(family, max_rows=10, min_resolved=0.5).identity == 1.0


@pytest.mark.parametrize(("shift", "share"), [(0, 1.0), (1, 0.0)])
def test_a_shifted_map_is_refused_where_the_row_is_the_proteins_and_reported_elsewhere(
    folder, shift, share
):
    # Row q is -VLAW: residues 3 to 6 of the chain in columns 2 to 5.
    rows = "".join(f"{residue + shift}\t{residue - 1}\n" for residue in range(3, 7))
    (folder / "map.tsv").write_text(f"residue\tcolumn\n{rows}")
    (folder / "query.fasta").write_text(f">q\n{SEQUENCE[1:6]}\n")
    (folder / "t.tsv").write_text(
        "id\talignment\tquery\tstructure\tcolumns\n"
        "clan\ttwo.sto\tq\tone.cif\tmap.tsv\nanchored\tquery.fasta\t\tone.cif\tmap.tsv\n"
    )
    clan, anchored = read_local_families(folder / "t.tsv")
    reported = import_unanchored(clan, max_rows=10, min_resolved=0.5)
    assert (reported.identity, reported.refusal) == (share, "")
    imported = import_anchored(anchored, test_share=0.0, salt="", min_resolved=0.5)
    assert imported.identity == share
    assert (imported.target is None) == (share < 0.9)
    assert ("0% of the residues" in imported.refusal) == (share < 0.9)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_table_without_one_of_the_splits_is_refused(folder, capsys, split):
    (folder / "t.tsv").write_text(f"id\talignment\tsplit\nx\tone.a3m.gz\t{split}\n")
    arguments = ["import-families", "--table", str(folder / "t.tsv"), "--output", str(folder)]
    assert main(arguments) == 2
    other = {"train": "test", "test": "train"}[split]
    assert f"none of its 1 families is in the {other} split" in capsys.readouterr().err
    assert not [*folder.glob("*.ffdata"), *folder.glob("*.ffindex")]


def test_refused_structures_are_counted_and_the_audit_named(folder, capsys):
    write_structure(folder / "other.cif", sequence="GGGGGGGGGG")
    (folder / "t.tsv").write_text(
        "id\talignment\tstructure\tsplit\n"
        "x\tone.a3m.gz\tother.cif\ttrain\ny\tone.a3m.gz\tone.cif\ttest\n"
    )
    arguments = ["import-families", "--table", str(folder / "t.tsv"), "--output", str(folder)]
    assert main(arguments) == 0
    said = capsys.readouterr().err
    assert "1 train, 1 test families; 1 targets, 1 structures refused: " in said
    assert f"{folder / 'audit.tsv'} says why" in said


def test_a_structure_of_another_protein_is_refused_and_the_family_goes_on(folder):
    write_structure(folder / "one.cif", sequence="GGGGGGGGGG")
    (folder / "t.tsv").write_text("id\talignment\tstructure\nx\tone.a3m.gz\tone.cif\n")
    (family,) = read_local_families(folder / "t.tsv")
    imported = import_anchored(family, test_share=0.0, salt="", min_resolved=0.5)
    assert imported.target is None
    assert "1 of 9 residues align to the 10 of the structure" in imported.refusal


@pytest.mark.parametrize(
    ("sequence", "columns"),
    [
        # Unknown residues are neither right nor wrong, with or without a known one beside them.
        ("MKXLWXDEX", [0, 1, 2, 3, 4, 5, 6, 7, 8]),
        # A tag of two, and the query's last two are missing: 7 of 9 are side by side.
        ("PPMKVLWHD", [-1, -1, 0, 1, 2, 3, 4, 5, 6]),
    ],
)
def test_a_chain_is_its_querys_by_the_rule_of_precision(folder, sequence, columns):
    write_structure(folder / "one.cif", sequence, missing=())
    (folder / "t.tsv").write_text("id\talignment\tstructure\nx\tone.a3m.gz\tone.cif\n")
    (family,) = read_local_families(folder / "t.tsv")
    imported = import_anchored(family, test_share=0.0, salt="", min_resolved=0.5)
    assert (imported.refusal, imported.identity) == ("", 1.0)
    assert imported.target_columns.tolist() == columns


def test_an_unknown_residue_under_a_map_of_columns_counts_neither_for_nor_against(folder):
    write_structure(folder / "one.cif", "MKVLXWHDEG", missing=())
    (folder / "map.tsv").write_text("residue\tcolumn\n4\t4\n5\t5\n6\t5\n")
    (folder / "t.tsv").write_text(
        "id\talignment\tstructure\tcolumns\nx\tone.a3m.gz\tone.cif\tmap.tsv\n"
    )
    (family,) = read_local_families(folder / "t.tsv")
    # L and W, of which W is in the column after the unresolved A: residue 5, X, counts nowhere.
    assert import_anchored(family, test_share=0, salt="", min_resolved=0.5).identity == 1.0


def test_a_domain_without_resolved_residues_is_refused(folder):
    write_structure(folder / "one.cif", missing=range(2, 6))
    (_, two, _) = read_local_families(folder / "table.tsv")
    imported = import_unanchored(two, max_rows=10, min_resolved=0.5)
    assert imported.target is None
    assert "no residue of the domain is resolved" in imported.refusal


def test_a_target_of_the_table_needs_half_of_its_residues_by_default(folder, capsys):
    """Of the chain of 10 residues 5 and then 4 are resolved, and of the domain (3 to 6) 2 and 1."""
    table = ["--table", str(folder / "table.tsv"), "--output", str(folder / "out")]
    for missing, told in [
        ((2, 3, 6, 7, 8), []),
        ((2, 3, 4, 6, 7, 8), ["4 of 10 residues", "1 of 4 residues of the domain"]),
    ]:
        write_structure(folder / "one.cif", missing=missing)
        rows = []
        for verb in (["import-families"], ["import-clan", "--clan", "C"]):
            assert main([*verb, *table]) == 0
            rows.append((folder / "out" / "audit.tsv").read_text().splitlines()[1])
        assert [row.split("\t")[1] for row in rows] == ["refused" if told else "ok"] * 2
        for row, words in zip(rows, told, strict=False):
            assert f"{words} are resolved, expected at least 50%" in row
    assert main(["import-clan", "--clan", "C", *table, "--min-resolved", "0.25"]) == 0
    assert "1 targets, 0 structures refused" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id\tmsa\nx\ty\n", r"\['alignment'\] are missing; separated by tabs, there are id, msa"),
        ("id\talignment\tclam\nx\ty\tz\n", r"unknown columns \['clam'\]; known are id, clan"),
        ("id\talignment\nx\tnone.a3m\n", "no file"),
        ("id\talignment\nx\tone.a3m.gz\n\nx\tone.a3m.gz\n", "line 4: id x occurs twice"),
        ("id\talignment\nx; rm -rf y\tone.a3m.gz\n", "id 'x; rm -rf y' must match"),
        ("id\talignment\tsplit\nx\tone.a3m.gz\tvalid\n", "expected train, test or nothing"),
        ("id\talignment\nx\n", "line 2: 1 tab-separated values, expected 2"),
        ("id\talignment\n", "no families"),
    ],
)
def test_a_bad_table_is_refused_with_its_line(folder, text, message):
    (folder / "bad.tsv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_local_families(folder / "bad.tsv")


@pytest.mark.parametrize(
    ("query", "message"),
    [("0", "row 0 was asked for"), ("3", "row 3 was asked for"), ("²", "no row is named '²'")],
)
def test_a_query_that_is_no_row_is_refused(folder, query, message):
    (folder / "t.tsv").write_text(f"id\talignment\tquery\nx\ttwo.sto\t{query}\n")
    (family,) = read_local_families(folder / "t.tsv")
    with pytest.raises(DataError, match=f"two.sto: {message}"):
        import_unanchored(family, max_rows=10, min_resolved=0.5)
    with pytest.raises(DataError, match=f"two.sto: {message}"):
        import_anchored(family, test_share=0.1, salt="", min_resolved=0.5)


@pytest.mark.parametrize("share", ["7", "nan"])
def test_a_share_above_all_is_refused(folder, capsys, share):
    (folder / "t.tsv").write_text("id\talignment\nx\ttwo.sto\n")
    words = ["import-families", "--table", str(folder / "t.tsv"), "--output", str(folder / "o")]
    with pytest.raises(SystemExit):
        main([*words, "--test-share", share])
    assert "expected a number from 0 to 1" in capsys.readouterr().err


def test_the_verbs_write_every_dataset(folder):
    table = str(folder / "table.tsv")
    main(["import-families", "--table", table, "--output", str(folder / "all")])
    assert [key for key, _ in read_entries(folder / "all" / "train")] == ["two", "three"]
    assert [key for key, _ in read_entries(folder / "all" / "test")] == ["one"]
    assert {t.id: t.split for t in read_targets(folder / "all" / "targets.parquet")} == {
        "one": "test",
        "two": "train",
    }
    main(["import-clan", "--table", table, "--clan", "C", "--output", str(folder / "C")])
    assert [key for key, _ in read_entries(folder / "C" / "full")] == ["two", "three"]
    assert read_columns(folder / "C" / "columns.parquet")["two"].tolist() == [1, 2, 3, 4]
    audit = (folder / "C" / "audit.tsv").read_text().splitlines()
    assert audit[1:] == ["two\tok\t\t1.000", "three\tskipped\tno structure: trains only\t"]


def test_searched_families_deepen_those_of_the_table_and_join_them(folder, capsys):
    write_entries(
        folder / "found", [("two", b">x/1-4\n-MkLC-\n"), ("new", b">a/1-3\nMcKL\n>b/1-2\nM-L\n")]
    )
    arguments = ["import-clan", "--table", str(folder / "table.tsv"), "--clan", "C"]
    arguments += ["--searched", str(folder / "found"), "--output", str(folder / "C")]
    assert main(arguments) == 0
    entries = dict(read_entries(folder / "C" / "full"))
    assert list(entries) == ["two", "three", "new"]
    assert entries["two"].endswith(b">x/1-4\n-MLC-\n")
    assert entries["two"].count(b">") == 3
    assert entries["new"] == b">a/1-3\nMKL\n>b/1-2\nM-L\n"
    assert [target.id for target in read_targets(folder / "C" / "targets.parquet")] == ["two"]
    audit = (folder / "C" / "audit.tsv").read_text().splitlines()
    assert audit[-1] == "new\tskipped\tno structure: trains only\t"
    assert main([*arguments, "--max-rows", "2"]) == 0
    assert b"x/1-4" not in dict(read_entries(folder / "C" / "full"))["two"]
    write_entries(folder / "found", [("two", b">x/1-4\n-MLC\n")])
    assert main(arguments) == 2
    assert "5 columns, but the rows found for two have 4" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "found", "status"),
    [
        ("PF00106.25", "PF00106", 2),
        ("PF00106", "PF00106", 0),
        ("PF00106.25", "PF00106.25", 0),
        ("PF00106.25", "PF00107", 0),
        ("PF00106.a", "PF00106", 0),
    ],
)
def test_a_searched_family_named_with_its_version_is_refused(folder, capsys, name, found, status):
    write_entries(folder / "found", [(found, b">x/1-4\n-MKLC\n")])
    (folder / "t.tsv").write_text(f"id\tclan\talignment\n{name}\tC\ttwo.sto\n")
    words = ["import-clan", "--table", str(folder / "t.tsv"), "--clan", "C"]
    words += ["--searched", str(folder / "found"), "--output", str(folder / "C")]
    assert main(words) == status
    told = "write it as PF00106, or its rows would be in two families" in capsys.readouterr().err
    assert told == (status == 2)


def test_rows_of_annotation_are_counted_in_the_outcome(folder):
    (folder / "two.sto").write_text("ss_pred CCHHH\nother AAAAA\nq MVLAW\n//\n")
    _, two, three = read_local_families(folder / "table.tsv")
    imported = [
        import_unanchored(one, max_rows=9, min_resolved=0.5, searched=b">x\nAAAAA\n")
        for one in (two, three)
    ]
    assert outcome(imported, "audit").endswith("; 2 rows of annotation left out")
    assert [one.msa.depth for one in imported] == [3, 3]


def test_a_profile_has_rows_at_even_steps_from_the_first():
    msa = Msa(tuple("abcdefg"), np.arange(7, dtype=np.uint8)[:, None])
    names = [line[1:] for line in a3m_text(msa, 3).decode().splitlines() if line[0] == ">"]
    assert names == ["a", "c", "e"]
    assert a3m_text(msa, 9) == a3m_text(msa) == a3m_text(msa, 7)


def test_no_more_rows_of_a_clans_family_are_kept_than_asked(folder):
    *_, three = read_local_families(folder / "table.tsv")
    assert import_unanchored(three, max_rows=1, min_resolved=0.5).msa.depth == 1


def test_a_family_without_a_split_is_put_into_one_by_its_id_and_the_salt(folder):
    one, *_ = read_local_families(folder / "table.tsv")
    bare = replace(one, structure=None, split="")

    def held(salt):
        families = (replace(bare, id=str(number)) for number in range(30))
        imported = (
            import_anchored(one, test_share=0.1, salt=salt, min_resolved=0.5) for one in families
        )
        return [one.id for one in imported if one.split == "test"]

    assert held("uniref50") == ["0", "8", "14", "15", "26"]
    assert held("other") != held("uniref50")


@pytest.mark.parametrize(("residue", "column"), [(0, 1), (11, 1), (3, 0), (3, 6)])
def test_a_map_to_what_is_not_there_is_refused(folder, residue, column):
    (folder / "map.tsv").write_text(f"residue\tcolumn\n5\t4\n{residue}\t{column}\n")
    (folder / "t.tsv").write_text(
        "id\talignment\tstructure\tcolumns\nx\ttwo.sto\tone.cif\tmap.tsv\n"
    )
    (family,) = read_local_families(folder / "t.tsv")
    imported = import_unanchored(family, max_rows=10, min_resolved=0.5)
    assert imported.target is None
    assert f"residue {residue}, column {column} is outside the chain's 10" in imported.refusal


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("1abc.cif", "1abc_A"),
        ("1ABC_A.cif", "1abc_A"),
        ("PF1/1abc.pdb1", "1abc_A"),
        ("my_own.cif", "my_own_A"),
        ("my_own_A.mmcif", "my_own_A"),
        ("PF1/model.cif", "PF1/model_A"),
        ("PF2/model.1.pdb", "PF2/model.1_A"),
        ("PF2/model.2", "PF2/model.2_A"),
    ],
)
@pytest.mark.parametrize("absolute", [False, True])
def test_a_target_says_its_file_and_chain_once(folder, name, source, absolute):
    (folder / name).parent.mkdir(exist_ok=True)
    write_structure(folder / name)
    path = folder / name if absolute else name
    (folder / "t.tsv").write_text(f"id\talignment\tstructure\nx\tone.a3m.gz\t{path}\n")
    (family,) = read_local_families(folder / "t.tsv")
    assert (
        import_anchored(family, test_share=0.0, salt="", min_resolved=0.5).target.source == source
    )


def test_structures_of_one_file_name_in_two_folders_are_two_and_may_be_split(folder):
    lines = []
    for name, sequence in (("PF1", SEQUENCE), ("PF2", "GEDHWALVKM")):
        (folder / name).mkdir()
        write_structure(folder / name / "model.cif", sequence)
        (folder / name / "a.sto").write_text(f"q {sequence}\n//\n")
        lines.append(f"{name}\t{name}/a.sto\t{name}/model.cif\n")
    (folder / "t.tsv").write_text("id\talignment\tstructure\n" + "".join(lines))
    imported = [
        import_unanchored(one, max_rows=10, min_resolved=0.5)
        for one in read_local_families(folder / "t.tsv")
    ]
    assert shared_structures(one.target for one in imported) == []


def test_an_unknown_clan_lists_the_known(folder):
    arguments = ["import-clan", "--table", str(folder / "table.tsv"), "--output", str(folder)]
    assert main([*arguments, "--clan", "D"]) == 2


def test_the_alignment_of_a_target_is_in_the_targets_numbering(tmp_path):
    observed = SEQUENCE[:UNRESOLVED] + SEQUENCE[UNRESOLVED + 1 :]
    (tmp_path / "one.a3m").write_text(f">one\n{observed}\n>b\n{'A' * 9}\n")
    (tmp_path / "two.a3m").write_text(">two\nMKV\n")
    write_structure(tmp_path / "one.cif")
    (tmp_path / "t.tsv").write_text(
        "id\talignment\tstructure\tsplit\none\tone.a3m\tone.cif\ttest\ntwo\ttwo.a3m\t\ttrain\n"
    )
    words = ["--table", str(tmp_path / "t.tsv"), "--output", str(tmp_path)]
    assert main(["import-families", *words]) == 0
    assert dict(read_entries(tmp_path / "targets")) == {
        "one": f">one\n{SEQUENCE}\n>b\nAAAA-AAAAA\n".encode()
    }
    assert dict(read_entries(tmp_path / "test")) == {
        "one": f">one\n{observed}\n>b\n{'A' * 9}\n".encode()
    }


def test_the_profile_of_a_family_is_cut_and_its_alignment_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(local_data, "PROFILE_ROWS", 1)
    (tmp_path / "two.a3m").write_text(">a\nMKV\n>b\nMKL\n")
    (tmp_path / "t.tsv").write_text("id\tclan\talignment\ntwo\tC\ttwo.a3m\n")
    words = ["--table", str(tmp_path / "t.tsv"), "--clan", "C", "--output", str(tmp_path / "C")]
    assert main(["import-clan", *words]) == 0
    assert dict(read_entries(tmp_path / "C" / "full")) == {"two": b">a\nMKV\n>b\nMKL\n"}
    assert dict(read_entries(tmp_path / "C" / "seed")) == {"two": b">a\nMKV\n"}
