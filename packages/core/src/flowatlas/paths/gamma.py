r"""How much noise a bridge has in its middle: $\gamma_t$."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from flowatlas.errors import ConfigError

__all__ = ["BrownianGamma", "Gamma", "GammaCoefficients", "ParabolicGamma", "SineSquaredGamma"]


@dataclass(frozen=True, slots=True)
class GammaCoefficients:
    """gamma and its time derivative at some t, both with the shape of t."""

    gamma: Tensor
    d_gamma: Tensor


class Gamma(ABC):
    """gamma_t: zero at both ends, positive between them.

    ```python
    class Sine(Gamma):
        def __call__(self, t):
            return GammaCoefficients(torch.sin(math.pi * t), math.pi * torch.cos(math.pi * t))
    ```
    """

    @abstractmethod
    def __call__(self, t: Tensor) -> GammaCoefficients:
        """Coefficients at `t`, any shape; `d_gamma` may be infinite at the ends."""


class BrownianGamma(Gamma):
    r"""$\gamma_t = s \sqrt{t (1 - t)}$: with straight lines, the law of a Brownian bridge.

    $\dot\gamma_t$ is infinite at both ends.

    Args:
        std: s, the standard deviation of the Brownian motion at t = 1.

    Raises:
        ConfigError: an s that is not positive and finite.
    """

    def __init__(self, std: float) -> None:
        self.std = _positive("std", std)

    def __call__(self, t: Tensor) -> GammaCoefficients:
        root = (t * (1 - t)).clamp(min=0).sqrt()
        return GammaCoefficients(self.std * root, 0.5 * self.std * (1 - 2 * t) / root)

    def __repr__(self) -> str:
        return f"BrownianGamma({self.std:g})"


class ParabolicGamma(Gamma):
    r"""$\gamma_t = c \, t (1 - t)$, whose slope is finite.

    Args:
        scale: c.

    Raises:
        ConfigError: a scale that is not positive and finite.
    """

    def __init__(self, scale: float) -> None:
        self.scale = _positive("scale", scale)

    def __call__(self, t: Tensor) -> GammaCoefficients:
        return GammaCoefficients(self.scale * t * (1 - t), self.scale * (1 - 2 * t))

    def __repr__(self) -> str:
        return f"ParabolicGamma({self.scale:g})"


class SineSquaredGamma(Gamma):
    r"""$\gamma_t = c \sin^2(\pi t)$: noise that is slow to come and slow to go.

    Args:
        scale: c.

    Raises:
        ConfigError: a scale that is not positive and finite.
    """

    def __init__(self, scale: float) -> None:
        self.scale = _positive("scale", scale)

    def __call__(self, t: Tensor) -> GammaCoefficients:
        # From the nearer end, so that both are zero in float32 too.
        near = torch.minimum(t, 1 - t)
        slope = math.pi * torch.sin(2 * math.pi * near).copysign(0.5 - t)
        return GammaCoefficients(
            self.scale * torch.sin(math.pi * near).square(), self.scale * slope
        )

    def __repr__(self) -> str:
        return f"SineSquaredGamma({self.scale:g})"


def _positive(name: str, value: float) -> float:
    if not 0 < value < math.inf:
        raise ConfigError(f"{name}: got {value}; it must be positive and finite.")
    return float(value)
