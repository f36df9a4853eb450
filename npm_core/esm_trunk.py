"""fair-esm's ESM-1 and ESM-2 as trunks: their layers, our alphabet, no language-model head."""

import argparse
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import esm
import torch
from torch import Tensor, nn

from npm_core import alphabet
from npm_core.checkpoints import load_exactly
from npm_core.errors import DataError
from npm_core.model import MASK, PAD, Trunk, TrunkSettings
from npm_core.provenance import file_digest

TRAINED_MASK_SHARE = 0.15 * 0.8
"""ESM-2 scales embeddings by how many tokens were masked in its training."""

HEADS = ("embed_out", "embed_out_bias", "contact_head", "lm_head")
"""Parts of a fair-esm model that come after the embedding."""


class EsmTrunk(Trunk):
    """Hidden states of a fair-esm model's last layer."""

    def __init__(self, settings: TrunkSettings) -> None:
        super().__init__()
        self.settings = settings
        self.esm: Any = _build(settings)
        self.esm_alphabet: Any = esm.data.Alphabet.from_architecture(_ARCHITECTURES[settings.kind])
        for name in HEADS:
            if hasattr(self.esm, name):
                delattr(self.esm, name)
        letters = list(alphabet.ALPHABET[: alphabet.GAP])
        indices = [self.esm_alphabet.get_idx(letter) for letter in letters]
        table = torch.tensor([*indices, self.esm_alphabet.mask_idx, self.esm_alphabet.padding_idx])
        assert (len(indices), len(indices) + 1) == (MASK, PAD)
        self.register_buffer("table", table, persistent=False)

    def transformer_layers(self) -> Iterable[nn.Module]:
        return self.esm.layers

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        words = self.with_ends(tokens, lengths)
        padding = words == self.esm_alphabet.padding_idx
        x = self.embed_words(words).transpose(0, 1)
        mask = padding if bool(padding.any()) else None
        for layer in self.esm.layers:
            x, _ = layer(x, self_attn_padding_mask=mask, need_head_weights=False)
        x = x.transpose(0, 1)
        if self.settings.kind == "esm2":
            x = self.esm.emb_layer_norm_after(x)
        return x[:, 1 : 1 + tokens.shape[1]]

    def with_ends(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """ESM's words: (B, 1 + L) for ESM-1, which has no end token; (B, 2 + L) for ESM-2."""
        words = self.table[tokens]  # type: ignore[index]
        first = torch.full_like(words[:, :1], self.esm_alphabet.cls_idx)
        words = torch.cat([first, words], dim=1)
        if self.esm_alphabet.append_eos:
            words = nn.functional.pad(words, (0, 1), value=self.esm_alphabet.padding_idx)
            end = torch.full_like(words[:, :1], self.esm_alphabet.eos_idx)
            words = words.scatter(1, lengths[:, None] + 1, end)
        return words

    def embed_words(self, words: Tensor) -> Tensor:
        """What enters the first layer."""
        model = self.esm
        if self.settings.kind == "esm1":
            return model.embed_scale * model.embed_tokens(words) + model.embed_positions(words)
        masked = words == self.esm_alphabet.mask_idx
        present = words != self.esm_alphabet.padding_idx
        x = model.embed_tokens(words).masked_fill(masked[..., None], 0.0)
        share = masked.sum(1) / present.sum(1)
        x = x * ((1 - TRAINED_MASK_SHARE) / (1 - share))[:, None, None].to(x.dtype)
        return x * present[..., None].to(x.dtype)


_ARCHITECTURES = {"esm1": "ESM-1", "esm2": "ESM-1b"}


def _build(settings: TrunkSettings) -> nn.Module:
    words = esm.data.Alphabet.from_architecture(_ARCHITECTURES[settings.kind])
    if settings.kind == "esm2":
        return esm.ESM2(settings.layers, settings.width, settings.attention_heads, words)
    arguments = argparse.Namespace(
        arch="protein_bert_base",
        layers=settings.layers,
        embed_dim=settings.width,
        ffn_embed_dim=settings.width * settings.feed_forward,
        attention_heads=settings.attention_heads,
        final_bias=True,
        max_positions=1024,
    )
    return esm.ProteinBertModel(arguments, words)


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
        raise DataError(f"{path}: not a checkpoint of tensors and settings ({error})") from error
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
