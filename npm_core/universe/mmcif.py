"""mmCIF entries with what real ones have: gaps, alternate atoms, MSE, two numberings."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from npm_core.arrays import Float64
from npm_core.universe.folds import backbone, beta_atoms

THREE_LETTER = {
    "A": "ALA", "R": "ARG", "N": "ASN", "D": "ASP", "C": "CYS", "Q": "GLN", "E": "GLU", "G": "GLY",
    "H": "HIS", "I": "ILE", "L": "LEU", "K": "LYS", "M": "MET", "F": "PHE", "P": "PRO", "S": "SER",
    "T": "THR", "W": "TRP", "Y": "TYR", "V": "VAL",
}  # fmt: skip

WATER_CHAIN = "W"


@dataclass(frozen=True, eq=False)
class Entity:
    """A polymer and its chains.

    Attributes:
        sequence: One-letter codes; RNA as A, C, G, U.
        polymer: mmCIF's `_entity_poly.type`.
        alphas: (L, 3) C-alpha positions, angstrom; the first chain's. None for RNA.
        resolved: (L,) whether a residue has coordinates.
        chains: (label_asym_id, auth_asym_id) of each chain.
        first_auth: auth_seq_id of residue 1.
        insertion: Residues (1-based) from this on repeat the number before with insertion code A,
            B, ...: two of them; None for none.
        selenium: Methionine is selenomethionine (MSE, HETATM).
        alternate: Residues (1-based) with two conformations.
    """

    sequence: str
    polymer: str
    alphas: Float64 | None
    resolved: np.ndarray
    chains: tuple[tuple[str, str], ...]
    first_auth: int = 1
    insertion: int | None = None
    selenium: bool = False
    alternate: tuple[int, ...] = ()

    @property
    def is_protein(self) -> bool:
        return self.polymer == "polypeptide(L)"

    def component(self, position: int) -> str:
        """Chemical component of residue `position` (1-based)."""
        letter = self.sequence[position - 1]
        if not self.is_protein:
            return letter
        return "MSE" if self.selenium and letter == "M" else THREE_LETTER[letter]

    def auth_number(self, position: int) -> tuple[int, str]:
        """(auth_seq_id, insertion code) of residue `position` (1-based); "?" for no code."""
        number = self.first_auth + position - 1
        if self.insertion is None or position < self.insertion:
            return number, "?"
        if position < self.insertion + 2:
            return self.first_auth + self.insertion - 2, "AB"[position - self.insertion]
        return number - 2, "?"


@dataclass(frozen=True, eq=False)
class Entry:
    """One entry of the PDB.

    Attributes:
        id: Four characters, lower case.
        title: What it shows.
        method: E.g. "X-RAY DIFFRACTION".
        resolution: angstrom; None where the method has none.
        deposited: "YYYY-MM-DD".
    """

    id: str
    title: str
    method: str
    resolution: float | None
    deposited: str
    entities: tuple[Entity, ...]


def write_mmcif(entry: Entry) -> str:
    """The entry as text, in the categories and order the wwPDB uses."""
    parts = [f"data_{entry.id.upper()}", "#", f"_entry.id   {entry.id.upper()}", "#"]
    parts += _pairs(
        {
            "_pdbx_database_status.status_code": "REL",
            "_pdbx_database_status.entry_id": entry.id.upper(),
            "_pdbx_database_status.recvd_initial_deposition_date": entry.deposited,
        }
    )
    parts += _pairs({"_exptl.entry_id": entry.id.upper(), "_exptl.method": f"'{entry.method}'"})
    if entry.resolution is not None:
        microscopy = entry.method == "ELECTRON MICROSCOPY"
        owner = "_em_3d_reconstruction" if microscopy else "_refine"
        item = "resolution" if microscopy else "ls_d_res_high"
        parts += _pairs(
            {
                f"{owner}.entry_id": entry.id.upper(),
                **({} if microscopy else {"_refine.pdbx_refine_id": f"'{entry.method}'"}),
                f"{owner}.{item}": f"{entry.resolution:.2f}",
            }
        )
    parts += _pairs({"_struct.entry_id": entry.id.upper(), "_struct.title": f"'{entry.title}'"})
    parts += _loop(
        "_entity",
        ("id", "type", "pdbx_description"),
        [
            *((str(n), "polymer", f"'{entry.title}'") for n, _ in _numbered(entry)),
            (str(len(entry.entities) + 1), "water", "water"),
        ],
    )
    parts += _loop(
        "_entity_poly",
        (
            "entity_id", "type", "nstd_linkage", "nstd_monomer",
            "pdbx_seq_one_letter_code", "pdbx_seq_one_letter_code_can", "pdbx_strand_id",
        ),
        [
            (
                str(number),
                _quote(entity.polymer),
                "no",
                "yes" if entity.selenium else "no",
                _one_letter(entity),
                entity.sequence,
                ",".join(auth for _, auth in entity.chains),
            )
            for number, entity in _numbered(entry)
        ],
    )  # fmt: skip
    parts += _loop(
        "_entity_poly_seq",
        ("entity_id", "num", "mon_id", "hetero"),
        [
            (str(number), str(position), entity.component(position), "n")
            for number, entity in _numbered(entry)
            for position in range(1, len(entity.sequence) + 1)
        ],
    )
    if any(entity.selenium for entity in entry.entities):
        parts += _modified(entry)
    parts += _loop(
        "_struct_asym",
        ("id", "entity_id"),
        [
            *(
                (label, str(number))
                for number, entity in _numbered(entry)
                for label, _ in entity.chains
            ),
            (WATER_CHAIN, str(len(entry.entities) + 1)),
        ],
    )
    parts += _scheme(entry)
    parts += _atoms(entry)
    return "\n".join(parts) + "\n"


def _numbered(entry: Entry) -> list[tuple[int, Entity]]:
    return list(enumerate(entry.entities, start=1))


def _quote(value: str) -> str:
    return f"'{value}'" if "(" in value or " " in value else value


def _pairs(values: dict[str, str]) -> list[str]:
    return [*(f"{key:<52} {value}" for key, value in values.items()), "#"]


def _loop(category: str, items: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [
        "loop_",
        *(f"{category}.{item}" for item in items),
        *(" ".join(row) for row in rows),
        "#",
    ]


def _one_letter(entity: Entity) -> str:
    if not entity.selenium:
        return entity.sequence
    return entity.sequence.replace("M", "(MSE)")


def _modified(entry: Entry) -> list[str]:
    """MSE and its parent, as components and as modified residues."""
    rows: list[tuple[str, ...]] = []
    for _, entity in _numbered(entry):
        for label, auth in entity.chains:
            for position in range(1, len(entity.sequence) + 1):
                if entity.component(position) == "MSE" and entity.resolved[position - 1]:
                    number, code = entity.auth_number(position)
                    rows.append(
                        (str(len(rows) + 1), label, "MSE", str(position), auth, str(number), code,
                         "MET")
                    )  # fmt: skip
    component = _loop(
        "_chem_comp",
        ("id", "type", "mon_nstd_flag", "name"),
        [("MSE", "'L-peptide linking'", "n", "SELENOMETHIONINE")],
    )
    if not rows:
        return component
    return component + _loop(
        "_pdbx_struct_mod_residue",
        (
            "id", "label_asym_id", "label_comp_id", "label_seq_id", "auth_asym_id",
            "auth_seq_id", "PDB_ins_code", "parent_comp_id",
        ),
        rows,
    )  # fmt: skip


def _scheme(entry: Entry) -> list[str]:
    rows = []
    for number, entity in _numbered(entry):
        for label, auth in entity.chains:
            for position in range(1, len(entity.sequence) + 1):
                component = entity.component(position)
                auth_number, code = entity.auth_number(position)
                seen = bool(entity.resolved[position - 1])
                rows.append(
                    (
                        label, str(number), str(position), component, str(position),
                        str(auth_number), str(auth_number) if seen else "?",
                        component if seen else "?", component if seen else "?", auth,
                        "." if code == "?" else code, "n",
                    )
                )  # fmt: skip
    return _loop(
        "_pdbx_poly_seq_scheme",
        (
            "asym_id", "entity_id", "seq_id", "mon_id", "ndb_seq_num", "pdb_seq_num",
            "auth_seq_num", "pdb_mon_id", "auth_mon_id", "pdb_strand_id", "pdb_ins_code", "hetero",
        ),
        rows,
    )  # fmt: skip


def _atoms(entry: Entry) -> list[str]:
    rows: list[tuple[str, ...]] = []

    def add(
        group: str, element: str, atom: str, alternate: str, component: str, label: str,
        entity: str, position: str, code: str, at: Float64, occupancy: float, auth_number: str,
        auth: str,
    ) -> None:  # fmt: skip
        rows.append(
            (
                group, str(len(rows) + 1), element, atom, alternate, component, label, entity,
                position, code, *(f"{value:.3f}" for value in at), f"{occupancy:.2f}", "20.00",
                auth_number, component, auth, atom, "1",
            )
        )  # fmt: skip

    for number, entity in _numbered(entry):
        for copy, (label, auth) in enumerate(entity.chains):
            if entity.alphas is None:
                continue
            # The chains of a dimer stand side by side.
            alphas = entity.alphas + np.array([60.0 * copy, 0.0, 0.0])
            atoms = {**backbone(alphas), "CB": beta_atoms(alphas)}
            for position in range(1, len(entity.sequence) + 1):
                if not entity.resolved[position - 1]:
                    continue
                component = entity.component(position)
                auth_number, code = entity.auth_number(position)
                group = "HETATM" if component == "MSE" else "ATOM"
                conformations = (
                    (("A", 0.6, 0.0), ("B", 0.4, 1.5)) if position in entity.alternate
                    else ((".", 1.0, 0.0),)
                )  # fmt: skip
                for atom, at in atoms.items():
                    if atom == "CB" and component == "GLY":
                        continue
                    for alternate, occupancy, moved in conformations:
                        place = at[position - 1] + np.array([0.0, 0.0, moved])
                        add(
                            group, atom[0], atom, alternate, component, label, str(number),
                            str(position), code, place, occupancy, str(auth_number), auth,
                        )  # fmt: skip
    origin = np.array([90.0, 90.0, 90.0])
    water = str(len(entry.entities) + 1)
    auth = entry.entities[-1].chains[-1][1]
    add("HETATM", "O", "O", ".", "HOH", WATER_CHAIN, water, ".", "?", origin, 1.0, "901", auth)
    return _loop(
        "_atom_site",
        (
            "group_PDB", "id", "type_symbol", "label_atom_id", "label_alt_id", "label_comp_id",
            "label_asym_id", "label_entity_id", "label_seq_id", "pdbx_PDB_ins_code", "Cartn_x",
            "Cartn_y", "Cartn_z", "occupancy", "B_iso_or_equiv", "auth_seq_id", "auth_comp_id",
            "auth_asym_id", "auth_atom_id", "pdbx_PDB_model_num",
        ),
        rows,
    )  # fmt: skip
