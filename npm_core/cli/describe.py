"""Print the parameter table of a model: a checkpoint, a settings file or one of the paper's.

CONFIG is `pfam_clan` or `uniref50` (Table 2), the folder of a checkpoint, or a JSON or YAML file
with the sections trunk and head (and frozen: true where the trunk is not trained).
"""

import argparse
from pathlib import Path


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG", help="pfam_clan, uniref50, a folder or a file.")
    parser.add_argument("--rank", type=int, help="Another projection dimension d'.")


def run(args: argparse.Namespace) -> None:
    import dataclasses

    import torch
    import yaml

    from npm_core.checkpoints import CONFIG, model_settings
    from npm_core.errors import DataError
    from npm_core.model import PAPER, NeuralPottsModel, build_trunk, count_parameters

    frozen = False
    if args.config in PAPER:
        trunk, head = PAPER[args.config]
        frozen = args.config == "pfam_clan"
    else:
        path = Path(args.config)
        path = path / CONFIG if path.is_dir() else path
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise DataError(f"{path}: no such file; the paper's are {sorted(PAPER)}") from error
        except yaml.YAMLError as error:
            raise DataError(f"{path}: neither JSON nor YAML ({error})") from error
        if not isinstance(content, dict) or "trunk" not in content:
            raise DataError(f"{path}: expected the sections trunk and head")
        trunk, found = model_settings(content, str(path))
        if found is None:
            raise DataError(f"{path}: a model without a head")
        head = found
        facts = content.get("facts", {}).get("TrainSettings", content)
        frozen = bool(facts.get("frozen", False))
    if args.rank:
        head = dataclasses.replace(head, rank=args.rank)
    with torch.device("meta"):
        model = NeuralPottsModel(build_trunk(trunk), head)
    parts = {
        f"trunk ({trunk.kind}, {trunk.layers} x {trunk.width})": (model.trunk, frozen),
        f"couplings ({head.kind}, d' = {head.rank})": (model.couplings, False),
        "fields": (model.fields, False),
    }
    rows = [(what, count_parameters(part), still) for what, (part, still) in parts.items()]
    print(f"{'part':<40} {'parameters':>13}")
    for what, count, still in rows:
        print(f"{what:<40} {count:>13,}{'  frozen' if still else ''}")
    print(f"{'all':<40} {sum(count for _, count, _ in rows):>13,}")
    print(f"{'trained':<40} {sum(count for _, count, still in rows if not still):>13,}")
