"""The isotropic Gaussian law on rotations."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from flowatlas._random import Generators, rand, randn
from flowatlas.errors import ConfigError, ShapeError
from flowatlas.manifolds.so3 import SO3
from flowatlas.sources.base import Source

__all__ = ["IGSO3", "log_heat_kernel"]

#: Nodes of the angle's distribution function.
NODES = 2048
#: Above this spread the character series is summed, below it the theta series. Both are right to
#: rounding for a factor of two on either side.
CROSSOVER = 1.0
_SO3 = SO3()


class IGSO3(Source):
    r"""Brownian motion on SO(3) after time $s^2$: what a normal law is in flat space.

    The density, with respect to the volume in which SO(3) has $8 \pi^2$, depends on the angle
    $\omega$ to the mean alone, $p(R) = f(\omega) / 8 \pi^2$ with

    $$f(\omega) = \sum_{l \ge 0} (2l+1)\, e^{-l(l+1) s^2 / 2}
      \frac{\sin((l + 1/2)\, \omega)}{\sin(\omega / 2)},$$

    and the angle itself has density $f(\omega) (1 - \cos\omega) / \pi$ on $[0, \pi]$. Angles are
    drawn by inverting their distribution function on 2048 nodes (linear in between), axes are
    uniform.

    Args:
        std: s in radians: of each of the three coordinates of the tangent, while it is small. From
            about 2 on the law is uniform to a part in ten.
        mean: rotation `(3, 3)`, or rotations that broadcast to the samples; the identity if None.

    Raises:
        ConfigError: `std` out of range.
        ShapeError: a mean that is not made of 3 x 3 matrices.
        GeometryError: one that is not made of rotations.

    Reference: Nikolayev and Savyolov, Normal distribution on the rotation group SO(3), 1997;
    SE(3) diffusion model with application to protein backbone generation, Yim et al., 2023,
    arXiv:2302.02277, whose time t is our variance.

    Example:
        ```python
        source = IGSO3(0.5)
        rotation = source.sample((8, 128, 3, 3), generator=torch.Generator().manual_seed(0))
        source.log_prob(rotation).shape  # (8, 128)
        ```
    """

    has_density = True

    def __init__(self, std: float, *, mean: Tensor | None = None) -> None:
        if not 1e-6 <= std < math.inf:
            raise ConfigError(f"std: got {std}; it is in radians, finite and at least 1e-6.")
        if mean is not None:
            _SO3.check_shape(mean, "mean")
            _SO3.check_point(mean, "mean")
        # Not `std` and `mean`: those are how a Gaussian in flat space declares itself.
        self.spread = float(std)
        self.centre = mean
        self._angles, self._levels = _distribution(self.spread)

    def sample(
        self,
        shape: Sequence[int],
        *,
        generator: Generators = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        shape = tuple(shape)
        if len(shape) < 3 or shape[-2:] != (3, 3):
            raise ShapeError(f"shape: got {shape}; rotations are matrices (batch, ..., 3, 3).")
        lead = shape[:-2]
        double = torch.float64
        u = rand(lead, generator=generator, dtype=double, device=device)
        axis = randn((*lead, 3), generator=generator, dtype=double, device=device)
        axis = axis / torch.linalg.vector_norm(axis, dim=-1, keepdim=True)
        x = _SO3.expmap(self._mean(shape, axis), self._angle(u).unsqueeze(-1) * axis)
        return x.to(dtype=dtype or torch.get_default_dtype())

    def _angle(self, u: Tensor) -> Tensor:
        """Quantile function of the angle."""
        angles, levels = self._angles.to(u.device), self._levels.to(u.device)
        i = torch.searchsorted(levels, u, right=True).clamp(1, NODES - 1)
        below, above = levels[i - 1], levels[i]
        # Two nodes of the far tail may share their level; u never lies between them.
        part = (u - below) / (above - below).clamp(min=torch.finfo(u.dtype).tiny)
        return torch.lerp(angles[i - 1], angles[i], part.clamp(0, 1))

    def log_prob(self, x: Tensor) -> Tensor:
        _SO3.check_shape(x)
        exact = x.double()
        angle = _SO3.dist(self._mean(x.shape, exact), exact)
        return (log_heat_kernel(angle, self.spread) - math.log(8 * math.pi**2)).to(x.dtype)

    def _mean(self, shape: Sequence[int], like: Tensor) -> Tensor:
        if self.centre is None:
            return torch.eye(3, dtype=like.dtype, device=like.device)
        own = tuple(self.centre.shape)
        tail = tuple(shape)[max(0, len(shape) - len(own)) :]
        if len(own) > len(shape) or any(a not in (1, b) for a, b in zip(own, tail, strict=True)):
            raise ShapeError(
                f"shape: got {tuple(shape)} for a mean of shape {own}, which must broadcast to it."
            )
        return self.centre.to(like)

    def __repr__(self) -> str:
        return f"IGSO3({self.spread:g})"


def log_heat_kernel(angle: Tensor, std: float) -> Tensor:
    """log f at angles in [0, pi]: log density with respect to the uniform law, of mass one."""
    if std > CROSSOVER:
        return _character_series(angle, std)
    return _theta_series(angle, std)


def _character_series(angle: Tensor, std: float) -> Tensor:
    """The sum over characters: quick to converge for wide laws, and cancels for narrow ones."""
    count = 1 + math.ceil(9 / std)
    degree = torch.arange(count, dtype=angle.dtype, device=angle.device)
    weight = (2 * degree + 1) * torch.exp(-0.5 * degree * (degree + 1) * std**2)
    # The ratio of sines is even and smooth, and tells 1e-6 from 0 by 1e-12 at most.
    w = angle.clamp(min=1e-6).unsqueeze(-1)
    characters = torch.sin((degree + 0.5) * w) / torch.sin(0.5 * w)
    return torch.log((weight * characters).sum(-1))


def _theta_series(angle: Tensor, std: float) -> Tensor:
    r"""The same by Poisson summation: quick to converge, and all digits, for narrow laws.

    With n = l + 1/2 running over all half integers, the series is
    $e^{s^2/8} / \sin(\omega/2)$ times $-\frac{d}{d\omega} \sum_n e^{-n^2 s^2/2} \cos n\omega$, and
    the sum is a theta function,
    $\frac{\sqrt{2\pi}}{s} \sum_k (-1)^k e^{-(\omega - 2\pi k)^2/2s^2}$:

    $$f(\omega) = \frac{\sqrt{2\pi}\, e^{s^2/8}}{s^3 \sin(\omega/2)}
      \sum_{k \in \mathbb{Z}} (-1)^k (\omega - 2\pi k)\, e^{-(\omega - 2\pi k)^2 / 2s^2}.$$

    The term k is a wrapped normal density in the winding k; $e^{-\omega^2/2s^2}$ is taken out of
    all, and what is left of the others is at most one.
    """
    w = angle.clamp(min=1e-6)
    total = w.clone()
    for k in range(1, _windings(std) + 1):
        turn = 2 * math.pi * k
        near = (w - turn) * torch.exp(-turn * (0.5 * turn - w) / std**2)
        far = (w + turn) * torch.exp(-turn * (0.5 * turn + w) / std**2)
        total = total + (near + far if k % 2 == 0 else -near - far)
    constant = std**2 / 8 + 0.5 * math.log(2 * math.pi) - 3 * math.log(std)
    return constant - 0.5 * (angle / std).square() + torch.log(total / torch.sin(0.5 * w))


def _windings(std: float) -> int:
    """Terms until e^(-2 k (k - 1) pi^2 / s^2), the largest of the next one, is lost to rounding."""
    k = 1
    while 2 * k * (k + 1) * (math.pi / std) ** 2 < 45:
        k += 1
    return k


def _distribution(std: float) -> tuple[Tensor, Tensor]:
    """Nodes of the angle, and its distribution function there; on the CPU in float64."""
    # Ten spreads hold all but e^-45 of the mass.
    angle = torch.linspace(0, min(math.pi, 10 * std), NODES, dtype=torch.float64)
    log_density = log_heat_kernel(angle, std)
    density = torch.exp(log_density - log_density.max()) * torch.sin(0.5 * angle).square()
    mass = torch.cumulative_trapezoid(density, angle)
    mass = torch.cat([mass.new_zeros(1), mass])
    return angle, mass / mass[-1]
