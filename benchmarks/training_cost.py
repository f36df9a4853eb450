"""FLOPs of the trainings that a config asks for, and hours of GPUs, by sizes and updates alone.

    python benchmarks/training_cost.py config/paper.yaml --gpus 8 --tflops 274

Nothing is run. Sequences count as --length residues each, and a GPU as fast as --tflops says: take
what `bench_npm.py` measured on yours (docs/performance.md).
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from npm_core.architecture import HeadSettings, TrunkSettings
from npm_core.flops import training_flops


class Training(NamedTuple):
    """What is trained, its updates and the FLOPs of one."""

    name: str
    updates: int
    each: float


def trainings(npm: dict[str, Any], length: int) -> Iterator[Training]:
    """Of the section npm of a config: each trunk's pretraining, then each experiment's."""
    trunks = {name: TrunkSettings(**trunk["transformer"]) for name, trunk in npm["trunks"].items()}
    for name, trunk in npm["trunks"].items():
        made = trunk["pretraining"]
        each = made["batch"] * training_flops(trunks[name], None, length, 0)
        yield Training(f"pretraining of trunk {name}", made["steps"], each)
    for name in ("uniref50", "pfam_clan"):
        part, made = npm[name], npm[name]["training"]
        flops = training_flops(
            trunks[part["trunk"]],
            HeadSettings(**part["head"]),
            length,
            made["rows"],
            frozen=made.get("frozen", False),
        )
        yield Training(f"one training of {name}", made["steps"], made["batch"] * flops)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path)
    parser.add_argument("--length", type=int, default=280, help="residues of a sequence, mean")
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--tflops", type=float, default=274, help="of one GPU, sustained")
    args = parser.parse_args()
    config = yaml.safe_load(args.config.read_text())
    print(f"{'':<36}{'updates':>9}{'FLOP':>10}{'hours of ' + str(args.gpus) + ' GPUs':>20}")
    for one in trainings(config["npm"], args.length):
        flops = one.updates * one.each
        hours = flops / (args.gpus * args.tflops * 1e12 * 3600)
        print(f"{one.name:<36}{one.updates:>9,}{flops:>10.1e}{hours:>20,.2f}")


if __name__ == "__main__":
    main()
