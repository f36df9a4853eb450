"""Fit an independent Potts model to each alignment: CCMpred's objective, or the paper's eq. (3).

One alignment goes to the file --output; several go to the folder --output, one
NAME.potts.safetensors and, with --report a folder too, one NAME.fit.json each. --threads are shared
within one alignment's fit; of several alignments as many are fitted at a time, one thread each.
With --device cuda, alignments of similar size are fitted together, as many as its memory holds.

What is minimised: sum_n w_n sum_i -log p(x_ni | rest) + F |h|^2 + C sum_{i<j} |J_ij|^2, with the
regularisation and the weights w_n of --objective, unless the options below give others:

           F                            C                               h_i(gap)
  ccmpred  lambda_h = 0.01              lambda_J (L - 1) = 0.2 (L - 1)  0
  paper    lambda_h Meff = 0.01 Meff    2 lambda_J Meff = 0.002 Meff    a parameter

w_n is 1 / number of rows like row n, itself included: those identical to it in at least 80 % of the
L columns (paper), or in more than that number of columns, rounded up (ccmpred). Meff is their sum.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from npm_core.arguments import positive_int

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from npm_core.msa import Msa
    from npm_core.plm import Fit
    from npm_core.potts import Potts

STOPS = ("stop_rel", "target_objective", "max_evaluations")
TERMS = ("lambda_fields", "lambda_couplings", "identity_threshold")
OF_THE_CPU = ("start", "prior")


def register(parser: argparse.ArgumentParser) -> None:
    """Arguments of `fit-potts`."""
    parser.add_argument(
        "--msa",
        type=Path,
        required=True,
        nargs="+",
        metavar="FILE",
        help="a3m, aligned FASTA, Stockholm or PSICOV aln, gzipped or not",
    )
    parser.add_argument(
        "--query",
        help="name of the query row, which comes first and whose gap columns are dropped; the "
        "first row when not given",
    )
    parser.add_argument(
        "--all-columns", action="store_true", help="keep the query's gap columns too"
    )
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        help="FILE.safetensors, or by its suffix another format of Potts models that `convert` "
        "writes; a folder for several alignments",
    )
    parser.add_argument(
        "--backend",
        choices=("own", "ccmpred"),
        default="own",
        help="the solver: ours, or the program ccmpred on PATH with its own stop",
    )
    parser.add_argument(
        "--objective",
        choices=("ccmpred", "paper"),
        default="ccmpred",
        help="regularisation and weights: CCMpred's, or those of the paper's eq. (3)",
    )
    parser.add_argument(
        "--lambda-fields",
        type=float,
        metavar="LAMBDA_H",
        help="default 0.01, for both objectives",
    )
    parser.add_argument(
        "--lambda-couplings",
        type=float,
        metavar="LAMBDA_J",
        help="default 0.2 for ccmpred, 0.001 for paper",
    )
    parser.add_argument(
        "--identity-threshold",
        type=float,
        help="share of identical columns from which rows share their weight; default 0.8",
    )
    parser.add_argument(
        "--stop-rel",
        type=float,
        help="stop when three iterations together gained less than this share of the objective; "
        "default 1e-4",
    )
    parser.add_argument("--target-objective", type=float, help="stop as soon as this is reached")
    parser.add_argument(
        "--max-evaluations",
        type=int,
        help="stop after so many evaluations of the objective, not converged; default 500",
    )
    parser.add_argument(
        "--start", type=Path, metavar="FILE.safetensors", help="begin at this Potts model"
    )
    parser.add_argument(
        "--prior",
        type=Path,
        metavar="FILE.safetensors",
        help="shrink to this Potts model, not to zero",
    )
    parser.add_argument(
        "--prior-weight", type=float, default=1.0, help="times the prior, 0 (zero) to 1"
    )
    parser.add_argument(
        "--threads",
        type=positive_int,
        default=1,
        help="of one fit; or how many alignments at a time",
    )
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cpu", help="where the fit is computed"
    )
    parser.add_argument(
        "--report",
        type=Path,
        help="FILE.json of what the fit cost and where it ended; a folder for several alignments",
    )


@dataclass(frozen=True)
class Job:
    """One alignment and where its results go."""

    msa: Path
    output: Path
    report: Path | None


def run(args: argparse.Namespace) -> None:
    """Check the options, then fit one alignment, or several at a time."""
    from functools import partial

    from npm_core import formats
    from npm_core.arguments import check_outputs
    from npm_core.cli.potts_contacts import require_memory
    from npm_core.errors import SettingsError
    from npm_core.parallel import map_in_processes
    from npm_core.plm import compile_kernels
    from npm_core.progress import note, track

    if not 0 <= args.prior_weight <= 1:
        raise SettingsError(f"--prior-weight {args.prior_weight} is outside 0 to 1")
    if args.backend == "ccmpred":
        for option in (*OF_THE_CPU, *STOPS, *TERMS):
            if getattr(args, option) is not None:
                raise SettingsError(f"--{option.replace('_', '-')} needs --backend own")
        if args.objective != "ccmpred" or args.device != "cpu":
            raise SettingsError("--backend ccmpred has its own objective, and no --device cuda")
    todo = jobs(args.msa, args.output, args.report)
    check_outputs(
        (path for job in todo for path in (job.output, job.report) if path),
        (path for path in (*args.msa, args.start, args.prior) if path),
    )
    for job in todo:
        formats.model_format(job.output)
    if args.device != "cpu":
        for option in OF_THE_CPU:
            if getattr(args, option) is not None:
                raise SettingsError(f"--{option} needs --device cpu")
        for line in track(fit_together(todo, args), total=len(todo), what="alignments fitted"):
            note(line)
        return
    workers = min(args.threads, len(todo))
    options = argparse.Namespace(**{n: value for n, value in vars(args).items() if n != "run"})
    if len(todo) > 1:
        options.threads = 1
    if workers > 1:
        shapes = (alignment_of(job, args).residues.shape for job in todo)
        needed = (needed_bytes(depth, length, options) for depth, length in shapes)
        require_memory(needed, workers=workers, option="--threads")
        compile_kernels()
    work = partial(fit_job, args=options)
    fits = map_in_processes(work, todo, workers=workers)
    for line in track(fits, total=len(todo), what="alignments fitted"):
        note(line)


def fit_job(job: Job, args: argparse.Namespace) -> str:
    """Read, fit and write one alignment; a line that says how it went."""
    from npm_core import memory, potts
    from npm_core.errors import DataError, SettingsError

    memory.reset_peak()
    start = potts.load(args.start) if args.start else None
    prior = potts.scaled(potts.load(args.prior), args.prior_weight) if args.prior else None
    msa = alignment_of(job, args)
    try:
        result = fit_one(msa.residues, args, start, prior)
    except (DataError, SettingsError) as error:
        raise type(error)(f"{job.msa}: {error}") from error
    return write_fit(job, msa, result)


def fit_together(todo: list[Job], args: argparse.Namespace) -> Iterator[str]:
    """Fit alignments of similar size at once on --device; a line for each, batch by batch."""
    from npm_core import plm_dense
    from npm_core.errors import DataError, SettingsError

    alignments = [alignment_of(job, args) for job in todo]
    shapes = [msa.residues.shape for msa in alignments]
    # Half of the memory: families leave a batch as they finish, which leaves gaps in the rest.
    for batch in plm_dense.batches(shapes, plm_dense.free_bytes(args.device) / 2):
        try:
            fits = plm_dense.fit_objectives(
                [alignments[number].residues for number in batch],
                objective=args.objective,
                terms=given(args, TERMS),
                threads=args.threads,
                device=args.device,
                **given(args, STOPS),
            )
        except (DataError, SettingsError) as error:
            names = ", ".join(str(todo[number].msa) for number in batch)
            raise type(error)(f"{names}: {error}") from error
        for number, result in zip(batch, fits, strict=True):
            yield write_fit(todo[number], alignments[number], result)


def write_fit(job: Job, msa: "Msa", result: "Fit") -> str:
    """Write a fit where its job says; a line that says how it went."""
    from npm_core import formats

    facts = {"query": msa.query, "objective": repr(result.objective)}
    formats.write_model(job.output, replace(result.potts, metadata=facts))
    if job.report:
        write_report(job.report, msa, result)
    state = "converged" if result.converged else "NOT converged"
    replaced = f" ({msa.nonstandard} nonstandard letters replaced)" if msa.nonstandard else ""
    return (
        f"{job.msa.name}: depth {msa.depth}, length {msa.length}{replaced}, "
        f"Meff {result.meff:.1f}, objective {result.objective:.6f}, {state} after "
        f"{result.evaluations} evaluations"
    )


def jobs(msas: list[Path], output: Path, report: Path | None) -> list[Job]:
    """Where each alignment's model and report go.

    Raises:
        SettingsError: Two alignments would be written to one file.
    """
    from npm_core.errors import SettingsError
    from npm_core.msa import SUFFIXES

    if len(msas) == 1:
        return [Job(msas[0], output, report)]
    names: dict[str, Path] = {}
    for path in msas:
        stem = path.name.removesuffix(".gz")
        head, _, suffix = stem.rpartition(".")
        stem = head if suffix in SUFFIXES else stem
        if stem in names:
            raise SettingsError(f"{names[stem]} and {path} would both be written as {stem}")
        names[stem] = path
    return [
        Job(
            path,
            output / f"{stem}.potts.safetensors",
            report / f"{stem}.fit.json" if report else None,
        )
        for stem, path in names.items()
    ]


def alignment_of(job: Job, args: argparse.Namespace) -> "Msa":
    """An alignment with its query first, in the query's columns or in all of them."""
    from npm_core.errors import DataError
    from npm_core.msa import read_alignment, read_msa

    if not args.all_columns:
        return read_msa(job.msa, query=0 if args.query is None else args.query)
    msa = read_alignment(job.msa)
    try:
        return msa if args.query is None else msa.led_by(msa.row(args.query))
    except DataError as error:
        raise DataError(f"{job.msa}: {error}") from error


def given(args: argparse.Namespace, options: tuple[str, ...]) -> dict[str, Any]:
    """Those of some options that the command line gives; the rest keep the solver's defaults."""
    return {name: getattr(args, name) for name in options if getattr(args, name) is not None}


def needed_bytes(depth: int, length: int, args: argparse.Namespace) -> int:
    """Bytes that the chosen backend takes for one fit."""
    from npm_core import ccmpred, plm

    if args.backend == "ccmpred":
        return ccmpred.needed_bytes(length)
    return plm.fit_bytes(
        depth,
        length,
        threads=args.threads,
        start=args.start is not None,
        prior=args.prior is not None,
    )


def fit_one(
    residues: "NDArray[np.uint8]",
    args: argparse.Namespace,
    start: "Potts | None",
    prior: "Potts | None",
) -> "Fit":
    """Fit by the chosen backend, after the memory it needs was found to be there."""
    from npm_core import ccmpred, memory, plm
    from npm_core.progress import note

    depth, length = residues.shape
    needed = needed_bytes(depth, length, args)
    if args.backend == "ccmpred":
        memory.require(needed, f"CCMpred on {length} columns", "use --backend own")
        return ccmpred.fit(residues, threads=args.threads)
    if len(args.msa) == 1:
        note(f"{depth} rows, {length} columns: about {needed / memory.MIB:,.0f} MiB of memory")
    memory.require(
        needed,
        f"a Potts model of {length} columns",
        "fit fewer columns (a domain, or a query without its gappy ends), or use a larger machine",
    )
    return plm.fit_objective(
        residues,
        objective=args.objective,
        terms=given(args, TERMS),
        start=start,
        prior=prior,
        threads=args.threads,
        **given(args, STOPS),
    )


def write_report(path: Path, msa: "Msa", result: "Fit") -> None:
    """What the fit cost and where it ended, as JSON."""
    import json

    from npm_core import memory
    from npm_core.files import write_text

    facts = {
        "objective": result.objective,
        "evaluations": result.evaluations,
        "converged": result.converged,
        "length": msa.length,
        "depth": msa.depth,
        "nonstandard": msa.nonstandard,
        "meff": result.meff,
        "seconds_setup": round(result.seconds_setup, 4),
        "seconds_fit": round(result.seconds_fit, 4),
        "peak_mib": round(memory.peak_mib(), 1),
    }
    write_text(path, json.dumps(facts, indent=2) + "\n")
