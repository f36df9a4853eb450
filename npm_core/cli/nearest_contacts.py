"""Score each target's contacts by the Potts model of its nearest training family (paper, C.3).

The model is fitted to the family's alignment under a random member; the rows and columns of its
contact scores that align to the target are the target's. Pairs that do not align rank last.
Targets without a hit, or without two aligned residues, get no scores and are counted.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from npm_core.arguments import OutputFile, positive_int
from npm_core.potts_arguments import register_centre, register_objective


def register(parser: argparse.ArgumentParser) -> None:
    """Arguments of `nearest-contacts`."""
    parser.add_argument("--neighbours", type=Path, required=True, metavar="FILE.parquet")
    parser.add_argument("--targets", type=Path, required=True, nargs="+", metavar="FILE.parquet")
    parser.add_argument("--families", type=Path, required=True, nargs="+", metavar="FILE.parquet")
    register_objective(parser)
    register_centre(parser)
    parser.add_argument("--seed", type=int, required=True, help="of the reference members")
    parser.add_argument("--workers", type=positive_int, default=1, help="processes")
    parser.add_argument("--output", type=OutputFile, required=True, metavar="FILE.parquet")


def run(args: argparse.Namespace) -> None:
    """Fit each neighbour once, carry its scores over, and write them."""
    from npm_core import memory
    from npm_core.errors import DataError
    from npm_core.family_fitting import FamilyFitter
    from npm_core.neighbours import Indices, by_family, read_neighbours, transfer, under_reference
    from npm_core.plm import Objective, Stop
    from npm_core.progress import note, track
    from npm_core.provenance import provenance
    from npm_core.tables import (
        Family,
        Scores,
        read_families,
        read_sizes,
        read_targets,
        write_scores,
    )

    lengths = {target.id: target.length for target in read_targets(*args.targets)}
    neighbours = read_neighbours(args.neighbours)
    strays = [one.target for one in neighbours if one.target not in lengths]
    if strays:
        raise DataError(f"{args.neighbours}: {strays[0]} is not among the targets")
    nearest = by_family(neighbours)
    sizes = {name: size for name, *size in read_sizes(*args.families) if name in nearest}
    if missing := nearest.keys() - sizes.keys():
        raise DataError(
            f"{args.neighbours}: nearest family {min(missing)} is not among the families. "
            "Find the neighbours again"
        )
    threshold = args.identity_threshold
    objective = Objective(args.objective, identity_threshold=threshold)
    fitter = FamilyFitter(objective, Stop(args.stop_rel), args.centre, "nearest")
    needed = (fitter.needed_bytes(*size) for size in sizes.values())
    memory.require_at_once(needed, workers=args.workers, cure="lower --workers")

    columns: dict[str, Indices] = {}

    def references() -> Iterator[Family]:
        for family in read_families(*args.families):
            if family.id in nearest:
                reference, columns[family.id] = under_reference(
                    family, seed=args.seed, identity_threshold=threshold
                )
                yield reference

    fits = fitter.fit_all(references(), workers=args.workers)
    scores: dict[str, Scores] = {}
    not_converged = 0
    for fitted, report in track(fits, total=len(nearest), what="families fitted"):
        not_converged += not report.converged
        for one in nearest[fitted.id]:
            matrix = transfer(fitted.matrix, columns[fitted.id], one, lengths[one.target])
            if matrix is not None:
                scores[one.target] = replace(fitted, id=one.target, matrix=matrix)
    without_hit = sum(one.family is None for one in neighbours)
    without_pair = len(neighbours) - without_hit - len(scores)
    facts = provenance(
        **fitter.facts(),
        seed=args.seed,
        families_fitted=len(nearest),
        families_not_converged=not_converged,
        targets_without_hit=without_hit,
        targets_without_aligned_pair=without_pair,
    )
    in_order = (scores[one.target] for one in neighbours if one.target in scores)
    write_scores(args.output, in_order, facts)
    note(
        f"{len(scores)} targets from {len(nearest)} families; {without_hit} without a hit, "
        f"{without_pair} without two aligned residues; {not_converged} fits did not converge"
    )
