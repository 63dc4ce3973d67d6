"""Hyperbolic space as a hyperboloid."""

from __future__ import annotations

import torch
from torch import Tensor

from flowatlas.errors import GeometryError, ShapeError
from flowatlas.manifolds._smallest import smallest
from flowatlas.manifolds.base import Manifold
from flowatlas.manifolds.capability import Capability

__all__ = ["Lorentz"]

_MAX_RADIUS_FLOAT32 = 5.0


class Lorentz(Manifold):
    r"""Hyperbolic space of curvature -1: the upper sheet of the hyperboloid in Minkowski space.

    The inner product is $\langle u, v \rangle = -u_0 v_0 + \sum_i u_i v_i$, and

    $$h = \frac12 \sqrt{\frac{1 + x_0}{1 + y_0}}
          \Big| \delta - \frac{\delta_0}{1 + x_0} \bar x \Big|, \qquad
      d(x, y) = 2 \operatorname{arsinh} h,$$
    $$\exp_x(u) = \cosh|u|\, x + \frac{\sinh|u|}{|u|} u, \qquad
      \log_x(y) = \frac{d}{\sinh d} \big((\delta_0, \delta) - 2 h^2 x\big),$$

    with $\bar x$ the spatial part of x, $\delta = \bar y - \bar x$, and $\delta_0 = y_0 - x_0$
    taken as $\delta \cdot (\bar x + \bar y) / (x_0 + y_0)$. This is the distance of the Poincare
    ball, $h = |a - b| / \sqrt{(1 - |a|^2)(1 - |b|^2)}$ at $a = \bar x / (1 + x_0)$, in differences
    of the points, so that close ones do not cancel; lengths of tangents are taken at the origin
    (1, 0, ..., 0), where they are Euclidean.

    Points and tangents are `(..., n + 1)`, the time coordinate first; the spatial coordinates
    determine the point. Coordinates grow as $e^r$ with the distance r from the origin, and a
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
        (time, space), (u_time, u_space) = _split(x), _split(u)
        length = _length(time, space, u_time, u_space) + smallest(x.dtype)
        ratio = torch.sinh(length) / length
        return _on_sheet(torch.addcmul(torch.cosh(length) * space, ratio, u_space))

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        half, gap, later = _half_chord(x, y)
        length = 2 * torch.asinh(half) + smallest(x.dtype)
        towards = torch.addcmul(torch.cat([later, gap], -1), half.square(), x, value=-2)
        return length / torch.sinh(length) * towards

    def projx(self, x: Tensor) -> Tensor:
        return _on_sheet(x[..., 1:])

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        return u + _minkowski(x, u).unsqueeze(-1) * x

    def inner(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        return _minkowski(u, v)

    def norm(self, x: Tensor, u: Tensor) -> Tensor:
        return _length(*_split(x), *_split(u)).squeeze(-1)

    def dist(self, x: Tensor, y: Tensor) -> Tensor:
        return 2 * torch.asinh(_half_chord(x, y)[0]).squeeze(-1)

    def geodesic(self, x_0: Tensor, x_1: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        # Of both ends, so that nothing cancels where x_1 is nearer to the origin than x_0:
        # x_s = (sinh((1 - s) d) x_0 + sinh(s d) x_1) / sinh d.
        length = 2 * torch.asinh(_half_chord(x_0, x_1)[0])
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


def _split(x: Tensor) -> tuple[Tensor, Tensor]:
    """Time coordinate `(..., 1)` and spatial part `(..., n)`."""
    return x[..., :1], x[..., 1:]


def _on_sheet(space: Tensor) -> Tensor:
    """The point with these spatial coordinates."""
    return torch.cat([(1 + space.square().sum(-1, keepdim=True)).sqrt(), space], -1)


def _length(time: Tensor, space: Tensor, u_time: Tensor, u_space: Tensor) -> Tensor:
    """Length of u, transported to the origin, `(..., 1)`."""
    w = torch.addcmul(u_space, u_time / (1 + time), space, value=-1)
    length: Tensor = torch.linalg.vector_norm(w, dim=-1, keepdim=True)
    return length


def _half_chord(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """sinh(d / 2), the spatial part of y - x, and its time coordinate."""
    (time, space), (y_time, y_space) = _split(x), _split(y)
    gap = y_space - space
    later = (gap * (space + y_space)).sum(-1, keepdim=True) / (time + y_time)
    near, far = 1 + time, 1 + y_time
    chord = torch.addcmul(gap, later / near, space, value=-1)
    length = torch.linalg.vector_norm(chord, dim=-1, keepdim=True)
    return (near / far).sqrt() / 2 * length, gap, later


def _minkowski(u: Tensor, v: Tensor) -> Tensor:
    return (u[..., 1:] * v[..., 1:]).sum(-1) - u[..., 0] * v[..., 0]


def _sinhc(x: Tensor) -> Tensor:
    """sinh(x) / x."""
    small = x.abs() < 1e-2
    square = torch.where(small, x, 0.0).square()
    series = 1 + square / 6 * (1 + square / 20 * (1 + square / 42))
    safe = torch.where(small, 1.0, x)
    return torch.where(small, series, torch.sinh(safe) / safe)
