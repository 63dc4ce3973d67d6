"""Any manifold of geoopt, as one of ours."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from flowatlas.errors import ConfigError
from flowatlas.manifolds.base import Capability, Manifold

__all__ = ["GeooptManifold"]


class GeooptManifold(Manifold):
    """Wraps a `geoopt.Manifold`, whose speed and accuracy it has.

    Of geoopt's manifolds, those with both `expmap` and `logmap` can carry a flow. What geoopt does
    not know about them (dimension, volume, cut locus) is an argument here.

    Args:
        manifold: a `geoopt.Manifold`, such as `geoopt.PoincareBall()`.
        codim: dimension of the tangent representation minus that of the manifold.
        injectivity_radius: geodesics shorter than this are unique.
        log_volume: for manifolds given in coordinates, log sqrt(det G), `(..., *point)` to `(...)`;
            likelihoods on them need it. `poincare_log_volume` is that of the Poincare ball.
        tolerance: residual allowed of user data by dtype; geoopt's maps are less accurate.

    Raises:
        ConfigError: not a geoopt manifold.

    Example:
        ```python
        ball = geoopt.PoincareBall()
        manifold = GeooptManifold(ball, log_volume=poincare_log_volume)
        ```
    """

    def __init__(
        self,
        manifold: Any,
        *,
        codim: int = 0,
        injectivity_radius: float = math.inf,
        log_volume: Callable[[Tensor], Tensor] | None = None,
        tolerance: Mapping[torch.dtype, float] | None = None,
    ) -> None:
        import geoopt  # half a second that only its users should pay

        if not isinstance(manifold, geoopt.Manifold):
            raise ConfigError(
                f"manifold: got {type(manifold).__name__}; pass an instance of a geoopt.Manifold, "
                "such as geoopt.PoincareBall()."
            )
        self.manifold = manifold
        self.point_ndim = int(manifold.ndim)
        self.codim = codim
        self.injectivity_radius = injectivity_radius
        self.is_chart = log_volume is not None
        self._log_volume = log_volume
        if self.point_ndim == 1 and codim == 0:
            self.capabilities = frozenset({Capability.TANGENT_BASIS})
        if tolerance is not None:
            self.tolerance = tolerance

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        return self.manifold.expmap(x, u)

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        return self.manifold.logmap(x, y)

    def projx(self, x: Tensor) -> Tensor:
        return self.manifold.projx(x)

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        return self.manifold.proju(x, u)

    def inner(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        # With keepdim=False some of geoopt's manifolds broadcast their metric against the batch.
        value = self.manifold.inner(x, u, v, keepdim=True)
        return value.flatten(value.ndim - self.point_ndim).squeeze(-1)

    def log_volume(self, x: Tensor) -> Tensor:
        return super().log_volume(x) if self._log_volume is None else self._log_volume(x)

    def tangent_basis(self, x: Tensor) -> Tensor:
        if Capability.TANGENT_BASIS not in self.capabilities:
            self._lacks(Capability.TANGENT_BASIS)
        # Coordinate directions, made orthonormal through the Cholesky factor of their Gram matrix.
        dimension = x.shape[-1]
        eye = torch.eye(dimension, dtype=x.dtype, device=x.device)
        rows = eye.expand(*x.shape[:-1], dimension, dimension)
        point = x.unsqueeze(-2).unsqueeze(-2)
        gram = self.inner(point, rows.unsqueeze(-2), rows.unsqueeze(-3))
        factor = torch.linalg.cholesky(gram.expand(*x.shape[:-1], dimension, dimension))
        return torch.linalg.solve_triangular(factor, rows, upper=False)

    def tangent_from_noise(self, x: Tensor, noise: Tensor) -> Tensor:
        if Capability.TANGENT_BASIS not in self.capabilities:
            return self.proju(x, noise)
        return (noise.unsqueeze(-1) * self.tangent_basis(x)).sum(-2)

    def __repr__(self) -> str:
        return f"GeooptManifold({type(self.manifold).__name__})"


def poincare_log_volume(x: Tensor) -> Tensor:
    """log sqrt(det G) = n log(2 / (1 - |x|^2)) of the Poincare ball of curvature -1."""
    return x.shape[-1] * torch.log(2 / (1 - x.square().sum(-1)))
