"""Trunks from the checkpoints that fair-esm published."""

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from npm_core.architecture import TrunkSettings
from npm_core.checkpoints import load_exactly
from npm_core.errors import DataError
from npm_core.esm_trunk import HEADS, EsmTrunk
from npm_core.provenance import file_digest


def read_published(path: Path | str, *, sha256: str) -> EsmTrunk:
    """A trunk from a checkpoint that fair-esm published, e.g. esm1_t12_85M_UR50S.pt.

    Args:
        path: The file, downloaded before.
        sha256: Its expected digest, in hexadecimal. No other file is opened.

    Raises:
        DataError: The digest differs, the file holds more than tensors and settings, or its
            weights are not those of the architecture.
    """
    digest = file_digest(path)
    if digest != sha256.lower():
        raise DataError(f"{path}: sha256 is {digest}, expected {sha256}; download it again")
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a file that is no safe checkpoint
        raise DataError(
            f"{path}: not a checkpoint of tensors and settings alone ({type(error).__name__}); of "
            "fair-esm's files those of ESM-1 and ESM-2 are read"
        ) from error
    settings = _published_settings(content, str(path))
    trunk = EsmTrunk(settings)
    weights = {f"esm.{_PREFIX.sub('', name)}": w for name, w in content["model"].items()}
    weights = {
        name: w
        for name, w in weights.items()
        if not name.startswith(tuple(f"esm.{h}" for h in HEADS))
    }
    generated = {
        name: w
        for name, w in trunk.state_dict().items()
        if name.endswith(("_float_tensor", "inv_freq"))
    }
    load_exactly(trunk, {**generated, **weights}, str(path))
    return trunk


_PREFIX = re.compile(r"^(decoder|encoder\.sentence_encoder|encoder)\.")
"""What stands before the weights' names: ESM-2's Transformer has another than its lm_head."""


def _published_settings(content: Mapping[str, Any], where: str) -> TrunkSettings:
    """Trunk settings of a fair-esm file."""
    if "args" in content and getattr(content["args"], "arch", None) == "protein_bert_base":
        found = {key.removeprefix("decoder_"): v for key, v in vars(content["args"]).items()}
        kind = "esm1"
    elif "cfg" in content:
        model = content["cfg"]["model"]
        model = model if isinstance(model, Mapping) else vars(model)
        found = {key.removeprefix("encoder_"): v for key, v in model.items()}
        kind = "esm2"
    else:
        raise DataError(f"{where}: neither an ESM-1 (protein_bert_base) nor an ESM-2 checkpoint")
    width = found["embed_dim"]
    hidden = found.get("ffn_embed_dim", 4 * width)
    if hidden % width:
        raise DataError(f"{where}: feed-forward width {hidden} is no multiple of {width}")
    return TrunkSettings(kind, found["layers"], width, found["attention_heads"], hidden // width)
