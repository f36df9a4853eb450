"""Potts fits of the families of a table in processes, and their contact scores (paper, C.2)."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import NamedTuple

from npm_core import memory
from npm_core.contacts import Centre, contact_scores
from npm_core.descent import Stop
from npm_core.errors import DataError, told_where
from npm_core.files import write_tsv
from npm_core.generalisation import generalisation_loss
from npm_core.plm import Objective
from npm_core.plm_sparse import fit_bytes, fit_in_processes, fit_objective
from npm_core.potts import Potts
from npm_core.progress import note, track
from npm_core.provenance import provenance
from npm_core.tables import Family, Scores, read_families, read_sizes, read_targets, write_scores


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


class Work(NamedTuple):
    """One family to fit, and rows of it that judge the model, if there are some."""

    family: Family
    test_rows: Family | None = None


@dataclass(frozen=True)
class FamilyFitter:
    """How each family is fitted, on one thread, and its contacts scored.

    Attributes:
        objective: What is minimised.
        stop: When that ends.
        centre: What leaves the couplings before their norm.
        model: What the scores call it.
        prior: Gives what a family's fit shrinks to; None for zero.
        predictor_bytes: Size of the network that the prior comes from; each process has its own.
    """

    objective: Objective
    stop: Stop
    centre: Centre
    model: str
    prior: Callable[[Family], Potts] | None = None
    predictor_bytes: int = 0

    def facts(self) -> dict[str, object]:
        """What the metadata of the scores say of the fits."""
        return {
            "objective": self.objective.name,
            "identity_threshold": self.objective.identity_threshold,
            "stop_rel": self.stop.rel,
            "centre": self.centre,
            "model": self.model,
        }

    def needed_bytes(self, depth: int, length: int) -> int:
        """Memory that a fit takes, in a process that holds the network already."""
        # The prior is predicted before the fit, in less: 3.1 to 3.6 times its J were seen.
        fit = fit_bytes(depth, length, prior=self.prior is not None)
        # While the network is read its weights are in memory twice.
        return max(fit, self.predictor_bytes)

    def fit(self, work: Work) -> tuple[Scores, ReportRow]:
        """Fit one family, score its contacts, and take the loss of its test rows."""
        family, test_rows = work
        memory.reset_peak()
        with told_where(f"family {family.id}"):
            fit = fit_objective(
                family.residues,
                self.objective,
                stop=self.stop,
                prior=self.prior(family) if self.prior else None,
            )
            matrix = contact_scores(fit.potts.couplings, centre=self.centre)
            loss = generalisation_loss(fit.potts, test_rows) if test_rows else None
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
        return Scores(family.id, self.model, matrix, family.depth, family.meff, loss), row

    def fit_all(
        self, works: Iterable[Work], sizes: Mapping[str, tuple[int, int]], *, workers: int
    ) -> Iterator[tuple[Scores, ReportRow]]:
        """Scores and report of each family, in order, from a pool of processes.

        Args:
            works: Of the families.
            sizes: (depth, length) of each, at most.
            workers: Processes.

        Raises:
            SettingsError: The memory is too small for the largest; raised at once.
            ToolError: A worker was killed, usually for want of memory.
        """
        return fit_in_processes(
            self.fit,
            works,
            workers=workers,
            needed={f"family {name}": self.needed_bytes(*size) for name, size in sizes.items()},
            needed_by=lambda work: self.needed_bytes(work.family.depth, work.family.length),
            standing=self.predictor_bytes,
            cure="lower --workers" if workers > 1 else "leave it out, or take a larger machine",
        )


def fit_table(
    fitter: FamilyFitter,
    *,
    families: Sequence[Path],
    targets: Sequence[Path] | None,
    test_rows: Sequence[Path],
    workers: int,
    output: Path,
    report: Path,
    **facts: object,
) -> None:
    """Fit the families of tables in processes; write their contact scores and a report.

    Args:
        fitter: How.
        families: Tables of them.
        targets: Tables of the targets whose families are fitted; None for all.
        test_rows: Tables of test rows of the families, or of some.
        workers: Processes.
        output: Table of contact scores.
        report: One line a family, tab-separated.
        facts: More for the metadata of the scores.

    Raises:
        DataError: A family and its target differ in length, or a fit failed.
        SettingsError: The memory is too small for the largest family.
        ToolError: A process was killed, usually for want of memory.
    """
    lengths = {target.id: target.length for target in read_targets(*(targets or []))}
    sizes = {
        name: (depth, length)
        for name, depth, length in read_sizes(*families)
        if not targets or name in lengths
    }
    for name, (_, length) in sizes.items():
        if lengths.get(name, length) != length:
            raise DataError(f"family {name} has {length} columns, its target {lengths[name]}")
    note(
        f"{len(sizes)} families to fit"
        + (f"; {len(lengths) - len(sizes)} targets have no family" if targets else "")
    )
    judges = {rows.id: rows for rows in read_families(*test_rows, only=sizes)}
    works = (Work(family, judges.get(family.id)) for family in read_families(*families, only=sizes))
    fits = fitter.fit_all(works, sizes, workers=workers)
    rows: list[ReportRow] = []

    def scores() -> Iterator[Scores]:
        for score, row in track(fits, total=len(sizes), what="families fitted"):
            rows.append(row)
            yield score

    metadata = provenance(families=[path.name for path in families], **fitter.facts(), **facts)
    count = write_scores(output, scores(), metadata)
    write_tsv(report, [column.name for column in fields(ReportRow)], map(astuple, rows))
    stopped_early = sum(not row.converged for row in rows)
    note(f"{count} families fitted, {stopped_early} of them did not converge")
