"""Where a file came from: digests of code and data, versions, written beside every table."""

import ast
import hashlib
import json
import subprocess
import sys
from functools import cache
from pathlib import Path

from npm_core import __version__

TEMPLATES = Path(__file__).parent / "templates"


def file_digest(path: Path | str) -> str:
    """sha256 of a file's bytes, in hexadecimal."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


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


def git_commit() -> str:
    """Commit of this checkout, with `+` when files differ from it; "unknown" outside git."""
    root = Path(__file__).parent.parent
    try:
        commit = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "--short=12", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        changes = subprocess.run(
            ["git", "-C", str(root), "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + ("+" if changes else "")


def provenance(**facts: object) -> dict[str, str]:
    """Metadata for a file: our version, Python's, and the `facts` of the step, each as JSON."""
    installed = {
        package: _version(package) for package in ("numpy", "torch") if package in sys.modules
    }
    return {
        "npm_core": __version__,
        "python": sys.version.split()[0],
        "packages": json.dumps(installed, sort_keys=True),
        **{key: json.dumps(value, sort_keys=True, default=str) for key, value in facts.items()},
    }


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package)
