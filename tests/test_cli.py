"""What every verb does when asked for help, with arguments that cannot be, and with a signal."""

import argparse
import importlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import PATIENCE, wait_until

from npm_core import weights
from npm_core.cli import HelpFormatter, main, verbs
from npm_core.cli._arguments import register_identity_threshold
from npm_core.cli._outputs import check_folders, check_outputs


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "in.fasta").write_text(">a\nMKVLAW\n")
    (tmp_path / "file").touch()
    return tmp_path


CONTACTS = ["contacts", "--structure", "folder", "--output", "x"]
PRECISION = ["precision", "--scores", "folder", "--contacts", "folder", "--output"]
SCORE = ["score", "--potts"]
FIT = ["fit-potts", "--msa"]
SPLIT = ["split-queries", "--fasta", "in.fasta", "--train"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (CONTACTS, "folder: Is a directory"),
        ([*PRECISION, "x"], "folder: Is a directory"),
        ([*PRECISION, "folder"], "folder: is a folder; name a file to write"),
        ([*SCORE, "folder", "--output", "x.mat", "--centre", "mean"], "cannot tell the format"),
        ([*SPLIT, "file/x", "--test", "y"], "file is no folder"),
        ([*SPLIT, "/proc/x", "--test", "y"], "/proc/x: cannot be written"),
        ([*SCORE, "no.npz", "--output", "/proc/a/b.mat"], "/proc/a/b.mat: cannot be written"),
        ([*SCORE, "no.npz", "--output", f"{'x' * 250}.mat"], "File name too long"),
        ([*FIT, "no.a3m", "--output", "/proc/x.npz"], "/proc/x.npz: cannot be written"),
        (["predict", "--fasta", "no", "--output", "/proc/x"], "/proc/x: cannot be written"),
        ([*SPLIT, "both", "--test", "both"], "both: would be written twice"),
        ([*SPLIT, "both", "--test", "folder/../both"], "both: would be written twice"),
        ([*SPLIT, "train", "--test", "in.fasta"], "in.fasta: is an input too"),
        (["predict", "--fasta", "in.fasta", "--output", "p", "--device", "nosuch"], "expected cpu"),
        (["predict", "--fasta", "in.fasta", "--output", "file"], "file: file is no folder"),
        (
            ["predict", "--fasta", "in.fasta", "--output", "file/x"],
            "file is no folder; name a folder",
        ),
        (["record-settings", "--json", "{", "--output", "x"], "--json: Expecting property name"),
    ],
)
def test_bad_paths_and_devices_are_named(folder, capsys, words, message):
    before = sorted(folder.rglob("*"))
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.splitlines()[-1].startswith("ERROR: ")
    assert message in error
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("verb", "message"),
    [
        ("fit_potts", "no verb fit_potts; did you mean fit-potts?"),
        ("fit-pots", "no verb fit-pots; did you mean fit-potts?"),
        ("zzz", "no verb zzz; --help lists them"),
    ],
)
def test_a_misspelt_verb_is_told_the_one_that_was_meant(capsys, verb, message):
    with pytest.raises(SystemExit) as stopped:
        main([verb, "--msa", "x"])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["potts-contacts", "--workers", "0"], "expected a whole number from 1, found '0'"),
        (["potts-contacts", "--workers", "-1"], "expected a whole number from 1, found '-1'"),
        (["predict", "--threads", "0"], "expected a whole number from 1, found '0'"),
        (["fit-potts", "--threads", "²"], "expected a whole number from 1, found '²'"),
        (["build-families", "--identity-threshold", "0"], "above 0, at most 1, found '0'"),
        (["reduce-families", "--identity-threshold", "80"], "above 0, at most 1, found '80'"),
        (["prior-contacts", "--prior-weight", "0"], "above 0, at most 1, found '0'"),
        (["build-database", "--max-memory-gib", "nan"], "a finite number from 1, found 'nan'"),
        (["assign-structures", "--max-memory-gib", "inf"], "a finite number from 1, found 'inf'"),
        (["search", "--max-memory-gib", "0.5"], "a finite number from 1, found '0.5'"),
        (["build-database", "--identity", "7"], "a number from 0 to 1, found '7'"),
        (["fetch", "--timeout", "nan"], "a finite number above 0, found 'nan'"),
        (["fetch", "--attempts", "-1"], "a whole number from 1, found '-1'"),
        (["report", "--cards", "-1"], "a whole number from 0, found '-1'"),
        (["describe", "--rank", "0"], "a whole number from 1, found '0'"),
        (["contacts", "--output", "q.txt"], "ends in .npz, found 'q.txt'"),
        (["precision", "--output", "p.csv"], "ends in .tsv, found 'p.csv'"),
        (["precision", "--map", "p.jpg"], "ends in .png or .pdf or .svg, found 'p.jpg'"),
        (["score-variants", "--output", "p.csv.gz"], "ends in .csv, found 'p.csv.gz'"),
        (["@words"], "name the verb itself, not in @words"),
    ],
)
def test_what_the_parser_refuses(folder, capsys, words, message):
    (folder / "words").write_text("convert\n")
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_where_files_can_be_written_nothing_is_left_of_the_try(folder):
    (folder / "file").write_text("as it was")
    before = sorted(folder.rglob("*"))
    check_outputs([folder / "file", folder / "new", folder / "deep" / "er" / "new"], [])
    check_folders([folder, folder / "made", folder / "deep" / "er"])
    assert sorted(folder.rglob("*")) == before
    assert (folder / "file").read_text() == "as it was"


def parser_of(verb):
    parser = argparse.ArgumentParser()
    importlib.import_module(f"npm_core.cli.{verb.replace('-', '_')}").register(parser)
    return parser


@pytest.mark.parametrize(
    ("destination", "verbs_with_it"),
    [("init", ("pretrain", "train")), ("seed", ("report", "figures", "model-card"))],
)
def test_a_flag_has_one_default_in_all_verbs_where_it_means_the_same(destination, verbs_with_it):
    found = {parser_of(verb).get_default(destination) for verb in verbs_with_it}
    assert len(found) == 1
    assert found != {None}


@pytest.mark.parametrize("verb", verbs())
def test_numbers_are_checked_as_they_are_read(verb):
    # Those of settings (their destination has a dot) are checked by these; of these two any number
    # may be meant.
    named = {"--offset", "--target-objective"}
    bare = {
        flag
        for action in parser_of(verb)._actions
        if action.type in (int, float) and "." not in action.dest
        for flag in action.option_strings
    }
    assert bare <= named


@pytest.mark.parametrize("verb", verbs())
def test_the_helps_of_all_verbs_are_in_one_style(verb):
    for action in parser_of(verb)._actions:
        text = action.help
        assert text, f"{action.option_strings} has no help"
        assert not text.endswith("."), text
        assert "Default" not in text
        word = re.match(r"[A-Z][a-z]+\b", text)
        assert not word or word[0] in ("Parquet", "Pfam", "Potts", "Transformer"), text


@pytest.mark.parametrize(
    ("verb", "flag", "default"),
    [
        ("assign-structures", "--identity", "(default: 0.5)"),
        ("build-families", "--filter-coverage", "(default: 0)"),
        ("fit-potts", "--threads", "(default: 1)"),
        ("train", "--frozen", "(default: --no-frozen)"),
        ("fit-potts", "--query", None),
        ("score-variants", "--skip-unscorable", None),
    ],
)
def test_the_help_says_defaults_that_are_values(capsys, verb, flag, default):
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    text = capsys.readouterr().out.partition("options:")[2]
    about = re.search(rf"\n  {flag}\b.*?(?=\n  --|$)", text, re.DOTALL)[0]
    found = re.search(r"\(default: \S+\)", " ".join(about.split()))
    assert (found and found[0]) == default


def test_rows_are_weighted_by_one_threshold_where_no_other_is_asked_for():
    parser = argparse.ArgumentParser()
    register_identity_threshold(parser)
    assert parser.parse_args([]).identity_threshold == weights.IDENTITY_THRESHOLD


def test_files_and_folders_are_called_so_in_the_help(capsys):
    with pytest.raises(SystemExit):
        main(["predict", "--help"])
    text = capsys.readouterr().out
    assert "--fasta FILE" in text
    assert "--output DIR" in text


def test_a_device_may_take_two_outputs(folder):
    assert main([*SPLIT, os.devnull, "--test", os.devnull]) == 0


def test_a_stopped_verb_leaves_no_half_written_files(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    words = [*SPLIT, "train", "--test", "test", "--fasta", "fifo"]
    process = subprocess.Popen([sys.executable, "-m", "npm_core", *words], cwd=tmp_path)
    # Opened for writing alone it would wait for a reader.
    with (tmp_path / "fifo").open("r+b", buffering=0) as stream:
        stream.write(b">a\nMKV\n")
        wait_until(lambda: len(list(tmp_path.glob(".*.part"))) == 2, process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 128 + signal.SIGTERM
    assert [path.name for path in tmp_path.iterdir()] == ["fifo"]


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
