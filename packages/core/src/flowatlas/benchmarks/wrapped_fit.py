"""A wrapped normal law fitted to points: where flows on spaces of infinite volume start."""

from __future__ import annotations

import torch
from torch import Tensor

from flowatlas.manifolds import Manifold
from flowatlas.sources import WrappedNormal

__all__ = ["wrapped_fit"]


def wrapped_fit(manifold: Manifold, x: Tensor, *, points: int = 4000) -> WrappedNormal:
    r"""Around the Frechet mean m, with $s^2 = E\, d(m, x)^2 / n$ in n dimensions.

    Args:
        manifold: without a cut locus, so that the mean is one point.
        x: `(count, *point_shape)`.
        points: how many of them are used.
    """
    x = x[:points].double()
    mean = x[:1]
    for _ in range(30):
        logs = manifold.logmap(mean.expand_as(x), x)
        mean = manifold.projx(manifold.expmap(mean, logs.mean(0, keepdim=True)))
    square = manifold.squared_dist(mean.expand_as(x), x).mean()
    dimension = manifold.dimension(manifold.point_shape_of(x))
    return WrappedNormal(manifold, mean[0], float(torch.sqrt(square / dimension)))
