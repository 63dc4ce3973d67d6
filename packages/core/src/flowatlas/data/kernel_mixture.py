"""A mixture of kernels around given points: a density estimate, and a source fitted to data."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from flowatlas._random import Generators
from flowatlas.data._draws import draw_points
from flowatlas.data.kernels import kernel_for
from flowatlas.errors import ConfigError, ShapeError
from flowatlas.manifolds import Capability, Manifold
from flowatlas.sources import Source

__all__ = ["KernelMixture"]

#: Pairs of point and centre that are compared at a time.
_PAIRS = 2**23


class KernelMixture(Source):
    r"""$p(x) = \epsilon\, u(x) + (1 - \epsilon) \sum_i w_i\, k_{b_i}(x; c_i)$, with u uniform.

    Densities are evaluated in float64, whatever the dtype of the points.

    Args:
        manifold: Euclidean (points are vectors), Sphere (in 3 dimensions), FlatTorus or SO3.
        centres: `(m, *point_shape)`.
        bandwidth: one spread for all centres, or `(m,)`; radians on curved spaces.
        background: weight of the uniform law.
        weights: `(m,)`, positive; equal if None.

    Raises:
        ConfigError: bandwidths or weights that are not positive, a background outside [0, 1).
        ShapeError: bandwidths or weights that do not fit the centres.
        CapabilityError: a manifold without a kernel, or a background where no uniform law exists.
    """

    has_density = True

    def __init__(
        self,
        manifold: Manifold,
        centres: Tensor,
        bandwidth: float | Tensor,
        *,
        background: float = 0.0,
        weights: Tensor | None = None,
    ) -> None:
        self.manifold = manifold
        self.kernel = kernel_for(manifold)
        self.centres = centres.double()
        m = centres.shape[0]
        self.bandwidth = torch.as_tensor(
            bandwidth, dtype=torch.float64, device=centres.device
        ).expand(m)
        if not 0 <= background < 1:
            raise ConfigError(f"background: got {background}; it must lie in [0, 1).")
        if background > 0 and Capability.UNIFORM not in manifold.capabilities:
            raise ConfigError(f"background: {manifold!r} has no uniform law; use background=0.")
        if not bool((self.bandwidth > 0).all()):
            raise ConfigError("bandwidth: every bandwidth must be positive.")
        self.background = background
        weights = torch.ones_like(self.bandwidth) if weights is None else weights.double()
        if weights.shape != (m,):
            raise ShapeError(f"weights: got shape {tuple(weights.shape)}; need ({m},).")
        if not bool((weights > 0).all()):
            raise ConfigError("weights: every weight must be positive.")
        self.weights = weights / weights.sum()

    def sample(
        self,
        shape: Sequence[int],
        *,
        generator: Generators = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        point_shape = tuple(self.centres.shape[1:])
        return draw_points(
            self._rows, shape, point_shape, generator=generator, dtype=dtype, device=device
        )

    def _rows(self, n: int, generator: torch.Generator | None) -> Tensor:
        home = None if generator is None else generator.device
        u = torch.rand(2, n, generator=generator, dtype=torch.float64, device=home)
        u = u.to(self.centres.device)
        which = torch.searchsorted(self.weights.cumsum(0), u[0]).clamp(max=len(self.weights) - 1)
        x = self.kernel.sample(self.centres[which], self.bandwidth[which], generator)
        if self.background == 0:
            return x
        everywhere = self.manifold.random_uniform(
            x.shape, generator=generator, dtype=torch.float64, device=x.device
        )
        outside = (u[1] < self.background).view(-1, *(1,) * (x.ndim - 1))
        return torch.where(outside, everywhere, x)

    def log_prob(self, x: Tensor) -> Tensor:
        lead = x.shape[: x.ndim - self.manifold.point_ndim]
        points = x.reshape(-1, *self.centres.shape[1:]).double()
        centres = self.centres.to(x.device)
        bandwidth, weights = self.bandwidth.to(x.device), self.weights.to(x.device)
        dimension = self.manifold.dimension(tuple(self.centres.shape[1:]))
        level = weights.log() - self.kernel.log_normaliser(bandwidth, dimension)
        parts = []
        for part in torch.split(points, max(1, _PAIRS // centres.shape[0])):
            exponent = level - self.kernel.energy(part, centres) / bandwidth.square()
            parts.append(torch.logsumexp(exponent, 1))
        value = torch.cat(parts)
        if self.background > 0:
            uniform = self.manifold.uniform_log_prob(points) + math.log(self.background)
            value = torch.logaddexp(value + math.log1p(-self.background), uniform)
        return value.view(lead).to(x.dtype)
