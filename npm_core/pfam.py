"""Pfam's flat files: the families of a clan, cut out of releases too large to hold in memory."""

import difflib
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from npm_core.errors import DataError
from npm_core.files import open_text

ENCODING = "latin-1"
"""Pfam's flat files hold authors' names that are no UTF-8."""

MIN_OVERLAP = 0.5
"""Least share of a structure's range that its row must cover."""

_RANGE = re.compile(r"(\d+)-(\d+)")
_VERSION = re.compile(r"\.\d+$")


@dataclass(frozen=True)
class Region:
    """One row of pdbmap: a stretch of a UniProt sequence with a structure.

    Attributes:
        pdb: Entry, lower case.
        chain: Author's chain identifier.
        accession: UniProt accession or name, without version.
        start, end: First and last residue in UniProt's numbering, 1-based.
    """

    pdb: str
    chain: str
    accession: str
    start: int
    end: int


@dataclass(frozen=True)
class StructureRow:
    """A structure and the row of the family's full alignment that it belongs to.

    Attributes:
        pdb: Entry, lower case.
        chain: Author's chain identifier.
        name: Name of the row, e.g. "Y070_ATV/2-70".
        a3m: The row; upper case letters and `-` are the family's columns.
    """

    pdb: str
    chain: str
    name: str
    a3m: str


@dataclass(frozen=True)
class PfamFamily:
    """One entry of Pfam-A.full or Pfam-A.seed.

    Attributes:
        accession: Without version, e.g. "PF00001".
        rows: (name, a3m) of at most the capped number of rows.
        depth: Rows in the entry, the ones beyond the cap included.
        structures: Structures of any row, also of rows beyond the cap; by pdb, then chain.
        structures_from: "pdbmap", "DR" (the entry's own cross-references) or "none".
    """

    accession: str
    rows: tuple[tuple[str, str], ...]
    depth: int
    structures: tuple[StructureRow, ...]
    structures_from: str


def read_clan(path: Path | str, clan: str, *, size: int | None = None) -> list[str]:
    """Accessions of a clan's families in Pfam-A.clans.tsv, in the order of the file.

    Args:
        path: Tab-separated: family, clan accession, clan name, family name, description.
        clan: Its name, e.g. "NADP_Rossmann".
        size: Families it must have; None for any number.

    Raises:
        DataError: A line has too few fields, the clan is not in the file or has another size.
    """
    families: list[str] = []
    known: set[str] = set()
    with open_text(path, ENCODING) as stream:
        for number, line in enumerate(stream, start=1):
            fields = line.rstrip("\n").split("\t")
            if len(fields) < 4:
                raise DataError(
                    f"{path}, line {number}: expected at least 4 tab-separated fields "
                    f"(family, clan, clan name, family name), found {len(fields)}"
                )
            known.add(fields[2])
            if fields[2] == clan:
                families.append(fields[0])
    if not families:
        similar = difflib.get_close_matches(clan, known, n=3)
        hint = f"; did you mean {', '.join(similar)}?" if similar else ""
        raise DataError(f"{path}: no family belongs to a clan named {clan!r}{hint}")
    if size not in (None, len(families)):
        raise DataError(
            f"{path}: clan {clan} has {len(families)} families, expected {size}. "
            "Is this the release the settings name?"
        )
    return families


def read_pdbmap(path: Path | str, families: Collection[str]) -> dict[str, list[Region]]:
    """Structures of the named families in pdbmap.

    A line reads `2VQC; A; ; F-112; PF09645; P20220; 4-73;` with tabs after the semicolons: entry,
    chain, nothing, family name, family, UniProt accession, range in UniProt's numbering.

    Raises:
        DataError: A line of one of the families does not have these fields.
    """
    regions: dict[str, list[Region]] = {family: [] for family in families}
    with open_text(path, ENCODING) as stream:
        for number, line in enumerate(stream, start=1):
            fields = [field.strip() for field in line.split(";")]
            if len(fields) < 7:
                raise DataError(
                    f"{path}, line {number}: expected 7 fields closed by ';', "
                    f"found {line.strip()[:60]!r}"
                )
            if fields[4] not in regions:
                continue
            span = _RANGE.fullmatch(fields[6])
            if not span:
                raise DataError(
                    f"{path}, line {number}: expected a range like 4-73, found {fields[6]!r}"
                )
            regions[fields[4]].append(
                Region(
                    fields[0].lower(),
                    fields[1],
                    _VERSION.sub("", fields[5]),
                    int(span[1]),
                    int(span[2]),
                )
            )
    return regions


def full_row(aligned: str) -> str:
    """A row of a full alignment as a3m: `.` pads the inserts of other rows and is dropped."""
    return aligned.replace(".", "")


def read_pfam(
    path: Path | str,
    families: Collection[str],
    *,
    max_rows: int | None = None,
    regions: Mapping[str, Sequence[Region]] | None = None,
    convert: Callable[[str], str] = full_row,
) -> Iterator[PfamFamily]:
    """Stream the wanted entries of Pfam-A.full or Pfam-A.seed, in the order of the file.

    At most one family is held in memory, of it at most `max_rows` rows (the paper, C.3, loads
    100k) and the rows with a structure, wherever in the entry they stand.

    A structure belongs to the row of its UniProt accession that overlaps its range most. When
    pdbmap has none, the entry's own `#=GS ... DR PDB;` lines are used.

    Args:
        path: Stockholm entries closed by `//`, one line a row, gzipped or not.
        families: Accessions without version.
        max_rows: Rows to keep of an entry; None keeps all.
        regions: Structures by family, from `read_pdbmap`; None looks for no structures.
        convert: How to write a kept row, e.g. `full_row`.

    Raises:
        DataError: A wanted family is missing, an entry is torn, interleaved or ragged.
    """
    missing = set(families)
    with open_text(path, ENCODING) as stream:
        lines = enumerate(stream, start=1)
        for accession in _wanted_entries(lines, set(families), str(path)):
            if accession not in missing:
                raise DataError(f"{path}: {accession} occurs twice")
            missing.discard(accession)
            finder = _StructureFinder(None if regions is None else regions.get(accession, ()))
            rows, depth = _read_rows(lines, f"{path}: {accession}", max_rows, finder, convert)
            structures, source = finder.structures()
            yield PfamFamily(accession, rows, depth, structures, source)
    if missing:
        raise DataError(
            f"{path}: {len(missing)} of {len(families)} families are missing, "
            f"first {min(missing)}. Are all Pfam files of one release?"
        )


def _wanted_entries(
    lines: Iterator[tuple[int, str]], wanted: set[str], where: str
) -> Iterator[str]:
    """Stop behind the `#=GF AC` line of each wanted entry; the caller reads on from there."""
    for number, line in lines:
        if not line.startswith("# STOCKHOLM"):
            if line.strip():
                raise DataError(
                    f"{where}, line {number}: expected '# STOCKHOLM 1.0', found {line[:40]!r}"
                )
            continue
        accession = None
        for _, header in lines:
            if header.startswith("#=GF AC"):
                accession = _VERSION.sub("", header.split()[2])
                break
            if not header.startswith("#=GF"):
                break
        if accession is None:
            raise DataError(f"{where}, line {number}: the entry has no '#=GF AC' line")
        if accession in wanted:
            yield accession
            continue
        if not any(text.startswith("//") for _, text in lines):
            raise DataError(f"{where}: {accession} is not closed by '//'; the file is truncated")


def _read_rows(
    lines: Iterator[tuple[int, str]],
    where: str,
    max_rows: int | None,
    finder: "_StructureFinder",
    convert: Callable[[str], str],
) -> tuple[tuple[tuple[str, str], ...], int]:
    rows: list[tuple[str, str]] = []
    names: set[str] = set()
    depth = width = 0
    for number, line in lines:
        text = line.rstrip()
        if text == "//":
            break
        if text.startswith("#=GS"):
            finder.annotate(text)
        if not text or text.startswith("#"):
            continue
        fields = text.split()
        if len(fields) != 2:
            raise DataError(
                f"{where}, line {number}: expected 'name sequence', found {text[:40]!r}"
            )
        name, aligned = fields
        depth += 1
        width = width or len(aligned)
        if len(aligned) != width:
            raise DataError(
                f"{where}, line {number}: {name} has {len(aligned)} characters, "
                f"the rows before it {width}"
            )
        if max_rows is None or len(rows) < max_rows:
            if name in names:
                raise DataError(
                    f"{where}, line {number}: {name} occurs twice; rows must not be interleaved"
                )
            names.add(name)
            rows.append((name, convert(aligned)))
        finder.look_at(name, aligned)
    else:
        raise DataError(f"{where}: not closed by '//'; the file is truncated")
    if not rows:
        raise DataError(f"{where}: no rows")
    return tuple(rows), depth


class _StructureFinder:
    """Watches the rows of one entry pass and keeps those that structures belong to."""

    def __init__(self, regions: Sequence[Region] | None) -> None:
        self._wanted = regions is not None
        self._regions: dict[str, list[Region]] = {}
        for region in regions or ():
            self._regions.setdefault(region.accession, []).append(region)
        self._accessions: dict[str, str] = {}
        self._cross_references: dict[str, list[tuple[str, str]]] = {}
        self._best: dict[Region, tuple[int, str, str]] = {}
        self._referenced: list[StructureRow] = []

    def annotate(self, line: str) -> None:
        """Take in one `#=GS` line: `#=GS NAME AC P20220.1`, `#=GS NAME DR PDB; 2VQC A; 4-73;`."""
        if not self._wanted:
            return
        fields = line.split(maxsplit=3)
        if len(fields) < 4:
            return
        _, name, feature, value = fields
        if feature == "AC":
            accession = _VERSION.sub("", value)
            if accession in self._regions:
                self._accessions[name] = accession
        elif feature == "DR" and value.startswith("PDB;"):
            structure = value.split(";")[1].split()
            chain = structure[1] if len(structure) > 1 else ""
            self._cross_references.setdefault(name, []).append((structure[0].lower(), chain))

    def look_at(self, name: str, aligned: str) -> None:
        """Keep the row if it overlaps a structure more than the rows before it."""
        if not self._wanted:
            return
        for pdb, chain in self._cross_references.get(name, ()):
            self._referenced.append(StructureRow(pdb, chain, name, full_row(aligned)))
        sequence, _, span = name.rpartition("/")
        accession = self._accessions.get(name, _VERSION.sub("", sequence))
        if accession not in self._regions or not (ends := _RANGE.fullmatch(span)):
            return
        start, end = int(ends[1]), int(ends[2])
        for region in self._regions[accession]:
            overlap = min(end, region.end) - max(start, region.start) + 1
            enough = overlap >= MIN_OVERLAP * (region.end - region.start + 1)
            if enough and overlap > self._best.get(region, (0,))[0]:
                self._best[region] = (overlap, name, full_row(aligned))

    def structures(self) -> tuple[tuple[StructureRow, ...], str]:
        """What was found, by pdb, chain and row, and where it came from."""
        found = {
            StructureRow(region.pdb, region.chain, name, a3m)
            for region, (_, name, a3m) in self._best.items()
        }
        source = "pdbmap" if found else "DR" if self._referenced else "none"
        rows = found or set(self._referenced)
        return tuple(sorted(rows, key=lambda row: (row.pdb, row.chain, row.name))), source


def seed_a3m(rows: Sequence[tuple[str, str]], where: str) -> list[tuple[str, str]]:
    """A seed alignment as a3m: columns with residues in at least half of the rows are matches.

    Seeds are curated by hand and do not tell matches from inserts: `.` stands for any gap. Half of
    the rows is HMMER's and HH-suite's usual rule.

    Args:
        rows: (name, aligned letters of either case, `.` and `-`), all of one width.
        where: File and entry, for messages.

    Raises:
        DataError: No column is a match.
    """
    letters = np.array([list(aligned.upper().replace(".", "-")) for _, aligned in rows])
    residues = letters != "-"
    matches = residues.mean(0) >= 0.5
    if not matches.any():
        raise DataError(f"{where}: no column has residues in half of the rows")
    written = np.where(matches, letters, np.where(residues, np.char.lower(letters), ""))
    return [(name, "".join(row)) for (name, _), row in zip(rows, written, strict=True)]
