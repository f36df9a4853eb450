r"""The NPM loss of one protein, exactly, with or without ever holding J (eq. 7 and 8).

With h, J = W(x) and M rows x^m sampled from the MSA of x by their sequence weights,

.. math:: \frac1M \sum_m \sum_i -\log p(x^m_i | x^m_{-i}) + \lambda_J |J|^2 + \lambda_h |h|^2,
          \qquad p(x_i = k | x_{-i}) \propto \exp(h_i(k) + \sum_{j \ne i} J_{ij}(k, x_j)).

A row is drawn with probability w_m / Meff (appendix C.1), so the plain mean over the sample
estimates the weighted mean of eq. (8). |J|^2 runs over the whole tensor, both halves, and the
gap is a state like the others.

Three exact forms give the same number; `form="cheapest"` takes for one protein the one with the
fewest operations:

- held: J as a (K, K, L, L) tensor. The only one for the conv head.
- symmetric: the 231 blocks with k <= l, used in both directions. The tied head has no such form.
- matrix_free: the sum over j comes first, \sum_{j: x_j = l} right_j^{kl}, then one product with
  left_i^{kl}; |J|^2 from the (d', d') Gram matrices of the factors; the terms j = i taken off.

Several proteins that the heads read together, as on a GPU, are held if there is room for it: to
start many small steps would take longer than the operations that it saves.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from npm_core.errors import SettingsError
from npm_core.model import Couplings, Factored, Held, K, Tied
from npm_core.training_settings import ObjectiveSettings

NO_STATE = -100
"""What pads the rows of a protein."""

HELD_TOGETHER = 1 << 31
"""Bytes of J of several short proteins, padded to one length, that are held at once."""


@dataclass(frozen=True)
class Loss:
    """Loss of one protein in nats, or (B,) losses of several.

    Attributes:
        pseudolikelihood: Mean over rows of the sum over positions.
        penalty: lambda_J |J|^2 + lambda_h |h|^2.
    """

    pseudolikelihood: Tensor
    penalty: Tensor

    @property
    def total(self) -> Tensor:
        return self.pseudolikelihood + self.penalty


def npm_loss(
    fields: Tensor, couplings: Couplings, rows: Tensor, settings: ObjectiveSettings
) -> Loss:
    """Loss of one protein (eq. 8).

    Args:
        fields: (L, K) h.
        couplings: J, in whatever form the head gives it.
        rows: (M, L) int64, states of the sampled rows.
        settings: Multipliers and form.

    Raises:
        SettingsError: The form does not exist for this head.
    """
    logits, squared = logits_and_norm(couplings, rows, form=settings.form)
    return _loss(fields, logits, squared, rows, settings)


def npm_losses(
    heads: Callable[[Tensor], tuple[Tensor, Couplings]],
    e: Tensor,
    rows: Sequence[Tensor],
    settings: ObjectiveSettings,
) -> Loss:
    """(B,) losses of proteins that the heads read together.

    Args:
        heads: h and J of embeddings.
        e: (sum of L_n, d) embeddings of the proteins, put end to end.
        rows: B tensors (M, L_n) int64.
        settings: Multipliers and form.
    """
    lengths = [states.shape[1] for states in rows]
    if _held_together(lengths, settings.form):
        return _padded_losses(heads, e.split(lengths), rows, settings)
    fields, couplings = heads(e)
    each = zip(fields.split(lengths), couplings.split(lengths), rows, strict=True)
    losses = [npm_loss(h, J, states, settings) for h, J, states in each]
    return Loss(
        torch.stack([loss.pseudolikelihood for loss in losses]),
        torch.stack([loss.penalty for loss in losses]),
    )


def _held_together(lengths: Sequence[int], form: str) -> bool:
    """Whether J of proteins of these lengths is held at once, padded to the longest."""
    bytes_of_all = 4 * K * K * len(lengths) * max(lengths) ** 2
    return len(lengths) > 1 and form in ("cheapest", "held") and bytes_of_all <= HELD_TOGETHER


def _padded_losses(
    heads: Callable[[Tensor], tuple[Tensor, Couplings]],
    embeddings: Sequence[Tensor],
    rows: Sequence[Tensor],
    settings: ObjectiveSettings,
) -> Loss:
    """(B,) losses by the held form, in one go: B embeddings (L_n, d) and rows (M, L_n).

    What pads a protein has the embedding zero: heads have no bias, so h and J are zero there.
    """
    e = nn.utils.rnn.pad_sequence(list(embeddings), batch_first=True)
    proteins, longest, _ = e.shape
    padded = [functional.pad(each, (0, longest - each.shape[1]), value=NO_STATE) for each in rows]
    states = torch.stack(padded)
    fields, couplings = heads(e.flatten(0, 1))
    logits, squared = _held(couplings.blocks_of(proteins), states)
    return _loss(fields.view(proteins, longest, -1), logits, squared, states, settings)


def _loss(
    fields: Tensor, logits: Tensor, squared: Tensor, rows: Tensor, settings: ObjectiveSettings
) -> Loss:
    """Eq. (8) of one protein, or of B padded to one length: all have an axis (B,) in front.

    Args:
        fields: (L, K) h.
        logits: (K, M, L), what J adds to h.
        squared: (), |J|^2.
        rows: (M, L) int64, NO_STATE behind a protein's end.
        settings: Multipliers.
    """
    logits = _wide(logits) + _wide(fields).mT[..., None, :]
    penalty = settings.lambda_couplings * squared
    penalty = penalty + settings.lambda_fields * (_wide(fields) ** 2).sum((-2, -1))
    return Loss(_cross_entropy(logits, rows) / rows.shape[-2], penalty)


def _cross_entropy(logits: Tensor, rows: Tensor) -> Tensor:
    """Sum over rows and positions: (..., K, M, L), (..., M, L) -> (...)."""
    depth, length = rows.shape[-2:]
    each = functional.cross_entropy(
        logits.reshape(-1, K, depth, length),
        rows.reshape(-1, depth, length),
        reduction="none",
        ignore_index=NO_STATE,
    )
    return each.view(rows.shape).sum((-2, -1))


def logits_and_norm(couplings: Couplings, rows: Tensor, *, form: str) -> tuple[Tensor, Tensor]:
    r"""\sum_{j \ne i} J_ij(k, x^m_j) as (K, M, L), and |J|^2.

    Args:
        couplings: J of one protein.
        rows: (M, L) int64.
        form: One of FORMS.
    """
    if isinstance(couplings, Held) and form not in ("cheapest", "held"):
        raise SettingsError(f"the conv head has no {form!r} form of the loss; use 'held'")
    if isinstance(couplings, Tied) and form == "symmetric":
        raise SettingsError("the tied head has no 'symmetric' form of the loss; use 'cheapest'")
    if isinstance(couplings, Held) or form == "held":
        logits, squared = _held(couplings.blocks_of(1), rows[None])
        return logits[0], squared[0]
    if isinstance(couplings, Tied):
        return _tied(couplings, rows)
    assert isinstance(couplings, Factored)
    if form == "cheapest":
        length, rank = couplings.left.shape[1], couplings.left.shape[3]
        form = cheapest_form(length=length, rank=rank, depth=len(rows))
    return (_matrix_free if form == "matrix_free" else _symmetric)(couplings, rows)


def cheapest_form(*, length: int, rank: int, depth: int) -> str:
    """The form with fewer multiply-adds after the projection, for a factored J.

    Args:
        length: L.
        rank: Of the factors: d' of an untied head, 2 d' of an asymmetric one.
        depth: M.
    """
    matrix_free = 2 * depth * length * K * K * rank + length * K * K * rank**2
    symmetric = length**2 * (K * (K + 1) // 2) * rank + depth * length**2 * K * K
    return "matrix_free" if matrix_free <= symmetric else "symmetric"


def _wide(x: Tensor) -> Tensor:
    """At least float32: products may be bfloat16, sums never are."""
    return x.to(_wide_dtype(x.dtype))


def _wide_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype in (torch.bfloat16, torch.float16) else dtype


def _one_hot(rows: Tensor, like: Tensor) -> Tensor:
    """(..., K, M, L): [l, m, j] is 1 where x^m_j = l."""
    states = torch.arange(K, device=rows.device)[:, None, None]
    return (rows[..., None, :, :] == states).to(like.dtype)


def _held(blocks: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and |J|^2 of B proteins: (B, K, K, L, L), (B, M, L) -> (B, K, M, L), (B,)."""
    logits = torch.einsum("bklij,blmj->bkmi", blocks, _one_hot(rows, blocks))
    return logits, (_wide(blocks) ** 2).sum((1, 2, 3, 4))


def _symmetric(couplings: Factored, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (K, M, L) and |J|^2 from the blocks J^{kl} (L, L) with k <= l; rows are (M, L).

    A block gives the logits of k where x^m_j = l and, transposed, those of l where x^m_j = k.
    """
    # Pairs of one state come first: a mask of the others' would make the host wait for a GPU.
    same = torch.arange(K, device=rows.device).expand(2, K)
    k, l = torch.cat([same, torch.triu_indices(K, K, 1, device=rows.device)], 1)  # noqa: E741
    others = slice(K, None)
    length = rows.shape[1]
    blocks = torch.bmm(couplings.left[k, :, l], couplings.right[l, :, k].transpose(1, 2))
    blocks = blocks * (1 - torch.eye(length, dtype=blocks.dtype, device=blocks.device))
    x = _one_hot(rows, blocks)
    logits = torch.zeros_like(x)
    logits = logits.index_add(0, k, torch.bmm(x[l], blocks.transpose(1, 2)))
    logits = logits.index_add(0, l[others], torch.bmm(x[k[others]], blocks[others]))
    squares = (_wide(blocks) ** 2).sum((1, 2))
    return logits, squares.sum() + squares[others].sum()


def _matrix_free(couplings: Factored, rows: Tensor) -> tuple[Tensor, Tensor]:
    form = _MatrixFreeInBlocks if rows.is_cuda else _MatrixFree
    return form.apply(couplings.left, couplings.right, rows)


class _MatrixFree(torch.autograd.Function):
    r"""Logits and |J|^2 of factored couplings, with a backward pass that holds little.

    With A = left, B = right, and S_m^{kl} = \sum_{j: x^m_j = l} B_j^{kl}:

    .. math:: \mathrm{logits}_{mi}(k) = \sum_l A_i^{kl} \cdot S_m^{kl} - J_{ii}(k, x^m_i), \qquad
              |J|^2 = \sum_{kl} \langle G_A^{kl}, G_B^{lk} \rangle - \sum_{ikl} J_{ii}(k, l)^2,

    where J_ii(k, l) = A_i^{kl} . B_i^{kl} and G_A^{kl} = \sum_i A_i^{kl} (A_i^{kl})^T. For a
    symmetric head A and B are one tensor, the two halves of the gradient are equal, and each
    Gram matrix is needed once. One state k at a time: what is as large as A exists once, as the
    gradient.
    """

    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        length, same = rows.shape[1], left is right
        sums = torch.bmm(_one_hot(rows, right), right.reshape(K, length, -1))
        sums = _swap_states(sums)
        own = torch.stack([_own(left[k], right[:, :, k]) for k in range(K)])
        gram = torch.stack([_gram(factor) for factor in left])
        other = gram if same else torch.stack([_gram(factor) for factor in right])
        logits = torch.bmm(sums, left.reshape(K, length, -1).transpose(1, 2))
        logits = _wide(logits) - _wide(_at_rows(own, rows))
        squared = _wide(own).square().sum().neg()
        for k in range(K):
            squared += (_wide(gram[k]) * _wide(other[:, k])).sum()
        ctx.save_for_backward(left, None if same else right, rows, sums, own, gram, other)
        return logits, squared

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, None]:
        left, right, rows, sums, own, gram, other = ctx.saved_tensors
        length = rows.shape[1]
        by_logits, by_squared = grads[0].to(left.dtype), grads[1]
        x = _one_hot(rows, left)
        by_own = -_sums_at_rows(grads[0], rows) - 2 * by_squared * own
        by_own = by_own.to(left.dtype)
        by_sums = _swap_states(torch.bmm(by_logits, left.reshape(K, length, -1)))
        by_left = torch.bmm(by_logits.transpose(1, 2), sums)
        if right is None:
            by_left.baddbmm_(x.transpose(1, 2), by_sums)
            by_left = by_left.view_as(left)
            by_own = by_own + by_own.transpose(0, 2)
            _add_own_and_gram(by_left, left, left, by_own, gram, 4 * by_squared)
            return by_left, None, None
        by_right = torch.bmm(x.transpose(1, 2), by_sums).view_as(right)
        by_left = by_left.view_as(left)
        _add_own_and_gram(by_left, left, right, by_own, other, 2 * by_squared)
        _add_own_and_gram(by_right, right, left, by_own.transpose(0, 2), gram, 2 * by_squared)
        return by_left, by_right, None


def _swap_states(sums: Tensor) -> Tensor:
    """(K, M, K r) -> the same, with the first and the third axis of (K, M, K, r) exchanged."""
    depth = sums.shape[1]
    return sums.view(K, depth, K, -1).transpose(0, 2).reshape(K, depth, -1)


def _own(factor: Tensor, other: Tensor) -> Tensor:
    """J_ii(k, l) of one k: (L, K, r) and (K, L, r) -> (L, K)."""
    return (factor * other.transpose(0, 1)).sum(-1)


def _gram(factor: Tensor) -> Tensor:
    """Gram matrices of one k: (L, K, r) -> (K, r, r)."""
    return torch.bmm(factor.permute(1, 2, 0), factor.transpose(0, 1))


def _at_rows(own: Tensor, rows: Tensor) -> Tensor:
    """J_ii(k, x^m_i): (K, L, K), (M, L) -> (K, M, L)."""
    return own.gather(2, rows.T.expand(K, -1, -1)).transpose(1, 2)


def _sums_at_rows(by_logits: Tensor, rows: Tensor) -> Tensor:
    """The adjoint of `_at_rows`, the sum over m with x^m_i = l: (K, M, L), (M, L) -> (K, L, K).

    For the CPU, which adds in the order of the rows; a GPU would add in any: the sum would vary.
    """
    at_rows = by_logits.transpose(1, 2)
    zeros = at_rows.new_zeros(*at_rows.shape[:2], K)
    return zeros.scatter_add_(2, rows.T.expand(K, -1, -1), at_rows)


def _add_own_and_gram(
    gradient: Tensor, factor: Tensor, other: Tensor, by_own: Tensor, gram: Tensor, scale: Tensor
) -> None:
    """gradient[k, i, l] += by_own[k, i, l] other[l, i, k] + scale factor[k, i, l] gram[l, k]."""
    for k in range(K):
        gradient[k].addcmul_(by_own[k, :, :, None], other[:, :, k].transpose(0, 1))
        weighted = (gram[:, k] * scale).to(factor.dtype)
        gradient[k].transpose(0, 1).add_(torch.bmm(factor[k].transpose(0, 1), weighted))


class _MatrixFreeInBlocks(torch.autograd.Function):
    """`_MatrixFree` in a few large steps, for a GPU, which takes longer to start many small ones.

    Factors are laid out pair by pair, A^{kl} (L, r) at [k, l] and B^{kl} at [l, k], so that no
    product needs a copy of them.
    """

    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        a = left.transpose(1, 2).contiguous()
        b = a if left is right else right.transpose(1, 2).contiguous()
        x = _one_hot(rows, a)
        sums = (x[:, None] @ b).transpose(0, 1)  # (K, K, M, r), S^{kl} at [k, l]
        own = (a * b.transpose(0, 1)).sum(-1)  # (K, K, L), J_ii(k, l) at [k, l, i]
        gram = a.mT @ a
        other = gram if left is right else b.mT @ b
        wide = _wide_dtype(a.dtype)
        logits = (sums @ a.mT).sum(1, dtype=wide) - own.gather(1, rows.expand(K, -1, -1))
        squared = (gram * other.transpose(0, 1)).sum(dtype=wide) - _wide(own).square().sum()
        ctx.save_for_backward(a, None if left is right else b, x, sums, own, gram, other)
        return logits, squared

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, None]:
        a, b, x, sums, own, gram, other = ctx.saved_tensors
        by_logits, by_squared = grads[0].to(a.dtype), grads[1].to(a.dtype)
        by_own = -torch.einsum("kmi,lmi->kli", by_logits, x) - 2 * by_squared * own
        by_sums = (by_logits[:, None] @ a).transpose(0, 1)  # at [l, k], as B is
        if b is None:
            # What comes by A^{kl} and what comes by B^{lk}, its other name, in one product.
            rows = torch.cat([by_logits, x], dim=1)
            by_a = rows[:, None].mT @ torch.cat([sums, by_sums], dim=2)
            by_own = by_own + by_own.transpose(0, 1)
            _add_in_blocks(by_a, a, a, by_own, 4 * by_squared * gram)
            return by_a.transpose(1, 2), None, None
        by_a = by_logits[:, None].mT @ sums
        by_b = x[:, None].mT @ by_sums
        _add_in_blocks(by_a, a, b, by_own, 2 * by_squared * other)
        _add_in_blocks(by_b, b, a, by_own.transpose(0, 1), 2 * by_squared * gram)
        return by_a.transpose(1, 2), by_b.transpose(1, 2), None


def _add_in_blocks(
    gradient: Tensor, factor: Tensor, other: Tensor, by_own: Tensor, gram: Tensor
) -> None:
    """gradient[k, l] += by_own[k, l] other[l, k] + factor[k, l] gram[l, k]; all (K, K, ...)."""
    weighted = gram.transpose(0, 1).flatten(0, 1)
    gradient.flatten(0, 1).baddbmm_(factor.flatten(0, 1), weighted)
    gradient.addcmul_(by_own[..., None], other.transpose(0, 1))


def _tied(couplings: Tied, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (K, M, L) and |J|^2 without J; rows are (M, L).

    As in `_MatrixFree`, but one sum S_m (r,) and one Gram matrix (r, r) serve all pairs of states.
    """
    factor = couplings.factor
    x = _one_hot(rows, factor)
    sums = torch.einsum("lmj,ljr->mr", x, factor)
    own = torch.einsum("kir,lir->kil", factor, factor)
    logits = torch.einsum("mr,kir->kmi", sums, factor) - torch.einsum("kil,lmi->kmi", own, x)
    gram = torch.einsum("kir,kis->rs", factor, factor)
    return logits, (_wide(gram) ** 2).sum() - (_wide(own) ** 2).sum()
