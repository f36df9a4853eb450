"""Pfam's flat files, written by hand: what is kept of them, and what is refused."""

import gzip

import pytest

from npm_core.clan_targets import read_structures
from npm_core.cli import main
from npm_core.errors import DataError
from npm_core.ffindex import read_entries
from npm_core.pfam import Region, full_row, read_clan, read_pdbmap, read_pfam, seed_a3m

FULL = """\
# STOCKHOLM 1.0
#=GF ID   Other
#=GF AC   PF00001.7
#=GF AU   Müller X
A_HUMAN/1-2   AC
//
# STOCKHOLM 1.0
#=GF ID   Wanted
#=GF AC   PF00002.12
#=GF AU   Müller X
#=GS ONE_A/1-5       AC P00001.1
#=GS TWO_B/11-14     AC P00002.3
#=GS TWO_B/30-34     AC P00002.3
#=GS THREE_C/2-4     AC P00003.1
#=GS THREE_C/2-4     DR PDB; 9XYZ B; 4-73;
ONE_A/1-5            ACD.EF
TWO_B/11-14          AC-gEF
#=GR TWO_B/11-14  SS HH.HHH
THREE_C/2-4          --D.EF
TWO_B/30-34          .CDkEF
#=GC seq_cons        ACD.EF
//
"""

PDBMAP = """\
1ABC;\tA;\t;\tWanted;\tPF00002;\tP00002;\t28-34;
1ABC;\tB;\t;\tWanted;\tPF00002;\tP00002;\t10-14;
2DEF;\tA;\t;\tWanted;\tPF00002;\tP00002;\t90-99;
3GHI;\tA;\t;\tOther;\tPF00001;\tP99999;\t1-2;
"""

CLANS = """\
PF00001\t\\N\t\\N\tOther\tNot in a clan
PF00002\tCL0063\tNADP_Rossmann\tWanted\tIn the clan
"""


@pytest.fixture
def full(tmp_path):
    path = tmp_path / "Pfam-A.full.gz"
    path.write_bytes(gzip.compress(FULL.encode("latin-1")))
    return path


def test_dots_are_dropped_and_dashes_and_lower_case_kept():
    assert full_row("..AC-gE.F") == "AC-gEF"


def test_only_the_wanted_family_is_read_and_latin_1_names_do_no_harm(full):
    (family,) = read_pfam(full, ["PF00002"])
    assert family.accession == "PF00002"
    assert family.rows[0] == ("ONE_A/1-5", "ACDEF")
    assert family.rows[1] == ("TWO_B/11-14", "AC-gEF")
    assert family.depth == 4


def test_a_structure_beyond_the_cap_is_found_and_its_row_is_not_kept(full, tmp_path):
    (tmp_path / "pdbmap").write_text(PDBMAP)
    regions = read_pdbmap(tmp_path / "pdbmap", ["PF00002"])
    (family,) = read_pfam(full, ["PF00002"], max_rows=2, regions=regions)
    assert [name for name, _ in family.rows] == ["ONE_A/1-5", "TWO_B/11-14"]
    assert family.depth == 4
    found = [(row.pdb, row.chain, row.name, row.a3m) for row in family.structures]
    assert found == [
        ("1abc", "A", "TWO_B/30-34", "CDkEF"),
        ("1abc", "B", "TWO_B/11-14", "AC-gEF"),
    ]
    assert family.structures_from == "pdbmap"


def test_the_row_that_overlaps_a_structure_most_is_taken_and_half_is_enough(full):
    def names(start, end):
        regions = {"PF00002": [Region("1abc", "A", "P00002", start, end)]}
        (family,) = read_pfam(full, ["PF00002"], regions=regions)
        return [row.name for row in family.structures if row.pdb == "1abc"]

    assert names(13, 33) == []
    assert names(13, 16) == ["TWO_B/11-14"]
    assert names(14, 16) == []


def test_of_rows_that_overlap_a_structure_alike_the_first_is_taken(tmp_path):
    path = tmp_path / "full"
    rows = "P00002.3/10-14 ACDEF\nP00002.3/12-16 ACDEF\n"
    path.write_text(f"# STOCKHOLM 1.0\n#=GF AC   PF00002.1\n{rows}//\n")
    regions = {"PF00002": [Region("1abc", "B", "P00002", 12, 14)]}
    (family,) = read_pfam(path, ["PF00002"], regions=regions)
    assert [row.name for row in family.structures] == ["P00002.3/10-14"]


def test_cross_references_of_the_entry_serve_where_pdbmap_has_nothing(full):
    (family,) = read_pfam(full, ["PF00002"], regions={"PF00002": []})
    assert [(row.pdb, row.chain, row.name) for row in family.structures] == [
        ("9xyz", "B", "THREE_C/2-4")
    ]
    assert family.structures_from == "DR"


def test_rows_named_by_accession_are_matched_without_an_ac_line(tmp_path):
    path = tmp_path / "full"
    path.write_text("# STOCKHOLM 1.0\n#=GF AC   PF00002.1\nP00002.3/10-14 ACDEF\n//\n")
    regions = {"PF00002": [Region("1abc", "B", "P00002", 10, 14)]}
    (family,) = read_pfam(path, ["PF00002"], regions=regions)
    assert [row.name for row in family.structures] == ["P00002.3/10-14"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (FULL.replace("THREE_C/2-4          --D.EF", "ONE_A/1-5            --D.EF"), "twice"),
        (FULL.replace("--D.EF", "--D.E"), "5 characters"),
        (FULL.removesuffix("//\n"), "truncated"),
        (FULL.replace("PF00002", "PF00003"), "missing"),
        (FULL + FULL, "occurs twice"),
        ("PF00002\n", "STOCKHOLM"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, text, complaint):
    path = tmp_path / "full"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match=complaint):
        list(read_pfam(path, ["PF00002"]))


def test_a_torn_gzip_file_is_refused(full):
    full.write_bytes(full.read_bytes()[:-20])
    with pytest.raises(DataError, match="gzip"):
        list(read_pfam(full, ["PF00002"]))


def test_a_clan_is_found_by_name_and_counted(tmp_path):
    path = tmp_path / "clans.tsv"
    path.write_text(CLANS)
    assert read_clan(path, "NADP_Rossmann", size=1) == ["PF00002"]
    with pytest.raises(DataError, match="has 1 families, expected 181"):
        read_clan(path, "NADP_Rossmann", size=181)
    with pytest.raises(DataError, match="did you mean NADP_Rossmann"):
        read_clan(path, "NADP_Rosmann")


def test_a_pdbmap_line_without_a_range_is_refused(tmp_path):
    path = tmp_path / "pdbmap"
    path.write_text("1ABC;\tA;\t;\tWanted;\tPF00002;\tP00002;\t;\n")
    with pytest.raises(DataError, match="line 1: expected a range"):
        read_pdbmap(path, ["PF00002"])


def test_columns_of_a_seed_are_those_with_residues_in_half_the_rows():
    rows = [("a", "AC.D"), ("b", "A..D"), ("c", ".-kE"), ("d", "AC..")]
    assert seed_a3m(rows, "seed") == [("a", "ACD"), ("b", "A-D"), ("c", "--kE"), ("d", "AC-")]


def test_extract_clan_writes_alignments_structures_and_counts(full, tmp_path, capsys):
    (tmp_path / "pdbmap").write_text(PDBMAP)
    (tmp_path / "clans").write_text(CLANS)
    (tmp_path / "seed").write_text("# STOCKHOLM 1.0\n#=GF AC   PF00002.12\nONE_A/1-5 ACDEF\n//\n")
    status = main(
        [
            *("extract-clan", "--full", str(full), "--seed", str(tmp_path / "seed")),
            *("--clans", str(tmp_path / "clans"), "--pdbmap", str(tmp_path / "pdbmap")),
            *("--clan", "NADP_Rossmann", "--size", "1", "--max-rows", "2"),
            *("--output", str(tmp_path / "out")),
        ]
    )
    assert status == 0
    folder = tmp_path / "out"
    assert dict(read_entries(folder / "full")) == {
        "PF00002": b">ONE_A/1-5\nACDEF\n>TWO_B/11-14\nAC-gEF\n"
    }
    assert dict(read_entries(folder / "seed")) == {"PF00002": b">ONE_A/1-5\nACDEF\n"}
    clans, structures = read_structures(folder / "structures.tsv")
    assert clans == {"PF00002": "NADP_Rossmann"}
    assert [row.name for row in structures["PF00002"]] == ["TWO_B/30-34", "TWO_B/11-14"]
    header, line = (folder / "counts.tsv").read_text().splitlines()
    assert dict(zip(header.split("\t"), line.split("\t"), strict=True)) == {
        "family": "PF00002",
        "rows": "4",
        "kept_rows": "2",
        "structures": "2",
        "structures_from": "pdbmap",
        "seed_rows": "1",
    }
    capsys.readouterr()


def test_real_stockholm_entries_keep_their_columns(real_data):
    path = real_data / "pfam_misc" / "sto" / "PF16996.alignment.full.gz"
    (family,) = read_pfam(path, ["PF16996"], regions={"PF16996": []})
    assert family.depth == len(family.rows) == 6
    columns = {sum(letter.isupper() or letter == "-" for letter in row) for _, row in family.rows}
    assert columns == {57 - 3 + 1}, "A8AWV6_STRGC/3-57 has no gap and no insert"
