"""Fit an independent Potts model to each family of a table and score its contacts (paper, C.2).

One process per worker, one thread each; families are fitted in turn and written in order. The
report has one line a family: what the fit cost and whether it converged.
"""

import argparse
import csv
import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from npm_core.arguments import OutputFile, positive_int

if TYPE_CHECKING:
    from npm_core.potts import Centre, Potts
    from npm_core.tables import Family, Scores


def register(parser: argparse.ArgumentParser) -> None:
    """Arguments of `potts-contacts`."""
    register_fits(parser, model="potts")


def register_fits(parser: argparse.ArgumentParser, *, model: str) -> None:
    """Arguments of every verb that fits Potts models; `model` is what the scores call them."""
    parser.add_argument(
        "--families",
        type=Path,
        required=True,
        nargs="+",
        metavar="FILE.parquet",
        help="to fit a model to",
    )
    parser.add_argument(
        "--targets",
        type=Path,
        nargs="+",
        metavar="FILE.parquet",
        help="fit only families with these ids",
    )
    register_objective(parser)
    register_centre(parser)
    parser.add_argument("--model", default=model, help="name of the model in the scores")
    parser.add_argument("--workers", type=positive_int, default=1, help="processes")
    parser.add_argument(
        "--output",
        type=OutputFile,
        required=True,
        metavar="FILE.parquet",
        help="table of contact scores",
    )
    parser.add_argument(
        "--report",
        type=OutputFile,
        required=True,
        metavar="FILE.tsv",
        help="one line a family: cost, convergence",
    )


def register_objective(parser: argparse.ArgumentParser) -> None:
    """What every fit minimises and where it stops."""
    parser.add_argument(
        "--objective",
        choices=("ccmpred", "paper"),
        default="ccmpred",
        help="sequence weights and regularisation: CCMpred's, or those of the paper's eq. (3); "
        "`fit-potts --help` has their numbers",
    )
    parser.add_argument(
        "--stop-rel",
        type=float,
        default=1e-4,
        help="stop when three iterations together gained less than this share of the objective",
    )


def register_centre(parser: argparse.ArgumentParser) -> None:
    """How couplings become contact scores."""
    parser.add_argument(
        "--centre",
        choices=("none", "mean", "zero_sum"),
        default="none",
        help="what leaves each J_ij before its norm: nothing (the paper), its mean (CCMpred), or "
        "all that the zero-sum gauge moves to the fields",
    )


@dataclass(frozen=True)
class ReportRow:
    """One family's line of the report; meff is that of the families table."""

    id: str
    length: int
    depth: int
    meff: float
    objective: float
    evaluations: int
    converged: bool
    seconds_setup: float
    seconds_fit: float
    peak_mib: float


@dataclass(frozen=True)
class Settings:
    """What every worker needs to know; `prior` gives what a family's fit shrinks to."""

    objective: str
    stop_rel: float
    centre: "Centre"
    model: str
    prior: "Callable[[Family], Potts] | None" = None


def run(args: argparse.Namespace) -> None:
    """Fit without a prior."""
    fit_table(args, Settings(args.objective, args.stop_rel, args.centre, args.model))


def fit_table(args: argparse.Namespace, settings: Settings, **facts: object) -> None:
    """Estimate memory, fit in processes, write scores and report.

    Args:
        args: Of `register_fits`.
        settings: Of every fit.
        facts: More for the metadata of the scores.
    """
    from npm_core import memory, plm
    from npm_core.alphabet import STATES
    from npm_core.errors import DataError
    from npm_core.files import atomic_path
    from npm_core.progress import note, track
    from npm_core.provenance import provenance
    from npm_core.tables import read_families, read_sizes, read_targets, write_scores

    targets = {target.id: target.length for target in read_targets(*(args.targets or []))}
    sizes = {
        name: (depth, length)
        for name, depth, length in read_sizes(*args.families)
        if not args.targets or name in targets
    }
    for name, (_, length) in sizes.items():
        if targets.get(name, length) != length:
            raise DataError(f"family {name} has {length} columns, its target {targets[name]}")
    # A prior is held as blocks, as a model, and as its scaled copy and that one's workspace.
    priors = 4 if settings.prior else 0
    needed = (
        plm.fit_bytes(depth, length) + priors * 4 * (length * STATES) ** 2
        for depth, length in sizes.values()
    )
    at_once = require_memory(needed, workers=args.workers)
    note(
        f"{len(sizes)} families to fit, at most {at_once / memory.MIB:,.0f} MiB at a time"
        + (f"; {len(targets) - len(sizes)} targets have no family" if args.targets else "")
    )
    families = (family for family in read_families(*args.families) if family.id in sizes)
    fits = fit_families(families, settings, workers=args.workers)
    stopped_early = 0
    with atomic_path(args.report) as temporary, temporary.open("w", newline="") as stream:
        table = csv.DictWriter(
            stream, list(ReportRow.__annotations__), delimiter="\t", lineterminator="\n"
        )
        table.writeheader()

        def scores() -> Iterator["Scores"]:
            nonlocal stopped_early
            for score, row in track(fits, total=len(sizes), what="families fitted"):
                stopped_early += not row.converged
                table.writerow(asdict(row))
                yield score

        metadata = provenance(
            families=[Path(path).name for path in args.families],
            objective=settings.objective,
            stop_rel=settings.stop_rel,
            centre=settings.centre,
            model=settings.model,
            **facts,
        )
        count = write_scores(args.output, scores(), metadata)
    note(f"{count} families fitted, {stopped_early} of them did not converge")


def require_memory(needed: Iterable[int], *, workers: int, option: str = "--workers") -> int:
    """Bytes that the largest fits take when they meet.

    Args:
        needed: Bytes of each fit.
        workers: Fits at a time.
        option: What sets their number.

    Raises:
        SettingsError: More than there are.
    """
    from npm_core import memory

    at_once = sum(heapq.nlargest(workers, needed))
    memory.require(at_once, f"fitting {workers} families at once", f"lower {option}")
    return at_once


def fit_families(
    families: Iterable["Family"], settings: Settings, *, workers: int
) -> Iterator[tuple["Scores", ReportRow]]:
    """Scores and report of each family, in order, from a pool of processes.

    Raises:
        ToolError: A worker was killed, usually for want of memory.
    """
    from functools import partial

    from npm_core.parallel import map_in_processes
    from npm_core.plm import compile_kernels

    if workers > 1:
        compile_kernels()
    yield from map_in_processes(partial(fit_family, settings=settings), families, workers=workers)


def fit_family(family: "Family", settings: Settings) -> tuple["Scores", ReportRow]:
    """Fit one family on one thread and score its contacts."""
    from npm_core import memory
    from npm_core.errors import DataError
    from npm_core.plm import fit_objective
    from npm_core.potts import contact_scores
    from npm_core.tables import Scores

    memory.reset_peak()
    try:
        fit = fit_objective(
            family.residues,
            objective=settings.objective,
            stop_rel=settings.stop_rel,
            prior=settings.prior(family) if settings.prior else None,
        )
        matrix = contact_scores(fit.potts.couplings, centre=settings.centre)
    except DataError as error:
        raise DataError(f"family {family.id}: {error}") from error
    row = ReportRow(
        family.id,
        family.length,
        family.depth,
        family.meff,
        fit.objective,
        fit.evaluations,
        fit.converged,
        round(fit.seconds_setup, 4),
        round(fit.seconds_fit, 4),
        round(memory.peak_mib(), 1),
    )
    return Scores(family.id, settings.model, matrix, family.depth, family.meff), row
