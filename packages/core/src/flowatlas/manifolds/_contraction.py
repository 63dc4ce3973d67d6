"""What a finite set of points attracts: the posterior of geodesics that end in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from flowatlas.manifolds.base import Manifold

__all__ = ["contraction", "normalised_pull"]


def contraction(manifold: Manifold, x: Tensor, y: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
    """`Manifold.contraction` from the capability WRAPPED, pair by pair."""
    ndim = manifold.point_ndim
    x, y = x.unsqueeze(x.ndim - ndim), y.unsqueeze(0)
    pairs = (x.shape[0], y.shape[1], *manifold.point_shape_of(x))
    x, y = x.expand(pairs), y.expand(pairs)
    u = manifold.logmap(y, x)
    scale = keep.view(-1, 1, *(1,) * (u.ndim - 2))
    far = u / scale
    inside = manifold.is_shortest(y, far)
    far = torch.where(inside.view(inside.shape + (1,) * (u.ndim - 2)), far, u)
    density = torch.exp(manifold.log_det_expmap(y, far) - manifold.log_det_expmap(y, u))
    dimension = manifold.dimension(manifold.point_shape_of(x))
    density = torch.where(inside, density, 0.0) / keep.unsqueeze(1) ** dimension
    logs = manifold.logmap(x, y)
    return normalised_pull(
        density, (density.view(inside.shape + (1,) * (u.ndim - 2)) * logs).sum(1)
    )


def normalised_pull(density: Tensor, weighted: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of the densities `(batch, n)`, and a weighted sum of logarithms over their sum."""
    total = density.sum(1)
    safe = torch.where(total > 0, total, 1.0)
    return total / density.shape[1], weighted / safe.view(-1, *(1,) * (weighted.ndim - 1))
