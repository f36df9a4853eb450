"""The Neural Potts Model: a Transformer reads one sequence, two heads write {h, J} (appendix B)."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from npm_core import alphabet
from npm_core.architecture import HeadSettings, TrunkSettings
from npm_core.errors import DataError

K = alphabet.STATES
MASK = alphabet.GAP
"""A query has no gaps: its state 20, a letter that names no amino acid, is read as masked."""
PAD = K
TOKENS = K + 1


# --- Trunk: tokens -> embeddings e = g(x) -------------------------------------------------------


class Trunk(nn.Module, ABC):
    """What every trunk offers: tokens and true lengths in, one embedding a residue out."""

    settings: TrunkSettings

    @abstractmethod
    def transformer_layers(self) -> Iterable[nn.Module]:
        """Its layers, the first to read first."""

    @abstractmethod
    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Embed sequences.

        Args:
            tokens: (B, L) int64: states 0..19, MASK, and PAD after a sequence's end.
            lengths: (B,) int64, residues of each sequence.

        Returns:
            (B, L, d); what stands behind a sequence's end has no meaning.
        """


class RotaryTrunk(Trunk):
    """Pre-norm Transformer encoder with rotary positions: only distances along the chain count."""

    def __init__(self, settings: TrunkSettings) -> None:
        super().__init__()
        self.settings = settings
        self.embed = nn.Embedding(TOKENS, settings.width, padding_idx=PAD)
        nn.init.normal_(self.embed.weight, std=1.0)
        self.layers = nn.ModuleList(RotaryLayer(settings) for _ in range(settings.layers))
        self.norm = nn.LayerNorm(settings.width)

    def transformer_layers(self) -> Iterable[nn.Module]:
        return self.layers

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        length = tokens.shape[1]
        x = self.embed(tokens)
        rotation = rotary_angles(
            length, self.settings.width // self.settings.attention_heads, like=x
        )
        visible = torch.arange(length, device=tokens.device) < lengths[:, None]
        mask = None if bool(visible.all()) else visible[:, None, None, :]
        for layer in self.layers:
            x = layer(x, rotation, mask)
        return self.norm(x)


class RotaryLayer(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x))."""

    def __init__(self, settings: TrunkSettings) -> None:
        super().__init__()
        d, hidden = settings.width, settings.width * settings.feed_forward
        self.heads = settings.attention_heads
        self.attention_norm = nn.LayerNorm(d)
        self.query_key_value = nn.Linear(d, 3 * d)
        self.attention_out = nn.Linear(d, d)
        self.feed_forward_norm = nn.LayerNorm(d)
        self.feed_forward_in = nn.Linear(d, hidden)
        self.feed_forward_out = nn.Linear(hidden, d)
        for writer in (self.attention_out, self.feed_forward_out):
            nn.init.normal_(writer.weight, std=0.02 / math.sqrt(2 * settings.layers))
            nn.init.zeros_(writer.bias)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        batch, length, d = x.shape
        qkv = self.query_key_value(self.attention_norm(x))
        q, k, v = qkv.view(batch, length, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(
            rotate(q, rotation), rotate(k, rotation), v, attn_mask=mask
        )
        x = x + self.attention_out(attended.transpose(1, 2).reshape(batch, length, d))
        hidden = functional.gelu(self.feed_forward_in(self.feed_forward_norm(x)))
        return x + self.feed_forward_out(hidden)


def rotary_angles(length: int, width: int, *, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine (L, width) of position times frequency (Su et al., 2021)."""
    frequency = 10000.0 ** (-torch.arange(0, width, 2, device=like.device) / width)
    angle = torch.arange(length, device=like.device)[:, None] * frequency
    angle = torch.cat([angle, angle], dim=1)
    return angle.cos().to(like.dtype), angle.sin().to(like.dtype)


def rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Turn each pair (x_a, x_{a + width/2}) by its angle. (..., L, width) -> the same."""
    cosine, sine = rotation
    first, second = x.chunk(2, dim=-1)
    return x * cosine + torch.cat([-second, first], dim=-1) * sine


# --- Heads: embeddings of ONE protein -> h and J ------------------------------------------------


class Couplings(Protocol):
    """J of one protein, held or not, or of several whose embeddings were read end to end.

    J_ij(k, l) = J_ji(l, k) always.
    """

    def blocks_of(self, proteins: int) -> Tensor:
        """(B, K, K, L, L) of B proteins of one length: [b, k, l, i, j] is J_ij(k, l), J_ii = 0."""
        ...

    def blocks_from(self, k: int) -> Tensor:
        """(20 - k, L, L): [l - k, i, j] is J_ij(k, l) for l = k..19; i = j has no meaning."""
        ...

    def among(self, positions: slice) -> "Couplings":
        """Those among some positions."""
        ...

    def split(self, lengths: Sequence[int]) -> "Sequence[Couplings]":
        """Those of each of some proteins."""
        ...


@dataclass(frozen=True)
class Factored:
    """J_ij(k, l) = left_i^{kl} . right_j^{kl}, zero for i = j.

    Attributes:
        left: (K, L, K, r): left[k, i, l] is left_i^{kl}.
        right: (K, L, K, r): right[l, j, k] is right_j^{kl}. For a symmetric head
            (U^{kl} = V^{lk}) this is the same tensor as `left`.
    """

    left: Tensor
    right: Tensor

    def blocks_of(self, proteins: int) -> Tensor:
        left, right = (each.unflatten(1, (proteins, -1)) for each in (self.left, self.right))
        return without_diagonal(torch.einsum("kbilr,lbjkr->bklij", left, right))

    def blocks_from(self, k: int) -> Tensor:
        left, right = self.left[k, :, k : alphabet.GAP], self.right[k : alphabet.GAP, :, k]
        return torch.bmm(left.transpose(0, 1), right.transpose(1, 2))

    def among(self, positions: slice) -> "Factored":
        return Factored(self.left[:, positions], self.right[:, positions])

    def split(self, lengths: Sequence[int]) -> "list[Factored]":
        left = self.left.split(list(lengths), dim=1)
        same = self.left is self.right
        right = left if same else self.right.split(list(lengths), dim=1)
        return [Factored(*factors) for factors in zip(left, right, strict=True)]


@dataclass(frozen=True)
class Tied:
    """J_ij(k, l) = factor_i^k . factor_j^l, zero for i = j.

    Attributes:
        factor: (K, L, r): factor[k, i] is e_i U^k.
    """

    factor: Tensor

    def blocks_of(self, proteins: int) -> Tensor:
        factor = self.factor.unflatten(1, (proteins, -1))
        return without_diagonal(torch.einsum("kbir,lbjr->bklij", factor, factor))

    def blocks_from(self, k: int) -> Tensor:
        return self.factor[k] @ self.factor[k : alphabet.GAP].transpose(1, 2)

    def among(self, positions: slice) -> "Tied":
        return Tied(self.factor[:, positions])

    def split(self, lengths: Sequence[int]) -> "list[Tied]":
        return [Tied(factor) for factor in self.factor.split(list(lengths), dim=1)]


ONE_PROTEIN = "a conv head multiplies all residues it is given: one protein at a time"


@dataclass(frozen=True)
class Held:
    """J as it is: (K, K, L, L), symmetric, with zero diagonal blocks."""

    tensor: Tensor

    def blocks_of(self, proteins: int) -> Tensor:
        assert proteins == 1, ONE_PROTEIN
        return self.tensor[None]

    def blocks_from(self, k: int) -> Tensor:
        return self.tensor[k, k : alphabet.GAP]

    def among(self, positions: slice) -> "Held":
        return Held(self.tensor[:, :, positions, positions])

    def split(self, lengths: Sequence[int]) -> "list[Held]":
        assert len(lengths) == 1, ONE_PROTEIN
        return [self]


def without_diagonal(blocks: Tensor) -> Tensor:
    """Zero J_ii. (..., L, L) -> the same."""
    length = blocks.shape[-1]
    return blocks * (1 - torch.eye(length, dtype=blocks.dtype, device=blocks.device))


class UntiedHead(nn.Module):
    """J_ij(k, l) = (e_i U^{kl}) . (e_j V^{kl}) with V^{kl} = U^{lk} (appendix B, symmetry)."""

    def __init__(self, width: int, settings: HeadSettings) -> None:
        super().__init__()
        self.U = nn.Parameter(torch.empty(K, width, K * settings.rank))
        nn.init.normal_(self.U, std=_projection_std(width, settings))

    def forward(self, e: Tensor) -> Factored:
        A = project(e, self.U).view(K, len(e), K, -1)
        return Factored(left=A, right=A)


class TiedHead(nn.Module):
    """J_ij(k, l) = (e_i U^k) . (e_j U^l) (appendix B, tied projection)."""

    def __init__(self, width: int, settings: HeadSettings) -> None:
        super().__init__()
        self.U = nn.Parameter(torch.empty(K, width, settings.rank))
        nn.init.normal_(self.U, std=_projection_std(width, settings))

    def forward(self, e: Tensor) -> Tied:
        return Tied(project(e, self.U))


class AsymmetricHead(nn.Module):
    """(e_i U^{kl}) . (e_j V^{kl}) with free U and V, averaged with its transpose.

    The energy sums over both orders of a pair, so only the symmetric part of the form enters it.
    """

    def __init__(self, width: int, settings: HeadSettings) -> None:
        super().__init__()
        self.U = nn.Parameter(torch.empty(K, width, K * settings.rank))
        self.V = nn.Parameter(torch.empty(K, width, K * settings.rank))
        for projection in (self.U, self.V):
            nn.init.normal_(projection, std=_projection_std(width, settings))

    def forward(self, e: Tensor) -> Factored:
        A = project(e, self.U).view(K, len(e), K, -1)
        B = project(e, self.V).view(K, len(e), K, -1).transpose(0, 2)  # B^{lk} at [k, i, l]
        scale = math.sqrt(0.5)
        return Factored(
            left=torch.cat([A, B], dim=-1) * scale, right=torch.cat([B, A], dim=-1) * scale
        )


class ConvHead(nn.Module):
    """F bilinear forms (e_i U^f) . (e_j V^f), then three 1x1 convolutions to 441 channels.

    "Weight tying and symmetry considerations of the mhbf do not apply": the outcome is averaged
    with its transpose, since only that part enters the energy.
    """

    def __init__(self, width: int, settings: HeadSettings) -> None:
        super().__init__()
        channels = settings.channels
        self.U = nn.Parameter(torch.empty(channels, width, settings.rank))
        self.V = nn.Parameter(torch.empty(channels, width, settings.rank))
        for projection in (self.U, self.V):
            nn.init.normal_(projection, std=(width**2 * settings.rank) ** -0.25)
        self.convolutions = nn.Sequential(
            nn.Conv2d(channels, channels, kernel_size=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, kernel_size=1),
            nn.ReLU(),
            nn.Conv2d(channels, K * K, kernel_size=1),
        )
        last = self.convolutions[-1]
        assert isinstance(last, nn.Conv2d)
        # What enters it has a mean square of 1/36 by PyTorch's initial weights of the two before.
        nn.init.normal_(last.weight, std=6 * settings.initial_coupling / math.sqrt(channels))
        assert last.bias is not None
        nn.init.zeros_(last.bias)

    def forward(self, e: Tensor) -> Held:
        forms = torch.bmm(project(e, self.U), project(e, self.V).transpose(1, 2))
        blocks = self.convolutions(forms[None])[0].view(K, K, len(e), len(e))
        return Held(without_diagonal((blocks + blocks.permute(1, 0, 3, 2)) / 2))


def project(e: Tensor, weights: Tensor) -> Tensor:
    """e U for each head: (L, d), (heads, d, n) -> (heads, L, n), contiguous."""
    return torch.bmm(e.expand(len(weights), -1, -1), weights)


def _projection_std(width: int, settings: HeadSettings) -> float:
    """Standard deviation of U for which J has that of `initial_coupling`."""
    return math.sqrt(settings.initial_coupling / (width * math.sqrt(settings.rank)))


HEADS = {"untied": UntiedHead, "tied": TiedHead, "asymmetric": AsymmetricHead, "conv": ConvHead}


# --- The two models -----------------------------------------------------------------------------


class NeuralPottsModel(nn.Module):
    """W(x) = {h(x), J(x)}: fields and couplings of a family from one of its sequences."""

    def __init__(self, trunk: Trunk, head: HeadSettings) -> None:
        super().__init__()
        width = trunk.settings.width
        self.head_settings = head
        self.trunk = trunk
        self.fields = nn.Linear(width, K, bias=False)
        nn.init.normal_(self.fields.weight, std=0.1 / math.sqrt(width))
        self.couplings = HEADS[head.kind](width, head)

    def embed(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """e = g(x). (B, L), (B,) -> (B, L, d)."""
        return self.trunk(tokens, lengths)

    def heads(self, e: Tensor) -> tuple[Tensor, Couplings]:
        """h = e P^h (L, K) and the couplings of one protein from its embedding (L, d)."""
        return self.fields(e), self.couplings(e)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Couplings]:
        """Fields and couplings of one protein from its (L,) tokens."""
        lengths = torch.tensor([len(tokens)], device=tokens.device)
        return self.heads(self.embed(tokens[None], lengths)[0])


class MaskedLanguageModel(nn.Module):
    """The trunk with a linear read-out of the amino acid that stood at a masked position."""

    def __init__(self, trunk: Trunk) -> None:
        super().__init__()
        self.trunk = trunk
        self.read_out = nn.Linear(trunk.settings.width, K - 1)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """(B, L) tokens -> (B, L, 20) logits."""
        return self.read_out(self.trunk(tokens, lengths))


def pad_tokens(sequences: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Sequences of tokens -> (B, longest) padded with PAD, and their (B,) lengths.

    Raises:
        DataError: A sequence is empty.
    """
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    if not len(lengths) or int(lengths.min()) == 0:
        raise DataError("a sequence without residues cannot be embedded")
    padded = nn.utils.rnn.pad_sequence(sequences, batch_first=True, padding_value=PAD)
    return padded, lengths


def count_parameters(module: nn.Module) -> int:
    """Number of weights."""
    return sum(weight.numel() for weight in module.parameters())
