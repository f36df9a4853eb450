"""The alphabet, alignments, tables, digests and the command line."""

import argparse
import gzip
import importlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from npm_core import alphabet, provenance, tables
from npm_core.cli import HelpFormatter, main, verbs
from npm_core.errors import DataError
from npm_core.files import atomic_path, open_text
from npm_core.msa import Msa, read_alignment, read_msa
from npm_core.tables import (
    FAMILIES,
    Family,
    Scores,
    Target,
    read_families,
    read_metadata,
    read_scores,
    read_table,
    read_targets,
    write_families,
    write_rows,
    write_scores,
    write_targets,
)


def test_the_alphabet_is_ccmpreds_with_the_gap_last():
    assert alphabet.ALPHABET == "ARNDCQEGHILKMFPSTWYV-"
    assert alphabet.encode("ARV-").tolist() == [0, 1, 19, 20]


def test_nonstandard_letters_become_their_parent_or_a_gap_and_are_counted():
    assert alphabet.decode(alphabet.encode("UOBJZX*.")) == "CK------"
    assert alphabet.count_nonstandard("AUOBX-") == 4


def test_a_letter_outside_the_alphabet_is_named_with_its_position():
    with pytest.raises(DataError, match=r"'1' at position 3"):
        alphabet.encode("AR1")
    with pytest.raises(DataError, match="'a' at position 1"):
        alphabet.encode("ar")


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


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "x"
    path.write_text("old")

    class Interruption(Exception):
        pass

    with pytest.raises(Interruption), atomic_path(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise Interruption
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none: no such file"), open_text(tmp_path / "none"):
        pass


def test_families_survive_the_round_trip(tmp_path, rng):
    families = [
        Family(f"f{n}", rng.integers(0, 21, (n + 1, 5), dtype=np.uint8), np.full(n + 1, 0.5, "f4"))
        for n in range(40)
    ]
    path = tmp_path / "families.parquet"
    assert write_families(path, iter(families), provenance.provenance(seed=3)) == 40
    read = list(read_families(path))
    assert [family.id for family in read] == [family.id for family in families]
    for before, after in zip(families, read, strict=True):
        assert np.array_equal(before.residues, after.residues)
        assert after.meff == pytest.approx(0.5 * before.depth)
    assert read_metadata(path)["seed"] == 3


def test_of_row_groups_without_a_family_that_is_wanted_only_ids_are_read(tmp_path, monkeypatch):
    decoded = []

    def families_of(table):
        decoded.extend(table["id"].to_pylist())
        return whole(table)

    whole = tables.families_of
    monkeypatch.setattr(tables, "families_of", families_of)
    paths = [tmp_path / "first.parquet", tmp_path / "second.parquet"]
    for path, names in zip(paths, ("abcdefg", "hi"), strict=True):
        families = (Family(name, np.zeros((1, 5), "u1"), np.ones(1, "f4")) for name in names)
        write_families(path, families, {}, rows_per_group=2)
    assert [one.id for one in read_families(*paths, only={"g", "d", "h"})] == ["d", "g", "h"]
    assert decoded == ["c", "d", "g", "h", "i"]
    assert [one.id for one in read_families(*paths, only={"none"})] == []
    assert len(decoded) == 5
    assert [one.id for one in read_families(*paths)] == list("abcdefghi")


def test_a_damaged_table_is_named(tmp_path, rng):
    residues = rng.integers(0, 21, (200, 50), dtype=np.uint8)
    path = tmp_path / "families.parquet"
    write_families(path, [Family("f", residues, np.ones(200, np.float32))], {})
    frame = bytes.fromhex("28b52ffd")  # how zstd's data begin
    assert frame in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(frame, b"torn"))
    with pytest.raises(DataError, match=r"families\.parquet: not a whole Parquet file"):
        list(read_families(path))


def test_a_flipped_byte_of_any_column_is_refused(tmp_path, rng):
    residues = rng.integers(0, 21, (9, 11), dtype=np.uint8)
    path = tmp_path / "families.parquet"
    write_families(path, [Family("f", residues, np.ones(9, np.float32))], {})
    whole = path.read_bytes()
    group = pq.read_metadata(path).row_group(0)
    for column in map(group.column, range(group.num_columns)):
        begin = column.dictionary_page_offset or column.data_page_offset
        end = begin + column.total_compressed_size
        for place in (end - 1, end - 4):
            flipped = bytes([whole[place] ^ 1])
            path.write_bytes(whole[:place] + flipped + whole[place + 1 :])
            with pytest.raises(DataError, match="not a whole Parquet file"):
                list(read_families(path))


def test_a_family_of_another_size_than_it_says_is_refused(tmp_path):
    row = {"id": "f", "query": "AC", "length": 2, "depth": 3, "meff": 3.0, "weights": [1.0] * 3}
    rows = [{**row, "residues": bytes(5)}]
    write_rows(tmp_path / "x.parquet", FAMILIES, rows, 1)
    with pytest.raises(DataError, match="family f: 5 residues for 3 rows of 2 columns"):
        list(read_families(tmp_path / "x.parquet"))


def test_a_family_that_occurs_twice_is_refused(tmp_path):
    family = Family("f", np.zeros((1, 3), np.uint8), np.ones(1, np.float32))
    told = r"x\.parquet: not written, as two rows are of id f; give each input table once"
    with pytest.raises(DataError, match=told):
        write_families(tmp_path / "x.parquet", [family, family], {})
    assert not (tmp_path / "x.parquet").exists()


def test_scores_of_a_target_are_told_apart_by_their_model(tmp_path):
    one, other = (Scores("t", model, np.zeros((3, 3), np.float32)) for model in ("npm", "potts"))
    assert write_scores(tmp_path / "x.parquet", [one, other], {}) == 2
    with pytest.raises(DataError, match="two rows are of id t, model npm;"):
        write_scores(tmp_path / "x.parquet", [one, other, one], {})


def test_distances_of_a_target_are_symmetric_and_undefined_where_unresolved(tmp_path):
    coordinates = np.array([[0, 0, 0], [3, 4, 0], [np.nan] * 3], dtype=np.float32)
    write_targets(tmp_path / "t.parquet", [Target("t", "test", "ACD", coordinates, "1abc_A")], {})
    (target,) = read_targets(tmp_path / "t.parquet")
    assert target.distances[0, 1] == target.distances[1, 0] == 5.0
    assert np.isnan(target.distances[2]).all()
    assert read_table(tmp_path / "t.parquet", ["resolved"])[0]["resolved"] == 2


def test_scores_survive_the_round_trip(tmp_path, rng):
    matrix = rng.normal(size=(4, 4)).astype(np.float32)
    matrix = np.triu(matrix, 1) + np.triu(matrix, 1).T
    write_scores(tmp_path / "s.parquet", [Scores("t", "potts", matrix, 3, 2.5, 2.75)], {})
    (scores,) = read_scores(tmp_path / "s.parquet")
    assert np.array_equal(scores.matrix, matrix)
    assert (scores.depth, scores.meff, scores.generalisation_loss) == (3, 2.5, 2.75)


def test_scores_with_nan_are_refused():
    with pytest.raises(DataError, match="NaN"):
        Scores("t", "npm", np.full((2, 2), np.nan, dtype=np.float32))


def test_a_msa_without_rows_is_refused():
    with pytest.raises(DataError, match="needs rows and columns"):
        Msa((), np.zeros((0, 3), np.uint8))


def test_the_digest_of_code_ignores_prose_and_sees_imports(tmp_path, monkeypatch):
    package = tmp_path / "npm_core"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "a.py").write_text('"""Prose."""\nfrom npm_core.b import f\n')
    (package / "b.py").write_text("def f():\n    return 1\n")
    monkeypatch.setattr(provenance, "__file__", str(package / "provenance.py"))

    def digest() -> str:
        for cached in (provenance._parsed, provenance._exists):
            cached.cache_clear()
        return provenance.source_digest("npm_core.a")

    first = digest()
    (package / "a.py").write_text('"""Other prose."""\n# why\nfrom npm_core.b import f\n')
    assert digest() == first
    (package / "b.py").write_text("def f():\n    return 2\n")
    assert digest() != first
    # A module may be imported by its name, and a template is code of what renders it.
    (package / "a.py").write_text("import jinja2\nfrom npm_core import b\n")
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "page").write_text("one")
    monkeypatch.setattr(provenance, "TEMPLATES", tmp_path / "templates")
    second = digest()
    (package / "b.py").write_text("def f():\n    return 3\n")
    third = digest()
    assert third != second
    (tmp_path / "templates" / "page").write_text("another")
    assert digest() != third
    monkeypatch.undo()
    for cached in (provenance._parsed, provenance._exists):
        cached.cache_clear()


@pytest.fixture
def git_alone(tmp_path, monkeypatch):
    """Git has no settings, sees no folder above, and none of the variables it gives to hooks."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))


@pytest.mark.usefixtures("git_alone")
def test_a_commit_is_marked_when_files_differ_from_it(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "npm_core" / "provenance.py"))
    assert provenance.git_commit() == "unknown"
    (tmp_path / "file").write_text("one")
    author = ["-c", "user.name=x", "-c", "user.email=x"]
    for words in (["init", "-q"], ["add", "file"], [*author, "commit", "-q", "-m", "x"]):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    commit = provenance.git_commit()
    assert len(commit) == 12
    (tmp_path / "other").write_text("not under version control")
    assert provenance.git_commit() == commit
    (tmp_path / "file").write_text("two")
    assert provenance.git_commit() == f"{commit}+"


def test_every_verb_has_help():
    for verb, summary in verbs().items():
        assert summary.endswith("."), f"{verb} needs a sentence for its docstring"
        with pytest.raises(SystemExit) as exit_status:
            main([verb, "--help"])
        assert exit_status.value.code == 0


def test_help_waits_for_no_large_package():
    script = """
import sys
from npm_core.cli import main, verbs
for verb in verbs():
    try:
        main([verb, "--help"])
    except SystemExit:
        pass
print(sorted({"numba", "pandas", "pyarrow", "scipy", "torch"} & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
        check=True,
    )
    assert done.stderr == "[]\n"


def test_help_shows_each_default_once(capsys):
    parser = argparse.ArgumentParser(formatter_class=HelpFormatter)
    parser.add_argument("--number", default=3, help="of things")
    parser.add_argument("--said", default=4, help="four by default")
    parser.add_argument("--none", help="no value")
    parser.add_argument("--flag", action="store_true", help="a switch")
    parser.add_argument("--list", default=[5, 6], nargs="+", help="some of these")
    text = parser.format_help()
    assert "of things (default: 3)" in text
    assert "some of these (default: 5 6)" in text
    assert text.count("default") == 3


def test_no_verb_hides_a_default():
    for verb in verbs():
        parser = argparse.ArgumentParser()
        importlib.import_module(f"npm_core.cli.{verb.replace('-', '_')}").register(parser)
        for action in parser._actions:
            hidden = action.default not in (None, False, []) and not action.help
            assert not hidden, f"{verb} {action.option_strings} needs a help text"


def test_an_error_is_one_line_and_exit_status_2(tmp_path):
    command = [sys.executable, "-m", "npm_core", "contacts", "--structure", "none.cif"]
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "x.npz")],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("ERROR: ")
    assert "Traceback" not in done.stderr
