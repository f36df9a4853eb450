"""Turn a checkpoint that fair-esm published into a trunk that `train --init` starts from.

The paper's Pfam model starts from esm1_t12_85M_UR50S.pt. The file is opened only if its sha256
is the one given.
"""

import argparse
from pathlib import Path

from npm_core.cli._arguments import OutputFolder


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", type=Path, required=True, help="the .pt file")
    parser.add_argument("--sha256", required=True, help="its expected digest")
    parser.add_argument("--output", type=OutputFolder, required=True, help="for the checkpoint")


def run(args: argparse.Namespace) -> None:
    from npm_core.checkpoints import save_model
    from npm_core.esm_import import read_published
    from npm_core.provenance import provenance

    trunk = read_published(args.checkpoint, sha256=args.sha256)
    save_model(args.output, trunk, provenance(source=args.checkpoint.name, sha256=args.sha256))
