"""Mixtures of Gaussians."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from flowatlas._random import Generators, randn
from flowatlas.errors import ConfigError, ShapeError
from flowatlas.exact._mixture import broadcast_scales, checked_means, checked_weights, choose
from flowatlas.exact.base import wider

__all__ = ["GaussianMixture"]


@dataclass(frozen=True, eq=False, repr=False)
class GaussianMixture:
    r"""$p_1(x) = \sum_k w_k \, N(x; \mu_k, C_k)$ in $\mathbb{R}^d$.

    Give the covariances or the standard deviations.

    ```python
    target = GaussianMixture(torch.ones(2), torch.tensor([[-2.0, 0.0], [2.0, 0.0]]), stds=0.5)
    x_1 = target.sample(1000, torch.Generator().manual_seed(0))
    ```

    Args:
        weights: `(components,)`, positive; they are normalised.
        means: `(components, dim)`.
        covariances: `(components, dim, dim)`, symmetric and positive definite.
        stds: of every coordinate: one number, `(components,)` or `(components, dim)`.
        dtype: of the parameters, and so of the computation.

    Raises:
        ShapeError: parameters that do not fit each other.
        ConfigError: neither or both of covariances and stds, or values out of range.
    """

    weights: Tensor
    means: Tensor
    covariances: Tensor | None = None
    stds: Tensor | float | None = None
    dtype: torch.dtype = torch.float64

    def __post_init__(self) -> None:
        if (self.covariances is None) == (self.stds is None):
            raise ConfigError(
                "covariances, stds: give exactly one of them; stds are those of independent "
                "coordinates."
            )
        weights = checked_weights(self.weights, self.dtype)
        means = checked_means(self.means, weights.numel(), self.dtype)
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "means", means)
        if self.stds is not None:
            stds = broadcast_scales(self.stds, tuple(means.shape), self.dtype, "stds")
            object.__setattr__(self, "stds", stds)
        else:
            object.__setattr__(self, "covariances", self._checked_covariances())

    def _checked_covariances(self) -> Tensor:
        covariances = torch.as_tensor(self.covariances, dtype=torch.float64)
        shape = (*self.means.shape, self.dim)
        if covariances.shape != shape:
            raise ShapeError(f"covariances: got shape {tuple(covariances.shape)}; need {shape}.")
        if not torch.allclose(covariances, covariances.mT, rtol=1e-5, atol=0.0):
            raise ConfigError("covariances: they are not symmetric; pass (c + c.mT) / 2.")
        lowest = torch.linalg.eigvalsh(covariances).min().item()
        if not lowest > 0:
            raise ConfigError(
                f"covariances: got an eigenvalue of {lowest:.2e}; they must be positive definite. "
                "Add a small multiple of the identity."
            )
        return covariances.to(self.dtype)

    @property
    def components(self) -> int:
        return self.weights.numel()

    @property
    def dim(self) -> int:
        return self.means.shape[1]

    @cached_property
    def variances(self) -> Tensor:
        """Eigenvalues of the covariances, `(components, dim)`."""
        return self._spectrum[0]

    @cached_property
    def axes(self) -> Tensor | None:
        """Eigenvectors, the columns of `(components, dim, dim)`; None for the coordinate axes."""
        return self._spectrum[1]

    @cached_property
    def _spectrum(self) -> tuple[Tensor, Tensor | None]:
        if self.covariances is None:
            assert isinstance(self.stds, Tensor)
            return self.stds.square(), None
        variances, axes = torch.linalg.eigh(self.covariances.to(torch.float64))
        return variances.to(self.dtype), axes.to(self.dtype)

    def to_axes(self, x: Tensor) -> Tensor:
        """Coordinates along the axes of each component, `(..., components, dim)`."""
        return x if self.axes is None else torch.einsum("kde,...kd->...ke", self._axes(x), x)

    def from_axes(self, z: Tensor) -> Tensor:
        """The inverse of `to_axes`."""
        return z if self.axes is None else torch.einsum("kde,...ke->...kd", self._axes(z), z)

    def _axes(self, like: Tensor) -> Tensor:
        assert self.axes is not None
        return self.axes.to(like.dtype)

    def sample(self, n: int, generator: Generators = None) -> Tensor:
        """Draws, `(n, dim)`; with one generator per sample, independent of `n`."""
        k = choose(self.weights, n, generator)
        noise = randn(
            (n, self.dim), generator=generator, dtype=self.dtype, device=self.means.device
        )
        z = self.variances[k].sqrt() * noise
        if self.axes is not None:
            z = torch.einsum("nde,ne->nd", self.axes[k], z)
        return self.means[k] + z

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density in nats, `(..., dim)` to `(...)`."""
        self.check_shape(x)
        y = x.to(wider(x, self.means))
        z = self.to_axes(y.unsqueeze(-2) - self.means)
        return self.log_density(z, self.variances).to(x.dtype)

    def log_density(self, z: Tensor, variances: Tensor) -> Tensor:
        """Log of the weighted sum of Gaussians at offsets `z` along the axes, `(...)`."""
        return torch.logsumexp(self.log_terms(z, variances), -1)

    def log_terms(self, z: Tensor, variances: Tensor) -> Tensor:
        """Log of each weighted Gaussian at offsets `z` along the axes, `(..., components)`."""
        normaliser = torch.log(2 * math.pi * variances)
        return self.weights.log() - 0.5 * (z.square() / variances + normaliser).sum(-1)

    def check_shape(self, x: Tensor) -> None:
        """Raise unless `x` holds vectors of this dimension."""
        if x.ndim < 1 or x.shape[-1] != self.dim:
            raise ShapeError(
                f"x: got shape {tuple(x.shape)}; the target's points are vectors (..., {self.dim})."
            )

    def to(
        self, dtype: torch.dtype | None = None, *, device: torch.device | str | None = None
    ) -> GaussianMixture:
        """The same mixture in another dtype or on another device."""

        def moved(value: Any) -> Any:
            return value.to(device=device) if isinstance(value, Tensor) else value

        return replace(
            self,
            weights=self.weights.to(device=device),
            means=self.means.to(device=device),
            covariances=moved(self.covariances),
            stds=moved(self.stds),
            dtype=self.dtype if dtype is None else dtype,
        )

    def __repr__(self) -> str:
        return f"GaussianMixture(components={self.components}, dim={self.dim})"
