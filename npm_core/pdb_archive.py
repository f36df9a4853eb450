"""One entry of the PDB archive, or of a mirror of it, as a file on disk."""

import re
from pathlib import Path

from npm_core.errors import DataError, SettingsError
from npm_core.fetch import download

_ABSENT = re.compile(r"HTTP status (404|410)\b|No such file")
"""What a fetch says where the archive does not have the entry."""


class NotInArchive(DataError):
    """The archive has no such entry: it may be obsolete."""


def entry_url(template: str, entry: str) -> str:
    """Place of an entry's file.

    Args:
        template: `{id}` is the entry, `{middle}` the two characters before its last, by which the
            archive is divided, e.g. "https://.../mmCIF/{middle}/{id}.cif.gz".
        entry: As `pdb_selection.entry_id` writes it.

    Raises:
        SettingsError: The template has no {id}, or another field.
    """
    try:
        url = template.format(id=entry, middle=entry[-3:-1])
    except (KeyError, IndexError, ValueError) as error:
        raise SettingsError(f"{template}: {error}; the fields are {{id}} and {{middle}}") from error
    if "{id}" not in template:
        raise SettingsError(f"{template}: expected {{id}}, and {{middle}} where files are divided")
    return url


def fetch_entry(entry: str, template: str, *, cache: Path, lock: Path | None) -> Path:
    """Fetch an entry's file, unless the cache has it already.

    Args:
        entry: As `pdb_selection.entry_id` writes it.
        template: As in `entry_url`.
        cache: Folder of fetched files.
        lock: sha256 of everything fetched (JSON), or None.

    Raises:
        NotInArchive: The archive has no such entry.
        DataError: The fetch failed otherwise; the next run goes on from here.
    """
    url = entry_url(template, entry)
    path = cache / url.rpartition("/")[2]
    try:
        download([url], path, lock=lock)
    except DataError as error:
        if not _ABSENT.search(str(error)):
            raise
        raise NotInArchive(f"the archive has no entry {entry}; it may be obsolete") from error
    return path
