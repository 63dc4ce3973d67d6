r"""Densities concentrated around a point, one for each space: what kernel estimates are made of.

All have the form $k_b(x; c) = e^{-E(x, c) / b^2} / Z(b)$, where the energy E is half the squared
distance for close points, and the bandwidth b is the spread in each direction: a von Mises-Fisher
density on the sphere, von Mises on the torus, a matrix Fisher density on SO(3), a Gaussian in flat
space. The normaliser is exact in every one.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from flowatlas.errors import CapabilityError
from flowatlas.manifolds import SO3, Euclidean, FlatTorus, Manifold, Sphere

__all__ = [
    "EuclideanKernel",
    "Kernel",
    "RotationKernel",
    "SphereKernel",
    "TorusKernel",
    "kernel_for",
]


class Kernel(ABC):
    """A density $e^{-E(x, c) / b^2} / Z(b)$ around a centre c."""

    @abstractmethod
    def energy(self, x: Tensor, c: Tensor) -> Tensor:
        """E of all points `(n, *point_shape)` and centres `(m, *point_shape)`: `(n, m)`."""

    @abstractmethod
    def log_normaliser(self, bandwidth: Tensor, dimension: int) -> Tensor:
        """log Z, with the shape of `bandwidth`."""

    @abstractmethod
    def sample(self, c: Tensor, bandwidth: Tensor, generator: torch.Generator | None) -> Tensor:
        """One point around each centre: `(n, *point_shape)` and `(n,)` to `(n, *point_shape)`."""


class EuclideanKernel(Kernel):
    """Isotropic Gaussian on points `(n, d)`."""

    def energy(self, x: Tensor, c: Tensor) -> Tensor:
        middle = c.mean(0)
        x, c = x - middle, c - middle
        half = 0.5 * (x.square().sum(1)[:, None] + c.square().sum(1))
        energy: Tensor = (half - x @ c.T).clamp(min=0)
        return energy

    def log_normaliser(self, bandwidth: Tensor, dimension: int) -> Tensor:
        return dimension * (bandwidth.log() + 0.5 * math.log(2 * math.pi))

    def sample(self, c: Tensor, bandwidth: Tensor, generator: torch.Generator | None) -> Tensor:
        return c + bandwidth[:, None] * _randn(c.shape, c, generator)


class SphereKernel(Kernel):
    """von Mises-Fisher density on the sphere in three dimensions, points `(n, 3)`."""

    def energy(self, x: Tensor, c: Tensor) -> Tensor:
        energy: Tensor = (1 - x @ c.T).clamp(min=0)
        return energy

    def log_normaliser(self, bandwidth: Tensor, dimension: int) -> Tensor:
        _check_dimension(dimension, 2, "Sphere")
        # 2 pi b^2 (1 - exp(-2 / b^2)).
        square = bandwidth.square()
        return torch.log(2 * math.pi * square) + torch.log(-torch.expm1(-2 / square))

    def sample(self, c: Tensor, bandwidth: Tensor, generator: torch.Generator | None) -> Tensor:
        square = bandwidth.square()
        u = _rand(c.shape[:1], c, generator)
        # 1 - cos(angle) by inverting its distribution function.
        drop = -square * torch.log1p(u * torch.expm1(-2 / square))
        angle = 2 * torch.asin((drop / 2).clamp(0, 1).sqrt())
        tangent = _orthogonal(_randn(c.shape, c, generator), c)
        x = torch.cos(angle)[:, None] * c + torch.sin(angle)[:, None] * tangent
        return _unit(x)


class TorusKernel(Kernel):
    """Product of von Mises densities on angles `(n, d)` of period 2 pi."""

    def energy(self, x: Tensor, c: Tensor) -> Tensor:
        dot = torch.cos(x) @ torch.cos(c).T + torch.sin(x) @ torch.sin(c).T
        return (x.shape[1] - dot).clamp(min=0)

    def log_normaliser(self, bandwidth: Tensor, dimension: int) -> Tensor:
        bessel = torch.special.i0e(bandwidth.pow(-2))
        return dimension * torch.log(2 * math.pi * bessel)

    def sample(self, c: Tensor, bandwidth: Tensor, generator: torch.Generator | None) -> Tensor:
        u = 2 * _rand(c.shape, c, generator) - 1
        spread = bandwidth[:, None].expand_as(c).flatten()
        angle = _inverse_cdf(u.abs().flatten(), spread, torch.ones_like).view_as(c)
        return (c + u.sign() * angle).remainder(2 * math.pi)


class RotationKernel(Kernel):
    r"""Isotropic matrix Fisher density on SO(3), points `(n, 3, 3)`.

    $\propto \exp((\cos\omega - 1) / b^2)$ in the angle $\omega$ between x and c, with respect to
    the volume in which SO(3) has $8 \pi^2$.
    """

    def energy(self, x: Tensor, c: Tensor) -> Tensor:
        return ((3 - x.flatten(1) @ c.flatten(1).T) / 2).clamp(min=0)

    def log_normaliser(self, bandwidth: Tensor, dimension: int) -> Tensor:
        rate = bandwidth.pow(-2)
        # The uniform mean of exp(rate cos w) is I_0 - I_1. The two share their digits once the rate
        # is large, and there the first terms in 1 / rate are exact to rounding.
        difference = torch.special.i0e(rate) - torch.special.i1e(rate)
        series = 1 + 3 / (8 * rate) + 45 / (128 * rate.square())
        far = series / (2 * rate * torch.sqrt(2 * math.pi * rate))
        return torch.log(torch.where(rate > 1e4, far, difference)) + math.log(8 * math.pi**2)

    def sample(self, c: Tensor, bandwidth: Tensor, generator: torch.Generator | None) -> Tensor:
        u = _rand(c.shape[:1], c, generator)
        angle = _inverse_cdf(u, bandwidth, lambda w: 2 * torch.sin(w / 2).square())
        axis = _randn((c.shape[0], 3), c, generator)
        return SO3().expmap(c, angle[:, None] * _unit(axis))


def kernel_for(manifold: Manifold) -> Kernel:
    """The kernel of a manifold.

    Raises:
        CapabilityError: if there is none.
    """
    if isinstance(manifold, Euclidean):
        return EuclideanKernel()
    if isinstance(manifold, Sphere):
        return SphereKernel()
    if isinstance(manifold, FlatTorus):
        return TorusKernel()
    if isinstance(manifold, SO3):
        return RotationKernel()
    raise CapabilityError(
        f"manifold: kernel densities are there for Euclidean, Sphere, FlatTorus and SO3, got "
        f"{manifold!r}. Use a method whose source is not fitted."
    )


def _check_dimension(got: int, allowed: int, name: str) -> None:
    if got != allowed:
        raise CapabilityError(
            f"manifold: the kernel of {name} is for dimension {allowed}, got {got}."
        )


def _orthogonal(u: Tensor, x: Tensor) -> Tensor:
    """Unit vectors orthogonal to the unit vectors `x`."""
    return _unit(u - (u * x).sum(1, keepdim=True) * x)


def _unit(x: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return x / length


def _inverse_cdf(u: Tensor, bandwidth: Tensor, volume: Callable[[Tensor], Tensor]) -> Tensor:
    """Angles in [0, pi] with density proportional to exp((cos w - 1) / b^2) volume(w).

    The distribution function is summed on 513 nodes that reach to where the density has fallen by
    e^50, and inverted by linear interpolation.
    """
    nodes = torch.linspace(0, 1, 513, dtype=u.dtype, device=u.device)
    angles = []
    for v, b in zip(torch.split(u, 4096), torch.split(bandwidth, 4096), strict=True):
        top = (10 * b).clamp(max=math.pi)[:, None]
        w = nodes * top
        density = torch.exp(-2 * torch.sin(w / 2).square() / b[:, None].square()) * volume(w)
        cdf = torch.cumulative_trapezoid(density, dim=1)
        cdf = torch.cat([torch.zeros_like(cdf[:, :1]), cdf], 1)
        level = v[:, None] * cdf[:, -1:]
        i = torch.searchsorted(cdf, level, right=True).clamp(1, 512)
        below, above = cdf.gather(1, i - 1), cdf.gather(1, i)
        part = (level - below) / (above - below).clamp(min=1e-300)
        angles.append(((i - 1 + part.clamp(0, 1)) / 512 * top).squeeze(1))
    return torch.cat(angles)


def _rand(shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None) -> Tensor:
    device = like.device if generator is None else generator.device
    return torch.rand(shape, generator=generator, dtype=like.dtype, device=device).to(like.device)


def _randn(shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None) -> Tensor:
    device = like.device if generator is None else generator.device
    return torch.randn(shape, generator=generator, dtype=like.dtype, device=device).to(like.device)
