"""The rigid motions of space, as rotations and translations side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from flowatlas.errors import GeometryError, ShapeError
from flowatlas.manifolds import _rotations as rotations
from flowatlas.manifolds.base import Manifold
from flowatlas.manifolds.capability import Capability
from flowatlas.manifolds.so3 import SO3

__all__ = ["SE3"]


class SE3(Manifold):
    r"""Rigid motions as homogeneous matrices, with the metric of SO(3) x R^3.

    $$\exp_{(R, p)}(w, v) = (R \exp(\hat w),\; p + v)$$

    Points are `(..., 4, 4)`; tangents `(..., 6)` are (w, v): the angular velocity in the body frame
    in radians, then the velocity of the origin in the world frame. Its geodesics turn and move at
    constant rates independently. They are not the screw motions of the group SE(3), whose metric
    would tie rotations to a unit of length.
    """

    point_ndim = 2
    injectivity_radius = math.pi
    capabilities = frozenset({Capability.TANGENT_BASIS, Capability.WRAPPED})

    _so3 = SO3()

    def tangent_shape(self, point_shape: Sequence[int]) -> tuple[int, ...]:
        return (6,)

    def check_shape(self, x: Tensor, name: str = "x") -> None:
        if x.ndim < 2 or x.shape[-2:] != (4, 4):
            raise ShapeError(
                f"{name}: got shape {tuple(x.shape)}; points of SE3() are homogeneous matrices "
                "(..., 4, 4): SE3.join(rotation, translation) makes them."
            )

    @staticmethod
    def join(rotation: Tensor, translation: Tensor) -> Tensor:
        """Homogeneous matrices of `(..., 3, 3)` and `(..., 3)`."""
        return _homogeneous(rotation, translation, 1.0)

    @staticmethod
    def split(x: Tensor) -> tuple[Tensor, Tensor]:
        """Rotation `(..., 3, 3)` and translation `(..., 3)` of homogeneous matrices."""
        return x[..., :3, :3], x[..., :3, 3]

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        rotation, translation = self.split(x)
        return self.join(self._so3.expmap(rotation, u[..., :3]), translation + u[..., 3:])

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        (r, p), (s, q) = self.split(x), self.split(y)
        w, v = self._so3.logmap(r, s), q - p
        return torch.cat([w, v.expand(*w.shape)], -1)

    def projx(self, x: Tensor) -> Tensor:
        rotation, translation = self.split(x)
        return self.join(self._so3.projx(rotation), translation)

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        return u

    def inner(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        return (u * v).sum(-1)

    def pairwise_squared_dist(self, x: Tensor, y: Tensor) -> Tensor:
        (r, p), (s, q) = self.split(x), self.split(y)
        return (
            self._so3.pairwise_squared_dist(r, s) + torch.cdist(p.flatten(1), q.flatten(1)).square()
        )

    def geodesic(self, x_0: Tensor, x_1: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        u = self.logmap(x_0, x_1)
        return self.expmap(x_0, s.unsqueeze(-1) * u), u

    def retract(self, x: Tensor, u: Tensor) -> Tensor:
        rotation, translation = self.split(x)
        return self.join(self._so3.retract(rotation, u[..., :3]), translation + u[..., 3:])

    def pullback(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        turn = rotations.inverse_right_jacobian(u[..., :3], v[..., :3])
        return torch.cat([turn, v[..., 3:]], -1)

    def pushforward(self, x: Tensor, u: Tensor) -> Tensor:
        rotation, _ = self.split(x)
        return _homogeneous(self._so3.pushforward(rotation, u[..., :3]), u[..., 3:], 0.0)

    def tangent_basis(self, x: Tensor) -> Tensor:
        return torch.eye(6, dtype=x.dtype, device=x.device).expand(*x.shape[:-2], 6, 6)

    def exp_preimages(self, x: Tensor, y: Tensor, images: int) -> Tensor:
        (r, p), (s, q) = self.split(x), self.split(y)
        w = self._so3.exp_preimages(r, s, images)
        return torch.cat([w, (q - p).expand(*w.shape)], -1)

    def log_det_expmap(self, x: Tensor, u: Tensor) -> Tensor:
        return self._so3.log_det_expmap(x[..., :3, :3], u[..., :3])

    def is_shortest(self, x: Tensor, u: Tensor) -> Tensor:
        return self._so3.is_shortest(x[..., :3, :3], u[..., :3])

    def check_point(self, x: Tensor, name: str = "x") -> None:
        self.check_shape(x, name)
        # A large translation must not make room for a bad rotation.
        rotation, translation = self.split(x)
        self._so3.check_point(rotation, f"{name}[..., :3, :3]")
        if not torch.isfinite(translation).all():
            raise GeometryError(f"{name}[..., :3, 3]: translations contain NaN or infinity.")
        last = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=x.dtype, device=x.device)
        if not torch.equal(x[..., 3, :], last.expand_as(x[..., 3, :])):
            raise GeometryError(
                f"{name}[..., 3, :]: the last row must be (0, 0, 0, 1); build points with "
                "SE3.join(rotation, translation)."
            )


def _homogeneous(block: Tensor, column: Tensor, corner: float) -> Tensor:
    column = column.expand(*block.shape[:-2], 3).unsqueeze(-1)
    last = torch.cat(
        [torch.zeros_like(block[..., :1, :]), torch.full_like(column[..., :1, :], corner)], -1
    )
    return torch.cat([torch.cat([block, column], -1), last], -2)
