"""How much noise a stochastic solver adds: epsilon as a function of time."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from flowatlas.errors import ConfigError

__all__ = ["BumpDiffusion", "ConstantDiffusion", "Diffusion", "LevelDiffusion"]


class Diffusion(ABC):
    r"""$\epsilon_t \ge 0$ of $dx = (v_t + \epsilon_t s_t) \, dt + \sqrt{2 \epsilon_t} \, dW$.

    ```python
    class LateDiffusion(Diffusion):
        def __call__(self, t, level):
            return t
    ```

    Attributes:
        zero: whether epsilon is zero at all times, so that no score is needed.
    """

    zero: bool = False

    @abstractmethod
    def __call__(self, t: Tensor, level: Tensor) -> Tensor:
        r"""Epsilon, `(batch,)`, zero or more.

        Args:
            t: `(batch,)`.
            level: `(batch,)`, the standard deviation of the Gaussian part of $x_t$: $\sigma_t$
                times that of the source on an affine path, $\gamma_t$ on a bridge.
        """


class ConstantDiffusion(Diffusion):
    r"""$\epsilon_t = c$; what a number stands for.

    On a Brownian bridge of standard deviation s, $c = s^2 / 2$ is the bridge process itself. On
    affine paths the score's slope is $1 / \sigma_t^2$ in directions in which data do not spread;
    steps h of a solver must then be well below $\sigma_t^2 / c$, which near the data none is.

    Args:
        value: c.

    Raises:
        ConfigError: a value that is negative or not finite.
    """

    def __init__(self, value: float) -> None:
        self.value = _factor("value", value)
        self.zero = self.value == 0.0

    def __call__(self, t: Tensor, level: Tensor) -> Tensor:
        return torch.full_like(t, self.value)

    def __repr__(self) -> str:
        return f"ConstantDiffusion({self.value:g})"


class LevelDiffusion(Diffusion):
    r"""$\epsilon_t = c \, \sigma_t^p$: noise that dies out with that of the path.

    With p = 1, $\epsilon_t s_t$ is finite at the data whatever they are. With p = 2 its slope is
    too, so that steps of any length up to $1 / c$ are stable.

    Args:
        scale: c.
        power: p, at least 0.

    Raises:
        ConfigError: numbers out of range.
    """

    def __init__(self, scale: float, power: float = 1.0) -> None:
        self.scale, self.power = _factor("scale", scale), _factor("power", power)
        self.zero = self.scale == 0.0

    def __call__(self, t: Tensor, level: Tensor) -> Tensor:
        return self.scale * level**self.power

    def __repr__(self) -> str:
        return f"LevelDiffusion({self.scale:g}, {self.power:g})"


class BumpDiffusion(Diffusion):
    r"""$\epsilon_t = c \sin^2(\pi t)$: none at either end, most in the middle.

    For bridges, whose score may be infinite at both ends.

    Args:
        scale: c.

    Raises:
        ConfigError: a scale that is negative or not finite.
    """

    def __init__(self, scale: float) -> None:
        self.scale = _factor("scale", scale)
        self.zero = self.scale == 0.0

    def __call__(self, t: Tensor, level: Tensor) -> Tensor:
        return self.scale * torch.sin(math.pi * t).square()

    def __repr__(self) -> str:
        return f"BumpDiffusion({self.scale:g})"


def _factor(name: str, value: float) -> float:
    if not 0 <= value < math.inf:
        raise ConfigError(f"{name}: got {value}; it must be zero or more, and finite.")
    return float(value)
