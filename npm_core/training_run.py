"""One training as its command line asks for it, from the team that joins to the saved model."""

import argparse
import dataclasses
from typing import Any

from npm_core.checkpoints import make_folder, save_model
from npm_core.loop import Outcome, fit
from npm_core.progress import note
from npm_core.provenance import provenance
from npm_core.task import Task
from npm_core.team import join, whole_weights


def optimise(task: Task, args: argparse.Namespace, *settings: Any) -> None:
    """Run the loop as the flags say and write the model with the record of its training.

    Args:
        task: What is optimised.
        args: With the flags of `register_run` and --init.
        settings: For the record, beside those of the loop.
    """
    record = {type(part).__name__: dataclasses.asdict(part) for part in (*settings, task.loop)}
    facts = {"init": args.init, **record, **provenance()}
    make_folder(args.output)
    with join(args.device, sharded=args.sharded) as team:

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
