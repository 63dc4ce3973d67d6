"""Mixtures of wrapped normal laws on the flat torus."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from flowatlas._random import Generators, randn
from flowatlas.errors import ConfigError, ShapeError
from flowatlas.exact._mixture import broadcast_scales, checked_means, checked_weights, choose
from flowatlas.exact.base import wider

__all__ = ["WrappedNormalMixture"]


@dataclass(frozen=True, eq=False, repr=False)
class WrappedNormalMixture:
    r"""A mixture of wrapped normal laws, coordinates independent within a component.

    $$p_1(x) = \sum_k w_k \prod_j \sum_{n \in \mathbb{Z}} N(x_j - \mu_{kj} + n L; 0, s_{kj}^2)$$

    ```python
    target = WrappedNormalMixture(torch.ones(2), torch.tensor([[-1.0, 2.0], [1.5, -2.5]]), 0.4)
    ```

    Args:
        weights: `(components,)`, positive; they are normalised.
        means: `(components, dim)`.
        stds: of the normal law that is wrapped: one number, `(components,)` or
            `(components, dim)`, at most ten periods.
        period: L, of every coordinate.
        dtype: of the parameters, and so of the computation.

    Raises:
        ShapeError: parameters that do not fit each other.
        ConfigError: values out of range.
    """

    weights: Tensor
    means: Tensor
    stds: Tensor | float
    period: float = 2 * math.pi
    dtype: torch.dtype = torch.float64
    #: Periods to each side beyond which the law that is wrapped has no mass left, to rounding.
    _turns: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        if not 0 < self.period < math.inf:
            raise ConfigError(f"period: got {self.period}; it must be positive and finite.")
        weights = checked_weights(self.weights, self.dtype)
        means = checked_means(self.means, weights.numel(), self.dtype)
        stds = broadcast_scales(self.stds, tuple(means.shape), self.dtype, "stds")
        if stds.max() > 10 * self.period:
            raise ConfigError(
                f"stds: got {stds.max().item():g} for a period of {self.period:g}; that is uniform "
                "to rounding. They may be at most ten periods."
            )
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "means", means)
        object.__setattr__(self, "stds", stds)
        turns = 1 + math.ceil(9 * stds.max().item() / self.period)
        object.__setattr__(self, "_turns", turns)

    @property
    def components(self) -> int:
        return self.weights.numel()

    @property
    def dim(self) -> int:
        return self.means.shape[1]

    @property
    def scales(self) -> Tensor:
        """The standard deviations, `(components, dim)`."""
        assert isinstance(self.stds, Tensor)
        return self.stds

    def sample(self, n: int, generator: Generators = None) -> Tensor:
        """Draws in [0, period), `(n, dim)`; with one generator per sample, independent of `n`."""
        k = choose(self.weights, n, generator)
        noise = randn(
            (n, self.dim), generator=generator, dtype=self.dtype, device=self.means.device
        )
        return (self.means[k] + self.scales[k] * noise).remainder(self.period)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density in nats, `(..., dim)` to `(...)`; periodic in every coordinate."""
        self.check_shape(x)
        offset = self.offsets(x.to(wider(x, self.means)))
        terms = self.weights.log() + self.log_factors(offset.unsqueeze(-1)).squeeze(-1).sum(-1)
        return torch.logsumexp(terms, -1).to(x.dtype)

    def offsets(self, x: Tensor) -> Tensor:
        """From each mean to the nearest image of `x`, `(..., components, dim)`."""
        half = 0.5 * self.period
        return (x.unsqueeze(-2) - self.means + half).remainder(self.period) - half

    def log_factors(self, offset: Tensor) -> Tensor:
        """Log of each wrapped factor at offsets within a period, `(..., components, dim, n)`."""
        count = self._turns
        turns = torch.arange(-count, count + 1, dtype=offset.dtype, device=offset.device)
        scale = self.scales[..., None, None]
        z = (offset.unsqueeze(-1) + self.period * turns) / scale
        normaliser = torch.log(scale) + 0.5 * math.log(2 * math.pi)
        return torch.logsumexp(-0.5 * z.square() - normaliser, -1)

    def check_shape(self, x: Tensor) -> None:
        """Raise unless `x` holds points of this dimension."""
        if x.ndim < 1 or x.shape[-1] != self.dim:
            raise ShapeError(
                f"x: got shape {tuple(x.shape)}; the target's points have {self.dim} angles, "
                f"(..., {self.dim})."
            )

    def to(
        self, dtype: torch.dtype | None = None, *, device: torch.device | str | None = None
    ) -> WrappedNormalMixture:
        """The same mixture in another dtype or on another device."""
        return replace(
            self,
            weights=self.weights.to(device=device),
            means=self.means.to(device=device),
            stds=self.scales.to(device=device),
            dtype=self.dtype if dtype is None else dtype,
        )

    def __repr__(self) -> str:
        return f"WrappedNormalMixture(components={self.components}, dim={self.dim})"
