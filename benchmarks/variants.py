"""Measured effects of mutations against those that models of the sequences alone give them.

    NPM_REAL_DATA=FOLDER python benchmarks/variants.py [ASSAY ...] > variants.tsv

rho is Spearman's correlation of what was measured with E(wild type) - E(mutant), over the mutants
of a residue that has a column in the alignment; minus_potts is it minus the independent Potts
model's. Intervals of 95 % are by bootstrap over mutants, and over residues with all their mutants,
which are much alike. What was measured, and whether more is better, is ProteinGym's choice: its
table names a column and a direction.
"""

import csv
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from Bio.Align import substitution_matrices
from numpy.typing import NDArray
from scipy.stats import spearmanr

from npm_core import alphabet, plm, potts
from npm_core.arrays import Float32, Float64, Indices, States
from npm_core.checkpoints import trained_length
from npm_core.cli.predict import SMALL_MODEL
from npm_core.files import open_text
from npm_core.msa import read_msa
from npm_core.plm_sparse import fit
from npm_core.potts import Potts
from npm_core.predict import load_predictor, potts_model, predict_windows
from npm_core.progress import note
from npm_core.variants import log_odds, measured_numbers, parse_variant, places, read_table

DRAWS, SEED = 1000, 1

PRIOR_WEIGHT = 0.5
"""That of config.yaml."""


@dataclass(frozen=True)
class Assay:
    """Measured mutants of a protein.

    Attributes:
        mutants: A CSV.
        alignment: Of the protein's family.
        query: Its row of the protein, or of a relative that aligns to that without a gap.
        offset: What is added to the row's residue numbers to give the protein's.
    """

    mutants: str
    alignment: str
    query: int | str = 0
    offset: int = 0


ASSAYS = {
    "BLAT_ECOLX_Stiffler_2015": Assay(
        "dms/BLAT_ECOLX_Ranganathan2015.csv.gz", "msa_struct/BLAT_ECOLX_1FQG.a2m.gz"
    ),
    # No row is this domain. That of its nearest relative shares 66 of 79 residues with it.
    "DLG4_RAT_McLaughlin_2012": Assay(
        "dms/DLG4_RAT_Ranganathan2012.csv.gz", "pfam40/PF00595.afa.gz", "Q5JUW8_HUMAN/404-482", -91
    ),
}


def measurement(data: Path, name: str) -> tuple[str, int]:
    """Column of the assay that ProteinGym takes, and 1 where more is better, -1 where less is."""
    with open_text(data / "dms/ProteinGym_DMS_substitutions_reference.csv.gz") as stream:
        (found,) = (row for row in csv.DictReader(stream) if row["DMS_id"] == name)
    return found["raw_DMS_phenotype_name"], int(found["raw_DMS_directionality"])


def wild_type(mutants: list[str], numbers: Indices, row: str) -> str:
    """Letters, at residues of these numbers, that mutants such as A23G name; else the row's."""
    letters = {int(mutant[1:-1]): mutant[0] for mutant in mutants}
    pairs = zip(numbers.tolist(), row, strict=True)
    return "".join(letters.get(number, own) for number, own in pairs)


def uncoupled(fields: Float32) -> Potts:
    """The model of fields alone."""
    states = alphabet.STATES
    return Potts(fields, np.zeros((len(fields), len(fields), states, states), np.float32))


def models(residues: States) -> Iterator[tuple[str, Potts]]:
    """Those of an alignment (M, L), and of its first row alone."""
    problem, query = plm.CCMPRED.problem(residues), residues[0]
    window = trained_length(SMALL_MODEL)
    npm = potts_model(predict_windows(load_predictor(SMALL_MODEL), query, window=window))
    shares = plm.frequencies(problem)
    blosum, letters = substitution_matrices.load("BLOSUM62"), alphabet.ALPHABET[: alphabet.GAP]
    exchange = np.zeros((alphabet.STATES, alphabet.STATES), np.float32)
    exchange[: alphabet.GAP, : alphabet.GAP] = [[blosum[a][b] for b in letters] for a in letters]
    np.fill_diagonal(exchange, 0)  # the energy of the wild type, else taken off
    yield "independent Potts", fit(problem).potts
    yield "Potts with NPM as prior", fit(problem, prior=potts.scaled(npm, PRIOR_WEIGHT)).potts
    yield "column frequencies", uncoupled(plm.independent_fields(problem, shares).astype("f4"))
    yield "NPM", npm
    yield "BLOSUM62", uncoupled(exchange[query])


def correlations(table: Float64) -> Float64:
    """Spearman's rho of the first column of (n, K + 1) with each other, (K,)."""
    return spearmanr(table).statistic[0, 1:]


def resampled(table: Float64, groups: NDArray[np.intp]) -> Float64:
    """(DRAWS, K) `correlations` of draws of the groups, (n,), with all their rows."""
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    rng = np.random.default_rng(SEED)
    draws = (rng.integers(len(members), size=len(members)) for _ in range(DRAWS))
    return np.array(
        [correlations(table[np.concatenate([members[group] for group in draw])]) for draw in draws]
    )


def main() -> None:
    """One line for each model of each assay."""
    root = os.environ.get("NPM_REAL_DATA")
    if not root:
        sys.exit("set NPM_REAL_DATA to the folder of real proteins")
    data = Path(root)
    writer = csv.writer(sys.stdout, delimiter="\t", lineterminator="\n")
    bounds = ["low", "high", "low_by_residue", "high_by_residue"]
    figures = [name + bound for name in ("", "minus_potts_") for bound in ("rho", *bounds)]
    writer.writerow(["assay", "column", "n", "model", *figures])
    for name in sys.argv[1:] or ASSAYS:
        assay = ASSAYS[name]
        column, direction = measurement(data, name)
        table = read_table(data / assay.mutants, [])
        cells = measured_numbers(table, column, data / assay.mutants)
        mutants = table.column("mutant")
        msa = read_msa(data / assay.alignment, query=assay.query)
        assert msa.numbers is not None
        place = places(msa.numbers + assay.offset)
        query = wild_type(mutants, msa.numbers + assay.offset, msa.query)
        residues = np.vstack([alphabet.encode(query), msa.residues[query == msa.query :]])
        changed = [row for row, mutant in enumerate(mutants) if mutant[0] != mutant[-1]]
        kept = [row for row in changed if int(mutants[row][1:-1]) in place]
        variants = [parse_variant(mutants[row], query, place) for row in kept]
        measured = direction * np.array([cells[row] for row in kept], dtype=np.float64)
        note(
            f"{name}: {sum(map(str.__eq__, query, msa.query))} of {msa.length} residues are the "
            f"row's; of {len(mutants)} mutants {len(mutants) - len(changed)} are the wild type, "
            f"{len(changed) - len(kept)} have no column"
        )
        found = {model: log_odds(each, query, variants) for model, each in models(residues)}
        together = np.column_stack([measured, *found.values()])
        rho = correlations(together)
        residue = np.array([positions[0] for positions, _ in variants], dtype=np.intp)
        drawn = [
            resampled(together, groups) for groups in (np.arange(len(kept), dtype=np.intp), residue)
        ]
        told = []
        for value, draws in ((rho, drawn), (rho - rho[0], [d - d[:, :1] for d in drawn])):
            intervals = [np.quantile(draw, (0.025, 0.975), axis=0) for draw in draws]
            told += [value, *np.concatenate(intervals)]
        for model, *values in zip(found, *told, strict=True):
            writer.writerow([name, column, len(kept), model, *(f"{value:.3f}" for value in values)])
        sys.stdout.flush()


if __name__ == "__main__":
    main()
