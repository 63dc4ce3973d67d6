"""Who is near whom in clouds of points, and even selections of them."""

from __future__ import annotations

import torch
from torch import Tensor

from flowatlas.errors import ShapeError

__all__ = ["check_cloud", "distances", "farthest_points", "gather", "nearest", "spacing"]


def check_cloud(points: Tensor, name: str, least: int = 1) -> Tensor:
    """`points` if it is a batch of clouds, `(batch, n, 3)` with n at least `least`.

    Raises:
        ShapeError: it is none, or holds NaN or infinity.
    """
    if points.ndim != 3 or points.shape[-1] != 3 or not points.is_floating_point():
        raise ShapeError(
            f"{name}: got shape {tuple(points.shape)}, {points.dtype}; need clouds (batch, n, 3), "
            "floating-point. A single cloud has a batch of one: points.unsqueeze(0)."
        )
    if points.shape[1] < least:
        raise ShapeError(
            f"{name}: got clouds of {points.shape[1]} points; need {least} or more. Give more "
            "points, or ask for fewer neighbours."
        )
    if not bool(points.isfinite().all()):
        raise ShapeError(f"{name}: holds NaN or infinity. Remove such points.")
    return points


def distances(x: Tensor, y: Tensor) -> Tensor:
    """Euclidean distances `(batch, n, m)` of points `(batch, n, 3)` and `(batch, m, 3)`."""
    # By differences: the product formula loses the digits of points far from the origin.
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


def nearest(x: Tensor, y: Tensor, count: int) -> Tensor:
    """The `count` points of y nearest to each point of x, nearest first.

    Args:
        x: `(batch, n, 3)`.
        y: `(batch, m, 3)`, m at least `count`.
        count: how many; a point that is in y itself is its own first neighbour.

    Returns:
        Indices `(batch, n, count)`.
    """
    check_cloud(y, "y", count)
    return distances(check_cloud(x, "x"), y).topk(count, -1, largest=False).indices


def gather(values: Tensor, index: Tensor) -> Tensor:
    """`values` `(batch, m, c)` at `index` `(batch, n, k)`, as `(batch, n, k, c)`."""
    rows = torch.arange(len(values), device=values.device).view(-1, 1, 1)
    return values[rows, index]


def farthest_points(x: Tensor, count: int) -> Tensor:
    """An even selection: each point is the one farthest from those selected before it.

    Args:
        x: `(batch, n, 3)`.
        count: how many of the n; the first point is always one.

    Returns:
        Indices `(batch, count)`, in the order of selection.

    Reference: The Farthest Point Strategy for Progressive Image Sampling, Eldar et al., 1997, IEEE
    Transactions on Image Processing 6.
    """
    check_cloud(x, "x", count)
    rows = torch.arange(len(x), device=x.device)
    chosen = torch.zeros(len(x), count, dtype=torch.int64, device=x.device)
    apart = torch.full(x.shape[:2], torch.inf, dtype=x.dtype, device=x.device)
    for i in range(1, count):
        last = x[rows, chosen[:, i - 1]].unsqueeze(1)
        apart = torch.minimum(apart, (x - last).square().sum(-1))
        chosen[:, i] = apart.argmax(1)
    return chosen


def spacing(x: Tensor) -> Tensor:
    """Mean distance from a point to its nearest other, `(batch,)`.

    Args:
        x: `(batch, n, 3)`, two points or more.

    Raises:
        ShapeError: clouds whose points are all the same.
    """
    apart = distances(check_cloud(x, "x", 2), x)
    apart = apart + torch.diag_embed(torch.full_like(apart[..., 0], torch.inf))
    found: Tensor = apart.amin(-1).mean(-1)
    if not bool((found > 0).all()):
        raise ShapeError("x: a cloud has no two different points, and so no spacing. Remove it.")
    return found
