"""The flat torus: coordinates that wrap around."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from flowatlas._random import Generators, rand
from flowatlas.errors import ConfigError, ShapeError
from flowatlas.manifolds._contraction import normalised_pull
from flowatlas.manifolds._wrapped_normal import log_normaliser
from flowatlas.manifolds.base import Manifold
from flowatlas.manifolds.capability import Capability

__all__ = ["FlatTorus"]

_MAX_IMAGES = 100_000


class FlatTorus(Manifold):
    r"""$\mathbb{R}^d$ modulo a period per coordinate, with the flat metric.

    $$\exp_x(u) = x + u \bmod L, \qquad \log_x(y) = D - L \lfloor D / L \rceil, \quad D = y - x.$$

    Any real number stands for a point; maps return the representative in `[0, L)`. Differences are
    wrapped by rounding, which is exact for close points. At the cut locus, D = L/2, the sign of the
    logarithm is arbitrary. Networks should see sines and cosines, never the coordinates.

    Args:
        period: L, the same for all coordinates or one for each; 2 pi for angles in radians, 1 for
            fractional coordinates.

    Raises:
        ConfigError: a period that is not positive and finite.
    """

    capabilities = frozenset(Capability)

    def __init__(self, period: float | Sequence[float] = 2 * math.pi) -> None:
        self.period = period if isinstance(period, int | float) else tuple(period)
        self._periods = (period,) if isinstance(period, int | float) else tuple(period)
        if not self._periods or not all(0 < p < math.inf for p in self._periods):
            raise ConfigError(f"period: got {period}; lengths must be positive and finite.")
        self.injectivity_radius = min(self._periods) / 2

    def check_shape(self, x: Tensor, name: str = "x") -> None:
        super().check_shape(x, name)
        if len(self._periods) > 1 and x.shape[-1] != len(self._periods):
            raise ShapeError(
                f"{name}: got shape {tuple(x.shape)}; {self!r} has {len(self._periods)} "
                "coordinates on the last axis, one for each period."
            )

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        return self.projx(x + u)

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        difference = y - x
        length = self._length(difference)
        return difference - length * torch.round(difference / length)

    def projx(self, x: Tensor) -> Tensor:
        return torch.remainder(x, self._length(x))

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        return u

    def inner(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        return (u * v).sum(-1)

    def geodesic(self, x_0: Tensor, x_1: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        u = self.logmap(x_0, x_1)
        return self.projx(torch.addcmul(x_0, s.unsqueeze(-1), u)), u

    def random_uniform(
        self,
        shape: Sequence[int],
        *,
        generator: Generators = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        u = rand(shape, generator=generator, dtype=dtype, device=device)
        return u * self._length(u)

    def uniform_log_prob(self, x: Tensor) -> Tensor:
        return x.new_full(x.shape[:-1], -self._log_volume(x.shape[-1]))

    def tangent_basis(self, x: Tensor) -> Tensor:
        eye = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
        return eye.expand(*x.shape[:-1], *eye.shape)

    def exp_preimages(self, x: Tensor, y: Tensor, images: int) -> Tensor:
        u = self.logmap(x, y)
        count = (2 * images + 1) ** u.shape[-1]
        if count > _MAX_IMAGES:
            raise ConfigError(
                f"images: {images} windings to each side in {u.shape[-1]} dimensions are {count} "
                f"images; at most {_MAX_IMAGES} are enumerated. Use a smaller std or fewer images."
            )
        turns = torch.tensor(
            list(itertools.product(range(-images, images + 1), repeat=u.shape[-1])),
            dtype=u.dtype,
            device=u.device,
        )
        return u + (turns * self._length(u)).view(-1, *(1,) * (u.ndim - 1), u.shape[-1])

    def log_det_expmap(self, x: Tensor, u: Tensor) -> Tensor:
        return u.new_zeros(u.shape[:-1])

    def wrapped_normal_log_prob(self, mean: Tensor, x: Tensor, std: float, images: int) -> Tensor:
        # By coordinates there are 2 k + 1 terms for each, not to the power n.
        u = self.logmap(mean, x)
        turns = torch.arange(-images, images + 1, dtype=x.dtype, device=x.device)
        turns = turns.view(-1, *(1,) * u.ndim)
        terms = -0.5 * ((u + self._length(u) * turns) / std).square()
        return torch.logsumexp(terms, 0).sum(-1) - log_normaliser(std, x.shape[-1])

    def is_shortest(self, x: Tensor, u: Tensor) -> Tensor:
        return (u.abs() < self._length(u) / 2).all(-1)

    def contraction(self, x: Tensor, y: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
        # The density is constant on a box around each y.
        u = self.logmap(x.unsqueeze(1), y.unsqueeze(0))
        inside = self.is_shortest(x, u / keep.view(-1, 1, 1)).to(u.dtype)
        density = inside / keep.unsqueeze(1) ** u.shape[-1]
        return normalised_pull(density, torch.einsum("bn,bnd->bd", density, u))

    def residual(self, x: Tensor) -> Tensor:
        return x.new_zeros(x.shape[:-1])

    def _length(self, like: Tensor) -> Tensor | float:
        """The period in a form that broadcasts with coordinates."""
        if len(self._periods) == 1:
            return self._periods[0]
        return torch.tensor(self._periods, dtype=like.dtype, device=like.device)

    def _log_volume(self, dimension: int) -> float:
        lengths = self._periods if len(self._periods) > 1 else self._periods * dimension
        return math.fsum(math.log(length) for length in lengths)

    def __repr__(self) -> str:
        return "FlatTorus()" if self.period == 2 * math.pi else f"FlatTorus({self.period})"
