"""Command line arguments of the verbs that train, and the training that they ask for."""

import argparse
import dataclasses
from typing import TYPE_CHECKING, Any

from npm_core.cli._arguments import OutputFile, OutputFolder, register_device, register_threads

if TYPE_CHECKING:
    from npm_core.task import Task


def register_run(parser: argparse.ArgumentParser) -> None:
    """Flags of every training: where it writes and what it runs on."""
    parser.add_argument("--output", type=OutputFolder, required=True, help="for the checkpoint")
    parser.add_argument(
        "--scratch", type=OutputFolder, required=True, help="for what a stopped run resumes from"
    )
    parser.add_argument(
        "--metrics",
        type=OutputFile,
        required=True,
        help="CSV of loss, rate and validation, update by update",
    )
    parser.add_argument(
        "--tensorboard", type=OutputFolder, help="to write the metrics for TensorBoard, too"
    )
    register_device(parser)
    register_threads(parser)
    parser.add_argument(
        "--sharded",
        action="store_true",
        help="under torchrun: a share of the weights and moments on each process (FSDP2)",
    )
    parser.add_argument(
        "--compile", action="store_true", help="compile the Transformer's layers (torch.compile)"
    )


def optimise(task: "Task", args: argparse.Namespace, *settings: Any) -> None:
    """Run the loop as the flags say and write the model with the record of its training.

    Args:
        task: What is optimised.
        args: With the flags of `register_run` and --init.
        settings: For the record, beside those of the loop.
    """
    from npm_core.checkpoints import save_model
    from npm_core.devices import within_memory
    from npm_core.loop import Outcome, fit
    from npm_core.progress import note
    from npm_core.provenance import provenance
    from npm_core.team import join, whole_weights

    record = {type(part).__name__: dataclasses.asdict(part) for part in (*settings, task.loop)}
    facts = {"init": args.init, **record, **provenance()}
    with (
        within_memory("lower --micro-batch, which changes only how sums are rounded"),
        join(args.device, sharded=args.sharded) as team,
    ):

        def save(outcome: Outcome) -> None:
            weights = whole_weights(task.model)
            if team.first:
                done = {**facts, "outcome": dataclasses.asdict(outcome)}
                save_model(args.output, task.model, done, weights=weights)

        outcome = fit(
            task,
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
