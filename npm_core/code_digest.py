"""Digest of the code behind a verb: a rule's parameter, by which Snakemake sees an edit."""

import ast
import hashlib
from functools import cache
from pathlib import Path

from npm_core.provenance import file_digest

TEMPLATES = Path(__file__).parent / "templates"


def source_digest(*modules: str) -> str:
    """Digest of the code of modules and of everything in `npm_core` they import or render.

    Comments and docstrings do not count: an edit of prose reruns nothing. As a rule's parameter
    it makes Snakemake rerun the rule when the code behind its command changes.

    Args:
        modules: Dotted names, e.g. "npm_core.cli.precision".
    """
    digest = hashlib.sha256()
    for name, tree in sorted(_closure(modules).items()):
        digest.update(name.encode())
        digest.update(tree.encode())
    return digest.hexdigest()[:16]


def _closure(modules: tuple[str, ...]) -> dict[str, str]:
    seen: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen[name], imported = _parsed(name)
        waiting.extend(imported)
    # It holds the version alone, which changes no result.
    seen.pop("npm_core", None)
    return seen


@cache
def _parsed(name: str) -> tuple[str, tuple[str, ...]]:
    """Code of one module without docstrings, and the `npm_core` modules it imports anywhere."""
    tree = ast.parse(_source(name))
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            imported.add(node.module)
            imported.update(f"{node.module}.{alias.name}" for alias in node.names)
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [line for line in body if not _is_prose(line)] or [ast.Pass()]  # type: ignore[attr-defined]
    ours = (target for target in imported if target.split(".")[0] == "npm_core")
    code = ast.dump(tree) + (_templates() if "jinja2" in imported else "")
    return code, tuple(target for target in ours if _exists(target))


def _templates() -> str:
    """Digests of what a module that imports jinja2 may render."""
    return "".join(map(file_digest, sorted(TEMPLATES.iterdir())))


def _is_prose(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


@cache
def _exists(name: str) -> bool:
    return _path(name) is not None


def _path(name: str) -> Path | None:
    base = Path(__file__).parent.parent.joinpath(*name.split("."))
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def _source(name: str) -> str:
    path = _path(name)
    if path is None:
        raise ModuleNotFoundError(name)
    return path.read_text(encoding="utf-8")
