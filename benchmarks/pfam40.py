"""Contact precision of the independent Potts model on real Pfam families with a structure.

    NPM_REAL_DATA=FOLDER python benchmarks/pfam40.py [FAMILY ...] > pfam40.tsv

FOLDER/pfam40 holds FAMILY.afa.gz and FAMILY_CHAIN.{pdb,indices}.gz; the latter say which column
is which residue. Without names, five families whose contacts every good solver finds; "all" for
all of them. P@L/5 counts pairs at least 6 apart (and 24: "long"); L is the number of columns.
"""

import csv
import os
import sys
from pathlib import Path

import gemmi
import numpy as np

from npm_core.contacts import contact_scores
from npm_core.files import open_text
from npm_core.msa import read_alignment
from npm_core.plm_sparse import fit_objective
from npm_core.precision import RANGES, top_precision
from npm_core.progress import track

FAMILIES = ("PF00072", "PF00085", "PF00486", "PF00595", "PF12844")


def column_distances(pdb: Path, indices: Path, length: int) -> np.ndarray:
    """(L, L) C-beta distances in angstrom between alignment columns; NaN where unmapped."""
    chain = gemmi.read_structure(str(pdb))[0][0]
    residues = {str(residue.seqid).strip(): residue for residue in chain}
    points = np.full((length, 3), np.nan)
    with open_text(indices) as stream:
        for line in stream:
            column, letter, _, number = line.split()[:4]
            residue = residues.get(number)
            if residue is None:
                continue
            found = gemmi.find_tabulated_residue(residue.name).one_letter_code.upper()
            if found != letter:
                sys.exit(f"{indices}: residue {number} is {found}, expected {letter}")
            atom = residue.find_atom("CB", "*") or residue.find_atom("CA", "*")
            if atom:
                points[int(column)] = atom.pos.tolist()
    return np.sqrt(((points[:, None] - points[None]) ** 2).sum(-1))


def main() -> None:
    """One line a family."""
    root = os.environ.get("NPM_REAL_DATA")
    if not root:
        sys.exit("set NPM_REAL_DATA to the folder of real proteins")
    folder = Path(root) / "pfam40"
    names = sys.argv[1:] or list(FAMILIES)
    if names == ["all"]:
        names = sorted(path.name.removesuffix(".afa.gz") for path in folder.glob("*.afa.gz"))
    apart = range(6, 1 << 30)
    lists = {"p_l5_6_up": (5, apart), "p_l5_long": (5, RANGES["long"]), "p_l_6_up": (1, apart)}
    table = csv.writer(sys.stdout, delimiter="\t", lineterminator="\n")
    sizes = ["family", "length", "depth", "meff", "mapped"]
    table.writerow([*sizes, *lists, "evaluations", "converged", "seconds"])
    for name in track(names, total=len(names), what="families"):
        residues = read_alignment(folder / f"{name}.afa.gz").residues
        depth, length = residues.shape
        (pdb,) = folder.glob(f"{name}_*.pdb.gz")
        indices = pdb.with_name(pdb.name.replace(".pdb.gz", ".indices.gz"))
        distances = column_distances(pdb, indices, length)
        fit = fit_objective(residues)
        scores = contact_scores(fit.potts.couplings)
        precisions = [
            top_precision(scores, distances, k=k, separation=separation, contact_distance=8.0)
            for k, separation in lists.values()
        ]
        mapped = int(np.isfinite(np.diag(distances)).sum())
        seconds = round(fit.seconds_setup + fit.seconds_fit, 2)
        described = [name, length, depth, round(fit.meff, 1), mapped]
        rounded = [f"{precision:.3f}" for precision in precisions]
        table.writerow([*described, *rounded, fit.evaluations, fit.converged, seconds])
        sys.stdout.flush()


if __name__ == "__main__":
    main()
