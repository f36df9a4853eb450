"""Contact precision of one protein: P@L, P@L/2, P@L/5 and AUC of the three separation ranges.

Columns of the output: range, cutoff, precision, pairs (ranked), contacts (true among them; empty
for AUC), chance (the precision of pairs drawn at random) and tied (how many of the pairs ranked
have the score of one left out, and come before it by their (i, j) alone; empty for AUC). A range in
which no two residues are resolved has no rows.

The contacts are those of a structure, or of the file that `contacts` wrote of one. Where the scores
hold the protein's sequence (.npz of `predict` or `score`, .csv, .rr) and it differs from the
structure's, as an alignment's query and SEQRES do, the two are aligned: distances are brought onto
the scored residues, of which those without a counterpart count as unresolved, and L is their
number. Scores without a sequence must have the structure's residues. Where scores have residue
numbers (.npz, EVcouplings CSV; in CASP RR an X without a pair tells), those in between that have no
score count as unresolved, and in L.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from npm_core.cli._arguments import (
    output_file,
    register_contact_distance,
    register_map,
    register_structure,
)

if TYPE_CHECKING:
    from npm_core.arrays import Float64


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--scores",
        type=Path,
        required=True,
        help="(L, L) matrix, higher is a stronger contact: text (CCMpred's .mat), .npy or .npz "
        '(its array "scores", or its only matrix; its "sequence"), symmetric or an upper triangle; '
        "or .rr (CASP; pairs it lacks rank last) or .csv (EVcouplings)",
    )
    contacts = parser.add_mutually_exclusive_group(required=True)
    contacts.add_argument(
        "--contacts", type=Path, metavar="FILE.npz", help="of the verb `contacts`"
    )
    register_structure(parser, contacts)
    register_contact_distance(parser)
    parser.add_argument(
        "--output",
        type=output_file(".tsv"),
        required=True,
        metavar="FILE.tsv",
        help="tab-separated table",
    )
    register_map(parser, ": contacts grey, right pairs blue, wrong ones red")


def run(args: argparse.Namespace) -> None:
    import numpy as np

    from npm_core.contact_map import draw_contact_map
    from npm_core.errors import DataError, told_where
    from npm_core.files import write_tsv
    from npm_core.pairwise import onto_query
    from npm_core.precision import RANGES, measure, rank_ranges
    from npm_core.progress import note
    from npm_core.score_files import read_pair_scores

    found, scored = read_pair_scores(args.scores).whole()
    scores, query = found.scores, found.query
    structure = args.structure or args.contacts
    distances, sequence = read_contacts(args)
    matched, by = len(distances), "one by one: no sequence to align"
    with told_where(f"{args.scores}, {structure}"):
        if query is not None and sequence is not None:
            by = "to the structure's sequence"
            if query != sequence:
                distances, matched = onto_query(distances, sequence, query)
        elif len(scores) != len(distances):
            raise DataError(
                f"{len(scores)} residues are scored, the structure has {len(distances)}; they can "
                "be aligned where both files hold the sequence, as an .npz of `score` does"
            )
        distances[~scored] = distances[:, ~scored] = np.nan
        rankings = rank_ranges(scores, distances, contact_distance=args.contact_distance)
    resolved = np.count_nonzero(~np.isnan(np.diag(distances)))
    note(f"{matched} of {len(scores)} residues matched {by}; {resolved} are scored and resolved")
    if not rankings:
        raise DataError(f"{structure}: no two resolved residues are far enough apart")
    for name in (name for name in RANGES if name not in rankings):
        note(f"no pair of resolved residues in the {name} range; left out")
    columns = ("range", "cutoff", "precision", "pairs", "contacts", "chance", "tied")
    rows = [
        (
            *(name, row.cutoff, f"{row.precision:.6f}", row.pairs, row.contacts),
            *(f"{ranking.chance():.6f}", row.tied),
        )
        for name, ranking in rankings.items()
        for row in measure(ranking, name)
    ]
    write_tsv(args.output, columns, rows)
    if far := rankings.get("long"):
        note(
            f"long range: P@L {far.precision(1):.3f}, P@L/5 {far.precision(5):.3f}, "
            f"by chance {far.chance():.3f}"
        )
    if any(tied for *_, tied in rows):
        note("a cut-off falls among pairs of one score, of which (i, j) decides: see column tied")
    if args.map:
        draw_contact_map(
            args.map,
            args.scores.name,
            scores,
            first=int(found.numbers[0]),
            distances=distances,
            contact_distance=args.contact_distance,
        )


def read_contacts(args: argparse.Namespace) -> "tuple[Float64, str | None]":
    """(L, L) angstrom, NaN where unresolved, and the L letters where they are known."""
    from npm_core.errors import DataError, SettingsError
    from npm_core.matrices import read_distances, read_sequence
    from npm_core.structures import read_target

    if args.structure:
        _, target = read_target(args.structure, args.chain)
        return target.distances.astype(float), target.sequence
    if args.chain:
        raise SettingsError("--chain needs --structure; the file of `contacts` is of one chain")
    distances, sequence = read_distances(args.contacts), read_sequence(args.contacts)
    if sequence is not None and len(sequence) != len(distances):
        raise DataError(
            f"{args.contacts}: a sequence of {len(sequence)} for {len(distances)} residues"
        )
    return distances, sequence
