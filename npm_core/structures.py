"""Protein chains of mmCIF and PDB files: C-beta coordinates numbered like the full sequence.

Everything is numbered by label_seq_id, 1..L over the entity's sequence with the residues nobody
saw; author numbers are free text with insertion codes and are never used as an axis. One reader
serves both formats: gemmi turns a PDB file into the mmCIF categories first.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import gemmi
import numpy as np
from numpy.typing import NDArray

from npm_core.arrays import Float32
from npm_core.errors import DataError, told_where
from npm_core.files import open_text
from npm_core.numbering import LONGEST
from npm_core.tables import Target

LONGEST_PEPTIDE_STEP = 4.5
"""angstrom, C-alpha to C-alpha: bonded neighbours are 3.8 (trans) or 2.9 (cis) apart."""

_POSITION = ("Cartn_x", "Cartn_y", "Cartn_z")
_AUTHOR_NUMBER = ("auth_seq_id", "pdbx_PDB_ins_code")
_PDB_NUMBER = re.compile(r" *[+-]?(\d+\.?\d*|\.\d+) *")


@dataclass(frozen=True, eq=False)
class Chain:
    """One protein chain, numbered like its full sequence.

    Attributes:
        label: label_asym_id, unique in its file.
        author: auth_asym_id, the letter in publications and in pdb_seqres.
        sequence: L letters, modified residues as their parents, X where there is none; the
            first alternative where the sequence itself is heterogeneous.
        coordinates: (L, 3) float32, angstrom: C-beta, C-alpha of glycine. NaN where unresolved;
            a residue other than glycine that has a C-alpha but no C-beta is unresolved.
        sequence_from: "SEQRES", or "observed residues" where the file does not give the full
            sequence: then breaks of the chain are filled with as many X as label_seq_id, or without
            it the author's numbers, leave out. What may stand before its first residue, or behind
            its last, is not known.
        author_numbers: L texts, auth_seq_id and insertion code ("52A"); "" where the file has
            neither a C-alpha nor a C-beta.
    """

    label: str
    author: str
    sequence: str
    coordinates: Float32
    sequence_from: str = "SEQRES"
    author_numbers: tuple[str, ...] = ()

    @property
    def resolved(self) -> NDArray[np.bool_]:
        """(L,): whether each residue has coordinates."""
        return np.isfinite(self.coordinates.sum(axis=1))

    def target(
        self,
        id: str,
        split: str = "",
        source: str = "",
        part: slice | None = None,
        *,
        min_resolved: float = 0.0,
    ) -> Target:
        """This chain, or a domain of it, as a row of the targets table.

        Args:
            id, split, source: As in `Target`.
            part: The domain.
            min_resolved: Least share of its residues that are resolved.

        Raises:
            DataError: No residue is resolved, or a smaller share.
        """
        domain = slice(None) if part is None else part
        resolved = self.resolved[domain]
        of_it = " of the domain" if len(resolved) < len(self.sequence) else ""
        if not resolved.any():
            raise DataError(f"no residue{of_it} is resolved")
        if resolved.mean() < min_resolved:
            raise DataError(
                f"{resolved.sum()} of {len(resolved)} residues{of_it} are resolved, expected at "
                f"least {min_resolved:.0%}"
            )
        return Target(id, split, self.sequence[domain], self.coordinates[domain], source)

    def __str__(self) -> str:
        return self.author if self.author == self.label else f"{self.author} (label {self.label})"


@dataclass(frozen=True, eq=False)
class Structure:
    """The protein chains of one file.

    Attributes:
        chains: In the order of the file.
        refused: Why each other polymer chain is not among them, by label.
    """

    chains: tuple[Chain, ...]
    refused: dict[str, str] = field(default_factory=dict)

    def chain(self, name: str | None = None) -> Chain:
        """The chain called `name` by its authors, else by label; the only one when None.

        Raises:
            DataError: There is no such chain, or more than one; the message lists them.
        """
        if name is None:
            found = list(self.chains)
        else:
            found = [chain for chain in self.chains if chain.author == name]
            found = found or [chain for chain in self.chains if chain.label == name]
        if len(found) == 1:
            return found[0]
        chains = ", ".join(map(str, self.chains)) or "none"
        refused = "".join(f"; {label}: {reason}" for label, reason in self.refused.items())
        asked = (
            "no chain was named" if name is None else f"{len(found) or 'no'} chains named {name!r}"
        )
        raise DataError(f"{asked}; choose one of the protein chains: {chains}{refused}")


def read_structure(path: Path | str) -> Structure:
    """Read the protein chains of the first model of an mmCIF or PDB file, gzipped or not.

    Of alternative locations of one atom the one of highest occupancy counts, the first of equals.

    Args:
        path: The format is told from the content.

    Raises:
        DataError: The file is missing, is neither format, has no atoms, or a coordinate that is
            no number.
    """
    with open_text(path, encoding="latin-1") as stream:
        text = stream.read()
    try:
        if _is_mmcif(text):
            block = _atom_block(gemmi.cif.read_string(text))
            if _has_sequences(block):
                return _read_block(block)
            structure = gemmi.make_structure_from_block(block)
            _check_atoms(structure, "_atom_site with id, type_symbol and author numbers")
            structure.setup_entities()
        else:
            _check_coordinates(text)
            structure = gemmi.read_pdb_string(text)
            _check_atoms(structure, "an mmCIF or a PDB file")
            _label_by_author(structure)
        return _read_block(*_with_sequences(structure))
    except (ValueError, RuntimeError, DataError) as error:
        raise DataError(f"{path}: {error}") from error


def read_chain(path: Path | str, chain: str | None = None) -> Chain:
    """One chain of a file; `chain` as in `Structure.chain`.

    Raises:
        DataError: As in `read_structure` and `Structure.chain`.
    """
    structure = read_structure(path)
    with told_where(str(path)):
        return structure.chain(chain)


def read_target(path: Path | str, chain: str | None = None) -> tuple[Chain, Target]:
    """`read_chain`, and the same as a target that is named like the file.

    Raises:
        DataError: As in `read_chain`, or no residue is resolved.
    """
    found = read_chain(path, chain)
    with told_where(f"{path}, chain {found}"):
        return found, found.target(str(path))


def _check_coordinates(pdb: str) -> None:
    """Raise unless each atom of a PDB file has three numbers: gemmi reads anything else as 0."""
    for number, line in enumerate(pdb.splitlines(), start=1):
        if line.startswith(("ATOM", "HETATM")):
            for start in (30, 38, 46):
                if not _PDB_NUMBER.fullmatch(line[start : start + 8]):
                    raise DataError(
                        f"line {number}: {line[start : start + 8]!r} in columns {start + 1} to "
                        f"{start + 8}, expected a coordinate"
                    )


def _is_mmcif(text: str) -> bool:
    lines = (line.strip() for line in text.splitlines())
    first = next((line for line in lines if line and not line.startswith("#")), "")
    return first.lower().startswith("data_")


def _atom_block(document: gemmi.cif.Document) -> gemmi.cif.Block:
    for block in document:
        if len(block.find_values("_atom_site.label_atom_id")):
            return block
    raise DataError("no _atom_site with label_atom_id; expected coordinates")


def _check_atoms(structure: gemmi.Structure, expected: str) -> None:
    if not len(structure) or not structure[0].count_atom_sites():
        raise DataError(f"no atoms; expected {expected}")


def _has_sequences(block: gemmi.cif.Block) -> bool:
    needed = ("_entity_poly.type", "_entity_poly_seq.mon_id", "_struct_asym.entity_id")
    return all(len(block.find_values(tag)) for tag in needed)


def _read_block(block: gemmi.cif.Block, observed: frozenset[str] = frozenset()) -> Structure:
    """Chains of mmCIF categories; refuses a chain whose atoms contradict its sequence.

    Args:
        block: Categories of one entry.
        observed: Entities whose sequence is that of their observed residues.
    """
    types = dict(_pairs(block, "_entity_poly.", "entity_id", "type"))
    parents = _parents(block)
    atoms = _first_model_atoms(block)
    entities = dict(_pairs(block, "_struct_asym.", "id", "entity_id"))
    chains: list[Chain] = []
    refused = dict.fromkeys(
        sorted(atoms.keys() - entities.keys()), "its atoms have no row in _struct_asym"
    )
    for label, entity in entities.items():
        if entity not in types:
            continue
        if types[entity] != "polypeptide(L)":
            refused[label] = f"{types[entity]}, not polypeptide(L)"
            continue
        own = atoms.get(label, [])
        try:
            monomers = _monomers(block, entity)
            letters = [_letter(names[0], parents) for names in monomers]
            coordinates = _coordinates(own, monomers, letters)
        except DataError as error:
            refused[label] = str(error)
            continue
        author = own[0].author if own else _author_of_unseen(block, label)
        sequence_from = "observed residues" if entity in observed else "SEQRES"
        numbers = _author_numbers(own, len(letters))
        chains.append(Chain(label, author, "".join(letters), coordinates, sequence_from, numbers))
    return Structure(tuple(chains), refused)


@dataclass(frozen=True)
class _Atom:
    name: str
    monomer: str
    author: str
    number: str
    author_number: str
    occupancy: float
    position: tuple[float, float, float]


def _first_model_atoms(block: gemmi.cif.Block) -> dict[str, list[_Atom]]:
    """C-alpha and C-beta atoms of the first model by label_asym_id."""
    needed = ("label_atom_id", "label_comp_id", "label_asym_id", "label_seq_id", *_POSITION)
    optional = (*_AUTHOR_NUMBER, "auth_asym_id", "occupancy", "pdbx_PDB_model_num")
    table = block.find("_atom_site.", [*needed, *(f"?{tag}" for tag in optional)])
    if not len(table):
        missing = [tag for tag in needed if not len(block.find_values(f"_atom_site.{tag}"))]
        raise DataError(f"_atom_site lacks {', '.join(missing)}")
    column = {tag: index for index, tag in enumerate((*needed, *optional))}
    has = {tag for tag, index in column.items() if table.has_column(index)}
    # Whole columns first: most rows are other atoms, and a large entry has a million.
    names = np.array(list(map(gemmi.cif.as_string, table.column(column["label_atom_id"]))))
    keep = np.isin(names, ("CA", "CB"))
    if "pdbx_PDB_model_num" in has:
        models = np.array(list(table.column(column["pdbx_PDB_model_num"])))
        keep &= models == models[0]
    numbered_by = [column[tag] for tag in _AUTHOR_NUMBER if tag in has]
    atoms: dict[str, list[_Atom]] = {}
    for index in np.flatnonzero(keep):
        row = table[int(index)]
        label = row.str(column["label_asym_id"])
        x, y, z = (_number(row[column[tag]], "coordinate") for tag in _POSITION)
        occupancy = 1.0
        if "occupancy" in has:
            occupancy = _number(row[column["occupancy"]], "occupancy", unknown=1.0)
        atom = _Atom(
            name=names[index],
            monomer=row.str(column["label_comp_id"]),
            author=row.str(column["auth_asym_id"]) if "auth_asym_id" in has else label,
            number=row.str(column["label_seq_id"]),
            author_number="".join(map(row.str, numbered_by)),
            occupancy=occupancy,
            position=(x, y, z),
        )
        atoms.setdefault(label, []).append(atom)
    return atoms


def _number(text: str, what: str, unknown: float = float("nan")) -> float:
    """A CIF number, or what "?" and "." mean."""
    if gemmi.cif.is_null(text):
        return unknown
    value = gemmi.cif.as_number(text)
    if not np.isfinite(value):
        raise DataError(f"_atom_site holds {text!r} where a {what} is expected")
    return value


def _monomers(block: gemmi.cif.Block, entity: str) -> list[list[str]]:
    """Monomers at positions 1..L; more than one where the sequence is heterogeneous."""
    monomers: list[list[str]] = []
    for owner, number, name in _rows(block, "_entity_poly_seq.", "entity_id", "num", "mon_id"):
        if owner != entity:
            continue
        if number == str(len(monomers)):
            monomers[-1].append(name)
        elif number == str(len(monomers) + 1):
            monomers.append([name])
        else:
            raise DataError(
                f"_entity_poly_seq of entity {entity} jumps from {len(monomers)} to {number}"
            )
    if not monomers:
        raise DataError(f"_entity_poly_seq does not list entity {entity}")
    return monomers


def _coordinates(atoms: list[_Atom], monomers: list[list[str]], letters: list[str]) -> Float32:
    """(L, 3): the atom that stands for each residue, of highest occupancy, or NaN."""
    coordinates = np.full((len(monomers), 3), np.nan, dtype=np.float32)
    occupancies = np.full(len(monomers), -np.inf)
    for atom in atoms:
        if not (atom.number.isdecimal() and 1 <= int(atom.number) <= len(monomers)):
            raise DataError(
                f"a {atom.monomer} has label_seq_id {atom.number or '.'}, outside the sequence "
                f"of {len(monomers)} residues"
            )
        index = int(atom.number) - 1
        if atom.monomer not in monomers[index]:
            raise DataError(
                f"the atoms at position {index + 1} are {atom.monomer}, the sequence has "
                f"{'/'.join(monomers[index])}"
            )
        stands_for_residue = atom.name == ("CA" if letters[index] == "G" else "CB")
        is_first_alternative = atom.monomer == monomers[index][0]
        if stands_for_residue and is_first_alternative and atom.occupancy > occupancies[index]:
            occupancies[index] = atom.occupancy
            coordinates[index] = atom.position
    return coordinates


def _author_numbers(atoms: list[_Atom], length: int) -> tuple[str, ...]:
    """What the author calls each residue that has an atom."""
    numbers = {int(atom.number): atom.author_number for atom in atoms}
    return tuple(numbers.get(number, "") for number in range(1, length + 1))


def _parents(block: gemmi.cif.Block) -> dict[str, str]:
    """The parent each modified residue has according to the file, where it has exactly one."""
    named = {
        *_pairs(block, "_pdbx_struct_mod_residue.", "label_comp_id", "parent_comp_id"),
        *_pairs(block, "_chem_comp.", "id", "mon_nstd_parent_comp_id"),
    }
    named = {(name, parent) for name, parent in named if parent}
    times = Counter(name for name, _ in named)
    return {name: parent for name, parent in named if times[name] == 1}


def _letter(monomer: str, parents: dict[str, str]) -> str:
    """One letter of a monomer: its own, its parent's, or X."""
    for name in (monomer, parents.get(monomer, "")):
        known = gemmi.find_tabulated_residue(name)
        if known.found() and known.is_amino_acid() and known.one_letter_code.isalpha():
            return known.one_letter_code.upper()
    return "X"


def _author_of_unseen(block: gemmi.cif.Block, label: str) -> str:
    """Author's name of a chain without a single C-alpha or C-beta."""
    for name, author in _pairs(block, "_pdbx_poly_seq_scheme.", "asym_id", "pdb_strand_id"):
        if name == label:
            return author
    return label


def _pairs(block: gemmi.cif.Block, category: str, *tags: str) -> Iterator[tuple[str, str]]:
    return ((first, second) for first, second in _rows(block, category, *tags))


def _rows(block: gemmi.cif.Block, category: str, *tags: str) -> Iterator[tuple[str, ...]]:
    """Unquoted rows of a category; nothing where the category or a tag is missing."""
    for row in block.find(category, list(tags)):
        yield tuple(row.str(column) for column in range(len(tags)))


def _label_by_author(structure: gemmi.Structure) -> None:
    """A PDB file has no labels: its polymer chains get the letters it does have, or "_"."""
    for model in structure:
        for chain in model:
            chain.name = chain.name.strip() or "_"
    structure.setup_entities()
    names = {}
    for chain in structure[0]:
        polymer = chain.get_polymer()
        if len(polymer):
            names[polymer.subchain_id()] = chain.name
        for residue in polymer:
            residue.subchain = chain.name
    for entity in structure.entities:
        entity.subchains = [names.get(label, label) for label in entity.subchains]


def _with_sequences(structure: gemmi.Structure) -> tuple[gemmi.cif.Block, frozenset[str]]:
    """mmCIF categories of a file without label numbering, and which entities lack a SEQRES."""
    del structure[1:]
    structure.assign_label_seq_id()
    _drop_alternatives(structure)
    observed, more = set(), []
    for entity in structure.entities:
        if entity.entity_type == gemmi.EntityType.Polymer and not entity.full_sequence:
            chains = [structure[0].get_subchain(label) for label in entity.subchains]
            entity.full_sequence = _labelled(chains)
            if not entity.full_sequence:
                entity.full_sequence = _number_observed(chains[0])
                # Each numbered by itself, the others are proteins of their own.
                more += [_own_entity(entity, chain) for chain in chains[1:]]
                entity.subchains = entity.subchains[:1]
            observed.add(entity.name)
    # Not inside the loop: the C++ list moves as it grows, and with it the entity at hand.
    for entity in more:
        structure.entities.append(entity)
        observed.add(entity.name)
    return structure.make_mmcif_document().sole_block(), frozenset(observed)


def _own_entity(shared: gemmi.Entity, chain: gemmi.ResidueSpan) -> gemmi.Entity:
    """An entity for one of the chains that share another."""
    entity = gemmi.Entity(f"{shared.name}_{chain.subchain_id()}")
    entity.entity_type, entity.polymer_type = shared.entity_type, shared.polymer_type
    entity.subchains = [chain.subchain_id()]
    entity.full_sequence = _number_observed(chain)
    return entity


def _drop_alternatives(structure: gemmi.Structure) -> None:
    """Of alternative residues at one number the one in SEQRES stays, or else the first listed."""
    listed = {
        (label, number, gemmi.Entity.first_mon(names))
        for entity in structure.entities
        for label in entity.subchains
        for number, names in enumerate(entity.full_sequence, start=1)
    }
    for chain in structure[0]:
        for index in range(len(chain) - 1, 0, -1):
            one, other = chain[index - 1], chain[index]
            # Without letters of alternatives two residues of one number contradict each other.
            if one.seqid == other.seqid and one[0].has_altloc() and other[0].has_altloc():
                keeps_other = (other.subchain, other.label_seq, other.name) in listed
                del chain[index - keeps_other]


def _labelled(chains: Sequence[gemmi.ResidueSpan]) -> list[str]:
    """Names of an entity's residues by label_seq_id from the least on, X where no chain has one.

    Empty where labels are missing, do not increase, are those of no protein, or are the author's
    numbers once more: so some programs write them, and they would say nothing of a break.
    """
    labels = [[residue.label_seq or 0 for residue in chain] for chain in chains]
    if any((np.diff([0, *numbers]) < 1).any() for numbers in labels):
        return []
    if labels == [[residue.seqid.num for residue in chain] for chain in chains]:
        return []
    names = {residue.label_seq or 0: residue.name for chain in chains for residue in chain}
    first, last = min(names), max(names)
    if last - first >= LONGEST:
        return []
    for chain in chains:
        for residue in chain:
            residue.label_seq = (residue.label_seq or 0) - first + 1
    return [names.get(number, "UNK") for number in range(first, last + 1)]


def _number_observed(residues: gemmi.ResidueSpan) -> list[str]:
    """Number residues in the file's order and return their names, X where the chain is broken.

    A break is a step too long for a peptide bond; author numbers alone would also leave gaps
    where a numbering scheme skips a number.
    """
    names: list[str] = []
    last: gemmi.Residue | None = None
    for residue in residues.first_conformer():
        if last is not None:
            names += ["UNK"] * _missing_between(last, residue)
        names.append(residue.name)
        last = residue
        residue.label_seq = len(names)
    return names


def _missing_between(last: gemmi.Residue, residue: gemmi.Residue) -> int:
    left, right = last.get_ca(), residue.get_ca()
    if left and right and left.pos.dist(right.pos) <= LONGEST_PEPTIDE_STEP:
        return 0
    if last.seqid.num is None or residue.seqid.num is None:
        return 0
    return max(0, residue.seqid.num - last.seqid.num - 1)
