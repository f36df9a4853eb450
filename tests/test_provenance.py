"""What changes the digest of code, and what marks a commit."""

import os
import subprocess

import pytest

from npm_core import provenance


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
