"""The normal law that the exponential map carries over, summed over the preimages of a point."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from flowatlas.manifolds.base import Manifold

__all__ = ["log_normaliser", "wrapped_normal_log_prob"]


def wrapped_normal_log_prob(
    manifold: Manifold, mean: Tensor, x: Tensor, std: float, images: int
) -> Tensor:
    """`Manifold.wrapped_normal_log_prob` from the capability WRAPPED, preimage by preimage."""
    dimension = manifold.dimension(manifold.point_shape_of(x))
    u = manifold.exp_preimages(mean, x, images)
    mean = mean.expand(u.shape[0], *mean.shape)
    square = manifold.inner(mean, u, u)
    terms = -0.5 * square / std**2 - manifold.log_det_expmap(mean, u)
    terms = torch.where(_again(manifold, mean, u, square), -torch.inf, terms)
    return torch.logsumexp(terms, 0) - log_normaliser(std, dimension)


def log_normaliser(std: float, dimension: int) -> float:
    """Log integral of exp(-|u|^2 / 2 s^2) over flat space."""
    return dimension * (math.log(std) + 0.5 * math.log(2 * math.pi))


def _again(manifold: Manifold, mean: Tensor, u: Tensor, square: Tensor) -> Tensor:
    """Preimages that are the shortest one once more.

    Where x is the mean itself the windings have no direction, and come out as zero. Windings that
    differ are two injectivity radii apart or more.
    """
    shortest = square.argmin(0, keepdim=True)
    index = shortest.view(*shortest.shape, *(1,) * (u.ndim - square.ndim))
    gap = u - u.gather(0, index.expand(1, *u.shape[1:]))
    same = manifold.inner(mean, gap, gap) < manifold.injectivity_radius**2
    return same.scatter(0, shortest, False)
