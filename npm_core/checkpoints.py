"""A model on disk: a folder with config.json and model.safetensors; loads whole or not at all."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from npm_core import alphabet
from npm_core.architecture import HeadSettings, TrunkSettings
from npm_core.errors import DataError, SettingsError, told_where
from npm_core.files import atomic_path
from npm_core.model import MaskedLanguageModel, NeuralPottsModel, Trunk
from npm_core.provenance import file_digest
from npm_core.settings import from_mapping
from npm_core.trunks import build_trunk

CONFIG = "config.json"
WEIGHTS = "model.safetensors"

Model = NeuralPottsModel | MaskedLanguageModel | Trunk


KINDS = {
    "trunk": Trunk,
    "masked_language_model": MaskedLanguageModel,
    "neural_potts_model": NeuralPottsModel,
}


def kind_of(model: Model) -> str:
    """Its name in KINDS."""
    return next(kind for kind, made in KINDS.items() if isinstance(model, made))


def save_model(
    folder: Path | str,
    model: Model,
    facts: Mapping[str, Any],
    *,
    weights: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Write a model; `config.json` comes last and names the sha256 of the weights.

    Both files are whole on the disk before the first takes its name. An end between the two
    renames leaves a folder that `load_model` refuses; saved again, it is whole.

    Args:
        folder: Made if need be. A model that stood there is untouched if an error is raised.
        model: What to write.
        facts: Settings and outcome of the training, for the record.
        weights: The model's, gathered, where other processes hold a share of them.

    Raises:
        DataError: A weight is not finite.
        OutputError: There is no room.
    """
    folder = Path(folder)
    weights = model.state_dict() if weights is None else weights
    whole = {name: weight.detach().cpu().contiguous() for name, weight in weights.items()}
    for name, weight in whole.items():
        if not weight.isfinite().all():
            raise DataError(
                f"{folder}: not saved, as {name} holds NaN or infinity: the training has diverged. "
                "Lower its learning rates"
            )
    trunk = model if isinstance(model, Trunk) else model.trunk
    head = model.head_settings if isinstance(model, NeuralPottsModel) else None
    config: dict[str, Any] = {
        "kind": kind_of(model),
        "alphabet": alphabet.ALPHABET,
        "trunk": dataclasses.asdict(trunk.settings),
        "head": None if head is None else dataclasses.asdict(head),
    }
    # The inner block ends first.
    with atomic_path(folder / CONFIG) as text, atomic_path(folder / WEIGHTS) as tensors:
        save_file(whole, tensors)
        config |= {"sha256": file_digest(tensors), "facts": dict(facts)}
        text.write_text(json.dumps(config, indent=2, default=str) + "\n", encoding="utf-8")


def load_model(folder: Path | str) -> Model:
    """Read a model, on the CPU.

    Raises:
        DataError: A file is missing or damaged, its sha256 is not the one in the config, the
            alphabet is another, or weights are missing, too many or of another shape.
    """
    folder = Path(folder)
    config = read_config(folder)
    path = folder / WEIGHTS
    if not path.is_file():
        raise DataError(f"{path}: no such file; a checkpoint is a folder with {CONFIG}, {WEIGHTS}")
    digest = file_digest(path)
    if digest != config["sha256"]:
        raise DataError(
            f"{path}: sha256 is {digest}, {CONFIG} says {config['sha256']}. The two files are not "
            "of one checkpoint, or one is damaged: copy the folder again"
        )
    try:
        weights = load_file(path)
    except safetensors.SafetensorError as error:
        raise DataError(f"{path}: not a safetensors file ({error})") from error
    settings = model_settings(config, str(folder / CONFIG))
    with told_where(str(folder / CONFIG)):
        model = build_model(config["kind"], *settings)
    load_exactly(model, weights, str(path))
    return model


def load_exactly(model: nn.Module, weights: Mapping[str, torch.Tensor], where: str) -> None:
    """Copy weights into a model that has exactly these.

    Raises:
        DataError: A weight is missing, unknown or of another shape.
    """
    expected = model.state_dict()
    missing = sorted(set(expected) - set(weights))
    unknown = sorted(set(weights) - set(expected))
    if missing or unknown:
        raise DataError(
            f"{where}: {len(missing)} weights are missing (first: {missing[:1]}), {len(unknown)} "
            f"are unknown (first: {unknown[:1]}). The settings are of another model"
        )
    for name, value in weights.items():
        if value.shape != expected[name].shape:
            raise DataError(
                f"{where}: {name} is {tuple(value.shape)}, expected {tuple(expected[name].shape)}"
            )
    model.load_state_dict(dict(weights))


def read_config(folder: Path | str) -> dict[str, Any]:
    """`config.json` of a checkpoint.

    Raises:
        DataError: It is missing, no JSON object, or of another alphabet.
    """
    path = Path(folder) / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(
            f"{path}: no such file; a checkpoint is a folder with {CONFIG} and {WEIGHTS}"
        ) from error
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error})") from error
    if not isinstance(config, dict):
        raise DataError(f"{path}: {config!r}, expected the settings of a model by name")
    missing = {"kind", "alphabet", "trunk", "head", "sha256"} - set(config)
    if missing:
        raise DataError(f"{path}: {sorted(missing)} are missing")
    if config["alphabet"] != alphabet.ALPHABET:
        raise DataError(
            f"{path}: the model's alphabet is {config['alphabet']}, ours is {alphabet.ALPHABET}"
        )
    if not isinstance(config.get("facts", {}), dict):
        raise DataError(f"{path}: facts are {config['facts']!r}, expected them by name")
    return config


def model_settings(
    config: Mapping[str, Any], where: str
) -> tuple[TrunkSettings, HeadSettings | None]:
    """Trunk and head (None: there is none) of a config."""
    trunk = from_mapping(TrunkSettings, config["trunk"], f"{where}, trunk")
    head = config.get("head")
    return trunk, None if head is None else from_mapping(HeadSettings, head, f"{where}, head")


def build_model(kind: str, trunk: TrunkSettings, head: HeadSettings | None) -> Model:
    """A model with random weights, of one of KINDS.

    Raises:
        DataError: The kind is none of them, or lacks its head.
    """
    if kind == "trunk":
        return build_trunk(trunk)
    if kind == "masked_language_model":
        return MaskedLanguageModel(build_trunk(trunk))
    if kind == "neural_potts_model":
        if head is None:
            raise DataError("a neural_potts_model has a head, and its settings are null")
        return NeuralPottsModel(build_trunk(trunk), head)
    raise DataError(f"a checkpoint of kind {kind!r}, expected one of {', '.join(KINDS)}")


def trained_length(folder: Path | str) -> int:
    """Positions of the longest crop that a model's training showed it (C.1).

    Raises:
        DataError: The checkpoint does not record its training.
    """
    train = read_config(folder).get("facts", {}).get("TrainSettings")
    length = train.get("max_length") if isinstance(train, dict) else None
    if not isinstance(length, int) or length < 1:
        raise DataError(
            f"{Path(folder) / CONFIG}: records no training of this model, so the length it reads "
            "is not known; give --window"
        )
    return length


def model_to_pretrain(init: str, asked: Callable[[Any], Any]) -> MaskedLanguageModel:
    """The language model that a pretraining begins with.

    Args:
        init: "random", or the folder of a masked language model.
        asked: Puts what the user asked for in place of a settings' fields.

    Raises:
        SettingsError: The folder is of another kind of model, or asked for is another trunk.
    """
    if init == "random":
        return MaskedLanguageModel(build_trunk(asked(TrunkSettings())))
    model = load_model(init)
    if not isinstance(model, MaskedLanguageModel):
        raise SettingsError(f"{init}: not a masked language model")
    _require_same(init, model.trunk.settings, asked)
    return model


def model_to_train(init: str, asked: Callable[[Any], Any]) -> NeuralPottsModel:
    """The Neural Potts Model that a training begins with.

    Args:
        init: "random", or the folder of a trunk or a masked language model (a new head on top),
            or of a Neural Potts Model (all of it).
        asked: Puts what the user asked for in place of a settings' fields.

    Raises:
        SettingsError: Asked for is another trunk or head than the checkpoint's.
    """
    if init == "random":
        return NeuralPottsModel(build_trunk(asked(TrunkSettings())), asked(HeadSettings()))
    model = load_model(init)
    trunk = model if isinstance(model, Trunk) else model.trunk
    _require_same(init, trunk.settings, asked)
    if not isinstance(model, NeuralPottsModel):
        return NeuralPottsModel(trunk, asked(HeadSettings()))
    _require_same(init, model.head_settings, asked)
    return model


def _require_same(where: str, found: Any, asked: Callable[[Any], Any]) -> None:
    """Raise SettingsError if other settings are asked for than a checkpoint has."""
    if asked(found) != found:
        raise SettingsError(f"{where}: the model has {found}, asked for is {asked(found)}")
