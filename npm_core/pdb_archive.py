"""Entries of the PDB archive, or of a mirror of it, as files on disk."""

from dataclasses import dataclass, field
from pathlib import Path

from npm_core.errors import DataError, SettingsError
from npm_core.fetch import Absent, Patience, download
from npm_core.source_lock import SourceLock

NOT_ALL_OBSOLETE = 3
"""So many entries cannot all be obsolete: where none of them is there, the address is wrong."""


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


@dataclass(frozen=True)
class Archive:
    """The archive under one address; it remembers which of the entries asked for it has.

    Attributes:
        template: As in `entry_url`.
        cache: Folder of fetched files.
        lock: sha256 of everything fetched, or None.
        patience: How long an entry is asked for.
        found, absent: Entries.
    """

    template: str
    cache: Path
    lock: SourceLock | None
    patience: Patience = field(default_factory=Patience)
    found: set[str] = field(default_factory=set)
    absent: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        entry_url(self.template, "1abc")

    def fetch(self, entry: str) -> Path:
        """Fetch an entry's file, unless the cache holds what the lock file has on record.

        It keeps its name, with the entry before it where an archive has one name for all.

        Args:
            entry: As `pdb_selection.entry_id` writes it.

        Raises:
            NotInArchive: The archive has no such entry.
            DataError: The fetch failed otherwise; the next run goes on from here.
        """
        url = entry_url(self.template, entry)
        name = url.rpartition("/")[2]
        own = "{id}" in self.template.rpartition("/")[2]
        path = self.cache / (name if own else f"{entry}.{name}")
        try:
            download([url], path, lock=self.lock, patience=self.patience)
        except Absent as error:
            self.absent.add(entry)
            raise NotInArchive(f"the archive has no entry {entry}; it may be obsolete") from error
        self.found.add(entry)
        return path

    def stop(self) -> None:
        """Make the downloads under way end."""
        self.patience.stopped.set()

    def check(self) -> None:
        """Refuse the address if none of the entries was there.

        One or two, of a small shard or clan, may be obsolete: the audit names them.

        Raises:
            DataError: At least `NOT_ALL_OBSOLETE` were asked for, and all are missing.
        """
        if len(self.absent) >= NOT_ALL_OBSOLETE and not self.found:
            raise DataError(
                f"{self.template}: none of {len(self.absent)} entries is there; the first was "
                f"looked for at {entry_url(self.template, min(self.absent))}. Correct the address "
                "(sources.structures in the settings)"
            )
