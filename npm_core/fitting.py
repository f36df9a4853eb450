"""Potts fits of alignments in files: one by one by either solver, or together on a GPU."""

import json
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from npm_core import ccmpred, formats, memory, plm_sparse, potts, potts_files
from npm_core.arrays import States
from npm_core.descent import STOP, Stop
from npm_core.errors import DataError, NpmError, SettingsError, told_where
from npm_core.files import write_text
from npm_core.msa import SUFFIXES, Msa, read_alignment, read_msa
from npm_core.numbering import as_text, missing_inside
from npm_core.plm import CCMPRED, Fit, Objective
from npm_core.potts import Potts
from npm_core.potts_files import numbers_of, query_of
from npm_core.progress import Tell, follow, note


@dataclass(frozen=True)
class Solver:
    """How Potts models are fitted.

    Attributes:
        objective: What is minimised, and `stop` when that ends; CCMpred has its own of both.
        backend: Our solver, or the program ccmpred on PATH.
        device: "cpu", or for our solver "cuda".
        threads: Of one fit, or how many fits at a time.
    """

    objective: Objective = CCMPRED
    stop: Stop = STOP
    backend: Literal["own", "ccmpred"] = "own"
    device: str = "cpu"
    threads: int = 1

    def needed_bytes(
        self, depth: int, length: int, *, start: bool = False, prior: bool = False
    ) -> int:
        """Memory that `fit` takes; `start` and `prior` say whether it has them."""
        if self.backend == "ccmpred":
            return ccmpred.needed_bytes(length)
        return plm_sparse.fit_bytes(depth, length, threads=self.threads, start=start, prior=prior)

    def fit(
        self,
        residues: States,
        *,
        start: Potts | None = None,
        prior: Potts | None = None,
        tell: Tell | None = None,
    ) -> Fit:
        """Fit one alignment on the CPU; CCMpred takes no start and no prior, and tells nothing.

        Raises:
            SettingsError: The memory it needs is not there, or as `plm_sparse.fit_objective`.
            DataError: As `plm_sparse.fit_objective`.
            ToolError: As `ccmpred.fit`.
        """
        depth, length = residues.shape
        has = {"start": start is not None, "prior": prior is not None}
        needed = self.needed_bytes(depth, length, **has)
        if self.backend == "ccmpred":
            memory.require(needed, f"CCMpred on {length} columns", "use --backend own")
            return ccmpred.fit(residues, threads=self.threads)
        memory.require(
            needed,
            f"a Potts model of {length} columns",
            "fit fewer columns (a domain, or a query without its gappy ends), or use a larger "
            "machine",
        )
        return plm_sparse.fit_objective(
            residues,
            self.objective,
            stop=self.stop,
            start=start,
            prior=prior,
            threads=self.threads,
            tell=tell,
        )


@dataclass(frozen=True)
class Job:
    """One alignment to fit, with what it is read with and where its results go.

    Attributes:
        msa: Its file.
        output: Of the model; its suffix tells the format.
        report: Of what the fit cost, if that is wanted.
        query: Name of the query's row; the first when None.
        all_columns: Whether columns stay in which the query has a gap.
        start: File of the model at which the fit begins, if any.
        prior: File of the model to which it shrinks, times `prior_weight`.
        prior_weight: See there.
    """

    msa: Path
    output: Path
    report: Path | None = None
    query: str | None = None
    all_columns: bool = False
    start: Path | None = None
    prior: Path | None = None
    prior_weight: float = 1.0

    def alignment(self) -> Msa:
        """The alignment, its query first."""
        if not self.all_columns:
            return read_msa(self.msa, query=0 if self.query is None else self.query)
        msa = read_alignment(self.msa)
        with told_where(str(self.msa)):
            return msa if self.query is None else msa.led_by(msa.row(self.query))

    def models(self) -> tuple[Potts | None, Potts | None]:
        """Start and prior, where there are any."""
        start, prior = (
            potts_files.read_model(path) if path else None for path in (self.start, self.prior)
        )
        return start, potts.scaled(prior, self.prior_weight) if prior else None

    def needed_bytes(self, solver: Solver, msa: Msa) -> int:
        """Memory that the fit takes."""
        start, prior = self.start is not None, self.prior is not None
        return solver.needed_bytes(msa.depth, msa.length, start=start, prior=prior)

    def write(self, msa: Msa, fit: Fit) -> str:
        """Write model and report; a line that says how it went."""
        facts = {
            "query": msa.query,
            "query_name": msa.names[0],
            "objective": repr(fit.objective),
        }
        apart = ""
        if msa.numbers is not None:
            # Anchored to its query, which has a letter in every column.
            facts |= {"query": msa.query.replace("-", "X"), "numbers": as_text(msa.numbers)}
            if missing := missing_inside(msa.numbers):
                apart = f" ({missing} residues of the query in between have no column)"
            if msa.misfit:
                apart += f" ({msa.misfit})"
        potts_files.write_model(self.output, replace(fit.potts, metadata=facts))
        if self.report:
            _write_report(self.report, msa, fit)
        state = "converged" if fit.converged else "NOT converged"
        alone = " (the query alone: its couplings say nothing)" if msa.depth == 1 else ""
        replaced = f" ({msa.nonstandard} nonstandard letters replaced)" if msa.nonstandard else ""
        left_out = f" ({msa.annotations} rows of annotation left out)" if msa.annotations else ""
        depth, length = f"depth {msa.depth}{alone}{left_out}", f"length {msa.length}{apart}"
        return (
            f"{self.msa.name}: {depth}, {length}{replaced}, Meff {fit.meff:.1f}, "
            f"objective {fit.objective:.6f}, {state} after {fit.evaluations} evaluations"
        )


def _write_report(path: Path, msa: Msa, fit: Fit) -> None:
    """What the fit cost and where it ended, as JSON."""
    facts = {
        "objective": fit.objective,
        "evaluations": fit.evaluations,
        "converged": fit.converged,
        "length": msa.length,
        "depth": msa.depth,
        "nonstandard": msa.nonstandard,
        "annotations": msa.annotations,
        "meff": fit.meff,
        "seconds_setup": round(fit.seconds_setup, 4),
        "seconds_fit": round(fit.seconds_fit, 4),
        "peak_mib": round(memory.peak_mib(), 1),
    }
    write_text(path, json.dumps(facts, indent=2) + "\n")


def destinations(
    msas: Sequence[Path], output: Path, report: Path | None
) -> list[tuple[Path, Path, Path | None]]:
    """Each alignment with the files of its model and report; of several, `output` is a folder.

    Raises:
        SettingsError: `output` of several is called like a file of a model or of scores, or two
            alignments would be written to one.
    """
    if len(msas) == 1:
        return [(msas[0], output, report)]
    if formats.suffix_of(output) in formats.SUFFIXES:
        raise SettingsError(
            f"{output}: the name of one file, expected a folder for {len(msas)} alignments"
        )
    names: dict[str, Path] = {}
    for path in msas:
        stem = path.name.removesuffix(".gz")
        head, _, suffix = stem.rpartition(".")
        stem = head if suffix in SUFFIXES else stem
        if stem in names:
            raise SettingsError(f"{names[stem]} and {path} would both be written as {stem}")
        names[stem] = path
    return [
        (
            path,
            output / f"{stem}.potts.safetensors",
            report / f"{stem}.fit.json" if report else None,
        )
        for stem, path in names.items()
    ]


def fit_files(todo: Sequence[Job], solver: Solver) -> Iterator[str | NpmError]:
    """Fit and write alignments, together on a GPU or as many at a time as there are threads.

    Returns:
        A line for each that says how it went, as it is written; or why it cannot be read or
        fitted, which stops none of the others.

    Raises:
        SettingsError: The largest does not fit into memory.
        DataError: A start or a prior cannot be read.
        ToolError: A process was killed, usually for want of memory, or as `Solver.fit`.
    """
    if solver.device != "cpu":
        return _fit_together(todo, solver)
    if len(todo) == 1:
        return map(partial(_fit_alone, solver=solver, announce=solver.backend == "own"), todo)
    workers, each = min(solver.threads, len(todo)), replace(solver, threads=1)
    if workers == 1:
        return map(partial(_fit_alone, solver=each), todo)
    read = ((job, _read(job)) for job in todo)
    needed = {
        str(job.msa): job.needed_bytes(each, msa) for job, msa in read if isinstance(msa, Msa)
    }
    return plm_sparse.fit_in_processes(
        partial(_fit_alone, solver=each),
        todo,
        workers=workers,
        needed=needed,
        needed_by=lambda job: needed.get(str(job.msa), 0),
        cure="lower --threads",
    )


def on_columns(model: Potts, msa: Msa) -> Potts:
    """A model of the whole query, as `predict` makes it, cut to the columns by residue numbers.

    A model that has as many residues as the alignment has columns is left as it is.

    Raises:
        DataError: A column's residue is not in the model, or is another one there.
    """
    if model.length == msa.length:
        return model
    numbers = [] if msa.numbers is None else msa.numbers.tolist()
    letters = dict(zip(numbers_of(model).tolist(), query_of(model) or "", strict=False))
    found = [letters.get(number, "") for number in numbers]
    # An X, a gap among the alignment's states, may be any residue.
    pairs = zip(msa.query.replace("-", "X"), found, strict=False)
    same = sum(one == other or (bool(other) and "X" in (one, other)) for one, other in pairs)
    if same < msa.length:
        raise DataError(
            f"a start or prior of length {model.length} for {msa.length} columns, of which it has "
            f"{same} by number and letter; expected all, or as many residues as columns"
        )
    here = np.searchsorted(numbers_of(model), numbers)
    return Potts(model.fields[here], model.couplings[np.ix_(here, here)], model.metadata)


def _read(job: Job) -> Msa | DataError:
    """The alignment, or why it cannot be read."""
    try:
        return job.alignment()
    except DataError as error:
        return error


def _fit_alone(job: Job, solver: Solver, announce: bool = False) -> str | NpmError:
    """Fit one, or say why not; with `announce` say what memory it takes, and how far it is."""
    memory.reset_peak()
    start, prior = job.models()
    msa = _read(job)
    if isinstance(msa, DataError):
        return msa
    if announce:
        mib = job.needed_bytes(solver, msa) / memory.MIB
        note(f"depth {msa.depth}, length {msa.length}: about {mib:,.0f} MiB of memory")
    if solver.backend == "own":
        plm_sparse.note_compilation()
    try:
        start, prior = (model and on_columns(model, msa) for model in (start, prior))
        with follow("fit") if announce else nullcontext() as tell:
            fit = solver.fit(msa.residues, start=start, prior=prior, tell=tell)
    except (DataError, SettingsError) as error:
        return type(error)(f"{job.msa}: {error}")
    return job.write(msa, fit)


def _fit_together(todo: Sequence[Job], solver: Solver) -> Iterator[str | NpmError]:
    """Fit those of similar size at once on the device, longest first."""
    from npm_core import plm_dense

    read = [(job, _read(job)) for job in todo]
    yield from (found for _, found in read if isinstance(found, DataError))
    readable = [(job, found) for job, found in read if isinstance(found, Msa)]
    shapes = [(msa.depth, msa.length) for _, msa in readable]
    # Half of the memory: families leave a batch as they finish, which leaves gaps in the rest.
    for batch in plm_dense.batches(shapes, plm_dense.free_bytes(solver.device) / 2):
        try:
            fits = plm_dense.fit_objectives(
                [readable[number][1].residues for number in batch],
                solver.objective,
                stop=solver.stop,
                threads=solver.threads,
                device=solver.device,
            )
        except (DataError, SettingsError) as error:
            yield from (type(error)(f"{readable[number][0].msa}: {error}") for number in batch)
            continue
        for number, fit in zip(batch, fits, strict=True):
            job, msa = readable[number]
            try:
                yield job.write(msa, fit.require_finite())
            except DataError as error:
                yield type(error)(f"{job.msa}: {error}")
