"""Contact precision of one protein: P@L, P@L/2, P@L/5 and AUC of the three separation ranges.

Columns of the output: range, cutoff, precision, pairs (ranked), contacts (true among them; empty
for AUC) and chance (the precision of pairs drawn at random). A range in which no two residues are
resolved has no rows.
"""

import argparse
from pathlib import Path


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--scores",
        type=Path,
        required=True,
        help="(L, L) matrix, higher is a stronger contact: text (CCMpred's .mat), .npy or .npz "
        '(its array "scores", or its only matrix), of which the upper triangle is read; or .rr '
        "(CASP; pairs it lacks rank last) or .csv (EVcouplings)",
    )
    parser.add_argument("--contacts", type=Path, required=True, help="npz of the verb contacts")
    parser.add_argument(
        "--contact-distance",
        type=float,
        default=8.0,
        help="angstrom; pairs this close or closer are contacts",
    )
    parser.add_argument("--output", type=Path, required=True, help="tab-separated table")


def run(args: argparse.Namespace) -> None:
    from npm_core.errors import DataError
    from npm_core.files import write_text
    from npm_core.formats import read_pair_scores
    from npm_core.matrices import read_distances
    from npm_core.precision import RANGES, measure, rank_ranges
    from npm_core.progress import note

    try:
        rankings = rank_ranges(
            read_pair_scores(args.scores).scores,
            read_distances(args.contacts),
            contact_distance=args.contact_distance,
        )
    except DataError as error:
        raise DataError(f"{args.scores}, {args.contacts}: {error}") from error
    if not rankings:
        raise DataError(f"{args.contacts}: no two resolved residues are far enough apart")
    for name in (name for name in RANGES if name not in rankings):
        note(f"no pair of resolved residues in the {name} range; left out")
    lines = ["range\tcutoff\tprecision\tpairs\tcontacts\tchance"]
    for name, ranking in rankings.items():
        for row in measure(ranking, name):
            contacts = "" if row.contacts is None else row.contacts
            lines.append(
                f"{name}\t{row.cutoff}\t{row.precision:.6f}\t{row.pairs}\t{contacts}"
                f"\t{ranking.chance():.6f}"
            )
    write_text(args.output, "\n".join(lines) + "\n")
