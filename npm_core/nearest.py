"""Contact scores of targets by the Potts model of their nearest training family (paper, C.3)."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from npm_core.arrays import Indices
from npm_core.errors import DataError
from npm_core.family_fitting import FamilyFitter, Work
from npm_core.neighbours import by_family, read_neighbours, transfer, under_reference
from npm_core.progress import note, track
from npm_core.provenance import provenance
from npm_core.tables import Scores, read_families, read_sizes, read_targets, write_scores


def transfer_table(
    fitter: FamilyFitter,
    *,
    neighbours: Path,
    targets: Sequence[Path],
    families: Sequence[Path],
    seed: int,
    workers: int,
    output: Path,
) -> None:
    """Fit each nearest family once, carry its scores to its targets, and write them.

    Args:
        fitter: How.
        neighbours: Table of them, one of each of these targets, and of others.
        targets: Tables of the targets.
        families: Tables of the families that the neighbours lead to, and of others.
        seed: Of the reference members.
        workers: Processes.
        output: Table of contact scores.

    Raises:
        DataError: A target has no neighbour in the table, not even none, or one leads to a family
            that is not there.
        SettingsError: The memory is too small for the largest family.
        ToolError: A process was killed, usually for want of memory.
    """
    lengths = {target.id: target.length for target in read_targets(*targets)}
    found = [one for one in read_neighbours(neighbours) if one.target in lengths]
    if absent := lengths.keys() - {one.target for one in found}:
        raise DataError(
            f"{neighbours}: target {min(absent)} is not among them. Find the neighbours again"
        )
    nearest = by_family(found)
    sizes = {
        name: (depth, length) for name, depth, length in read_sizes(*families) if name in nearest
    }
    if missing := nearest.keys() - sizes.keys():
        raise DataError(
            f"{neighbours}: nearest family {min(missing)} is not among the families. "
            "Find the neighbours again"
        )
    columns: dict[str, Indices] = {}

    def references() -> Iterator[Work]:
        threshold = fitter.objective.identity_threshold
        for family in read_families(*families, only=nearest):
            reference, columns[family.id] = under_reference(
                family, seed=seed, identity_threshold=threshold
            )
            yield Work(reference)

    fits = fitter.fit_all(references(), sizes, workers=workers)
    not_converged = 0

    def transferred() -> Iterator[Scores]:
        nonlocal not_converged
        for fitted, report in track(fits, total=len(nearest), what="families fitted"):
            not_converged += not report.converged
            under = columns.pop(fitted.id)
            for one in nearest[fitted.id]:
                matrix = transfer(fitted.matrix, under, one, lengths[one.target])
                if matrix is not None:
                    yield replace(fitted, id=one.target, matrix=matrix)

    without_hit = sum(one.family is None for one in found)
    facts = provenance(
        **fitter.facts(),
        seed=seed,
        families_fitted=len(nearest),
        targets_with_hit=len(found) - without_hit,
        targets_without_hit=without_hit,
    )
    count = write_scores(output, transferred(), facts)
    note(
        f"{count} targets from {len(nearest)} families; {without_hit} without a hit, "
        f"{len(found) - without_hit - count} without two aligned residues; "
        f"{not_converged} fits did not converge"
    )
