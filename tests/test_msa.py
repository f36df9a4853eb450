"""Alignments of every format come in the columns of their query, or are refused with a reason."""

import gzip
import subprocess
import sys

import numpy as np
import pytest
from plm_inputs import fit

from npm_core import alphabet, potts_files
from npm_core.errors import DataError
from npm_core.msa import Msa, read_alignment, read_msa

A3M = ">query\nACDE\n>one two\nAcC-E\n>three\n-CDx.X\n"


def test_a3m_inserts_are_dropped(tmp_path):
    (tmp_path / "x.a3m").write_text(A3M)
    msa = read_msa(tmp_path / "x.a3m")
    assert [alphabet.decode(row) for row in msa.residues] == ["ACDE", "AC-E", "-CD-"]
    assert msa.names == ("query", "one two", "three")
    assert msa.nonstandard == 1


def test_a_query_with_gaps_keeps_only_its_own_columns(tmp_path):
    (tmp_path / "x.a3m").write_text(A3M)
    msa = read_msa(tmp_path / "x.a3m", query="one")
    assert msa.query == "ACE"
    assert alphabet.decode(msa.residues[1]) == "ACE"
    assert msa.names[0] == "one two"


def test_the_query_moves_to_the_front_and_the_others_keep_their_order(tmp_path):
    (tmp_path / "x.a3m").write_text(">s10\nAC\n>s2\nAD\n>s1 x\nAE\n>s3\nAF\n")
    assert read_msa(tmp_path / "x.a3m", query="s1").names == ("s1 x", "s10", "s2", "s3")
    assert read_msa(tmp_path / "x.a3m", query=2).names == ("s1 x", "s10", "s2", "s3")


def test_no_more_rows_are_read_than_asked(tmp_path):
    (tmp_path / "x.a3m").write_text(A3M)
    assert read_alignment(tmp_path / "x.a3m", max_rows=2).names == ("query", "one two")


def test_an_x_of_the_query_keeps_its_column(tmp_path):
    (tmp_path / "x.a3m").write_text(">q\nAX-D\n>r\nACKD\n")
    msa = read_msa(tmp_path / "x.a3m")
    assert [alphabet.decode(row) for row in msa.residues] == ["A-D", "ACD"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.aln", "AC.D\nA.CD\n"),
        ("a.fasta", ">q\nAC.D\n>r\nA.CD\n"),
        ("a.sto", "q AC.D\nr A.CD\n//\n"),
        ("a.sto", "q AC.-.D\nr A.vC.D\n//\n"),  # a Pfam row: an insert, then an empty column
    ],
)
def test_a_dot_is_a_gap_in_a_column_of_capitals(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    msa = read_alignment(tmp_path / name)
    assert [alphabet.decode(row) for row in msa.residues] == ["AC-D", "A-CD"]


def test_columns_have_the_numbers_of_the_querys_residues_whatever_the_format(tmp_path):
    (tmp_path / "a.sto").write_text("r/1-4 A.vC.D\nq/5-9 AmvC.D\n//\n")
    (tmp_path / "a.a3m").write_text(">r/1-4\nAvCD\n>q/5-9\nAmvCD\n")
    (tmp_path / "a.fasta").write_text(">r/1-3\nAC-D\n>q/5-9\nAC-D\n")
    assert read_msa(tmp_path / "a.sto", query="q/5-9").numbers.tolist() == [5, 8, 9]
    assert read_msa(tmp_path / "a.a3m", query="q/5-9").numbers.tolist() == [5, 8, 9]
    assert read_msa(tmp_path / "a.fasta").numbers.tolist() == [1, 2, 3]
    assert read_alignment(tmp_path / "a.a3m").numbers is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("q ACD\nr A.CD\n//\n", "row r has 4 characters, row q has 3"),
        ("q ACD\nr AcD\n//\n", "column 2 is an insert"),
        ("q Ac\nr A-\n//\n", "column 2 is an insert"),
        ("q AC\nr AD\nq CA\nr CD\n//\n", "line 3: row q occurs twice in one block"),
        ("q AC\nr AD\n\nr CD\nr CA\n//\n", "line 5: row r occurs twice in one block"),
    ],
)
def test_a_stockholm_file_of_no_convention_is_refused(tmp_path, text, message):
    (tmp_path / "a.sto").write_text(text)
    with pytest.raises(DataError, match=message):
        read_alignment(tmp_path / "a.sto")


def test_every_format_reads_the_same_alignment_gzipped_or_not(tmp_path):
    (tmp_path / "a.fasta").write_text(">q\nACd.\n>r\nA-DE\n")
    with gzip.open(tmp_path / "b.sto.gz", "wt") as stream:
        stream.write("# STOCKHOLM 1.0\n#=GF ID x\nq AC\nr A-\n\nq D-\nr DE\n//\n")
    (tmp_path / "c.aln").write_text("AcD-\nA-DE\n")
    read = [read_alignment(tmp_path / name) for name in ("a.fasta", "b.sto.gz", "c.aln")]
    for msa in read:
        assert [alphabet.decode(row) for row in msa.residues] == ["ACD-", "A-DE"]


def test_a_ragged_alignment_says_which_row(tmp_path):
    (tmp_path / "x.a3m").write_text(">q\nACDE\n>short\nACD\n")
    with pytest.raises(DataError, match=r"row 2 \(short\) has 3 columns, row 1 \(q\) has 4"):
        read_msa(tmp_path / "x.a3m")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.a3m", "", "no sequences"),
        ("x.a3m", ">q\nXXX\n", "no residue to be a query"),
        ("x.a3m", "ACD\n", "expected '>'"),
        ("x.txt", "q ACD\n", "cannot tell the alignment's format from its first line, 'q ACD'"),
        ("x.msa", "\n", "no sequences"),
        ("x.aln", "CLUSTAL W (1.83)\n\nq ACD\n", "the format of Clustal is not read"),
        ("x.a3m", ">q\nAC\n\0>r\nAD\n", "holds several alignments, separated by NUL; split it"),
        ("x.a3m", ">q\nAC\n\0\n>r\nAD\n", "holds several alignments, separated by NUL; split it"),
        ("x.sto", "q AC DE\n//\n", "expected 'name sequence'"),
    ],
)
def test_bad_alignments_are_refused_with_a_reason(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        read_msa(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        (">q\nACdE\n>r\nA-E\n", ["ACE", "A-E"]),  # of one length without lower case only: A3M
        (">q\nACdE\n>r\nA.-E\n", ["ACDE", "A--E"]),  # of one length: every letter is a column
        ("\n#comment\n>q\nACE\n>r\nA-E\n", ["ACE", "A-E"]),
        ("# STOCKHOLM 1.0\nq ACE\nr A.E\n//\n", ["ACE", "A-E"]),
        ("ACE\nA-E\n", ["ACE", "A-E"]),
    ],
)
@pytest.mark.parametrize("name", ["x", "x.msa", "x.txt", "x.aln"])
def test_the_first_lines_tell_the_format_where_the_suffix_does_not(tmp_path, name, text, rows):
    (tmp_path / name).write_text(text)
    msa = read_alignment(tmp_path / name)
    assert [alphabet.decode(row) for row in msa.residues] == rows


def test_a_suffix_tells_a3m_from_fasta_and_content_the_others(tmp_path):
    for name, query in (("x.a3m", "AC"), ("x.fasta", "ACD"), ("x.faa.gz", "ACD"), ("x.sto", "ACD")):
        text = b">q\nACd\n>r\nAC.\n"
        (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
        assert read_msa(tmp_path / name).query == query
    (tmp_path / "x.fasta").write_text("# STOCKHOLM 1.0\nq AC\n//\n")
    assert read_msa(tmp_path / "x.fasta").query == "AC"


def test_an_alignment_is_read_from_standard_input(tmp_path):
    code = "from npm_core.msa import read_msa; print(read_msa('-').query)"
    words = [sys.executable, "-c", code]
    found = subprocess.run(words, input=b">q\nACdE\n>r\nA-E\n", capture_output=True, check=True)
    assert found.stdout == b"ACE\n"


@pytest.mark.parametrize("name", ["x.a3m", "x.fasta"])
def test_a_star_that_ends_a_row_and_a_nul_that_ends_a_file_are_dropped(tmp_path, name):
    (tmp_path / name).write_text(">q\nACD*\n>r\nA-D\n>s\nA*D*\n\0\0\n")
    msa = read_msa(tmp_path / name)
    assert [alphabet.decode(row) for row in msa.residues] == ["ACD", "A-D", "A-D"]
    assert msa.nonstandard == 1


def test_rows_of_hhsuites_annotation_are_no_sequences(tmp_path):
    annotation = ">ss_dssp\nCHE\n>ss_pred PSIPRED\nCHE\n>ss_conf\n987\n>aa_pred\nACE\n"
    (tmp_path / "x.a3m").write_text(annotation + ">ss_predator\nACE\n>r\nA-E\n>sa_pred\nABA\n")
    msa = read_msa(tmp_path / "x.a3m")
    assert (msa.names, msa.query, msa.annotations) == (("ss_predator", "r"), "ACE", 5)
    assert read_alignment(tmp_path / "x.a3m", max_rows=1).names == ("ss_predator",)
    assert read_msa(tmp_path / "x.a3m", query=1).names == ("r", "ss_predator")


def test_a_query_may_be_named_without_its_range(tmp_path):
    text = ">P10/1-3\nACE\n>P1/5-7 b\nA-X\n>P2/1-3\nACE\n>P2/9-11\nACE\n"
    (tmp_path / "x.a3m").write_text(text)
    msa = read_msa(tmp_path / "x.a3m", query="P1")
    assert msa.names == ("P1/5-7 b", "P10/1-3", "P2/1-3", "P2/9-11")
    assert msa.query == "A-"  # its X keeps its column, its gap does not
    with pytest.raises(DataError, match=r"2 rows are named 'P2' \('P2/1-3', 'P2/9-11'\)"):
        read_msa(tmp_path / "x.a3m", query="P2")


def test_a_query_that_is_no_row_is_told_the_nearest_name(tmp_path):
    (tmp_path / "x.a3m").write_text(">first\nACE\n>RASH_HUMAN x\nACE\n")
    with pytest.raises(DataError, match="'RASH_HUMN'; did you mean 'RASH_HUMAN'"):
        read_msa(tmp_path / "x.a3m", query="RASH_HUMN")
    with pytest.raises(DataError, match="no row is named '1234'; the first is 'first'"):
        read_msa(tmp_path / "x.a3m", query="1234")


def test_a_query_whose_name_is_not_its_own_is_refused(tmp_path):
    (tmp_path / "x.a3m").write_text(">q\nAC\n>r a\nAD\n>q\nAE\n>r\nAF\n")
    with pytest.raises(DataError, match=r"2 rows are named 'q' \('q', 'q'\)"):
        read_msa(tmp_path / "x.a3m", query="q")
    assert read_msa(tmp_path / "x.a3m", query="r").query == "AF"  # a whole name before a word


def test_a_truncated_gzip_is_an_error_not_a_short_file(tmp_path):
    whole = gzip.compress(b">q\nACDEFGHIKLMNPQRSTVWY\n" * 50)
    (tmp_path / "x.a3m.gz").write_bytes(whole[:-12])
    with pytest.raises(DataError, match="truncated or corrupt"):
        read_msa(tmp_path / "x.a3m.gz")


def test_a_msa_without_rows_is_refused():
    with pytest.raises(DataError, match="needs rows and columns"):
        Msa((), np.zeros((0, 3), np.uint8))


def refused(capsys, path, name, text):
    (path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    assert fit("--msa", str(path / name), "--output", str(path / "a.safetensors")) == 2
    return capsys.readouterr().err


FIRST = "# STOCKHOLM 1.0\n#=GF ID 7tm_1\nq ACD\nr A-D\n//\n"
SECOND = "# STOCKHOLM 1.0\n#=GF ID 7tm_2\n#=GF AC PF00002.27\ns ACE\n//\n"


@pytest.mark.parametrize(
    ("text", "line", "name"),
    [(FIRST + SECOND, 6, " (7tm_2)"), (FIRST + "\n" + SECOND * 2, 7, " (7tm_2)"),
     (FIRST + "s ACE\n//\n", 6, "")],
)  # fmt: skip
def test_of_several_stockholm_alignments_the_second_is_named(tmp_path, capsys, text, line, name):
    told = refused(capsys, tmp_path, "a.sto", text)
    assert f"a.sto, line {line}: a second alignment begins{name}, expected one a file" in told
    assert f"sed -n '{line},/^\\/\\//p'" in told


@pytest.mark.parametrize("name", ["a.sto", "a.txt"])
def test_a_stockholm_file_that_is_not_closed_is_refused(tmp_path, capsys, name):
    told = refused(capsys, tmp_path, name, FIRST.removesuffix("//\n"))
    assert f"{name}: not closed by '//'" in told
    assert "fetch it again" in told


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.a3m", ">q M\xfcller\nACD\n>r\nA-D\n"), ("a.fasta", ">q M\xfcller\nACD\n>r\nA-D\n"),
     ("a.sto", "# STOCKHOLM 1.0\n#=GF AU M\xfcller\nq ACD\nr A-D\n//\n"),
     ("a.txt", "# STOCKHOLM 1.0\n#=GF AU M\xfcller\nq ACD\nr A-D\n//\n")],
)  # fmt: skip
@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_headers_may_hold_any_bytes(tmp_path, name, text, encoding):
    (tmp_path / name).write_bytes(text.encode(encoding))
    model = tmp_path / "a.safetensors"
    assert fit("--msa", str(tmp_path / name), "--output", str(model)) == 0
    assert potts_files.read_model(model).metadata["query"] == "ACD"


def test_a_byte_that_is_no_utf8_stands_as_its_number_in_a_name(tmp_path):
    (tmp_path / "a.a3m").write_bytes(b">M\xfcller\nACD\n")
    (tmp_path / "a.sto").write_bytes(b"M\xfcller ACD\n//\n")
    for name in ("a.a3m", "a.sto"):
        assert read_msa(tmp_path / name).names == (r"M\xfcller",)


@pytest.mark.parametrize("letter", ["\xfc", "\u2013"])
@pytest.mark.parametrize(("name", "text"), [("a.a3m", ">q\nAC{}\n"), ("a.sto", "q AC{}\n//\n")])
def test_a_row_may_not(tmp_path, capsys, name, text, letter):
    told = refused(capsys, tmp_path, name, text.format(letter))
    assert "row 1 (q): character" in told
    assert "at position 3 is no amino acid" in told


@pytest.mark.parametrize(
    ("text", "message"),
    [(b"PK\x03\x04\x14\0\0\0", "a zip archive, expected text; unpack it"),
     (">q\nACD\n".encode("utf-16"), "UTF-16, expected UTF-8; convert it: iconv -f utf-16"),
     (b"\xfd7zXZ\0\0\x04", "xz data, expected text"), (b"BZh91AY&SY", "bzip2 data")],
)  # fmt: skip
@pytest.mark.parametrize("name", ["a.a3m", "a.sto", "a.fasta.gz"])
def test_what_is_no_text_is_told_by_its_kind(tmp_path, capsys, name, text, message):
    packed = gzip.compress(text) if name.endswith(".gz") else text
    assert f"{name}: {message}" in refused(capsys, tmp_path, name, packed)


@pytest.mark.parametrize(
    ("name", "text", "row"),
    [("a.a3m", ">q\nacdef\n>r\nac-ef\n", "Row 1 has 5 of 5"),
     ("a.a3m", ">q\nMcdef\n>r\nacdef\n", "Row 1 has 4 of 5"),
     ("a.a3m", ">q\nac-ef\n>r\nac-ef\n", "Row 1 has 4 of 4"),
     ("a.a3m", ">q\nACDEF\n>r\nacdef\n", "Row 2 has 5 of 5"),
     ("a.sto", "q acdef\n//\n", "Row 1 has 5 of 5")],
)  # fmt: skip
def test_lower_case_is_named_where_it_leaves_no_columns(tmp_path, capsys, name, text, row):
    told = refused(capsys, tmp_path, name, text)
    assert f"{row} letters in lower case, which A3M and Stockholm read as inserts" in told
    assert "name the file .fasta if it is an aligned FASTA" in told


def test_an_uneven_row_is_not_put_down_to_lower_case(tmp_path, capsys):
    told = refused(capsys, tmp_path, "a.a3m", ">q\nACDE\n>r\nAaC\n")
    assert "row 2 (r) has 2 columns, row 1 (q) has 4" in told
    assert "lower" not in told


GENE = "ATGAAAGTTCTGGCTTGGCATGATGAAGGT"


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.fasta", f">g\n{GENE.lower()}\n"), ("a.a3m", f">g\n{GENE.lower()}\n"),
     ("a.aln", f"{GENE[:10]}---{GENE[10:]}\n"),
     ("a.sto", f"g {GENE.replace('T', 'U')}\n//\n"), ("a.a3m", f">ss_pred\nC\n>g\n{GENE}N\n")],
)  # fmt: skip
def test_an_alignment_of_nucleotides_is_refused(tmp_path, capsys, name, text):
    told = refused(capsys, tmp_path, name, text)
    assert "is DNA or RNA, expected a protein: translate it" in told
