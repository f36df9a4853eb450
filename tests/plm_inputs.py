"""Alignments and models that tests of the Potts fit share."""

import json

import numpy as np

from npm_core import potts
from npm_core.alphabet import GAP, STATES
from npm_core.cli import main
from npm_core.plm import Objective, Penalty, ccmpred_penalty, paper_penalty
from npm_core.potts import Potts

PENALTIES = [ccmpred_penalty(11), paper_penalty(20.0), Penalty(0.01, 2.0, gap_field=True)]
"""Fields are centred by the first and the last; gaps have fields by the others than the first."""

FIRM = Objective("paper", lambda_couplings=0.1)
"""The paper's objective with a penalty under which its value determines the couplings.

F exceeds its minimum by lambda_J |J - J*|^2 at least, and of that alone a fit can be sure: at table
2's 1e-3 the last millionth of F, which rounding decides, is hundredths of a coupling."""


def family(rng, depth=40, length=11):
    """Rows that vary about an ancestor; the last two positions copy each other."""
    ancestor = rng.integers(0, STATES, length)
    changed = rng.random((depth, length)) < 0.4
    residues = np.where(changed, rng.integers(0, STATES, (depth, length)), ancestor)
    residues[:, -1] = residues[:, -2]
    return residues.astype(np.uint8)


def random_model(rng, length, size=0.3):
    """Small enough for differences; gaps have no fields."""
    upper = rng.normal(size=(length * (length - 1) // 2, STATES, STATES)) * size
    fields = rng.normal(size=(length, STATES)) * size
    fields[:, GAP] = 0
    return Potts(fields.astype(np.float32), potts.full_couplings(upper.astype(np.float32), length))


def golden_case(golden, name, run):
    from npm_core.msa import read_alignment

    residues = read_alignment(golden / f"{name}.aln.gz").residues
    cases = json.loads((golden / "objectives.json").read_text())
    return residues, next(c for c in cases if (c["alignment"], c["run"]) == (name, run))


def fit(*words):
    return main(["fit-potts", *words])
