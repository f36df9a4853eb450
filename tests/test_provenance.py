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
