"""Centres of clusters."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["kmeans"]


def kmeans(
    points: Tensor, count: int, generator: torch.Generator | None, *, iterations: int = 30
) -> tuple[Tensor, Tensor]:
    """Lloyd's algorithm from starts that are far apart (k-means++).

    Args:
        points: `(n, dim)`.
        count: of clusters, at most n.
        generator: of the starts.
        iterations: at most.

    Returns:
        Centres `(count, dim)`, and the cluster of each point, `(n,)`.

    Reference: k-means++: The Advantages of Careful Seeding, Arthur and Vassilvitskii, 2007.
    """
    first = torch.randint(len(points), (1,), generator=generator).to(points.device)
    centres = points[first]
    while len(centres) < count:
        near = torch.cdist(points, centres).amin(1).square()
        # Points that are all copies of centres leave nothing to choose by.
        chances = near if bool(near.sum() > 0) else torch.ones_like(near)
        chosen = torch.multinomial(chances.cpu(), 1, generator=generator).to(points.device)
        centres = torch.cat([centres, points[chosen]])
    member = torch.cdist(points, centres).argmin(1)
    for _ in range(iterations):
        sizes = torch.bincount(member, minlength=count).unsqueeze(1)
        sums = torch.zeros_like(centres).index_add_(0, member, points)
        centres = torch.where(sizes > 0, sums / sizes.clamp(min=1), centres)
        moved = torch.cdist(points, centres).argmin(1)
        if torch.equal(moved, member):
            break
        member = moved
    return centres, member
