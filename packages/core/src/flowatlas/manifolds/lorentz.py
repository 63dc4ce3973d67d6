"""Hyperbolic space as a hyperboloid."""

from __future__ import annotations

import torch
from torch import Tensor

from flowatlas.errors import GeometryError, ShapeError
from flowatlas.manifolds.base import Capability, Manifold

__all__ = ["Lorentz"]

_MAX_RADIUS_FLOAT32 = 5.0


class Lorentz(Manifold):
    r"""Hyperbolic space of curvature -1: the upper sheet of the hyperboloid in Minkowski space.

    With $\langle x, y \rangle_L = -x_0 y_0 + \sum_i x_i y_i$ and $q = \langle y - x, y - x
    \rangle_L$:

    $$d(x, y) = 2 \operatorname{arsinh}(\sqrt q / 2), \qquad
      \exp_x(u) = \cosh|u|\, x + \frac{\sinh|u|}{|u|} u, \qquad
      \log_x(y) = \frac{d}{\sinh d} (y - x - \tfrac q2 x).$$

    Points and tangents are `(..., n + 1)`, the time coordinate first; the spatial coordinates
    determine the point. Everything is written in differences of coordinates that do not cancel.
    Still, coordinates grow as $e^r$ with the distance r from the origin (1, 0, ..., 0), and a
    float32 cannot hold a point well beyond r = 5: `check_point` refuses such points in float32.

    Reference: Nickel and Kiela, Learning Continuous Hierarchies in the Lorentz Model of Hyperbolic
    Geometry, 2018, arXiv:1806.03417, section 3.
    """

    codim = 1
    capabilities = frozenset({Capability.TANGENT_BASIS, Capability.WRAPPED})

    def check_shape(self, x: Tensor, name: str = "x") -> None:
        if x.ndim < 1 or x.shape[-1] < 2:
            raise ShapeError(
                f"{name}: got shape {tuple(x.shape)}; points of Lorentz() are (..., n + 1) with "
                "n >= 1, the time coordinate first."
            )

    def origin(
        self,
        dimension: int,
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """(1, 0, ..., 0) of hyperbolic space of that dimension, shape `(dimension + 1,)`."""
        x = torch.zeros(dimension + 1, dtype=dtype, device=device)
        x[0] = 1.0
        return x

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        length = self.norm(x, u).unsqueeze(-1)
        return self.projx(torch.cosh(length) * x + _sinhc(length) * u)

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        return self._polar(x, y)[0]

    def projx(self, x: Tensor) -> Tensor:
        space = x[..., 1:]
        time = (1 + space.square().sum(-1, keepdim=True)).sqrt()
        return torch.cat([time, space], -1)

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        return u + _minkowski(x, u).unsqueeze(-1) * x

    def inner(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        return _minkowski(u, v)

    def norm(self, x: Tensor, u: Tensor) -> Tensor:
        # Transported to the origin, where lengths are Euclidean: nothing cancels.
        w = u[..., 1:] - u[..., :1] / (1 + x[..., :1]) * x[..., 1:]
        square = w.square().sum(-1)
        positive = square > 0
        return torch.where(positive, torch.where(positive, square, 1.0).sqrt(), 0.0)

    def dist(self, x: Tensor, y: Tensor) -> Tensor:
        q = self._squared_chord(x, y)[0]
        positive = q > 0
        distance = 2 * torch.asinh(torch.where(positive, q, 1.0).sqrt() / 2)
        return torch.where(positive, distance, 0.0).squeeze(-1)

    def geodesic(self, x_0: Tensor, x_1: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        # Of both ends, so that nothing cancels where x_1 is nearer to the origin than x_0:
        # x_s = (sinh((1 - s) d) x_0 + sinh(s d) x_1) / sinh d.
        length = self.dist(x_0, x_1).unsqueeze(-1)
        s = s.unsqueeze(-1)
        whole = _sinhc(length)
        rest = 1 - s
        before, after = rest * _sinhc(rest * length) / whole, s * _sinhc(s * length) / whole
        x_s = self.projx(torch.addcmul(before * x_0, after, x_1))
        rise, fall = torch.cosh(s * length) / whole, torch.cosh(rest * length) / whole
        return x_s, torch.addcmul(rise * x_1, fall, x_0, value=-1)

    def tangent_basis(self, x: Tensor) -> Tensor:
        eye = torch.eye(x.shape[-1] - 1, dtype=x.dtype, device=x.device)
        return self._from_origin(x.unsqueeze(-2), eye)

    def noise_shape(self, x: Tensor) -> tuple[int, ...]:
        return (*x.shape[:-1], x.shape[-1] - 1)

    def tangent_from_noise(self, x: Tensor, noise: Tensor) -> Tensor:
        return self._from_origin(x, noise)

    def exp_preimages(self, x: Tensor, y: Tensor, images: int) -> Tensor:
        return self.logmap(x, y).unsqueeze(0)

    def log_det_expmap(self, x: Tensor, u: Tensor) -> Tensor:
        return (x.shape[-1] - 2) * _sinhc(self.norm(x, u)).log()

    def check_point(self, x: Tensor, name: str = "x") -> None:
        super().check_point(x, name)
        radius = torch.acosh(x[..., 0].detach().clamp(min=1.0)).max() if x.numel() else 0.0
        if x.dtype != torch.float64 and radius > _MAX_RADIUS_FLOAT32:
            raise GeometryError(
                f"{name}: a point lies {float(radius):.2f} from the origin; {x.dtype} holds points "
                f"of Lorentz() to about {_MAX_RADIUS_FLOAT32:g}. Pass {name}.double(), or rescale."
            )

    def _from_origin(self, x: Tensor, w: Tensor) -> Tensor:
        """Parallel transport from the origin to `x` of the tangent (0, w)."""
        time = (x[..., 1:] * w).sum(-1, keepdim=True)
        return torch.cat([time, w + time / (1 + x[..., :1]) * x[..., 1:]], -1)

    def _squared_chord(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """q, shape `(..., 1)`, and y - x with a time coordinate that has not cancelled.

        With d, m the difference and sum of the spatial parts, s the sum of the time coordinates and
        b = (d.m)^2 / |m|^2, $q = |d|^2 - (d.m)^2 / s^2$ cancels for points one behind the other;
        the same written as $((|d|^2 - b) s^2 + 4 b) / (s^2 - b)$ cancels for points on opposite
        sides.
        """
        difference = y[..., 1:] - x[..., 1:]
        middle = y[..., 1:] + x[..., 1:]
        total = y[..., :1] + x[..., :1]
        along = (difference * middle).sum(-1, keepdim=True)
        gap = torch.cat([along / total, difference], -1)
        opposite = difference.square().sum(-1, keepdim=True) - (along / total).square()
        length = middle.square().sum(-1, keepdim=True)
        behind = length > difference.square().sum(-1, keepdim=True)
        length = torch.where(behind, length, 1.0)
        b = torch.where(behind, along, 0.0).square() / length
        aside = difference - torch.where(behind, along, 0.0) / length * middle
        squared = total.square()
        stable = (aside.square().sum(-1, keepdim=True) * squared + 4 * b) / (squared - b)
        return torch.where(behind, stable, opposite.clamp(min=0.0)), gap

    def _polar(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """`logmap` and its length `(..., 1)`."""
        q, gap = self._squared_chord(x, y)
        tiny = q < 1e-30
        root = torch.where(tiny, 1.0, q).sqrt()
        length = 2 * torch.asinh(root / 2)
        ratio = length / (root * (1 + q / 4).sqrt())
        u = torch.where(tiny, 1.0, ratio) * (gap - q / 2 * x)
        return u, torch.where(tiny, 0.0, length)


def _minkowski(u: Tensor, v: Tensor) -> Tensor:
    return (u[..., 1:] * v[..., 1:]).sum(-1) - u[..., 0] * v[..., 0]


def _sinhc(x: Tensor) -> Tensor:
    """sinh(x) / x."""
    small = x.abs() < 1e-2
    square = torch.where(small, x, 0.0).square()
    series = 1 + square / 6 * (1 + square / 20 * (1 + square / 42))
    safe = torch.where(small, 1.0, x)
    return torch.where(small, series, torch.sinh(safe) / safe)
