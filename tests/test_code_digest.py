"""What changes the digest of code."""

from npm_core import code_digest


def test_the_digest_of_code_ignores_prose_and_sees_imports(tmp_path, monkeypatch):
    package = tmp_path / "npm_core"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "a.py").write_text('"""Prose."""\nfrom npm_core.b import f\n')
    (package / "b.py").write_text("def f():\n    return 1\n")
    monkeypatch.setattr(code_digest, "__file__", str(package / "code_digest.py"))

    def digest() -> str:
        for cached in (code_digest._parsed, code_digest._exists):
            cached.cache_clear()
        return code_digest.source_digest("npm_core.a")

    first = digest()
    (package / "a.py").write_text('"""Other prose."""\n# why\nfrom npm_core.b import f\n')
    assert digest() == first
    (package / "b.py").write_text("def f():\n    return 2\n")
    assert digest() != first
    # A module may be imported by its name, and a template is code of what renders it.
    (package / "a.py").write_text("import jinja2\nfrom npm_core import b\n")
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "page").write_text("one")
    monkeypatch.setattr(code_digest, "TEMPLATES", tmp_path / "templates")
    second = digest()
    (package / "b.py").write_text("def f():\n    return 3\n")
    third = digest()
    assert third != second
    (tmp_path / "templates" / "page").write_text("another")
    assert digest() != third
    monkeypatch.undo()
    for cached in (code_digest._parsed, code_digest._exists):
        cached.cache_clear()
