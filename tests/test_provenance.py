"""What marks a commit."""

import os
import subprocess

import pytest

from npm_core import provenance


@pytest.fixture
def git_alone(tmp_path, monkeypatch):
    """Git has no settings, sees no folder above, and none of the variables it gives to hooks."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))


def commit_now() -> str:
    """Not the one that this process asked for before."""
    return provenance.git_commit.__wrapped__()


@pytest.mark.usefixtures("git_alone")
def test_a_commit_is_marked_when_files_differ_from_it(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "npm_core" / "provenance.py"))
    assert commit_now() == "unknown"
    (tmp_path / "file").write_text("one")
    author = ["-c", "user.name=x", "-c", "user.email=x"]
    for words in (["init", "-q"], ["add", "file"], [*author, "commit", "-q", "-m", "x"]):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    commit = commit_now()
    assert len(commit) == 12
    (tmp_path / "other").write_text("not under version control")
    assert commit_now() == commit
    (tmp_path / "file").write_text("two")
    assert commit_now() == f"{commit}+"
