"""How long a leap may be, by how many tokens it is expected to change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flowatlas.paths._rates import column

if TYPE_CHECKING:
    from flowatlas.paths.mixture import MixturePath

__all__ = ["leap_end"]

#: Numbers of logits that are worked on at once.
CHUNK = 1 << 20
HALVINGS = 30


def leap_end(
    path: MixturePath,
    x: Tensor,
    t: Tensor,
    end: Tensor,
    prediction: Tensor,
    share: float,
    moving: Tensor | None,
) -> Tensor:
    """The time up to which a leap is expected to change a share of a sample's tokens.

    Args:
        path: tells schedule, source and kind of prediction.
        x: `(batch, *points)`.
        t: `(batch,)`.
        end: `(batch,)`, the latest time.
        prediction: `(batch, *points, vocab)`.
        share: of the tokens that move at all.
        moving: which those are; all if None.

    Returns:
        `(batch,)`, at most `end`.
    """
    change = _change_chance(path, x, t, prediction)
    if moving is not None:
        change = torch.where(moving, change, 0.0)
    count = torch.ones_like(x).flatten(1).sum(1) if moving is None else moving.flatten(1).sum(1)

    def too_many(s: Tensor) -> Tensor:
        expected = path.sampling_schedule.largest_jump_chance(t, s, x) * change
        return expected.flatten(1).sum(1) > share * count

    low, high = t.double(), end.double()
    beyond = too_many(high)
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        over = too_many(middle)
        low, high = torch.where(over, low, middle), torch.where(over, middle, high)
    return torch.where(beyond, high.to(t.dtype), end)


def _change_chance(path: MixturePath, x: Tensor, t: Tensor, prediction: Tensor) -> Tensor:
    """Probability that a token which jumps becomes another, `(batch, *points)`, in float64."""
    size = max(1, CHUNK // max(path.vocab * (x[0].numel() if len(x) else 1), 1))
    parts = []
    for i in range(0, len(x), size):
        rows = slice(i, i + size)
        log_p = path.canonical(prediction[rows], x[rows], t[rows])
        kept = torch.where(x[rows] < path.vocab, column(log_p, x[rows]).double().exp(), 0.0)
        total = log_p.logsumexp(-1).double().exp()
        parts.append((total - kept).clamp(min=0))
    change = torch.cat(parts) if parts else torch.zeros(x.shape, dtype=torch.float64)
    moved = path.moved(x)
    return change if moved is None else torch.where(moved, 0.0, change)
