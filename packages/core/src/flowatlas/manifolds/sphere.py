"""The unit sphere in its ambient space."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from flowatlas._random import Generators, randn
from flowatlas.errors import ShapeError
from flowatlas.manifolds._contraction import normalised_pull
from flowatlas.manifolds.base import Capability, Manifold

__all__ = ["Sphere"]


class Sphere(Manifold):
    r"""Unit vectors of $\mathbb{R}^d$, with the metric of the ambient space.

    With $\theta = \operatorname{atan2}(|y - \langle x, y\rangle x|, \langle x, y\rangle)$:

    $$\exp_x(u) = \cos|u|\, x + \frac{\sin|u|}{|u|} u, \qquad
      \log_x(y) = \frac{\theta}{\sin\theta} (y - \langle x, y\rangle x).$$

    The angle never goes through `acos`, which loses half the digits near 0 and pi. At the antipode,
    where every direction is shortest, `logmap` chooses one, so that antipodal pairs do move.

    Points and tangents are `(..., d)`; angles are in radians.
    """

    codim = 1
    injectivity_radius = math.pi
    capabilities = frozenset(Capability)

    def check_shape(self, x: Tensor, name: str = "x") -> None:
        if x.ndim < 1 or x.shape[-1] < 2:
            raise ShapeError(
                f"{name}: got shape {tuple(x.shape)}; points of {self!r} are unit vectors "
                "(..., d) with d >= 2. Latitude and longitude need converting to 3 coordinates."
            )

    def projx(self, x: Tensor) -> Tensor:
        return x / torch.linalg.vector_norm(x, dim=-1, keepdim=True)

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        return torch.addcmul(u, x, _dot(x, u), value=-1)

    def inner(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        return (u * v).sum(-1)

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        angle = torch.linalg.vector_norm(u, dim=-1, keepdim=True)
        return self.projx(torch.cos(angle) * x + torch.sinc(angle / math.pi) * u)

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        return self._polar(x, y)[0]

    def dist(self, x: Tensor, y: Tensor) -> Tensor:
        return self._polar(x, y)[1].squeeze(-1)

    def pairwise_squared_dist(self, x: Tensor, y: Tensor) -> Tensor:
        # The chord 2 sin(angle / 2) keeps the digits that the cosine loses for close pairs.
        d = x.shape[-1]
        x, y = x.reshape(len(x), -1, d), y.reshape(len(y), -1, d)
        chord = torch.cdist(x.transpose(0, 1), y.transpose(0, 1))
        return (2 * torch.asin((chord / 2).clamp(max=1.0))).square().sum(0)

    def geodesic(self, x_0: Tensor, x_1: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        u, angle = self._polar(x_0, x_1)
        s = s.unsqueeze(-1)
        phase = s * angle
        cos = torch.cos(phase)
        x_s = torch.addcmul(cos * x_0, s * torch.sinc(phase / math.pi), u)
        return x_s, torch.addcmul(cos * u, angle * torch.sin(phase), x_0, value=-1)

    def random_uniform(
        self,
        shape: Sequence[int],
        *,
        generator: Generators = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        return self.projx(randn(shape, generator=generator, dtype=dtype, device=device))

    def uniform_log_prob(self, x: Tensor) -> Tensor:
        half = x.shape[-1] / 2
        value = math.lgamma(half) - math.log(2) - half * math.log(math.pi)
        return x.new_full(x.shape[:-1], value)

    def tangent_basis(self, x: Tensor) -> Tensor:
        # The Householder reflection that takes x to -sign(x_d) e_d takes the other axes to a
        # basis of the tangent space; the sign avoids cancellation.
        sign = torch.where(x[..., -1:] < 0, -1.0, 1.0).to(x.dtype)
        last = torch.zeros_like(x)
        last[..., -1] = 1.0
        v = x + sign * last
        eye = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)[:-1]
        scale = v[..., :-1, None] / (1 + x[..., -1:].abs()).unsqueeze(-1)
        return eye - scale * v.unsqueeze(-2)

    def exp_preimages(self, x: Tensor, y: Tensor, images: int) -> Tensor:
        u, angle = self._polar(x, y)
        unit = u / angle.clamp(min=torch.finfo(u.dtype).tiny)
        turns = torch.arange(-images, images + 1, dtype=u.dtype, device=u.device)
        lengths = angle + 2 * math.pi * turns.view(-1, *(1,) * angle.ndim)
        return lengths * unit

    def log_det_expmap(self, x: Tensor, u: Tensor) -> Tensor:
        angle = torch.linalg.vector_norm(u, dim=-1)
        return (x.shape[-1] - 2) * torch.sinc(angle / math.pi).abs().log()

    def contraction(self, x: Tensor, y: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
        # In angles and one matrix product: a tenth of the time of logarithms pair by pair. The
        # square of the half chord comes from differences, for the sake of close points.
        keep, power = keep.unsqueeze(1), x.shape[-1] - 2
        half = torch.zeros((), dtype=x.dtype, device=x.device)
        for a, b in zip(x.unbind(-1), y.unbind(-1), strict=True):
            difference = (a / 2).unsqueeze(1) - b / 2
            half = torch.addcmul(half, difference, difference)
        half = half.clamp(1e-30, 1 - 1e-7)
        root = half.sqrt()
        angle, sine = 2 * torch.asin(root), 2 * root * (1 - half).sqrt()
        start = angle / keep
        density = (torch.sin(start) / sine) ** power / keep
        density = torch.where(start < math.pi, density, 0.0)
        weight = density * angle / sine
        along = (weight * (1 - 2 * half)).sum(1, keepdim=True)
        return normalised_pull(density, weight @ y - along * x)

    def _polar(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """`logmap` and its length `(..., 1)`."""
        cosine = _dot(x, y)
        # y - x is exact for close points, and the second projection removes what rounding has
        # left along x, which is all there is near the antipode.
        orthogonal = self.proju(x, self.proju(x, y - x))
        sine = torch.linalg.vector_norm(orthogonal, dim=-1, keepdim=True)
        antipodal = (cosine < 0) & (sine < 4 * torch.finfo(x.dtype).eps)
        angle = torch.atan2(torch.where(antipodal, 0.0, sine), cosine)
        tiny = sine < 1e-30
        ratio = torch.where(tiny, 1.0, angle / torch.where(tiny, 1.0, sine))
        u = ratio * orthogonal
        return torch.where(antipodal, math.pi * self._any_tangent(x), u), angle

    def _any_tangent(self, x: Tensor) -> Tensor:
        """A unit tangent: the coordinate axis least aligned with `x`, projected."""
        axis = torch.zeros_like(x).scatter(-1, x.detach().abs().argmin(-1, keepdim=True), 1.0)
        u = self.proju(x, axis)
        return u / torch.linalg.vector_norm(u, dim=-1, keepdim=True)


def _dot(x: Tensor, y: Tensor) -> Tensor:
    return (x * y).sum(-1, keepdim=True)
