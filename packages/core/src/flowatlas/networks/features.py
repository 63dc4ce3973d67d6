"""What a network sees of a point: coordinates, or functions of them that vary faster."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from flowatlas.errors import ConfigError, ShapeError

__all__ = ["Features", "Identity", "Logs", "MultiScale", "Periodic"]


class Features(nn.Module, ABC):
    """A fixed map from samples `(batch, *event)` to vectors `(batch, out_features(event))`.

    ```python
    class Squares(Features):
        def out_features(self, event_shape):
            return 2 * math.prod(event_shape)
        def forward(self, x):
            return torch.cat([x, x**2], -1).flatten(1)
    ```
    """

    @abstractmethod
    def out_features(self, event_shape: Sequence[int]) -> int:
        """Length of the vector of one sample.

        Raises:
            ShapeError: if samples of that shape do not fit.
        """

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Features of `x`, `(batch, *event)`."""


class Identity(Features):
    """The coordinates as they are, flattened."""

    def out_features(self, event_shape: Sequence[int]) -> int:
        return math.prod(event_shape)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


class Periodic(Features):
    r"""$(\cos 2\pi k x / L, \sin 2\pi k x / L)$ for k = 1, ..., harmonics.

    For coordinates of a torus: a network that sees raw angles has a jump at the seam.

    Args:
        period: L, of every coordinate.
        harmonics: how many k; more resolve narrower peaks.

    Raises:
        ConfigError: a period that is not positive, or no harmonics.
    """

    def __init__(self, period: float = 2 * math.pi, harmonics: int = 1) -> None:
        super().__init__()
        if not period > 0:
            raise ConfigError(f"period: got {period}; it must be positive.")
        if harmonics < 1:
            raise ConfigError(f"harmonics: got {harmonics}; at least 1.")
        self.period = period
        self.harmonics = harmonics

    def out_features(self, event_shape: Sequence[int]) -> int:
        return 2 * self.harmonics * math.prod(event_shape)

    def forward(self, x: Tensor) -> Tensor:
        k = torch.arange(1, self.harmonics + 1, device=x.device, dtype=x.dtype)
        angle = (2 * math.pi / self.period) * x.flatten(1).unsqueeze(-1) * k
        return torch.cat([torch.cos(angle), torch.sin(angle)], -1).flatten(1)

    def extra_repr(self) -> str:
        return f"period={self.period}, harmonics={self.harmonics}"


class Logs(Features):
    r"""$\log \sqrt{K x}$, at least -4, for probabilities x of K categories on the last axis.

    Probabilities themselves are of order 1 / K, and a network that sees them raw learns slowly;
    what a sample says about its category is in their logarithms.
    """

    def out_features(self, event_shape: Sequence[int]) -> int:
        return math.prod(event_shape)

    def forward(self, x: Tensor) -> Tensor:
        least = math.exp(-8.0)
        return 0.5 * (x * x.shape[-1]).clamp(min=least).log().flatten(1)


class MultiScale(Features):
    r"""Coordinates beside random Fourier features at several length scales.

    For each length $\ell$, `count` directions $w \sim N(0, I)$ give $\cos(w \cdot x / \ell)$ and
    $\sin(w \cdot x / \ell)$, whose inner products approximate a Gaussian kernel of width $\ell$.
    Data in clusters much narrower than the space (epicentres on a globe) cannot be resolved
    from coordinates alone: a network fits what varies slowly long before what varies fast.

    Args:
        dim: coordinates of a point; the last axes of a sample are split into points of `dim`.
        scales: lengths, in the units of the coordinates. The smallest should be near the width of
            the narrowest cluster worth resolving; anything far below it is memorised noise.
        count: directions per scale.
        seed: of the directions, which are saved with the weights.

    Raises:
        ConfigError: no scales, or one that is not positive; `dim` or `count` below 1.

    Reference: Random Features for Large-Scale Kernel Machines, Rahimi and Recht, 2007; Fourier
    Features Let Networks Learn High Frequency Functions in Low Dimensional Domains, Tancik et al.,
    2020, arXiv:2006.10739, section 4. Here several bandwidths stand side by side, and the
    coordinates themselves are kept.

    Example:
        ```python
        MLP((3,), manifold=Sphere(), features=MultiScale(3, scales=(1.0, 0.3, 0.1)))
        ```
    """

    directions: Tensor

    def __init__(
        self,
        dim: int,
        scales: Sequence[float] = (1.0, 0.3, 0.1, 0.03),
        count: int = 32,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if dim < 1 or count < 1:
            raise ConfigError(f"dim, count: got {dim}, {count}; both must be at least 1.")
        if not scales or not all(scale > 0 for scale in scales):
            raise ConfigError(f"scales: got {tuple(scales)}; need one or more positive lengths.")
        self.dim = dim
        self.scales = tuple(scales)
        self.count = count
        self.seed = seed
        generator = torch.Generator().manual_seed(seed)
        directions = [torch.randn(dim, count, generator=generator) / scale for scale in scales]
        self.register_buffer("directions", torch.cat(directions, 1))

    def out_features(self, event_shape: Sequence[int]) -> int:
        size = math.prod(event_shape)
        if size % self.dim:
            raise ShapeError(
                f"dim: got {self.dim}, which does not divide the {size} numbers of an event of "
                f"shape {tuple(event_shape)}; set it to the coordinates of one point."
            )
        return size // self.dim * (self.dim + 2 * self.count * len(self.scales))

    def forward(self, x: Tensor) -> Tensor:
        points = x.reshape(x.shape[0], -1, self.dim)
        angle = points @ self.directions.to(x.dtype)
        return torch.cat([points, torch.cos(angle), torch.sin(angle)], -1).flatten(1)

    def extra_repr(self) -> str:
        return f"{self.dim}, scales={self.scales}, count={self.count}, seed={self.seed}"
