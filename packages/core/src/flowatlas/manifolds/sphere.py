"""The unit sphere in its ambient space."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from flowatlas._random import Generators, randn
from flowatlas.errors import ShapeError
from flowatlas.manifolds._contraction import normalised_pull
from flowatlas.manifolds._smallest import smallest
from flowatlas.manifolds.base import Manifold
from flowatlas.manifolds.capability import Capability

__all__ = ["Sphere"]


class Sphere(Manifold):
    r"""Unit vectors of $\mathbb{R}^d$, with the metric of the ambient space.

    With $c = \langle x, y \rangle$, $v = y - \operatorname{sign}(c)\, x$, which is short near x and
    near its antipode, and its tangential part $u = v - \langle x, v \rangle x$,

    $$\theta = \operatorname{atan2}(|u|, c), \qquad
      \log_x(y) = \frac{\theta}{|u|} u, \qquad
      \exp_x(u) = \cos|u|\, x + \frac{\sin|u|}{|u|} u.$$

    The angle never goes through `acos`, which loses half the digits near 0 and pi, and nothing that
    is divided by has cancelled. At the antipode, where every direction is shortest, `logmap`
    chooses one, so that antipodal pairs do move.

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
        angle = torch.linalg.vector_norm(u, dim=-1, keepdim=True) + smallest(u.dtype)
        return self.projx(torch.addcmul(torch.cos(angle) * x, torch.sin(angle) / angle, u))

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        u, sine, angle = self._frame(x, y)
        return angle / sine * u

    def dist(self, x: Tensor, y: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm
        return 2 * torch.atan2(norm(y - x, dim=-1), norm(x + y, dim=-1))

    def pairwise_squared_dist(self, x: Tensor, y: Tensor) -> Tensor:
        # Through the chord 2 sin(angle / 2), since cosines may be rounded to more than one.
        d = x.shape[-1]
        x, y = x.reshape(len(x), -1, d), y.reshape(len(y), -1, d)
        chord = torch.cdist(x.transpose(0, 1), y.transpose(0, 1))
        return (2 * torch.asin((chord / 2).clamp(max=1.0))).square().sum(0)

    def geodesic(self, x_0: Tensor, x_1: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        u, sine, angle = self._frame(x_0, x_1)
        direction = u / sine
        phase = s.unsqueeze(-1) * angle
        cos, sin = torch.cos(phase), torch.sin(phase)
        x_s = torch.addcmul(cos * x_0, sin, direction)
        return x_s, angle * torch.addcmul(cos * direction, sin, x_0, value=-1)

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
        u, sine, angle = self._frame(x, y)
        turns = torch.arange(-images, images + 1, dtype=u.dtype, device=u.device)
        lengths = angle + 2 * math.pi * turns.view(-1, *(1,) * angle.ndim)
        return lengths / sine * u

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

    def _frame(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A tangent at x towards y, its length, the sine of the angle, and the angle.

        A nudge keeps the length from zero: it is far below the rounding of points, and far above
        what rounding leaves of v where that is a multiple of x, so that it is what gives antipodes
        their direction. No x in use is a multiple of it.
        """
        cosine = _dot(x, y)
        size = 1024 * torch.finfo(x.dtype).eps ** 2
        nudge = torch.linspace(size, 2 * size, x.shape[-1], dtype=x.dtype, device=x.device)
        v = torch.addcmul(y, cosine.sign(), x, value=-1) + nudge
        u = torch.addcmul(v, _dot(x, v), x, value=-1)
        sine = torch.linalg.vector_norm(u, dim=-1, keepdim=True)
        return u, sine, torch.atan2(sine, cosine)


def _dot(x: Tensor, y: Tensor) -> Tensor:
    return (x * y).sum(-1, keepdim=True)
