"""Contact scores of the Neural Potts Model for every target of a table, from its sequence alone.

With --shuffle-seed each target is also read with its residues in random order (model
npm_shuffled). The scores stay at their positions, so this is what a model knows of a map of this
length without looking at the sequence.

With --neighbours each target also gets the scores of the model reading the query of its nearest
family (model npm_sister), carried over by the alignment of the two: what the target's own sequence
adds to that of a relative. Targets without a neighbour have none and are counted.
"""

import argparse
from itertools import chain
from pathlib import Path

from npm_core.cli._arguments import (
    OutputFile,
    register_device,
    register_threads,
    register_window,
    whole,
)
from npm_core.cli._contacts import register_centre, register_test_rows


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--targets", type=Path, nargs="+", required=True, help="tables of targets")
    parser.add_argument("--checkpoint", type=Path, required=True, metavar="DIR", help="of `train`")
    parser.add_argument("--output", type=OutputFile, required=True, help="table of contact scores")
    parser.add_argument("--model", default="npm", help="name in the table")
    parser.add_argument(
        "--shuffle-seed", type=whole, help="add the shuffled control, drawn with this seed"
    )
    parser.add_argument(
        "--neighbours", type=Path, help="add the sister control: find-neighbours' table"
    )
    parser.add_argument(
        "--families",
        type=Path,
        nargs="+",
        default=[],
        help="tables of the families that the neighbours are in",
    )
    parser.add_argument(
        "--sister-seed", type=whole, default=0, help="of the sisters' members (default: 0)"
    )
    register_test_rows(parser)
    register_centre(parser)
    register_window(parser)
    register_device(parser)
    register_threads(parser)


def run(args: argparse.Namespace) -> None:
    from npm_core.checkpoints import read_config, trained_length
    from npm_core.devices import use_threads
    from npm_core.neighbours import by_family, read_neighbours
    from npm_core.predict import load_predictor, target_scores
    from npm_core.progress import track
    from npm_core.provenance import provenance
    from npm_core.sisters import sister_scores
    from npm_core.tables import read_families, read_targets, write_scores

    use_threads(args.threads)
    model = load_predictor(args.checkpoint, args.device)
    window = args.window or trained_length(args.checkpoint)
    targets = list(read_targets(*args.targets))
    scores = target_scores(
        model,
        track(targets, total=len(targets), what="targets read"),
        name=args.model,
        window=window,
        shuffle_seed=args.shuffle_seed,
        centre=args.centre,
        test_rows={rows.id: rows for rows in read_families(*args.test_rows)},
    )
    neighbours = read_neighbours(args.neighbours) if args.neighbours else []
    sisters = list(
        sister_scores(
            model,
            neighbours,
            read_families(*args.families, only=by_family(neighbours)),
            {target.id: target.length for target in targets},
            seed=args.sister_seed,
            window=window,
            centre=args.centre,
        )
    )
    facts = provenance(
        checkpoint=read_config(args.checkpoint)["sha256"],
        shuffle_seed=args.shuffle_seed,
        window=window,
        centre=args.centre,
        sister_seed=args.sister_seed if args.neighbours else None,
        targets_without_sister=len(neighbours) - len(sisters),
    )
    write_scores(args.output, chain(scores, sisters), facts)
