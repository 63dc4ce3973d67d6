"""Flat space."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowatlas.manifolds.base import Manifold
from flowatlas.manifolds.capability import Capability

__all__ = ["Euclidean"]


class Euclidean(Manifold):
    r"""$\mathbb{R}^n$ with $\exp_x(u) = x + u$.

    Args:
        point_ndim: how many trailing axes make one point. With 1 (the default) a state
            `(batch, N, 3)` is N points of three coordinates, and an image `(batch, C, H, W)` is
            `C H` points of `W` coordinates, which changes nothing but the shape of masks. With 0
            every number is a point of its own, so that a mask has the shape of the state.
    """

    capabilities = frozenset({Capability.TANGENT_BASIS, Capability.WRAPPED})

    def __init__(self, point_ndim: int = 1) -> None:
        if point_ndim < 0:
            raise ValueError(f"point_ndim: got {point_ndim}; it counts axes, so 0 or more.")
        self.point_ndim = point_ndim

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        return x + u

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        return y - x

    def projx(self, x: Tensor) -> Tensor:
        return x

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        return u

    def inner(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        return (u * v).sum(_trailing(self.point_ndim)) if self.point_ndim else u * v

    def pairwise_squared_dist(self, x: Tensor, y: Tensor) -> Tensor:
        # The added axis is for samples of one number each, (n,).
        x, y = x.unsqueeze(-1).flatten(1), y.unsqueeze(-1).flatten(1)
        # One matrix product is the fast way, and cancels unless the origin is among the points.
        middle = y.mean(0)
        x, y = x - middle, y - middle
        squares = x.square().sum(1, keepdim=True) + y.square().sum(1)
        return torch.addmm(squares, x, y.T, alpha=-2).clamp(min=0)

    def geodesic(self, x_0: Tensor, x_1: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        u = x_1 - x_0
        return torch.addcmul(x_0, s.reshape(s.shape + (1,) * self.point_ndim), u), u

    def retract(self, x: Tensor, u: Tensor) -> Tensor:
        return x + u

    def residual(self, x: Tensor) -> Tensor:
        return x.new_zeros(x.shape[: x.ndim - self.point_ndim])

    def tangent_basis(self, x: Tensor) -> Tensor:
        shape = self.point_shape_of(x)
        count = math.prod(shape)
        eye = torch.eye(count, dtype=x.dtype, device=x.device).reshape(count, *shape)
        return eye.expand(*x.shape[: x.ndim - self.point_ndim], *eye.shape)

    def sharp(self, x: Tensor, covector: Tensor) -> Tensor:
        return covector

    def exp_preimages(self, x: Tensor, y: Tensor, images: int) -> Tensor:
        return self.logmap(x, y).unsqueeze(0)

    def log_det_expmap(self, x: Tensor, u: Tensor) -> Tensor:
        return x.new_zeros(x.shape[: x.ndim - self.point_ndim])

    def __repr__(self) -> str:
        return "Euclidean()" if self.point_ndim == 1 else f"Euclidean(point_ndim={self.point_ndim})"


def _trailing(count: int) -> tuple[int, ...]:
    return tuple(range(-count, 0))
