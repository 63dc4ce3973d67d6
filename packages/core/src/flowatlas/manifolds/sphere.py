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

    With the chord $d = y - x$ and the sum $m = x + y$, which is orthogonal to it, half the angle
    between x and y is $\theta / 2 = \operatorname{atan2}(|d|, |m|)$, and

    $$\exp_x(u) = \cos|u|\, x + \frac{\sin|u|}{|u|} u, \qquad
      \log_x(y) = \frac\theta 2 \Big(|m| \frac{d}{|d|} + |d| \frac{m}{|m|}\Big).$$

    The angle never goes through `acos`, which loses half the digits near 0 and pi. At the antipode,
    where every direction is shortest, `logmap` chooses one, so that antipodal pairs do move.

    Reference: for the angle, How Futile are Mindless Assessments of Roundoff in Floating-Point
    Computation?, Kahan, 2006, section 12.

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
        length: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        return x / length

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
        norm = torch.linalg.vector_norm
        return 2 * torch.atan2(norm(y - x, dim=-1), norm(x + y, dim=-1))

    def pairwise_squared_dist(self, x: Tensor, y: Tensor) -> Tensor:
        # The chord 2 sin(angle / 2) keeps the digits that the cosine loses for close pairs.
        d = x.shape[-1]
        x, y = x.reshape(len(x), -1, d), y.reshape(len(y), -1, d)
        chord = torch.cdist(x.transpose(0, 1), y.transpose(0, 1))
        return (2 * torch.asin((chord / 2).clamp(max=1.0))).square().sum(0)

    def geodesic(self, x_0: Tensor, x_1: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        across, ahead, chord, length = self._frame(x_0, x_1)
        half = torch.atan2(chord, length)
        angle = 2 * half
        phase = s.unsqueeze(-1) * angle - half
        cos, sin = torch.cos(phase), torch.sin(phase)
        x_s = torch.addcmul(cos * across, sin, ahead)
        return x_s, torch.addcmul(angle * cos * ahead, angle * sin, across, value=-1)

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
        across, ahead, chord, length = self._frame(x, y)
        half = torch.atan2(chord, length)
        return half * torch.addcmul(length * ahead, chord, across), 2 * half

    def _frame(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Unit vectors m / |m| to the middle of x and y and d / |d| along their chord; |d|, |m|.

        |d| is never zero, so that all that is divided by it is right at x = y, derivatives too: d
        is zero there, and wherever d / |d| goes, it is multiplied by the angle.
        """
        chord = y - x
        # At the antipode d = -2 x and m = 0. A third of a rounding error gives m a direction: that
        # of the first axis, or where x is close to it, of the second.
        first = chord[..., :1]
        axis = (first.abs() > 1.0).long()
        nudge = torch.full_like(first, torch.finfo(x.dtype).eps / 3)
        middle = (x + y).scatter_add(-1, axis, nudge)
        # What d and m have in common comes from the lengths of x and y, which are one but for
        # rounding. It matters where m is short; there, |d| is 2.
        middle = torch.addcmul(middle, _dot(chord, middle), chord, value=-0.25)
        length = torch.linalg.vector_norm(middle, dim=-1, keepdim=True)
        size = torch.linalg.vector_norm(chord, dim=-1, keepdim=True) + 1e-18
        return middle / length, chord / size, size, length


def _dot(x: Tensor, y: Tensor) -> Tensor:
    return (x * y).sum(-1, keepdim=True)
