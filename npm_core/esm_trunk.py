"""fair-esm's ESM-1 and ESM-2 as trunks: their layers, our alphabet, no language-model head."""

import argparse
from collections.abc import Iterable
from typing import Any

import esm
import torch
from torch import Tensor, nn

from npm_core import alphabet
from npm_core.architecture import TrunkSettings
from npm_core.model import MASK, PAD, Trunk

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
