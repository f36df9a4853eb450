"""Contact scores of the Neural Potts Model for every target of a table, from its sequence alone.

With --shuffle-seed each target is also read with its residues in random order (model
npm_shuffled). The scores stay at their positions, so this is what a model knows of a map of this
length without looking at the sequence.
"""

import argparse
from pathlib import Path


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--targets", type=Path, nargs="+", required=True, help="Tables of targets.")
    parser.add_argument("--checkpoint", type=Path, required=True, help="Folder of `train`.")
    parser.add_argument("--output", type=Path, required=True, help="Table of contact scores.")
    parser.add_argument("--model", default="npm", help="Name in the table. Default: npm.")
    parser.add_argument(
        "--shuffle-seed", type=int, help="Add the shuffled control, drawn with this seed."
    )
    parser.add_argument(
        "--centre",
        choices=("none", "mean", "zero_sum"),
        default="none",
        help="What is subtracted from each J_ij before its norm. Default: none.",
    )
    parser.add_argument("--window", type=int, default=512, help="Positions read at a time.")
    parser.add_argument("--device", default="cpu", help="cpu or cuda. Default: cpu.")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads. Default: 1.")


def run(args: argparse.Namespace) -> None:
    import torch

    from npm_core.predict import load_predictor, target_scores
    from npm_core.progress import track
    from npm_core.provenance import file_digest, provenance
    from npm_core.tables import read_targets, write_scores

    torch.set_num_threads(args.threads)
    model = load_predictor(args.checkpoint, args.device)
    targets = list(read_targets(*args.targets))
    scores = target_scores(
        model,
        track(targets, total=len(targets), what="targets read"),
        name=args.model,
        window=args.window,
        shuffle_seed=args.shuffle_seed,
        centre=args.centre,
    )
    facts = provenance(
        checkpoint=file_digest(args.checkpoint / "model.safetensors"),
        shuffle_seed=args.shuffle_seed,
        window=args.window,
        centre=args.centre,
    )
    write_scores(args.output, scores, facts)
