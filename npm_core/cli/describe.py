"""Print the parameter table of a model: a checkpoint, a settings file or one of the paper's.

CONFIG is `pfam_clan` or `uniref50` (Table 2), the folder of a checkpoint, or a JSON or YAML file
with the sections trunk and head (and frozen: true where the trunk is not trained).
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from npm_core.cli._arguments import positive_int

if TYPE_CHECKING:
    from npm_core.architecture import Architecture


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG", help="pfam_clan, uniref50, a folder or a file")
    parser.add_argument(
        "--rank", type=positive_int, help="projection dimension d' in place of the model's"
    )


def run(args: argparse.Namespace) -> None:
    import dataclasses

    import torch

    from npm_core.architecture import PAPER
    from npm_core.model import NeuralPottsModel, count_parameters
    from npm_core.trunks import build_trunk

    asked = PAPER.get(args.config) or _architecture(args.config)
    trunk, head = asked.trunk, asked.head
    if args.rank is not None:
        head = dataclasses.replace(head, rank=args.rank)
    with torch.device("meta"):
        model = NeuralPottsModel(build_trunk(trunk), head)
    parts = {
        f"trunk ({trunk.kind}, {trunk.layers} x {trunk.width})": (model.trunk, asked.frozen),
        f"couplings ({head.kind}, d' = {head.rank})": (model.couplings, False),
        "fields": (model.fields, False),
    }
    rows = [(what, count_parameters(part), frozen) for what, (part, frozen) in parts.items()]
    print(f"{'part':<40} {'parameters':>13}")
    for what, count, frozen in rows:
        print(f"{what:<40} {count:>13,}{'  frozen' if frozen else ''}")
    print(f"{'all':<40} {sum(count for _, count, _ in rows):>13,}")
    print(f"{'trained':<40} {sum(count for _, count, frozen in rows if not frozen):>13,}")


def _architecture(config: str) -> "Architecture":
    """That of a checkpoint or of a settings file.

    Raises:
        DataError: There is no such file, or it is of no Neural Potts Model.
    """
    from npm_core.architecture import Architecture
    from npm_core.checkpoints import model_settings
    from npm_core.errors import DataError

    content = _read(Path(config))
    trunk, head = model_settings(content, config)
    if head is None:
        raise DataError(f"{config}: a model without a head")
    facts = content.get("facts", {})
    trained = facts.get("TrainSettings", content) if isinstance(facts, dict) else None
    frozen = trained.get("frozen", False) if isinstance(trained, dict) else None
    if not isinstance(frozen, bool):
        raise DataError(f"{config}: expected facts by name, and frozen true or false")
    return Architecture(trunk, head, frozen)


def _read(path: Path) -> dict[str, Any]:
    """The config.json of a checkpoint, or a settings file."""
    import json

    import yaml

    from npm_core.architecture import PAPER
    from npm_core.checkpoints import read_config
    from npm_core.errors import DataError

    if path.is_dir():
        return read_config(path)
    try:
        text = path.read_text(encoding="utf-8")
        # YAML takes JSON's 1e-05 for a word.
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; the paper's are {sorted(PAPER)}") from error
    except (ValueError, yaml.YAMLError) as error:
        raise DataError(f"{path}: neither JSON nor YAML ({error})") from error
    if not isinstance(content, dict) or "trunk" not in content:
        raise DataError(f"{path}: expected the sections trunk and head")
    return content
