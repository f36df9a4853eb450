"""Contact precision of one protein: P@L, P@L/2, P@L/5 and AUC of the three separation ranges.

Columns of the output: range, cutoff, precision, pairs (ranked), contacts (true among them; empty
for AUC), chance (the precision of pairs drawn at random) and tied (how many of the pairs ranked
have the score of one left out, and come before it by their (i, j) alone; empty for AUC). A range in
which no two residues are resolved has no rows.

Where both files hold the protein's sequence (.npz of `predict` or `score`; of `contacts`) and
these differ, as an alignment's query and SEQRES do, they are aligned: distances are brought onto
the scored residues, of which those without a counterpart count as unresolved, and L is their
number. Where a file holds none, both must have the same residues. Where scores have residue numbers
(.npz, EVcouplings CSV), those in between that have none count as unresolved, and in L.
"""

import argparse
from pathlib import Path

from npm_core.arguments import output_file, register_contact_distance, register_map


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--scores",
        type=Path,
        required=True,
        help="(L, L) matrix, higher is a stronger contact: text (CCMpred's .mat), .npy or .npz "
        '(its array "scores", or its only matrix; its "sequence"), symmetric or an upper triangle; '
        "or .rr (CASP; pairs it lacks rank last) or .csv (EVcouplings)",
    )
    parser.add_argument(
        "--contacts", type=Path, required=True, metavar="FILE.npz", help="of the verb `contacts`"
    )
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
    from npm_core.errors import DataError
    from npm_core.files import write_tsv
    from npm_core.matrices import read_distances, read_sequence
    from npm_core.pairwise import onto_query
    from npm_core.precision import RANGES, measure, rank_ranges
    from npm_core.progress import note
    from npm_core.score_files import read_pair_scores

    found, scored = read_pair_scores(args.scores).whole()
    scores, query = found.scores, found.query
    distances, sequence = read_distances(args.contacts), read_sequence(args.contacts)
    if sequence is not None and len(sequence) != len(distances):
        raise DataError(
            f"{args.contacts}: a sequence of {len(sequence)} for {len(distances)} residues"
        )
    try:
        if query is not None and sequence is not None and query != sequence:
            distances, matched = onto_query(distances, sequence, query)
            note(f"{matched} of {len(query)} scored residues matched to the structure's sequence")
        elif len(scores) != len(distances):
            raise DataError(
                f"{len(scores)} residues are scored, the structure has {len(distances)}; they can "
                "be aligned where both files hold the sequence, as an .npz of `score` does"
            )
        distances[~scored] = distances[:, ~scored] = np.nan
        rankings = rank_ranges(scores, distances, contact_distance=args.contact_distance)
    except DataError as error:
        raise DataError(f"{args.scores}, {args.contacts}: {error}") from error
    if not rankings:
        raise DataError(f"{args.contacts}: no two resolved residues are far enough apart")
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
