"""How t is drawn in training."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from flowatlas._random import Generators, rand
from flowatlas.errors import ConfigError

__all__ = ["Beta", "LogitNormal", "Shifted", "TimeSampler", "UShaped", "UniformTime"]


class TimeSampler(ABC):
    """A law on [0, 1], by its quantile function and its density.

    ```python
    class Late(TimeSampler):                     # density 2 t
        def quantile(self, u):
            return u.sqrt()

        def log_prob(self, t):
            return torch.where((t >= 0) & (t <= 1), (2 * t).log(), -torch.inf)
    ```

    One uniform number makes one t, so that per-sample generators give times that do not depend on
    the batch.
    """

    @abstractmethod
    def quantile(self, u: Tensor) -> Tensor:
        """Inverse of the distribution function: `u` uniform on [0, 1) makes t follow the law."""

    @abstractmethod
    def log_prob(self, t: Tensor) -> Tensor:
        """Log density in nats, with the shape of `t`; -inf outside [0, 1]."""

    def sample(
        self,
        batch: int,
        *,
        generator: Generators = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Independent times.

        Args:
            batch: how many.
            generator: one, or one per sample.
            dtype: of the result, raised to float32 where it has fewer bits: bfloat16 has 256
                numbers in each octave, too few to be a time.
            device: of the result.

        Returns:
            `(batch,)`.
        """
        dtype = torch.get_default_dtype() if dtype is None else dtype
        dtype = dtype if dtype == torch.float64 else torch.float32
        return self.quantile(rand((batch,), generator=generator, dtype=dtype, device=device))


class UniformTime(TimeSampler):
    """t uniform on [0, 1]."""

    def quantile(self, u: Tensor) -> Tensor:
        return u

    def log_prob(self, t: Tensor) -> Tensor:
        return _inside(t, torch.zeros_like(t))

    def __repr__(self) -> str:
        return "UniformTime()"


class LogitNormal(TimeSampler):
    r"""$t = 1 / (1 + e^{-z})$ with $z \sim N(m, s^2)$: times in the middle more often.

    Args:
        mean: m; positive for times nearer to the data.
        std: s.

    Raises:
        ConfigError: values out of range.

    Reference: Scaling Rectified Flow Transformers for High-Resolution Image Synthesis, Esser et
    al., 2024, arXiv:2403.03206, eq. 19, where noise is at t = 1: their m is minus ours.
    """

    def __init__(self, mean: float = 0.0, std: float = 1.0) -> None:
        if not math.isfinite(mean):
            raise ConfigError(f"mean: got {mean}; it must be finite.")
        self.mean, self.std = float(mean), _positive("std", std)

    def quantile(self, u: Tensor) -> Tensor:
        return torch.sigmoid(self.mean + self.std * torch.special.ndtri(u))

    def log_prob(self, t: Tensor) -> Tensor:
        interior = (t > 0) & (t < 1)
        t = torch.where(interior, t, 0.5)
        z = (torch.logit(t) - self.mean) / self.std
        constant = math.log(self.std) + 0.5 * math.log(2 * math.pi)
        value = -0.5 * z.square() - torch.log(t) - torch.log1p(-t) - constant
        return torch.where(interior, value, -torch.inf)

    def __repr__(self) -> str:
        return f"LogitNormal({self.mean:g}, {self.std:g})"


class Beta(TimeSampler):
    r"""$p(t) \propto t^{a-1} (1-t)^{b-1}$.

    With b = 1 or a = 1 the quantile function is a power and stays on the device; else scipy inverts
    the incomplete beta function on the CPU (about a microsecond each).

    Args:
        a: above 1 to spare the source, below 1 to favour it.
        b: above 1 to spare the data, below 1 to favour it.

    Raises:
        ConfigError: values out of range.
    """

    def __init__(self, a: float, b: float) -> None:
        self.a, self.b = _positive("a", a), _positive("b", b)

    def quantile(self, u: Tensor) -> Tensor:
        if self.b == 1.0:
            return u ** (1 / self.a)
        if self.a == 1.0:
            return -torch.expm1(torch.log1p(-u) / self.b)
        from scipy.special import betaincinv

        t = betaincinv(self.a, self.b, u.detach().cpu().double().numpy())
        return torch.from_numpy(t).to(u)

    def log_prob(self, t: Tensor) -> Tensor:
        a, b = self.a, self.b
        constant = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
        inside = t.clamp(0, 1)
        powers = torch.special.xlogy(torch.full_like(t, a - 1), inside)
        powers = powers + torch.special.xlog1py(torch.full_like(t, b - 1), -inside)
        return _inside(t, powers + constant)

    def __repr__(self) -> str:
        return f"Beta({self.a:g}, {self.b:g})"


class UShaped(TimeSampler):
    r"""$p(t) \propto e^{a t} + e^{a (1 - t)} \propto \cosh(a (t - 1/2))$: the two ends more often.

    Made for a second rectification, whose error is largest at the ends.

    Args:
        scale: a; uniform as it goes to zero.

    Raises:
        ConfigError: values out of range.

    Reference: Improving the Training of Rectified Flows, Lee et al., 2024, arXiv:2405.20320. The
    law is the one of their code, e^(a t) mirrored at 1/2. The exp(a t) + exp(-a t) they print is
    not U-shaped on [0, 1]; it is, shifted by 1/2, the same.
    """

    def __init__(self, scale: float = 4.0) -> None:
        self.scale = _positive("scale", scale)
        if self.scale > 500:
            raise ConfigError(f"scale: got {scale}; above 500 the law is its two ends. Use less.")

    def quantile(self, u: Tensor) -> Tensor:
        a = self.scale
        # (2 u - 1) sinh(a / 2) in two factors, of which neither overflows in float32.
        half = 0.5 * a
        v = (2 * u - 1).double() * math.sinh(half)
        return (0.5 + torch.asinh(v) / a).clamp(0, 1).to(u.dtype)

    def log_prob(self, t: Tensor) -> Tensor:
        a = self.scale
        # log of a cosh(a (t - 1/2)) / (2 sinh(a / 2)), with the growth factored out.
        far = (t - 0.5).abs() * a
        value = far + torch.log1p(torch.exp(-2 * far))
        return _inside(t, value + math.log(0.5 * a) - 0.5 * a - math.log(-math.expm1(-a)))

    def __repr__(self) -> str:
        return f"UShaped({self.scale:g})"


class Shifted(TimeSampler):
    r"""$t' = t / (s - (s - 1) t)$ with t from another law.

    A shift s > 1 puts more times near the source, as high resolutions want. It is the map of
    `ShiftedGrid`, so a model trained and sampled with the same shift sees the same times. Shifts of
    s_1 and s_2 in turn make one of s_1 s_2.

    Args:
        base: the law of t.
        shift: s.

    Raises:
        ConfigError: values out of range.

    Reference: Scaling Rectified Flow Transformers for High-Resolution Image Synthesis, Esser et
    al., 2024, arXiv:2403.03206, eq. 23, s t / (1 + (s - 1) t) with noise at t = 1; here it is at
    t = 0.
    """

    def __init__(self, base: TimeSampler, shift: float) -> None:
        if not isinstance(base, TimeSampler):
            raise ConfigError(f"base: got {type(base).__name__}; it must be a TimeSampler.")
        self.base, self.shift = base, _positive("shift", shift)

    def quantile(self, u: Tensor) -> Tensor:
        t = self.base.quantile(u)
        return (t / (self.shift - (self.shift - 1) * t)).clamp(max=1)

    def log_prob(self, t: Tensor) -> Tensor:
        inside = t.clamp(0, 1)
        stretch = 1 + (self.shift - 1) * inside
        value = self.base.log_prob(self.shift * inside / stretch)
        return _inside(t, value + math.log(self.shift) - 2 * stretch.log())

    def __repr__(self) -> str:
        return f"Shifted({self.base!r}, {self.shift:g})"


def _inside(t: Tensor, value: Tensor) -> Tensor:
    return torch.where((t >= 0) & (t <= 1), value, -torch.inf)


def _positive(name: str, value: float) -> float:
    if not 0 < value < math.inf:
        raise ConfigError(f"{name}: got {value}; it must be positive and finite.")
    return float(value)
