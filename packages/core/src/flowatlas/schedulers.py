r"""Interpolation coefficients: $x_t = \alpha_t x_1 + \sigma_t x_0$."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from flowatlas.errors import ConfigError

__all__ = [
    "Coefficients",
    "CondOT",
    "ConvexCosine",
    "Cosine",
    "Cubic",
    "Exponential",
    "LinearVP",
    "Polynomial",
    "Scheduler",
    "VariancePreserving",
]


@dataclass(frozen=True, slots=True)
class Coefficients:
    """alpha, sigma and their time derivatives at some t, all with the shape of t.

    `sigma_d_sigma` is the product sigma * d_sigma in closed form: it stays finite where `d_sigma`
    itself diverges.
    """

    alpha: Tensor
    sigma: Tensor
    d_alpha: Tensor
    d_sigma: Tensor
    sigma_d_sigma: Tensor


class Scheduler(ABC):
    """alpha_t from 0 (source) to 1 (data), and sigma_t from 1 to 0.

    ```python
    class Square(Scheduler):
        convex = True
        def __call__(self, t):
            return Coefficients(t**2, 1 - t**2, 2 * t, -2 * t, -2 * t * (1 - t**2))
    ```

    Attributes:
        t_max: end of the interval on which every coefficient is finite: below 1 where d_sigma
            diverges at the data, as in variance-preserving schedules.
        convex: whether sigma = 1 - alpha. Geodesic and mixture paths need that: their kappa_t is
            alpha_t.
        straight: whether alpha = t, so that d_alpha is one.
    """

    t_max: float = 1.0
    convex: bool = False
    straight: bool = False

    @abstractmethod
    def __call__(self, t: Tensor) -> Coefficients:
        """Coefficients at `t`, any shape, values in [0, t_max]."""

    def interpolate(self, x_0: Tensor, x_1: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """x_t and its time derivative.

        Args:
            x_0: `(batch, *event)`.
            x_1: `(batch, *event)`.
            t: broadcastable to them, `(batch, 1, ..., 1)`.
        """
        c = self(t)
        x_t = torch.addcmul(c.alpha * x_1, c.sigma, x_0)
        return x_t, torch.addcmul(c.d_alpha * x_1, c.d_sigma, x_0)

    def at(self, t: float) -> tuple[float, float]:
        """alpha and sigma at one time, as numbers."""
        c = self(torch.tensor(t, dtype=torch.float64))
        return c.alpha.item(), c.sigma.item()

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class CondOT(Scheduler):
    r"""The straight line: $\alpha_t = t$, $\sigma_t = 1 - t$.

    Reference: Flow Matching for Generative Modeling, Lipman et al., 2022, arXiv:2210.02747, eq. 20
    with sigma_min = 0.
    """

    convex = True
    straight = True

    def __call__(self, t: Tensor) -> Coefficients:
        one = torch.ones_like(t)
        return Coefficients(t, 1 - t, one, -one, t - 1)

    def interpolate(self, x_0: Tensor, x_1: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        dx_t = x_1 - x_0
        return torch.addcmul(x_0, t, dx_t), dx_t


class Polynomial(Scheduler):
    r"""$\alpha_t = t^n$, $\sigma_t = 1 - t^n$, with $n \ge 1$."""

    convex = True

    def __init__(self, power: float) -> None:
        if not 1 <= power < math.inf:
            raise ConfigError(
                f"power: got {power}; it must be finite and at least 1, for below that the "
                "velocity is infinite at t = 0."
            )
        self.power = power

    def __call__(self, t: Tensor) -> Coefficients:
        alpha, d_alpha = t**self.power, self.power * t ** (self.power - 1)
        sigma, d_sigma = 1 - alpha, -d_alpha
        return Coefficients(alpha, sigma, d_alpha, d_sigma, sigma * d_sigma)

    def __repr__(self) -> str:
        return f"Polynomial({self.power})"


class Cubic(Scheduler):
    r"""$\alpha_t = 3 t^2 - 2 t^3 + a (t^3 - 2 t^2 + t) + b (t^3 - t^2)$, $\sigma_t = 1 - \alpha_t$.

    The cubic whose slope is a at t = 0 and b at t = 1.

    Args:
        start: a, from 0 to 3: beyond that the cubic is not monotone for every b.
        end: b, from 0 to 3.

    Raises:
        ConfigError: slopes out of range.

    Reference: Discrete Flow Matching, Gat et al., 2024, arXiv:2407.15595, the cubic scheduler.
    """

    convex = True

    def __init__(self, start: float = 0.0, end: float = 0.0) -> None:
        if not (0 <= start <= 3 and 0 <= end <= 3):
            raise ConfigError(f"start, end: got {start}, {end}; slopes are from 0 to 3.")
        self.start, self.end = start, end

    def __call__(self, t: Tensor) -> Coefficients:
        a, b, s = self.start, self.end, 1 - t
        alpha = t * (a * s * s + t * (3 - 2 * t - b * s))
        # Sigma is the same cubic from the other end: no difference of two nearly equal numbers.
        sigma = s * (b * t * t + s * (3 - 2 * s - a * t))
        d_alpha = a * s * (1 - 3 * t) + t * (6 * s + b * (3 * t - 2))
        return Coefficients(alpha, sigma, d_alpha, -d_alpha, -sigma * d_alpha)

    def __repr__(self) -> str:
        return f"Cubic({self.start}, {self.end})"


class ConvexCosine(Scheduler):
    r"""$\alpha_t = 1 - \cos(\pi t / 2)^p$, $\sigma_t = \cos(\pi t / 2)^p$.

    With p = 1 the share of masked tokens falls as in MaskGIT; with p = 2 both ends are slow.

    Args:
        power: p, at least 1.

    Raises:
        ConfigError: a power below 1, for which d_sigma is infinite at t = 1.

    Reference: MaskGIT: Masked Generative Image Transformer, Chang et al., 2022, arXiv:2202.04200,
    section 3.3.
    """

    convex = True

    def __init__(self, power: float = 1.0) -> None:
        if not 1 <= power < math.inf:
            raise ConfigError(f"power: got {power}; it must be finite and at least 1.")
        self.power = power

    def __call__(self, t: Tensor) -> Coefficients:
        half, p = math.pi / 2, self.power
        # The cosine of half * t would be negative at t = 1 in float32; this is zero there.
        cos = torch.sin(half * (1 - t))
        sigma = cos**p
        d_alpha = p * half * cos ** (p - 1) * torch.sin(half * t)
        # 1 - cos^p without the cancellation near t = 0.
        versine = (2 * torch.sin(0.5 * half * t).square()).clamp(max=1)
        alpha = -torch.expm1(p * torch.log1p(-versine))
        return Coefficients(alpha, sigma, d_alpha, -d_alpha, -sigma * d_alpha)

    def __repr__(self) -> str:
        return f"ConvexCosine({self.power})"


class Cosine(Scheduler):
    r"""$\alpha_t = \sin(\pi t / 2)$, $\sigma_t = \cos(\pi t / 2)$: it preserves variance."""

    def __call__(self, t: Tensor) -> Coefficients:
        half = math.pi / 2
        # The cosine of half * t would be negative at t = 1 in float32; this is zero there.
        sin, cos = torch.sin(half * t), torch.sin(half * (1 - t))
        d_sigma = -half * sin
        return Coefficients(sin, cos, half * cos, d_sigma, cos * d_sigma)


class LinearVP(Scheduler):
    r"""$\alpha_t = t$, $\sigma_t = \sqrt{1 - t^2}$.

    $\dot\sigma_t = -t / \sigma_t$ diverges at the data; $\sigma$ is 0.01 at `t_max`.
    """

    t_max = math.sqrt(1 - 1e-4)

    def __call__(self, t: Tensor) -> Coefficients:
        sigma = ((1 - t) * (1 + t)).clamp(min=0).sqrt()
        return Coefficients(t, sigma, torch.ones_like(t), -t / sigma, -t)


class VariancePreserving(Scheduler):
    r"""The diffusion schedule with linear $\beta$, with time reversed so that data is at t = 1.

    $\alpha_t = \exp(-\tfrac12 B(1 - t))$ with $B(s) = \tfrac12 s^2 (\beta_{max} - \beta_{min}) +
    s \beta_{min}$, and $\sigma_t = \sqrt{1 - \alpha_t^2}$. At t = 0 a trace of the data is left:
    $\alpha_0 = 0.0066$ with the defaults. $\sigma$ is 0.01 at `t_max`.

    Reference: Flow Matching for Generative Modeling, Lipman et al., 2022, arXiv:2210.02747, eq. 19;
    the betas are those of Score-Based Generative Modeling through SDEs, Song et al., 2020,
    arXiv:2011.13456, appendix C.
    """

    def __init__(self, beta_min: float = 0.1, beta_max: float = 20.0) -> None:
        if not 0 < beta_min <= beta_max < math.inf:
            raise ConfigError(
                f"beta_min, beta_max: got {beta_min}, {beta_max}; need 0 < beta_min <= beta_max, "
                "both finite."
            )
        self.beta_min, self.beta_max = beta_min, beta_max
        # B(1 - t_max) = 1e-4, which makes sigma 0.01.
        slope = beta_max - beta_min
        root = math.sqrt(beta_min**2 + 2e-4 * slope)
        self.t_max = 1 - 2e-4 / (beta_min + root)

    def __call__(self, t: Tensor) -> Coefficients:
        s = 1 - t
        integral = 0.5 * s**2 * (self.beta_max - self.beta_min) + s * self.beta_min
        beta = s * (self.beta_max - self.beta_min) + self.beta_min
        alpha = torch.exp(-0.5 * integral)
        sigma = (-torch.expm1(-integral)).sqrt()
        d_alpha = 0.5 * beta * alpha
        sigma_d_sigma = -alpha * d_alpha
        return Coefficients(alpha, sigma, d_alpha, sigma_d_sigma / sigma, sigma_d_sigma)

    def __repr__(self) -> str:
        return f"VariancePreserving({self.beta_min}, {self.beta_max})"


class Exponential(Scheduler):
    r"""$\alpha_t = (1 - e^{-ct}) / (1 - e^{-c})$, $\sigma_t = 1 - \alpha_t$.

    As an inference schedule it moves a nearly constant fraction c dt of what is left at each step,
    as protein-frame models do for rotations with c = 10. They stop at $1 - e^{-c}$ of the way;
    here the schedule is normalised, so that t = 1 is the data.

    Reference: SE(3)-Stochastic Flow Matching, Bose et al., 2023, arXiv:2310.02391; Fast protein
    backbone generation with SE(3) flow matching, Yim et al., 2023, arXiv:2310.05297, section 3.
    """

    convex = True

    def __init__(self, rate: float) -> None:
        if not 0 < rate < math.inf:
            raise ConfigError(f"rate: got {rate}; it must be positive and finite.")
        self.rate = rate

    def __call__(self, t: Tensor) -> Coefficients:
        whole = -math.expm1(-self.rate)
        left = torch.exp(-self.rate * t)
        alpha = -torch.expm1(-self.rate * t) / whole
        # A product, for the difference of two exponentials is negative at t = 1 in float32.
        sigma = left * -torch.expm1(-self.rate * (1 - t)) / whole
        d_alpha = self.rate * left / whole
        return Coefficients(alpha, sigma, d_alpha, -d_alpha, -sigma * d_alpha)

    def __repr__(self) -> str:
        return f"Exponential({self.rate})"
