"""Formats of Potts models and contact scores as their files' names tell them.

Text formats are gzipped where the name ends in .gz.
"""

import shutil
import zipfile
from collections.abc import Callable, Collection
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TypeVar

from npm_core.errors import DataError, SettingsError
from npm_core.files import atomic_path, open_binary, open_gzip

T = TypeVar("T")

TEXT = ("ccmpred-raw", "gremlin", "mat", "evcouplings", "rr")
"""Formats of either kind that may be gzipped."""

SUFFIXES = {
    "safetensors": "safetensors",
    "npz": "npz",
    "npy": "npy",
    "raw": "ccmpred-raw",
    "msgpack": "ccmpred-msgpack",
    "braw": "ccmpred-msgpack",
    "params": "plmc",
    "plmc": "plmc",
    "mrf": "gremlin",
    "mat": "mat",
    "csv": "evcouplings",
    "rr": "rr",
}


def write(path: Path | str, name: str, writer: Callable[[Path, T], None], content: T) -> None:
    """Write whole or not at all, and gzipped where the name says so."""
    check_zipped(path, name)
    if not _is_zipped(path):
        with atomic_path(path) as temporary:
            writer(temporary, content)
        return
    with open_gzip(path) as packed, NamedTemporaryFile(dir=Path(path).parent) as plain:
        writer(Path(plain.name), content)
        shutil.copyfileobj(plain, packed)


def _is_zipped(path: Path | str) -> bool:
    return Path(path).name.endswith(".gz")


def check_zipped(path: Path | str, name: str) -> None:
    """Raise SettingsError where the name ends in .gz and the format is none of text."""
    if _is_zipped(path) and name not in TEXT:
        raise SettingsError(
            f"{path}: {name} is not read gzipped; write it without .gz, or one of {', '.join(TEXT)}"
        )


def format_of(path: Path | str, wanted: Collection[str] | None = None) -> str:
    """Format of a file by its suffix; an .npz is one of scores.

    Args:
        path: File.
        wanted: Formats whose suffixes the error lists; all when None.

    Raises:
        SettingsError: The suffix is not known.
    """
    suffix = suffix_of(path)
    if suffix not in SUFFIXES:
        known = [end for end, name in SUFFIXES.items() if wanted is None or name in wanted]
        raise SettingsError(
            f"{path}: cannot tell the format from the name; its suffix is none of "
            f"{', '.join(known)}"
        )
    return SUFFIXES[suffix]


def suffix_of(path: Path | str) -> str:
    """The last suffix in lower case, without its dot and without .gz."""
    return Path(Path(path).name.removesuffix(".gz")).suffix.lstrip(".").lower()


def format_within(path: Path | str, wanted: Collection[str] | None = None) -> str:
    """Format of a file to be read: as `format_of`, but an .npz with couplings is a model."""
    name = format_of(path, wanted)
    return "npz-model" if name == "npz" and "couplings" in _npz_names(Path(path)) else name


def _npz_names(path: Path) -> list[str]:
    try:
        with open_binary(path) as stream, zipfile.ZipFile(stream) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise DataError(f"{path}: not a whole npz file ({error})") from error
