"""Which PDB chains to evaluate on: the archive's own index files, filtered (paper, C.4)."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path

from npm_core import alphabet
from npm_core.errors import DataError, told_where
from npm_core.fasta import fasta_records
from npm_core.files import open_text

XRAY = "X-RAY DIFFRACTION"
"""The method of entries.idx rows that name none: its header says "IF NOT X-RAY"."""

_ENTRY_ID = re.compile(r"[0-9][a-z0-9]{3}|pdb_[a-z0-9]{8}")


def entry_id(text: str) -> str:
    """Lower-case PDB id: four characters, or `pdb_` and eight where four do not suffice.

    "1ABC" and "pdb_00001abc" are the same entry and become "1abc".

    Raises:
        DataError: The text is neither.
    """
    name = text.strip().lower()
    if not _ENTRY_ID.fullmatch(name):
        raise DataError(f"{text!r} is no PDB id; expected e.g. 1abc or pdb_00001abc")
    return name.removeprefix("pdb_0000") if _ENTRY_ID.fullmatch(name[-4:]) else name


def split_chain_id(name: str) -> tuple[str, str]:
    """Entry and author's chain of an id such as "1abc_A" or "pdb_00012abc_A".

    Raises:
        DataError: The id has no chain, or no PDB id before it.
    """
    entry, _, chain = name.rpartition("_")
    if not chain:
        raise DataError(f"{name!r} names no chain; expected e.g. 1abc_A")
    return entry_id(entry), chain


def entry_of(name: str) -> str:
    """Entry of a chain's id as `split_chain_id` finds it; of other text what its last "_" ends.

    Structures that are not the PDB's have any names: "my/model" of "my/model_A".
    """
    try:
        return split_chain_id(name)[0]
    except DataError:
        return name.rpartition("_")[0] or name


@dataclass(frozen=True)
class Entry:
    """One line of entries.idx.

    Attributes:
        id: PDB id, as `entry_id` writes it.
        deposited: The accession date: the day of the deposition.
        resolution: angstrom, the best of several; None where there is none (NMR).
        method: Experimental methods, e.g. "X-RAY DIFFRACTION, NEUTRON DIFFRACTION".
    """

    id: str
    deposited: date
    resolution: float | None
    method: str

    @property
    def methods(self) -> set[str]:
        """Each of the methods."""
        return {method.strip() for method in re.split("[,;]", self.method)}


@dataclass(frozen=True)
class Criteria:
    """What an entry and a chain must meet (paper, C.4).

    Attributes:
        max_resolution: angstrom; the resolution must be below it.
        min_length: Residues; a chain must be longer.
        deposited_before: First day that is too late.
        methods: Experimental methods, one of which an entry must have; empty for any (the paper
            names none).
    """

    max_resolution: float = 2.5
    min_length: int = 40
    deposited_before: date = date(2020, 5, 1)
    methods: tuple[str, ...] = ()

    def refusal(self, entry: Entry) -> str:
        """Why an entry is dropped whatever its chains are; empty when it is not."""
        if self.methods and entry.methods.isdisjoint(self.methods):
            return f"method {entry.method}"
        if entry.resolution is None:
            return f"no resolution ({entry.method})"
        if entry.resolution >= self.max_resolution:
            return f"resolution not below {self.max_resolution:g}"
        if entry.deposited >= self.deposited_before:
            return f"deposited on or after {self.deposited_before}"
        return ""


@dataclass(frozen=True)
class Candidate:
    """One distinct protein sequence of an entry.

    Attributes:
        chains: Author's names of the chains with this sequence, in order; the first names it.
        sequence: Full sequence, upper case.
    """

    entry: str
    chains: tuple[str, ...]
    sequence: str

    @property
    def id(self) -> str:
        return f"{self.entry}_{self.chains[0]}"


@dataclass(frozen=True)
class Fate:
    """What became of one entry: a row of the audit.

    Attributes:
        entry: PDB id.
        index: Its line of entries.idx; None when it has none.
        reason: Why it was dropped; empty when it was selected.
        candidates: Its candidates; empty when it was dropped.
    """

    entry: str
    index: Entry | None
    reason: str
    candidates: tuple[Candidate, ...] = ()


def read_entries(path: Path | str) -> dict[str, Entry]:
    """Entries of an entries.idx file by id, in order.

    Raises:
        DataError: The file has another layout, or an entry occurs twice.
    """
    entries: dict[str, Entry] = {}
    with open_text(path, encoding="latin-1") as stream:
        header = stream.readline()
        if not header.startswith("IDCODE, HEADER, ACCESSION DATE,"):
            raise DataError(
                f"{path}: line 1 is {header[:60]!r}, expected the columns of entries.idx "
                "(IDCODE, HEADER, ACCESSION DATE, ...)"
            )
        for number, line in enumerate(stream, start=2):
            if not line.strip() or line.startswith("---"):
                continue
            with told_where(f"{path}, line {number}"):
                entry = _entry(line.rstrip("\r\n").split("\t"))
            if entry.id in entries:
                raise DataError(f"{path}, line {number}: {entry.id} occurs twice")
            entries[entry.id] = entry
    return entries


def _entry(fields: list[str]) -> Entry:
    if len(fields) != 8:
        raise DataError(f"{len(fields)} tab-separated fields, expected 8")
    try:
        deposited = datetime.strptime(fields[2].strip(), "%m/%d/%y").date()
    except ValueError as error:
        raise DataError(f"accession date is {fields[2]!r}, expected MM/DD/YY") from error
    return Entry(
        entry_id(fields[0]), deposited, _resolution(fields[6]), fields[7].strip().upper() or XRAY
    )


def _resolution(text: str) -> float | None:
    """The best of one or more comma-separated values; "NOT", nothing and 0 or less mean none."""
    values = []
    for part in text.split(","):
        try:
            values.append(float(part))
        except ValueError:
            if part.strip() not in ("", "NOT"):
                raise DataError(f"resolution is {text!r}, expected a number or NOT") from None
    return min((value for value in values if value > 0), default=None)


def read_obsolete(path: Path | str) -> dict[str, str]:
    """Successor (or "") of each obsolete entry in the archive's obsolete.dat.

    Raises:
        DataError: The file is missing, or a line names no PDB id.
    """
    found = {}
    with open_text(path) as stream:
        for number, line in enumerate(stream, start=1):
            fields = line.split()
            if fields and fields[0] == "OBSLTE" and len(fields) >= 3:
                with told_where(f"{path}, line {number}"):
                    old, *new = map(entry_id, fields[2:4])
                found[old] = new[0] if new else ""
    return found


def select(
    entries: dict[str, Entry],
    seqres: Path | str,
    criteria: Criteria,
    *,
    obsolete: dict[str, str] | None = None,
    hits: set[str] | None = None,
) -> Iterator[Fate]:
    """The fate of every entry of either index file, candidates included.

    Identical protein sequences of one entry are one candidate.

    Args:
        entries: From `read_entries`.
        seqres: pdb_seqres.txt, gzipped or not.
        criteria: What to keep.
        obsolete: From `read_obsolete`; such entries are dropped.
        hits: From `pdb_search.read_hits`; entries that are not among them are dropped.

    Raises:
        DataError: pdb_seqres.txt is unreadable or has another layout.
    """
    refusals = {entry.id: criteria.refusal(entry) for entry in entries.values()}
    for name in refusals:
        if hits is not None and name not in hits and not refusals[name]:
            refusals[name] = "not found by the search"
    for name, successor in (obsolete or {}).items():
        if name in refusals:
            refusals[name] = "obsolete" + (f", replaced by {successor}" if successor else "")
    candidates: dict[str, dict[str, Candidate]] = {}
    unlisted: dict[str, None] = {}
    for owner, chain, sequence in read_seqres(seqres):
        if owner not in entries:
            unlisted[owner] = None
        elif not refusals[owner]:
            found = candidates.setdefault(owner, {})
            if sequence:
                known = found.get(sequence, Candidate(owner, (), sequence))
                found[sequence] = replace(known, chains=(*known.chains, chain))
    for name, entry in entries.items():
        if refusals[name]:
            yield Fate(name, entry, refusals[name])
        elif name not in candidates:
            yield Fate(name, entry, "not in pdb_seqres")
        else:
            kept, reason = _keep(candidates.pop(name).values(), criteria.min_length)
            yield Fate(name, entry, reason, kept)
    for name in unlisted:
        yield Fate(name, None, "not in entries.idx")


def _keep(candidates: Iterable[Candidate], min_length: int) -> tuple[tuple[Candidate, ...], str]:
    """Candidates that are long enough and known, or why there are none."""
    proteins = list(candidates)
    if not proteins:
        return (), "no protein chain"
    longer = [candidate for candidate in proteins if len(candidate.sequence) > min_length]
    if not longer:
        return (), f"no protein chain longer than {min_length}"
    known = tuple(candidate for candidate in longer if set(candidate.sequence) - {"X"})
    return known, "" if known else "only unknown residues"


def read_seqres(path: Path | str) -> Iterator[tuple[str, str, str]]:
    """Entry, author's chain and sequence of pdb_seqres.txt; "" for a chain that is no protein.

    Raises:
        DataError: A header does not look like `>101m_A mol:protein length:154  MYOGLOBIN`, or a
            protein's sequence holds a character that is no amino acid.
    """
    with open_text(path, encoding="latin-1") as stream:
        for header, letters in fasta_records(stream, str(path)):
            name, *rest = header.split(maxsplit=2)
            if not rest or not rest[0].startswith("mol:"):
                raise DataError(
                    f"{path}: header {header[:60]!r}, expected '101m_A mol:protein length:154 ...'"
                )
            sequence = letters.upper() if rest[0] == "mol:protein" else ""
            with told_where(f"{path}: {name}"):
                entry, chain = split_chain_id(name)
                alphabet.encode(sequence)
            yield entry, chain, sequence
