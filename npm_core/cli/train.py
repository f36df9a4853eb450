"""Train the Neural Potts Model on families (eq. 8, Algorithm 1).

Writes a checkpoint (config.json, model.safetensors) for `predict` and `npm-contacts`. A run that
was stopped resumes from --scratch when the same command is given again, to the same weights.
Under torchrun it trains on all processes.
"""

import argparse
from pathlib import Path

from npm_core.architecture import HeadSettings, TrunkSettings
from npm_core.cli._arguments import register_contact_distance
from npm_core.cli._training import optimise, register_run
from npm_core.settings import add_flags, overridden
from npm_core.training_settings import LoopSettings, ObjectiveSettings, TrainSettings


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--families", type=Path, nargs="+", required=True, help="tables to train on"
    )
    parser.add_argument(
        "--replace",
        type=Path,
        nargs="+",
        default=[],
        help="families that stand in for those of the same id (the reduced bucket)",
    )
    parser.add_argument(
        "--without",
        type=Path,
        nargs="+",
        default=[],
        help="families that are left out (the evaluation bucket, as a control)",
    )
    parser.add_argument(
        "--choice",
        type=Path,
        help="JSON of `choose-settings`; the settings chosen there overrule the flags",
    )
    parser.add_argument(
        "--validation", type=Path, nargs="+", default=[], help="families whose loss is watched"
    )
    parser.add_argument(
        "--validation-reduced",
        type=Path,
        nargs="+",
        default=[],
        help="the same families at the depth that is trained on; their loss is watched too",
    )
    parser.add_argument(
        "--validation-targets",
        type=Path,
        nargs="+",
        default=[],
        help="structures whose long-range P@L and P@L/5 are watched",
    )
    register_contact_distance(parser)
    parser.add_argument(
        "--init",
        default="random",
        metavar="DIR",
        help="folder of a checkpoint: a masked language model (its trunk) or a Neural Potts Model "
        "(all of it); or `random`",
    )
    register_run(parser)
    add_flags(parser, TrunkSettings, "trunk-")
    add_flags(parser, HeadSettings, "head-")
    add_flags(parser, TrainSettings)
    add_flags(parser, ObjectiveSettings)
    add_flags(parser, LoopSettings)


def run(args: argparse.Namespace) -> None:
    import torch

    from npm_core.checkpoints import model_to_train
    from npm_core.devices import use_threads
    from npm_core.families import Families
    from npm_core.selection import read_choice, with_choice
    from npm_core.tables import read_targets
    from npm_core.training import NpmTask, check_frozen

    choice = read_choice(args.choice) if args.choice else {}
    loop, train, objective = with_choice(
        choice,
        overridden(LoopSettings(), args),
        overridden(TrainSettings(), args),
        overridden(ObjectiveSettings(), args),
    )
    check_frozen(train, args.init)
    use_threads(args.threads)
    torch.manual_seed(loop.seed)
    model = model_to_train(args.init, lambda settings: overridden(settings, args))
    task = NpmTask(
        model,
        Families(args.families, replace=args.replace, without=args.without),
        train=train,
        objective=objective,
        loop=loop,
        validation=Families(args.validation) if args.validation else None,
        reduced=Families(args.validation_reduced) if args.validation_reduced else None,
        targets=list(read_targets(*args.validation_targets)) if args.validation_targets else None,
        contact_distance=args.contact_distance,
    )
    optimise(task, args, train, objective)
