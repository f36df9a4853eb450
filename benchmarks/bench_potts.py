"""The independent Potts fit: evaluations, seconds and memory, against CCMpred and the naive way.

    NPM_REAL_DATA=FOLDER python benchmarks/bench_potts.py PART > potts.tsv

| PART | what it measures | needs |
|---|---|---|
| fits | each golden and a dozen real alignments: to CCMpred's value, and whole | NPM_REAL_DATA |
| scaling | one evaluation by depth and length, sparse, naive, and dense by torch | |
| threads | wall seconds by number of threads; the machine must be idle | |
| families | 150 families by one command, and some of them each by its own | NPM_REAL_DATA |
| long | 1,000 columns: memory estimated and taken | 8 GiB |
| gpu | 20,000 x 250 and 50 families, GPU and CPU in one run | CUDA |

In `gpu` the CPU fits one alignment on all cores, and of many as many at a time as it has cores.

The naive evaluation is one objective and gradient with a one-hot matrix and two matrix products in
float32, one thread, in the same run: machines and their load differ, ratios to it less. Importing
and compiling are done before the clock starts, except in `families`. Seconds are CPU seconds, the
least of three runs, where not called wall seconds.
"""

import argparse
import csv
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from npm_core import memory, plm_sparse
from npm_core.alphabet import STATES
from npm_core.descent import Stop
from npm_core.msa import read_alignment, read_msa
from npm_core.parallel import map_in_processes
from npm_core.plm import CCMPRED, Problem, ccmpred_penalty
from npm_core.progress import note

T = TypeVar("T")
Write = Callable[[Iterable[object]], object]  # a row of the table

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

    def evaluate() -> None:
        logits = (one_hot @ couplings).reshape(len(timed), length, STATES)
        logits -= logits.max(2, keepdims=True)
        np.exp(logits, out=logits)
        logits /= logits.sum(2, keepdims=True)
        residual = logits.reshape(len(timed), states) - one_hot
        residual *= row_weights[: len(timed), None].astype(np.float32)
        gradient = residual.T @ one_hot
        gradient += gradient.T.copy()

    with threadpool_limits(1):
        taken, _ = cpu_seconds(evaluate)
    return taken * depth / len(timed)


def real_data() -> Path:
    """The folder of real proteins."""
    if not os.environ.get("NPM_REAL_DATA"):
        sys.exit("set NPM_REAL_DATA to the folder of real proteins")
    return Path(os.environ["NPM_REAL_DATA"])


def alignments(root: Path) -> Iterator[tuple[str, np.ndarray, dict | None]]:
    """Name, residues, and what CCMpred itself reached and needed where that is known."""
    golden = root.parent / "golden"
    if golden.is_dir():
        for case in json.loads((golden / "objectives.json").read_text()):
            if case["run"] == "stock":
                name = case["alignment"]
                yield name, read_alignment(golden / f"{name}.aln.gz").residues, case
    for path in REAL:
        yield Path(path).name.split(".")[0], read_msa(root / path).residues, None


def ccmpred_bytes(depth: int, length: int) -> int:
    """CCMpred's own estimate of its memory (its issue 27), without the padding it also needs."""
    pairs, cells = length**2 * STATES**2, depth * length
    return 4 * (4 * (pairs + 20 * length) + 2 * cells + STATES * cells + depth) + 2 * cells


def cpu_seconds(work: Callable[[], T], repeats: int = 3) -> tuple[float, T]:
    """Least CPU seconds of some runs, and the last result."""
    least = float("inf")
    for _ in range(repeats):
        began = time.process_time()
        result = work()
        least = min(least, time.process_time() - began)
    return least, result


def bytes_taken(residues: np.ndarray) -> int:
    """What a fit adds to the memory of this process, which should have done nothing before."""
    plm_sparse.compile_kernels()
    memory.reset_peak()
    before = memory.peak_mib()
    plm_sparse.fit_objective(residues, stop=Stop(evaluations=6))
    return round((memory.peak_mib() - before) * memory.MIB)


def fits(write: Write) -> None:
    """Each alignment to CCMpred's value and to 1e-4, on one thread."""
    head = ["alignment", "depth", "length", "meff", "naive_s", "to_ccmpred_evaluations"]
    head += ["over_ccmpreds_evaluations", "to_ccmpred_s", "in_naive_evaluations", "setup_share"]
    head += ["evaluations", "fit_s", "objective", "over_ccmpreds_objective", "converged"]
    head += ["above_minimum", "evaluations_to_1e-4", "memory_ratio"]
    write(head)
    plm_sparse.compile_kernels()
    for name, residues, ccmpred in alignments(real_data()):
        depth, length = residues.shape
        problem = CCMPRED.problem(residues)
        naive = naive_seconds(residues, problem.weights)
        tight = plm_sparse.fit(problem, stop=Stop(1e-6)).objective
        goal = ccmpred["objective_f64_at_ccmpred_params"] if ccmpred else 0.0
        goal = goal or tight * (1 + CCMPRED_EXCESS)
        fit = partial(plm_sparse.fit_objective, residues)
        to_goal, early = cpu_seconds(partial(fit, stop=Stop(target=goal)))
        near_stop = Stop(target=tight * (1 + 1e-4))
        near = plm_sparse.fit(problem, stop=near_stop)
        seconds, whole = cpu_seconds(fit, repeats=1)
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            taken = process.submit(bytes_taken, residues).result()
        setup = early.seconds_setup / (early.seconds_setup + early.seconds_fit)
        row = [name, depth, length, round(whole.meff, 1), f"{naive:.3f}", early.evaluations]
        row += [f"{early.evaluations / ccmpred['evaluations']:.2f}" if ccmpred else ""]
        row += [f"{to_goal:.3f}", f"{to_goal / naive:.2f}", f"{setup:.2f}"]
        row += [whole.evaluations, f"{seconds:.3f}", f"{whole.objective:.4f}"]
        row += [f"{whole.objective / goal:.5f}" if ccmpred else "", whole.converged]
        row += [f"{whole.objective / tight - 1:.1e}", near.evaluations]
        row += [f"{taken / ccmpred_bytes(depth, length):.2f}"]
        write(row)
        sys.stdout.flush()
        note(f"{name}: {early.evaluations} evaluations, {to_goal / naive:.2f} naive ones")


def synthetic(depth: int, length: int) -> np.ndarray:
    """Rows that keep 60 % of an ancestor; seeded."""
    rng = np.random.default_rng(depth * 10_007 + length)
    ancestor = rng.integers(0, STATES, length)
    kept = rng.random((depth, length)) < 0.6
    return np.where(kept, ancestor, rng.integers(0, STATES, (depth, length))).astype(np.uint8)


def scaling(write: Write) -> None:
    """One evaluation by depth and length: ours, naive in numpy, and dense by torch on one CPU."""
    import torch

    from npm_core.plm_dense import Batch

    torch.set_num_threads(1)
    write(["depth", "length", "sparse_s", "naive_s", "dense_s", "naive_over_sparse"])
    plm_sparse.compile_kernels()
    for depth, length in [
        (100, 100),
        (1000, 100),
        (4000, 100),
        (1000, 50),
        (1000, 200),
        (100, 300),
    ]:
        residues = synthetic(depth, length)
        problem = Problem(residues, np.ones(depth), ccmpred_penalty(length))
        naive = naive_seconds(residues, problem.weights)
        batch = Batch.of([problem], "cpu")
        began = time.process_time()
        batch.evaluate(batch.origin)
        dense = time.process_time() - began
        fit = partial(plm_sparse.fit, problem)
        few, _ = cpu_seconds(partial(fit, stop=Stop(1e-9, evaluations=2)))
        more, _ = cpu_seconds(partial(fit, stop=Stop(1e-9, evaluations=6)))
        sparse = (more - few) / 4
        row = [depth, length, f"{sparse:.4f}", f"{naive:.4f}", f"{dense:.4f}"]
        write([*row, f"{naive / sparse:.1f}"])
        sys.stdout.flush()


def threads(write: Write) -> None:
    """Wall seconds of a fit by number of threads; the machine must be otherwise idle."""
    write(["threads", "wall_s", "speed"])
    plm_sparse.compile_kernels()
    residues = synthetic(2000, 150)
    one = 0.0
    for count in range(1, (os.cpu_count() or 1) + 1):
        least = float("inf")
        for _ in range(3):
            began = time.perf_counter()
            plm_sparse.fit_objective(residues, stop=Stop(1e-9, evaluations=6), threads=count)
            least = min(least, time.perf_counter() - began)
        one = one or least
        write([count, f"{least:.3f}", f"{one / least:.2f}"])
        sys.stdout.flush()


def families(write: Write, most: int = 150, alone: int = 15) -> None:
    """Wall and CPU seconds of `fit-potts` on many families, and on some of them one by one."""
    paths = sorted(real_data().glob("pdb_sprot/*.a3m.gz"))[:most]
    sample = paths[:: max(1, len(paths) // alone)]
    write(["families", "commands", "threads", "wall_s", "cpu_s", "wall_s_per_family"])
    cores = os.cpu_count() or 1
    for what, groups, count in (
        (paths, [paths], cores),
        (sample, [sample], cores),
        (sample, [sample], 1),
        (sample, [[path] for path in sample], cores),
    ):
        wall, cpu = time.perf_counter(), _children_seconds()
        for group in groups:
            _fit_command(group, count)
        wall, cpu = time.perf_counter() - wall, _children_seconds() - cpu
        row = [len(what), len(groups), count, f"{wall:.1f}", f"{cpu:.1f}"]
        write([*row, f"{wall / len(what):.2f}"])
        sys.stdout.flush()


def _fit_command(paths: list[Path], count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        output = folder if len(paths) > 1 else f"{folder}/model.safetensors"
        command = [sys.executable, "-m", "npm_core", "fit-potts", "--threads", str(count)]
        subprocess.run([*command, "--output", output, "--msa", *map(str, paths)], check=True)


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def long(write: Write) -> None:
    """A fit of 1,000 columns: what it was estimated to take, and took."""
    head = ["depth", "length", "estimated_mib", "peak_mib", "ccmpred_mib", "evaluations"]
    write([*head, "wall_s"])
    plm_sparse.compile_kernels()
    for depth, length in ((500, 1000),):
        residues = synthetic(depth, length)
        needed = plm_sparse.fit_bytes(depth, length, threads=1)
        memory.require(needed, "this benchmark", "use a larger machine")
        memory.reset_peak()
        before = memory.peak_mib()
        result = plm_sparse.fit_objective(residues, stop=Stop(1e-9, evaluations=4))
        peak = memory.peak_mib() - before
        row = [depth, length, round(needed / memory.MIB), round(peak)]
        row += [round(ccmpred_bytes(depth, length) / memory.MIB), result.evaluations]
        write([*row, f"{result.seconds_setup + result.seconds_fit:.1f}"])


def gpu(write: Write) -> None:
    """Wall seconds on the GPU and on all cores of the CPU, in one run."""
    import torch

    from npm_core import plm_dense

    if not torch.cuda.is_available():
        sys.exit("torch sees no CUDA device")
    note(torch.cuda.get_device_name())
    cores = os.cpu_count() or 1
    write(["families", "depth", "length", "device", "evaluations", "wall_s", "objective"])
    plm_sparse.compile_kernels()
    plm_dense.fit_objectives([synthetic(20, 10)])
    for count, depth, length in ((1, 20_000, 250), (50, 1000, 100)):
        made = [synthetic(depth + number, length) for number in range(count)]
        for device in ("cuda", "cpu"):
            began = time.perf_counter()
            if device == "cuda":
                results = plm_dense.fit_objectives(made, threads=cores)
            elif count == 1:
                results = [plm_sparse.fit_objective(made[0], threads=cores)]
            else:
                results = list(map_in_processes(plm_sparse.fit_objective, made, workers=cores))
            wall = time.perf_counter() - began
            evaluations = sum(result.evaluations for result in results)
            total = sum(result.objective for result in results)
            write([count, depth, length, device, evaluations, f"{wall:.2f}", f"{total:.3f}"])
            sys.stdout.flush()


PARTS = {
    "fits": fits,
    "scaling": scaling,
    "threads": threads,
    "families": families,
    "long": long,
    "gpu": gpu,
}


def main() -> None:
    """Write the table that was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=PARTS)
    table = csv.writer(sys.stdout, delimiter="\t", lineterminator="\n")
    PARTS[parser.parse_args().part](table.writerow)


if __name__ == "__main__":
    main()
