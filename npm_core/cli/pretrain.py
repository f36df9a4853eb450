"""Pretrain a trunk by masked language modelling of unaligned sequences.

Writes a checkpoint (config.json, model.safetensors) that `train --init` starts from. A run that
was stopped resumes from --scratch when the same command is given again. Under torchrun it trains
on all processes.
"""

import argparse
from pathlib import Path

from npm_core.architecture import TrunkSettings
from npm_core.cli._training import optimise, register_run
from npm_core.settings import add_flags, overridden
from npm_core.training_settings import LoopSettings, PretrainSettings


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--fasta", type=Path, nargs="+", required=True, help="sequences")
    parser.add_argument(
        "--validation", type=Path, nargs="+", default=[], help="sequences whose loss is watched"
    )
    parser.add_argument(
        "--init",
        default="random",
        metavar="DIR",
        help="folder of a masked language model to go on from, or `random`",
    )
    register_run(parser)
    add_flags(parser, TrunkSettings, "trunk-")
    add_flags(parser, PretrainSettings)
    add_flags(parser, LoopSettings)


def run(args: argparse.Namespace) -> None:
    import torch

    from npm_core.checkpoints import model_to_pretrain
    from npm_core.devices import use_threads
    from npm_core.pretraining import MaskedLanguageTask, read_sequences

    loop = overridden(LoopSettings(), args)
    pretrain = overridden(PretrainSettings(), args)
    use_threads(args.threads)
    torch.manual_seed(loop.seed)
    model = model_to_pretrain(args.init, lambda settings: overridden(settings, args))
    task = MaskedLanguageTask(
        model,
        read_sequences(args.fasta),
        pretrain=pretrain,
        loop=loop,
        validation=read_sequences(args.validation) if args.validation else None,
    )
    optimise(task, args, pretrain)
