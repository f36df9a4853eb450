"""Structures deposited in the PDB: those a selection accepts and those it must refuse."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from npm_core import alphabet
from npm_core.arrays import Float64
from npm_core.errors import DataError
from npm_core.progress import track
from npm_core.universe import folds
from npm_core.universe.families import Protein, Universe
from npm_core.universe.mmcif import Entity, Entry

TAIL_RESOLVED = 3
"""Residues of a tail next to the domain that have coordinates; the rest is disordered."""


@dataclass(frozen=True, eq=False)
class Deposit:
    """An entry and the protein each of its entities is (None for RNA)."""

    entry: Entry
    proteins: tuple[Protein | None, ...]


def deposits(universe: Universe) -> list[Deposit]:
    """Entries in the order of their ids.

    Beside one entry for each structure there are those a selection must refuse: NMR, a
    resolution of 2.5 and of 3.0, a deposition in 2021, a chain of 30 residues, RNA alone; and one
    whose chain has no resolved residue, one with RNA beside protein, one with two families.

    Raises:
        DataError: The trace of a structure could not be closed.
    """
    rng = universe.settings.rng(7)
    structures = [protein for family in universe.families for protein in family.structures]
    ids = _entry_ids(rng)
    made: list[Deposit] = []

    def deposit(
        *parts: tuple[Entity, Protein | None],
        method: str = "X-RAY DIFFRACTION",
        resolution: float | None = None,
        year: int | None = None,
    ) -> None:
        if resolution is None and method != "SOLUTION NMR":
            resolution = round(float(rng.uniform(1.2, 2.45)), 2)
        year = year or int(rng.integers(1996, 2020))
        date = f"{year}-{int(rng.integers(1, 13)):02}-{int(rng.integers(1, 29)):02}"
        protein = parts[0][1]
        title = "RNA" if protein is None else universe.describe(protein)
        entry = Entry(
            next(ids), title, method, resolution, date, tuple(entity for entity, _ in parts)
        )
        made.append(Deposit(entry, tuple(protein for _, protein in parts)))

    for index, protein in enumerate(track(structures, total=len(structures), what="structures")):
        entity = _entity(
            universe,
            protein,
            rng,
            chains=(
                (("A", "A"), ("B", "B")) if index % 5 == 2
                else (("A", "H"),) if index % 4 == 3
                else (("A", "A"),)
            ),
            first_auth=(1, 1, -1, 101)[index % 4],
            insertion=index % 6 == 5,
            selenium=index % 7 == 1,
            alternate=index % 3 == 1,
            broken_loop=index % 2 == 1,
        )  # fmt: skip
        method = "ELECTRON MICROSCOPY" if index % 8 == 6 else "X-RAY DIFFRACTION"
        deposit((entity, protein), method=method)

    spare = _spare(universe, rng)
    rna = (_rna(rng), None)
    deposit(rna)
    if len(spare) >= 9:
        entities = [(_entity(universe, protein, rng), protein) for protein in spare[:6]]
        deposit(entities[0], method="SOLUTION NMR")
        deposit(entities[1], resolution=2.5)
        deposit(entities[2], resolution=3.0)
        deposit(entities[3], year=2021)
        deposit(entities[4], rna)
        second = _entity(universe, spare[6], rng, chains=(("B", "B"),))
        deposit(entities[5], (second, spare[6]))
        deposit((_entity(universe, spare[7], rng, length=30), spare[7]))
        deposit((_entity(universe, spare[8], rng, unresolved=True), spare[8]))
    return sorted(made, key=lambda deposited: deposited.entry.id)


def _spare(universe: Universe, rng: np.random.Generator) -> list[Protein]:
    """Members of families with structures that have none themselves, in random order."""
    proteins = [
        protein
        for family in universe.families
        if family.structures
        for protein in family.proteins
        if protein not in family.structures
    ]
    return [proteins[index] for index in rng.permutation(len(proteins))]


def _entry_ids(rng: np.random.Generator) -> Iterator[str]:
    """Distinct ids such as `4kx2`, drawn at random."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    seen: set[str] = set()
    while True:
        digit, *rest = rng.integers(0, (9, 26, 36, 36))
        identifier = f"{digit + 1}{''.join(letters[place] for place in rest)}"
        if identifier not in seen:
            seen.add(identifier)
            yield identifier


def _rna(rng: np.random.Generator) -> Entity:
    sequence = "".join("ACGU"[int(base)] for base in rng.integers(0, 4, 48))
    return Entity(
        sequence, "polyribonucleotide", None, np.zeros(len(sequence), bool), (("R", "R"),)
    )


def _entity(
    universe: Universe,
    protein: Protein,
    rng: np.random.Generator,
    *,
    chains: tuple[tuple[str, str], ...] = (("A", "A"),),
    first_auth: int = 1,
    insertion: bool = False,
    selenium: bool = False,
    alternate: bool = False,
    broken_loop: bool = False,
    unresolved: bool = False,
    length: int | None = None,
) -> Entity:
    """The full protein as an entity: domain resolved, tails mostly not."""
    alphas, resolved = trace(universe, protein)
    sequence = protein.sequence
    seen = np.flatnonzero(resolved)
    if broken_loop:
        # Three disordered residues inside the domain, away from its ends.
        first = int(rng.integers(seen[0] + 8, seen[-1] - 10))
        resolved[first : first + 3] = False
    if unresolved:
        resolved[:] = False
    if length is not None:
        window = slice(int(seen[0]), int(seen[0]) + length)
        sequence, alphas, resolved = sequence[window], alphas[window], resolved[window]
    seen = np.flatnonzero(resolved)
    doubled = rng.choice(seen, 2, replace=False) + 1 if alternate else ()
    return Entity(
        sequence,
        "polypeptide(L)",
        alphas,
        resolved,
        chains,
        first_auth=first_auth,
        insertion=int(seen[len(seen) // 2]) + 1 if insertion else None,
        selenium=selenium and "M" in sequence,
        alternate=tuple(sorted(int(position) for position in doubled)),
    )


def trace(universe: Universe, protein: Protein) -> tuple[Float64, NDArray[np.bool_]]:
    """C-alpha positions (L, 3) of a family's protein, NaN in the tails, and (L,) which are there.

    Raises:
        DataError: The protein is a decoy, or its trace could not be closed.
    """
    if protein.member is None or protein.family is None:
        raise DataError(f"{protein.accession} is a decoy and has no structure")
    member = protein.member
    left = min(TAIL_RESOLVED, len(member.left.letters))
    right = min(TAIL_RESOLVED, len(member.right.letters))
    placed = folds.thread(
        universe.families[protein.family].fold,
        member.columns != alphabet.GAP,
        {column: len(letters) for column, letters in member.inserts.items()},
        left,
        right,
    )
    alphas = np.full((len(protein.sequence), 3), np.nan)
    alphas[member.start - 1 - left : member.end + right] = placed
    return alphas, ~np.isnan(alphas[:, 0])


def domain_ranges(deposited: Sequence[Deposit]) -> dict[str, list[tuple[str, str, int, int]]]:
    """(entry, author chain, first and last author number of the domain) by accession.

    Fragments of a protein are left out.
    """
    known: dict[str, list[tuple[str, str, int, int]]] = {}
    for deposit in deposited:
        for entity, protein in zip(deposit.entry.entities, deposit.proteins, strict=True):
            if protein is None or protein.member is None or entity.sequence != protein.sequence:
                continue
            start, _ = entity.auth_number(protein.member.start)
            end, _ = entity.auth_number(protein.member.end)
            for _, auth in entity.chains:
                known.setdefault(protein.accession, []).append(
                    (deposit.entry.id.upper(), auth, start, end)
                )
    return known


def entity_contacts(entity: Entity) -> list[tuple[int, int]]:
    """Contacts (1-based, 6 or more apart along the chain) between resolved residues."""
    if entity.alphas is None:
        return []
    glycine = np.array([letter == "G" for letter in entity.sequence])
    betas = np.where(glycine[:, None], entity.alphas, folds.beta_atoms(entity.alphas))
    betas[~entity.resolved] = np.nan
    # As an entry prints them, so that a reader finds the same contacts.
    distances = folds.pair_distances(np.round(betas, 3).astype(np.float64))
    i, j = np.nonzero(np.triu(distances <= folds.CONTACT, 6))
    return [(int(a) + 1, int(b) + 1) for a, b in zip(i, j, strict=True)]
