"""What rotations have in common however they are stored: all that body-frame tangents say."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from flowatlas.manifolds import _rotations as rotations
from flowatlas.manifolds.base import Manifold
from flowatlas.manifolds.capability import Capability

__all__ = ["RotationGroup"]


class RotationGroup(Manifold):
    """Rotations with tangents as body-frame angular velocities `(..., 3)`, in radians.

    A subclass says how points are stored: `check_shape`, `expmap`, `logmap`, `projx`, `retract`,
    `pushforward`, `random_uniform`.
    """

    injectivity_radius = math.pi
    capabilities = frozenset(Capability)

    def tangent_shape(self, point_shape: Sequence[int]) -> tuple[int, ...]:
        return (3,)

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        return u

    def inner(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        return (u * v).sum(-1)

    def geodesic(self, x_0: Tensor, x_1: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        u = self.logmap(x_0, x_1)
        return self.expmap(x_0, s.unsqueeze(-1) * u), u

    def pullback(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        return rotations.inverse_right_jacobian(u, v)

    def uniform_log_prob(self, x: Tensor) -> Tensor:
        return x.new_full(x.shape[: x.ndim - self.point_ndim], -math.log(8 * math.pi**2))

    def tangent_basis(self, x: Tensor) -> Tensor:
        lead = x.shape[: x.ndim - self.point_ndim]
        return torch.eye(3, dtype=x.dtype, device=x.device).expand(*lead, 3, 3)

    def exp_preimages(self, x: Tensor, y: Tensor, images: int) -> Tensor:
        u = self.logmap(x, y)
        angle: Tensor = torch.linalg.vector_norm(u, dim=-1, keepdim=True)
        unit = u / angle.clamp(min=torch.finfo(u.dtype).tiny)
        turns = torch.arange(-images, images + 1, dtype=u.dtype, device=u.device)
        return (angle + 2 * math.pi * turns.view(-1, *(1,) * angle.ndim)) * unit

    def log_det_expmap(self, x: Tensor, u: Tensor) -> Tensor:
        angle = torch.linalg.vector_norm(u, dim=-1)
        return 2 * torch.sinc(angle / (2 * math.pi)).abs().log()
