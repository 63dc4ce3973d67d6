"""Mixtures of von Mises-Fisher laws on the sphere."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from flowatlas._random import Generators, rand, randn
from flowatlas.errors import GeometryError, ShapeError
from flowatlas.exact._mixture import broadcast_scales, checked_means, checked_weights, choose
from flowatlas.exact.base import wider
from flowatlas.manifolds.sphere import Sphere

__all__ = ["VonMisesFisherMixture"]


@dataclass(frozen=True, eq=False, repr=False)
class VonMisesFisherMixture:
    r"""A mixture of von Mises-Fisher laws on the unit sphere of $\mathbb{R}^3$.

    $$p_1(x) = \sum_k w_k \frac{c_k}{2 \pi (1 - e^{-2 c_k})} e^{c_k (\langle \mu_k, x\rangle - 1)}$$

    with concentrations $c_k$: close to its mean, a component is a Gaussian of standard deviation
    $c_k^{-1/2}$ radians in each direction.

    ```python
    north_and_south = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])
    target = VonMisesFisherMixture(torch.ones(2), north_and_south, concentrations=20.0)
    ```

    Args:
        weights: `(components,)`, positive; they are normalised.
        means: `(components, 3)`, unit vectors.
        concentrations: one number or `(components,)`, positive.
        dtype: of the parameters, and so of the computation.

    Raises:
        ShapeError: parameters that do not fit each other.
        GeometryError: means off the sphere.
        ConfigError: weights or concentrations that are not positive.
    """

    weights: Tensor
    means: Tensor
    concentrations: Tensor | float
    dtype: torch.dtype = torch.float64

    def __post_init__(self) -> None:
        weights = checked_weights(self.weights, self.dtype)
        means = checked_means(self.means, weights.numel(), torch.float64)
        if means.shape[1] != 3:
            raise ShapeError(f"means: got shape {tuple(means.shape)}; need (components, 3).")
        length = torch.linalg.vector_norm(means, dim=-1, keepdim=True)
        off = (length - 1).abs().max().item()
        if off > 1e-4:
            raise GeometryError(
                f"means: their lengths differ from 1 by up to {off:.2e}; they are unit vectors. "
                "Pass Sphere().projx(means)."
            )
        concentrations = broadcast_scales(
            self.concentrations, (weights.numel(),), self.dtype, "concentrations"
        )
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "means", (means / length).to(self.dtype))
        object.__setattr__(self, "concentrations", concentrations)

    @property
    def components(self) -> int:
        return self.weights.numel()

    @property
    def rates(self) -> Tensor:
        """The concentrations, `(components,)`."""
        assert isinstance(self.concentrations, Tensor)
        return self.concentrations

    @property
    def log_heights(self) -> Tensor:
        """Log of each weighted component at its own mean, `(components,)`."""
        c = self.rates
        return self.weights.log() + torch.log(c / (2 * math.pi)) - torch.log(-torch.expm1(-2 * c))

    def sample(self, n: int, generator: Generators = None) -> Tensor:
        """Draws, `(n, 3)`; with one generator per sample, independent of `n`."""
        device = self.means.device
        k = choose(self.weights, n, generator)
        u = rand((n,), generator=generator, dtype=torch.float64, device=device)
        noise = randn((n, 3), generator=generator, dtype=torch.float64, device=device)
        mean, c = self.means[k].to(torch.float64), self.rates[k].to(torch.float64)
        # 1 - cos of the angle to the mean, by inverting its distribution function.
        drop = -torch.log1p(u * torch.expm1(-2 * c)) / c
        angle = 2 * torch.asin((drop / 2).clamp(0, 1).sqrt()).unsqueeze(-1)
        sphere = Sphere()
        direction = sphere.projx(sphere.proju(mean, noise))
        return sphere.expmap(mean, angle * direction).to(self.dtype)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density in nats with respect to area, `(..., 3)` to `(...)`."""
        check_shape(x)
        y = Sphere().projx(x.to(wider(x, self.means))).unsqueeze(-2)
        # <mu, x> - 1 is minus half the square of the chord, which keeps its digits.
        half_square = 0.5 * (y - self.means).square().sum(-1)
        terms = self.log_heights - self.rates * half_square
        return torch.logsumexp(terms, -1).to(x.dtype)

    def to(
        self, dtype: torch.dtype | None = None, *, device: torch.device | str | None = None
    ) -> VonMisesFisherMixture:
        """The same mixture in another dtype or on another device."""
        return replace(
            self,
            weights=self.weights.to(device=device),
            means=self.means.to(device=device),
            concentrations=self.rates.to(device=device),
            dtype=self.dtype if dtype is None else dtype,
        )

    def __repr__(self) -> str:
        return f"VonMisesFisherMixture(components={self.components})"


def check_shape(x: Tensor) -> None:
    """Raise unless `x` holds vectors of three coordinates."""
    if x.ndim < 1 or x.shape[-1] != 3:
        raise ShapeError(
            f"x: got shape {tuple(x.shape)}; points are unit vectors (..., 3). Latitude and "
            "longitude need converting."
        )
