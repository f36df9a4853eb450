"""Where a file came from: digests, commit and versions, written beside every table."""

import hashlib
import json
import subprocess
import sys
from functools import cache
from pathlib import Path

from npm_core import __version__


def file_digest(path: Path | str) -> str:
    """sha256 of a file's bytes, in hexadecimal."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@cache
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
    """Metadata for a file: our version and commit, Python's version, and the `facts` as JSON."""
    installed = {
        package: _version(package) for package in ("numpy", "torch") if package in sys.modules
    }
    return {
        "npm_core": __version__,
        "commit": git_commit(),
        "python": sys.version.split()[0],
        "packages": json.dumps(installed, sort_keys=True),
        **{key: json.dumps(value, sort_keys=True, default=str) for key, value in facts.items()},
    }


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package)
