"""Command line arguments of the verbs that train."""

import argparse

from npm_core.arguments import OutputFile, OutputFolder, register_device, register_threads


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
