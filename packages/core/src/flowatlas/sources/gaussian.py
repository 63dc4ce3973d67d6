"""Isotropic Gaussian source in flat space."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from flowatlas._random import Generators, randn
from flowatlas.errors import ConfigError, ShapeError
from flowatlas.sources.base import Source

__all__ = ["Gaussian"]


class Gaussian(Source):
    r"""$x_0 \sim N(m, s^2 I)$.

    Args:
        std: s, of every coordinate, in the units of the data.
        mean: m, a number or a tensor that broadcasts to the samples, such as one of `point_shape`.
        point_ndim: trailing axes that make one point, as in `Euclidean`: the density is per point.
            With 0 it is per number.

    Raises:
        ConfigError: a `std` that is not positive and finite, a `mean` that is not finite, a
            negative `point_ndim`.

    Example:
        ```python
        source = Gaussian(10.0)
        x_0 = source.sample((8, 128, 3), generator=torch.Generator().manual_seed(0))
        source.log_prob(x_0).shape  # (8, 128)
        ```
    """

    has_density = True
    std: float

    def __init__(
        self, std: float = 1.0, *, mean: float | Tensor = 0.0, point_ndim: int = 1
    ) -> None:
        if not 0 < std < math.inf:
            raise ConfigError(f"std: got {std}; it must be positive and finite.")
        if not bool(torch.isfinite(torch.as_tensor(mean)).all()):
            raise ConfigError(f"mean: got {mean}; it must be finite.")
        if point_ndim < 0:
            raise ConfigError(f"point_ndim: got {point_ndim}; it counts axes, so 0 or more.")
        self.std = float(std)
        self.mean = mean
        self.point_ndim = point_ndim

    def sample(
        self,
        shape: Sequence[int],
        *,
        generator: Generators = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        x = randn(shape, generator=generator, dtype=dtype, device=device)
        if self.std != 1.0:
            x = x * self.std
        if isinstance(self.mean, Tensor):
            self._check(x.shape)
            return x + self.mean.to(x)
        return x + self.mean if self.mean != 0.0 else x

    def log_prob(self, x: Tensor) -> Tensor:
        if x.ndim < self.point_ndim:
            raise ShapeError(
                f"x: got shape {tuple(x.shape)}; points of {self!r} have {self.point_ndim} axes."
            )
        mean = self.mean
        if isinstance(mean, Tensor):
            self._check(x.shape)
            mean = mean.to(x)
        square = ((x - mean) / self.std).square()
        axes = tuple(range(-self.point_ndim, 0))
        count = math.prod(x.shape[x.ndim - self.point_ndim :])
        constant = count * (math.log(self.std) + 0.5 * math.log(2 * math.pi))
        return -0.5 * (square.sum(axes) if axes else square) - constant

    def _check(self, shape: Sequence[int]) -> None:
        """Raise unless the mean broadcasts to `shape` and does not enlarge it."""
        assert isinstance(self.mean, Tensor)
        own = tuple(self.mean.shape)
        tail = tuple(shape)[max(0, len(shape) - len(own)) :]
        if len(own) > len(shape) or any(a not in (1, b) for a, b in zip(own, tail, strict=True)):
            raise ShapeError(
                f"shape: got {tuple(shape)} for a Gaussian whose mean has shape {own}; the mean "
                "must broadcast to the samples. Give it the shape of one point."
            )

    def __repr__(self) -> str:
        parts = [f"{self.std:g}"]
        if isinstance(self.mean, Tensor):
            parts.append(f"mean=<{', '.join(map(str, self.mean.shape))}>")
        elif self.mean != 0.0:
            parts.append(f"mean={self.mean:g}")
        if self.point_ndim != 1:
            parts.append(f"point_ndim={self.point_ndim}")
        return f"Gaussian({', '.join(parts)})"
