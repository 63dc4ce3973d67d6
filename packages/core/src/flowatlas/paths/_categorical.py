"""Draws from rows of logits, right in law for any vocabulary, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from flowatlas.errors import GeometryError

__all__ = ["draw_rows", "invert"]

#: Numbers of logits that are worked on at once: what a core's cache holds.
CHUNK = 1 << 18
#: From this vocabulary on, the sum is searched in two levels.
LARGE = 1024
BLOCK = 128
#: Rounding must not push a target past the last token that has any weight.
BELOW = 1 - 2**-52

Transform = Callable[[Tensor, Tensor], Tensor]


def draw_rows(
    logits: Tensor, rows: Tensor | None, u: Tensor, transform: Transform | None = None
) -> Tensor:
    """One token for each of some rows.

    Args:
        logits: `(n, vocab)`, any floating dtype, in any normalisation.
        rows: `(m,)` indices into them; all of them if None.
        u: `(m,)` float64, uniform on [0, 1).
        transform: `(logits, index) -> logits` of a chunk, float32 at least, where `index` tells
            which of the m rows they are. It must not write to its input.

    Returns:
        `(m,)` tokens.
    """
    size = max(1, CHUNK // max(logits.shape[1], 1))
    precise = torch.promote_types(logits.dtype, torch.float32)
    drawn = []
    for start in range(0, u.shape[0], size):
        part = slice(start, min(start + size, u.shape[0]))
        chunk = logits[part] if rows is None else logits.index_select(0, rows[part])
        chunk = chunk.to(precise)
        if transform is not None:
            chunk = transform(chunk, torch.arange(part.start, part.stop, device=u.device))
        drawn.append(invert(chunk, u[part]))
    return torch.cat(drawn) if len(drawn) != 1 else drawn[0]


def invert(logits: Tensor, u: Tensor) -> Tensor:
    """The first token of each row whose cumulative probability exceeds `u`.

    Weights have the precision of the logits, sums are in float64: each token is as likely as it
    should be to a relative error of some 1e-7, in float32 too, where a draw by float32 sums or
    Gumbel noise loses the tail.

    Args:
        logits: `(rows, vocab)`.
        u: `(rows,)` float64, uniform on [0, 1).

    Raises:
        GeometryError: logits that are NaN, plus infinity, or minus infinity in a whole row.
    """
    weights = (logits - logits.amax(1, keepdim=True)).exp_()
    vocab = logits.shape[1]
    if vocab < LARGE:
        return _search(weights, u, None)
    # The sums of blocks first, then the block in which the target lies.
    whole = vocab // BLOCK
    sums = weights[:, : whole * BLOCK].view(-1, whole, BLOCK).sum(-1, dtype=torch.float64)
    if vocab % BLOCK:
        rest = weights[:, whole * BLOCK :].sum(-1, keepdim=True, dtype=torch.float64)
        sums = torch.cat([sums, rest], 1)
    levels = sums.cumsum(1)
    target = u * (_finite(levels[:, -1]) * BELOW)
    block = torch.searchsorted(levels, target.unsqueeze(1), right=True)
    before = torch.where(block > 0, levels.gather(1, (block - 1).clamp(min=0)), 0.0)
    columns = block * BLOCK + torch.arange(BLOCK, device=logits.device)
    inside = weights.gather(1, columns.clamp(max=vocab - 1))
    inside = torch.where(columns < vocab, inside, 0.0)
    return block.squeeze(1) * BLOCK + _search(inside, u, target - before.squeeze(1))


def _search(weights: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
    """Where the cumulative sum passes `target`; a share `u` of the total if None."""
    levels = weights.cumsum(1, dtype=torch.float64)
    total = levels[:, -1]
    if target is None:
        target = u * (_finite(total) * BELOW)
    else:
        target = torch.minimum(target, total * BELOW)
    # On the right of equal levels, so that tokens of probability zero are never drawn.
    return torch.searchsorted(levels, target.unsqueeze(1), right=True).squeeze(1)


def _finite(total: Tensor) -> Tensor:
    if not math.isfinite(total.sum().item()):
        raise GeometryError(
            "prediction: logits are NaN, plus infinity, or minus infinity in a whole row; each "
            "token needs at least one finite logit. Check the model's weights."
        )
    return total
