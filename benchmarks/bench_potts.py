"""The independent Potts fit: evaluations, CPU seconds and memory, against a naive evaluation.

    NPM_REAL_DATA=FOLDER python benchmarks/bench_potts.py fits|scaling|threads > potts.tsv

The naive evaluation is one objective and gradient with a one-hot matrix and two matrix products in
float32, one thread, in the same run: machines and their load differ, ratios to it less. Importing
and compiling are done before the clock starts. `fits` needs the real data; the others do without.
"""

import argparse
import csv
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from npm_core import memory, plm, weights
from npm_core.alphabet import STATES
from npm_core.ccmpred import needed_bytes
from npm_core.msa import read_alignment, read_msa
from npm_core.plm import ccmpred_penalty
from npm_core.progress import note

REAL = (
    "msa_struct/1A3A_A.a3m.gz",
    "msa_struct/1RX2_A_DHFR.afa.gz",
    "msa_struct/1XCR_A.a3m.gz",
    "msa_struct/2QKE_E.a3m.gz",
    "msa_struct/T1055-D1.a3m.gz",
    "pfam40/PF00013.afa.gz",
    "pfam40/PF00018.afa.gz",
    "pfam40/PF00085.afa.gz",
    "pfam40/PF00486.afa.gz",
    "pdb_sprot/1A2P_A.a3m.gz",
    "pdb_sprot/1ANK_A.a3m.gz",
    "pdb_sprot/1BVC_A.a3m.gz",
)
"""A dozen alignments, shallow and deep, short and long; columns are those of the first row."""

CCMPRED_EXCESS = 0.02
"""CCMpred stops 1 to 3.3 % above the minimum; where it was not run, this stands for its value."""


def naive_seconds(residues: np.ndarray, row_weights: np.ndarray, rows: int = 1024) -> float:
    """CPU seconds of one naive evaluation; at most `rows` sequences are timed and scaled up."""
    depth, length = residues.shape
    timed = residues[:rows]
    states = length * STATES
    one_hot = np.zeros((len(timed), states), np.float32)
    entries = timed + np.arange(length) * STATES
    one_hot[np.arange(len(timed))[:, None], entries] = 1
    couplings = np.zeros((states, states), np.float32)
    with threadpool_limits(1):
        one_hot[:8] @ couplings
        began = time.thread_time()
        logits = (one_hot @ couplings).reshape(len(timed), length, STATES)
        logits -= logits.max(2, keepdims=True)
        np.exp(logits, out=logits)
        logits /= logits.sum(2, keepdims=True)
        residual = logits.reshape(len(timed), states) - one_hot
        residual *= row_weights[: len(timed), None].astype(np.float32)
        gradient = residual.T @ one_hot
        gradient + gradient.T
        taken = time.thread_time() - began
    return taken * depth / len(timed)


def compile_kernels() -> None:
    """Fit something tiny, so that what follows is only arithmetic."""
    plm.fit(np.random.default_rng(0).integers(0, STATES, (20, 10)).astype(np.uint8))


def alignments(root: Path) -> Iterator[tuple[str, np.ndarray, float | None]]:
    """Name, residues, and the objective at which CCMpred stopped where it is known."""
    golden = root.parent / "golden"
    if golden.is_dir():
        for case in json.loads((golden / "objectives.json").read_text()):
            if case["run"] == "stock":
                name = case["alignment"]
                residues = read_alignment(golden / f"{name}.aln.gz").residues
                yield name, residues, case["objective_f64_at_ccmpred_params"]
    for path in REAL:
        yield Path(path).name.split(".")[0], read_msa(root / path).residues, None


def fits(table: "csv.Writer") -> None:
    """Each alignment to CCMpred's value and to 1e-4, on one thread."""
    root = os.environ.get("NPM_REAL_DATA")
    if not root:
        sys.exit("set NPM_REAL_DATA to the folder of real proteins")
    head = ["alignment", "depth", "length", "meff", "naive_s", "evaluation_s", "weights_s"]
    head += ["to_ccmpred_evaluations", "to_ccmpred_s", "to_ccmpred_in_naive_evaluations"]
    head += ["evaluations", "fit_s", "objective", "converged", "above_tight_fit", "memory_ratio"]
    table.writerow(head)
    compile_kernels()
    for name, residues, target in alignments(Path(root)):
        depth, length = residues.shape
        began = time.process_time()
        row_weights = weights.ccmpred_weights(residues)
        weighing = time.process_time() - began
        naive = naive_seconds(residues, row_weights)
        tight = plm.fit(residues, row_weights=row_weights, stop_rel=1e-7)
        goal = target or tight.objective * (1 + CCMPRED_EXCESS)
        began = time.process_time()
        early = plm.fit(residues, target_objective=goal)
        to_goal = time.process_time() - began
        memory.reset_peak()
        before = memory.peak_mib()
        began = time.process_time()
        whole = plm.fit(residues)
        seconds = time.process_time() - began
        taken = (memory.peak_mib() - before) * memory.MIB / needed_bytes(length)
        row = [name, depth, length, round(whole.meff, 1), f"{naive:.3f}"]
        row += [f"{seconds / whole.evaluations:.4f}", f"{weighing:.4f}", early.evaluations]
        row += [f"{to_goal:.3f}", f"{to_goal / naive:.2f}", whole.evaluations, f"{seconds:.3f}"]
        row += [f"{whole.objective:.4f}", whole.converged]
        row += [f"{whole.objective / tight.objective - 1:.1e}", f"{taken:.2f}"]
        table.writerow(row)
        sys.stdout.flush()
        note(f"{name}: {early.evaluations} evaluations, {to_goal / naive:.2f} naive ones")


def synthetic(depth: int, length: int) -> np.ndarray:
    """Rows that keep 60 % of an ancestor; seeded."""
    rng = np.random.default_rng(depth * 10_007 + length)
    ancestor = rng.integers(0, STATES, length)
    kept = rng.random((depth, length)) < 0.6
    return np.where(kept, ancestor, rng.integers(0, STATES, (depth, length))).astype(np.uint8)


def scaling(table: "csv.Writer") -> None:
    """One evaluation, sparse and naive, over a grid of depths and lengths."""
    table.writerow(["depth", "length", "sparse_s", "naive_s", "naive_over_sparse"])
    compile_kernels()
    for depth, length in [
        (100, 100),
        (1000, 100),
        (4000, 100),
        (1000, 50),
        (1000, 200),
        (100, 300),
    ]:
        residues = synthetic(depth, length)
        row_weights = np.ones(depth)
        naive = naive_seconds(residues, row_weights)
        began = time.process_time()
        result = plm.fit(residues, row_weights=row_weights, max_evaluations=5, stop_rel=1e-9)
        sparse = (time.process_time() - began) / result.evaluations
        table.writerow([depth, length, f"{sparse:.4f}", f"{naive:.4f}", f"{naive / sparse:.1f}"])
        sys.stdout.flush()


def threads(table: "csv.Writer") -> None:
    """Wall seconds of a fit by number of threads; the machine must be otherwise idle."""
    table.writerow(["threads", "seconds", "speed"])
    compile_kernels()
    residues = synthetic(2000, 150)
    one = 0.0
    for count in range(1, (os.cpu_count() or 1) + 1):
        result = plm.fit(residues, penalty=ccmpred_penalty(150), max_evaluations=8, threads=count)
        seconds = result.seconds_setup + result.seconds_fit
        one = one or seconds
        table.writerow([count, f"{seconds:.3f}", f"{one / seconds:.2f}"])
        sys.stdout.flush()


def main() -> None:
    """Write the table that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("fits", "scaling", "threads"))
    what = {"fits": fits, "scaling": scaling, "threads": threads}[parser.parse_args().what]
    what(csv.writer(sys.stdout, delimiter="\t", lineterminator="\n"))


if __name__ == "__main__":
    main()
