"""Fit an independent Potts model to each alignment: CCMpred's objective, or the paper's eq. (3).

One alignment goes to the file --output; several go to the folder --output, one
NAME.potts.safetensors and, with --report a folder too, one NAME.fit.json each. --threads are shared
within one alignment's fit; of several alignments as many are fitted at a time, one thread each.
With --device cuda, alignments of similar size are fitted together, as many as its memory holds.
One of several that cannot be fitted does not keep the others from it: it is named at the end.

What is minimised: sum_m w_m sum_i -log p(x_mi | rest) + F |h|^2 + C sum_{i<j} |J_ij|^2, with the
regularisation and the weights w_m of --objective, unless the options below give others:

           F                            C                               h_i(gap)
  ccmpred  lambda_h = 0.01              lambda_J (L - 1) = 0.2 (L - 1)  0
  paper    lambda_h Meff = 0.01 Meff    2 lambda_J Meff = 0.002 Meff    a parameter

w_m is 1 / number of rows like row m, itself included: those identical to it in at least 80 % of the
L columns (paper), or in more than that number of columns, rounded up (ccmpred). Meff is their sum.
"""

import argparse
from pathlib import Path

from npm_core.cli._arguments import (
    positive,
    positive_int,
    register_device,
    register_threads,
    share,
)
from npm_core.cli._potts import objective_and_stop, register_objective
from npm_core.descent import Stop
from npm_core.settings import overridden

OF_OUR_SOLVER = {
    "Stop.rel": "--stop-rel",
    "Stop.target": "--target-objective",
    "Stop.evaluations": "--max-evaluations",
    "Objective.lambda_fields": "--lambda-fields",
    "Objective.lambda_couplings": "--lambda-couplings",
    "Objective.identity_threshold": "--identity-threshold",
}
"""Where argparse puts each option that the program ccmpred lacks."""


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--msa",
        type=Path,
        required=True,
        nargs="+",
        metavar="FILE",
        help="a3m, aligned FASTA, Stockholm or PSICOV aln, gzipped or not; - is standard input",
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
    register_objective(parser, more="")
    parser.add_argument(
        "--lambda-fields",
        dest="Objective.lambda_fields",
        type=positive,
        default=argparse.SUPPRESS,
        metavar="LAMBDA_H",
        help="default 0.01, for both objectives",
    )
    parser.add_argument(
        "--lambda-couplings",
        dest="Objective.lambda_couplings",
        type=positive,
        default=argparse.SUPPRESS,
        metavar="LAMBDA_J",
        help="default 0.2 for ccmpred, 0.001 for paper",
    )
    parser.add_argument(
        "--target-objective",
        dest="Stop.target",
        type=float,
        default=argparse.SUPPRESS,
        help="stop as soon as the objective is this or lower",
    )
    parser.add_argument(
        "--max-evaluations",
        dest="Stop.evaluations",
        type=positive_int,
        default=argparse.SUPPRESS,
        help="stop after so many evaluations of the objective, not converged; default "
        f"{Stop.evaluations}",
    )
    parser.add_argument(
        "--start",
        type=Path,
        metavar="FILE",
        help="begin at this Potts model, in any format that `convert` reads",
    )
    parser.add_argument(
        "--prior",
        type=Path,
        metavar="FILE",
        help="shrink to this Potts model, not to zero; any format likewise. Either may be of the "
        "whole query, as `predict` makes it: it is cut to the columns by residue numbers",
    )
    parser.add_argument(
        "--prior-weight",
        dest="Job.prior_weight",
        type=share,
        default=argparse.SUPPRESS,
        help="factor of the prior, above 0, at most 1; default 1",
    )
    register_threads(parser, "of one fit; or how many alignments at a time")
    register_device(parser)
    parser.add_argument(
        "--report",
        type=Path,
        help="FILE.json of what the fit cost and where it ended; a folder for several alignments",
    )


def run(args: argparse.Namespace) -> None:
    """Check the options, then fit one alignment, or several at a time."""
    from npm_core import fitting, potts_files
    from npm_core.cli._outputs import check_outputs
    from npm_core.errors import DataError, NpmError
    from npm_core.progress import note, track

    check_options(args)
    files = fitting.destinations(args.msa, args.output, args.report)
    chosen = args.query, args.all_columns, args.start, args.prior
    todo = [overridden(fitting.Job(*each, *chosen), args) for each in files]
    check_outputs(
        (path for job in todo for path in (job.output, job.report) if path),
        (path for path in (*args.msa, args.start, args.prior) if path),
    )
    for job in todo:
        potts_files.model_format(job.output)
    if args.device != "cpu":
        from npm_core.devices import usable_device

        usable_device(args.device)
    solver = fitting.Solver(*objective_and_stop(args), args.backend, args.device, args.threads)
    failed = []
    lines = fitting.fit_files(todo, solver)
    if len(todo) > 1:
        lines = track(lines, total=len(todo), what="alignments done")
    for line in lines:
        if isinstance(line, NpmError):
            failed.append(line)
        else:
            note(line)
    if failed and len(todo) == 1:
        raise failed[0]
    if failed:
        each = "".join(f"\n       {error}" for error in failed)
        raise DataError(f"{len(failed)} of {len(todo)} alignments could not be fitted:{each}")


def check_options(args: argparse.Namespace) -> None:
    """Raise a SettingsError at options that cannot be, or not together."""
    from npm_core.errors import SettingsError

    given = {name for name, value in vars(args).items() if value is not None}
    of_the_cpu = [f"--{name}" for name in ("start", "prior") if name in given]
    of_our_solver = of_the_cpu + [OF_OUR_SOLVER[name] for name in OF_OUR_SOLVER if name in given]
    if "Job.prior_weight" in given and args.prior is None:
        raise SettingsError("--prior-weight needs --prior, the model that it weighs")
    if args.backend == "ccmpred":
        if of_our_solver:
            raise SettingsError(f"{of_our_solver[0]} needs --backend own")
        if args.objective != "ccmpred" or args.device != "cpu":
            raise SettingsError("--backend ccmpred has its own objective, and no --device cuda")
    if args.device != "cpu" and of_the_cpu:
        raise SettingsError(f"{of_the_cpu[0]} needs --device cpu")
