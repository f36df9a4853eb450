"""Train the Neural Potts Model on families (eq. 8, Algorithm 1).

Writes a checkpoint (config.json, model.safetensors) for `predict` and `npm-contacts`. A run that
was stopped resumes from --scratch when the same command is given again, to the same weights.
Under torchrun it trains on all processes.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from npm_core.arguments import OutputFile, OutputFolder, positive_int, register_contact_distance

if TYPE_CHECKING:
    from npm_core.checkpoints import Model
    from npm_core.loop import Outcome, Task


def register(parser: argparse.ArgumentParser) -> None:
    from npm_core.loop import LoopSettings
    from npm_core.model import HeadSettings, TrunkSettings
    from npm_core.objective import ObjectiveSettings
    from npm_core.settings import add_flags
    from npm_core.training import TrainSettings

    parser.add_argument("--families", type=Path, nargs="+", required=True, help="shards")
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
        required=True,
        help="folder of a checkpoint: a masked language model (its trunk) or a Neural Potts Model "
        "(all of it); or `random`",
    )
    add_run_flags(parser)
    add_flags(parser, TrunkSettings, "trunk-")
    add_flags(parser, HeadSettings, "head-")
    add_flags(parser, TrainSettings)
    add_flags(parser, ObjectiveSettings)
    add_flags(parser, LoopSettings)


def add_run_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of every training: where it writes and what it runs on."""
    parser.add_argument("--output", type=OutputFolder, required=True, help="for the checkpoint")
    parser.add_argument(
        "--scratch", type=OutputFolder, required=True, help="for what a stopped run resumes from"
    )
    parser.add_argument("--metrics", type=OutputFile, required=True, help="CSV of the trajectory")
    parser.add_argument(
        "--tensorboard", type=OutputFolder, help="to write the metrics for TensorBoard, too"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda or, of several GPUs, cuda:1")
    parser.add_argument("--threads", type=positive_int, default=1, help="of the CPU")
    parser.add_argument(
        "--sharded",
        action="store_true",
        help="under torchrun: a share of the weights and moments on each process (FSDP2)",
    )
    parser.add_argument(
        "--compile", action="store_true", help="compile the Transformer's layers (torch.compile)"
    )


def run(args: argparse.Namespace) -> None:
    import torch

    from npm_core.batching import Families
    from npm_core.checkpoints import start_from
    from npm_core.devices import use_threads
    from npm_core.loop import LoopSettings
    from npm_core.objective import ObjectiveSettings
    from npm_core.selection import read_choice, with_choice
    from npm_core.settings import overridden
    from npm_core.tables import read_targets
    from npm_core.training import NpmTask, TrainSettings, check_frozen

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
    model = start_from(args.init, lambda settings: overridden(settings, args))
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
    optimise(task, model, args, train, objective, loop)


def optimise(task: "Task", model: "Model", args: argparse.Namespace, *settings: Any) -> None:
    """Run the loop as the flags say and write the model with the record of its training.

    Args:
        task: What is optimised.
        model: The part of it that is written.
        args: With the flags of `add_run_flags` and --init.
        settings: For the record; the last are those of the loop.
    """
    import dataclasses

    from npm_core.checkpoints import make_folder, save_model
    from npm_core.loop import fit
    from npm_core.progress import note
    from npm_core.provenance import provenance
    from npm_core.team import whole_weights, workers

    record = {type(part).__name__: dataclasses.asdict(part) for part in settings}
    facts = {"init": args.init, **record, **provenance()}
    make_folder(args.output)
    with workers(args.device, sharded=args.sharded) as team:

        def save(outcome: "Outcome") -> None:
            weights = whole_weights(model)
            if team.first:
                done = {**facts, "outcome": dataclasses.asdict(outcome)}
                save_model(args.output, model, done, weights=weights)

        outcome = fit(
            task,
            settings[-1],
            scratch=args.scratch,
            metrics=args.metrics,
            team=team,
            tensorboard=args.tensorboard,
            compiled=args.compile,
            save=save,
        )
    if team.first:
        note(
            f"{args.output}: {outcome.steps} updates in {outcome.seconds:.0f} s, ended by "
            f"{outcome.ended_by}, {outcome.waiting:.1%} of the time waiting for data"
        )
