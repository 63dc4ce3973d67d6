"""Any manifold of geoopt, as one of ours."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from flowatlas.errors import CapabilityError, ConfigError
from flowatlas.manifolds._spectral import log_sinhc
from flowatlas.manifolds.base import Manifold
from flowatlas.manifolds.capability import Capability

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
        log_det_expmap: log |det d exp_x(u)| in orthonormal bases, a function of the length |u| and
            the dimension, for spaces without a cut locus; with it the manifold has wrapped normal
            laws. `hyperbolic_log_det` is that of hyperbolic space.
        tolerance: residual allowed of user data by dtype; geoopt's maps are less accurate.

    Raises:
        ConfigError: not a geoopt manifold; a `log_det_expmap` where geodesics are not unique.

    Example:
        ```python
        from flowatlas.manifolds.geoopt_adapter import hyperbolic_log_det

        ball = geoopt.PoincareBall()
        manifold = GeooptManifold(
            ball, log_volume=poincare_log_volume, log_det_expmap=hyperbolic_log_det
        )
        ```
    """

    capabilities = frozenset({Capability.TANGENT_BASIS})

    def __init__(
        self,
        manifold: Any,
        *,
        codim: int = 0,
        injectivity_radius: float = math.inf,
        log_volume: Callable[[Tensor], Tensor] | None = None,
        log_det_expmap: Callable[[Tensor, int], Tensor] | None = None,
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
        if log_det_expmap is not None:
            if math.isfinite(injectivity_radius):
                raise ConfigError(
                    "log_det_expmap: is for spaces without a cut locus, where the logarithm is the "
                    f"only preimage; injectivity_radius is {injectivity_radius:g}. Leave it out."
                )
            self.capabilities = self.capabilities | {Capability.WRAPPED}
        self._log_det_expmap = log_det_expmap
        if tolerance is not None:
            self.tolerance = tolerance

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        y: Tensor = self.manifold.expmap(x, u)
        return y

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        try:
            u: Tensor = self.manifold.logmap(x, y)
        except NotImplementedError as error:
            raise CapabilityError(
                f"manifold: geoopt's {type(self.manifold).__name__} has no logmap, so no geodesic "
                "leads from source to data. Use a manifold that has one, such as a sphere, "
                "SymmetricPositiveDefinite or PoincareBall."
            ) from error
        return u

    def projx(self, x: Tensor) -> Tensor:
        point: Tensor = self.manifold.projx(x)
        return point

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        tangent: Tensor = self.manifold.proju(x, u)
        return tangent

    def inner(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        # With keepdim=False some of geoopt's manifolds broadcast their metric against the batch.
        value: Tensor = self.manifold.inner(x, u, v, keepdim=True)
        return value.flatten(value.ndim - self.point_ndim).squeeze(-1)

    def log_volume(self, x: Tensor) -> Tensor:
        return super().log_volume(x) if self._log_volume is None else self._log_volume(x)

    def tangent_basis(self, x: Tensor) -> Tensor:
        # The coordinate directions, projected, span the tangent space; the eigenvectors of their
        # Gram matrix make an orthonormal basis of it, in whatever metric the manifold has.
        shape = self.point_shape_of(x)
        ambient, dimension = math.prod(shape), self.dimension(shape)
        lead = x.shape[: x.ndim - self.point_ndim]
        point = x.detach().reshape(*lead, 1, *shape)
        eye = torch.eye(ambient, dtype=x.dtype, device=x.device).reshape(ambient, *shape)
        many = point.expand(*lead, ambient, *shape)
        rows = self.proju(many, eye.expand(many.shape))
        first, second = rows.unsqueeze(len(lead) + 1), rows.unsqueeze(len(lead))
        pairs = (*lead, ambient, ambient, *shape)
        gram = self.inner(
            point.unsqueeze(len(lead)).expand(pairs), first.expand(pairs), second.expand(pairs)
        )
        values, vectors = torch.linalg.eigh((gram + gram.mT) / 2)
        weights = (
            vectors[..., ambient - dimension :] / values[..., None, ambient - dimension :].sqrt()
        )
        basis: Tensor = (weights.mT @ rows.flatten(len(lead) + 1)).unflatten(-1, shape)
        return basis

    def exp_preimages(self, x: Tensor, y: Tensor, images: int) -> Tensor:
        if self._log_det_expmap is None:
            self._lacks(Capability.WRAPPED)
        return self.logmap(x, y).unsqueeze(0)

    def log_det_expmap(self, x: Tensor, u: Tensor) -> Tensor:
        if self._log_det_expmap is None:
            self._lacks(Capability.WRAPPED)
        return self._log_det_expmap(self.norm(x, u), self.dimension(self.point_shape_of(x)))

    def noise_shape(self, x: Tensor) -> tuple[int, ...]:
        lead = x.shape[: x.ndim - self.point_ndim]
        return (*lead, self.dimension(self.point_shape_of(x)))

    def tangent_from_noise(self, x: Tensor, noise: Tensor) -> Tensor:
        basis = self.tangent_basis(x).flatten(noise.ndim)
        u: Tensor = (noise.unsqueeze(-2) @ basis).squeeze(-2).unflatten(-1, self.point_shape_of(x))
        return u

    def __repr__(self) -> str:
        return f"GeooptManifold({type(self.manifold).__name__})"


def hyperbolic_log_det(length: Tensor, dimension: int) -> Tensor:
    """(n - 1) log(sinh(r) / r): log |det d exp(u)| at |u| = r in curvature -1."""
    return (dimension - 1) * log_sinhc(length)


def poincare_log_volume(x: Tensor) -> Tensor:
    """log sqrt(det G) = n log(2 / (1 - |x|^2)) of the Poincare ball of curvature -1."""
    return x.shape[-1] * torch.log(2 / (1 - x.square().sum(-1)))
