import csv
import gzip
from datetime import date

import pytest

from npm_core.cli import main
from npm_core.errors import DataError
from npm_core.pdb_selection import (
    entry_id,
    entry_of,
    read_entries,
    read_obsolete,
    split_chain_id,
)

HEADER = (
    "IDCODE, HEADER, ACCESSION DATE, COMPOUND, SOURCE, AUTHOR LIST, RESOLUTION, "
    "EXPERIMENT TYPE (IF NOT X-RAY)\n"
    "------- ------- --------------- --------- ------- ----------- ----------- ----------\n"
)
LONG = "MKVLAAGIVGLCAKAYLEHPEGEWQLVLHVWAKVEADVAGHG"  # 42 residues
OTHER = LONG[::-1]


def line(name, deposited, resolution, method="X-RAY DIFFRACTION"):
    return f"{name}\tHEADER\t{deposited}\tTITLE\tSOURCE\tAuthor, A.\t{resolution}\t{method}\n"


ENTRIES = HEADER + "".join(
    [
        line("1AAA", "05/01/95", "1.9"),
        line("1BBB", "04/30/20", "2.49"),
        line("1CCC", "05/01/20", "1.0"),
        line("1DDD", "01/01/00", "2.5"),
        line("1EEE", "01/01/00", "NOT", "SOLUTION NMR"),
        line("1FFF", "01/01/00", "2.0"),
        line("1LLL", "01/01/00", "0.00", "SOLUTION NMR"),
        line("1GGG", "01/01/00", "2.0", ""),
        line("1HHH", "01/01/00", "2.0"),
        line("1III", "01/01/00", "2.0"),
        line("1JJJ", "01/01/00", "2.8, 1.8", "X-RAY DIFFRACTION, NEUTRON DIFFRACTION"),
        line("PDB_00012KKK", "01/01/00", "2.0", "ELECTRON MICROSCOPY"),
    ]
)

SEQRES = "".join(
    f">{name} mol:{kind} length:{len(sequence)}  NAME\n{sequence}\n"
    for name, kind, sequence in [
        ("1aaa_A", "protein", LONG),
        ("1aaa_B", "protein", OTHER),
        ("1aaa_C", "protein", LONG),
        ("1aaa_D", "na", "ACGT" * 20),
        ("1aaa_E", "protein", LONG[:40]),
        ("1bbb_a", "protein", LONG),
        ("1ccc_A", "protein", LONG),
        ("1fff_A", "na", "ACGT" * 20),
        ("1lll_A", "protein", LONG),
        ("1ggg_A", "protein", LONG[:40]),
        ("1hhh_A", "protein", "X" * 50),
        ("1jjj_A", "protein", LONG),
        ("pdb_00012kkk_A", "protein", LONG[:41]),
        ("9zzz_A", "protein", LONG),
    ]
)


@pytest.fixture
def archive(tmp_path):
    (tmp_path / "entries.idx").write_text(ENTRIES)
    (tmp_path / "pdb_seqres.txt.gz").write_bytes(gzip.compress(SEQRES.encode()))
    return tmp_path


def select(folder, *options):
    entries, seqres = str(folder / "entries.idx"), str(folder / "pdb_seqres.txt.gz")
    output, audit = folder / "candidates.fasta", folder / "audit.tsv"
    files = ["--output", str(output), "--audit", str(audit)]
    status = main(["select-structures", "--entries", entries, "--seqres", seqres, *files, *options])
    assert status == 0
    with audit.open() as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    return output.read_text(), {row["entry"]: row for row in rows}


def test_candidates_are_the_distinct_long_proteins_of_good_entries(archive):
    fasta, _ = select(archive)
    assert fasta == (
        f">1aaa_A chains=A,C\n{LONG}\n>1aaa_B chains=B\n{OTHER}\n>1bbb_a chains=a\n{LONG}\n"
        f">1jjj_A chains=A\n{LONG}\n>pdb_00012kkk_A chains=A\n{LONG[:41]}\n"
    )


def test_every_entry_of_either_file_has_its_row_and_reason(archive):
    _, audit = select(archive)
    assert {name: row["reason"] for name, row in audit.items()} == {
        "1aaa": "",
        "1bbb": "",
        "1ccc": "deposited on or after 2020-05-01",
        "1ddd": "resolution not below 2.5",
        "1eee": "no resolution (SOLUTION NMR)",
        "1fff": "no protein chain",
        "1lll": "no resolution (SOLUTION NMR)",
        "1ggg": "no protein chain longer than 40",
        "1hhh": "only unknown residues",
        "1iii": "not in pdb_seqres",
        "1jjj": "",
        "pdb_00012kkk": "",
        "9zzz": "not in entries.idx",
    }
    assert audit["1aaa"]["candidates"] == "1aaa_A,1aaa_B"
    assert (audit["1bbb"]["status"], audit["1ccc"]["status"]) == ("selected", "dropped")
    assert (audit["1aaa"]["deposited"], audit["1aaa"]["resolution"]) == ("1995-05-01", "1.9")
    assert audit["1ggg"]["method"] == "X-RAY DIFFRACTION"


def test_the_criteria_are_options(archive):
    fasta, audit = select(archive, "--max-resolution", "1.95", "--deposited-before", "2000-01-02")
    assert [name for name, row in audit.items() if row["status"] == "selected"] == ["1aaa", "1jjj"]
    fasta, _ = select(archive, "--methods", "electron microscopy", "--min-length", "30")
    assert fasta.count(">") == 1


@pytest.mark.parametrize(
    ("method", "wanted", "selected"),
    [
        ("X-RAY DIFFRACTION, NEUTRON DIFFRACTION", "x-ray diffraction", True),
        ("X-RAY DIFFRACTION; NEUTRON DIFFRACTION", "neutron diffraction", True),
        ("X-RAY DIFFRACTION, NEUTRON DIFFRACTION", "electron microscopy", False),
        ("POWDER DIFFRACTION", "diffraction", False),
        ("", "x-ray diffraction", True),
    ],
)
def test_one_of_an_entrys_methods_must_be_wanted(archive, method, wanted, selected):
    (archive / "entries.idx").write_text(HEADER + line("1AAA", "05/01/95", "1.9", method))
    _, audit = select(archive, "--methods", "solution nmr", wanted)
    reason = "" if selected else f"method {method}"
    assert audit["1aaa"]["reason"] == reason


def test_obsolete_entries_are_recorded(archive):
    (archive / "obsolete.dat").write_text(
        " LIST OF OBSOLETE COORDINATE ENTRIES AND SUCCESSORS\n"
        "OBSLTE    31-JUL-94 1AAA     216L\n"
        "OBSLTE    14-SEP-01 1BBB\n"
    )
    assert read_obsolete(archive / "obsolete.dat") == {"1aaa": "216l", "1bbb": ""}
    fasta, audit = select(archive, "--obsolete", str(archive / "obsolete.dat"))
    assert audit["1aaa"]["reason"] == "obsolete, replaced by 216l"
    assert audit["1bbb"]["reason"] == "obsolete"
    assert ">1jjj_A" in fasta
    (archive / "obsolete.dat").write_text("x\nOBSLTE    31-JUL-94 1AAA     21\n")
    with pytest.raises(DataError, match=r"obsolete\.dat, line 2: '21' is no PDB id"):
        read_obsolete(archive / "obsolete.dat")


def test_nothing_selected_is_an_empty_file(archive):
    fasta, audit = select(archive, "--max-resolution", "0.1")
    assert fasta == ""
    assert len(audit) == 13


def test_years_of_two_digits_are_of_this_and_the_last_century(archive):
    entries = read_entries(archive / "entries.idx")
    assert entries["1aaa"].deposited == date(1995, 5, 1)
    assert entries["1bbb"].deposited == date(2020, 4, 30)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1ABC", "1abc"), ("pdb_00001abc", "1abc"), ("PDB_00012ABC", "pdb_00012abc")],
)
def test_short_and_long_ids_name_one_entry(text, expected):
    assert entry_id(text) == expected
    assert split_chain_id(f"{text}_AA") == (expected, "AA")


@pytest.mark.parametrize("text", ["", "abc", "../1abc", "1abc;rm", "pdb_1abc", "1abcd"])
def test_what_is_no_pdb_id_is_an_error(text):
    with pytest.raises(DataError, match="PDB id"):
        entry_id(text)


@pytest.mark.parametrize("text", ["1abc", "1abc_"])
def test_an_id_without_a_chain_is_an_error(text):
    with pytest.raises(DataError, match=r"names no chain|no PDB id"):
        split_chain_id(text)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("IDCODE HEADER COMPOUND\n", "expected the columns of entries.idx"),
        (HEADER + "1AAA\tonly\tthree\n", "line 3: 3 tab-separated fields"),
        (HEADER + line("1AAA", "1995-05-01", "1.9"), "expected MM/DD/YY"),
        (HEADER + line("1AAA", "05/01/95", "good"), "resolution is 'good'"),
        (HEADER + line("1AAA", "05/01/95", "1") * 2, "line 4: 1aaa occurs twice"),
    ],
)
def test_another_layout_of_the_index_is_an_error(tmp_path, content, message):
    (tmp_path / "entries.idx").write_text(content)
    with pytest.raises(DataError, match=message):
        read_entries(tmp_path / "entries.idx")


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (">1abc_A some protein\nACD\n", "expected '101m_A mol:protein"),
        (">1aaa_A mol:protein length:3  X\nAC1\n", "1aaa_A: character '1' at position 3"),
    ],
)
def test_another_layout_of_the_sequences_is_an_error(archive, capsys, record, message):
    (archive / "pdb_seqres.txt.gz").write_text(record)
    entries, seqres = str(archive / "entries.idx"), str(archive / "pdb_seqres.txt.gz")
    files = ["--output", str(archive / "out.fasta"), "--audit", str(archive / "audit.tsv")]
    assert main(["select-structures", "--entries", entries, "--seqres", seqres, *files]) == 2
    assert message in capsys.readouterr().err
    assert not (archive / "out.fasta").exists()


def test_the_least_length_is_an_option(tmp_path):
    (tmp_path / "entries.idx").write_text(ENTRIES)
    (tmp_path / "pdb_seqres.txt.gz").write_text(SEQRES)
    chosen = [select(tmp_path, "--min-length", length)[1]["1ggg"] for length in ("39", "40")]
    assert [row["candidates"] for row in chosen] == ["1ggg_A", ""]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("1abc_A", "1abc"),
        ("1ABC_A", "1abc"),
        ("pdb_00001abc_A", "1abc"),
        ("my/my_model_A", "my/my_model"),
        ("model", "model"),
        ("_A", "_A"),
    ],
)
def test_any_text_has_an_entry(name, expected):
    assert entry_of(name) == expected
