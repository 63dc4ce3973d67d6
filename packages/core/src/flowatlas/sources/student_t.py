"""A source with heavy tails in flat space."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from flowatlas._random import Generators, draw
from flowatlas.errors import ConfigError, ShapeError
from flowatlas.sources.base import Source

__all__ = ["StudentT"]


class StudentT(Source):
    r"""$x_0 = m + s\, z \sqrt{\nu / g}$ with z standard normal and g of law $\chi^2_\nu$.

    g is one number per point, so that the law of a point is isotropic around m:

    $$\log p(x) = \log\Gamma\big(\tfrac{\nu + d}{2}\big) - \log\Gamma\big(\tfrac\nu2\big)
        - \tfrac d2 \log(\nu \pi s^2)
        - \tfrac{\nu + d}{2} \log\Big(1 + \frac{|x - m|^2}{\nu s^2}\Big).$$

    Its tails fall like a power, $|x|^{-\nu - d}$: a start for data with heavy tails, which a flow
    from a Gaussian cannot make with a Lipschitz field. It is not Gaussian, so that noise and score
    prediction do not accept it.

    Args:
        df: $\nu$, positive; the variance is infinite up to 2.
        scale: s, in the units of the data. The variance of a coordinate is
            $s^2 \nu / (\nu - 2)$.
        location: m, a number or a tensor that broadcasts to the samples.
        point_ndim: trailing axes that make one point, as in `Euclidean`. With 0 every number is a
            point of its own.

    Raises:
        ConfigError: `df` or `scale` that is not positive and finite, a `location` that is not
            finite, a negative `point_ndim`.

    Reference: Heavy-Tailed Diffusion Models, Pandey et al., 2024, arXiv:2410.14171 (from memory).

    Example:
        ```python
        source = StudentT(4.0)
        x_0 = source.sample((8, 3), generator=torch.Generator().manual_seed(0))
        source.log_prob(x_0).shape  # (8,)
        ```
    """

    has_density = True

    def __init__(
        self,
        df: float,
        scale: float = 1.0,
        *,
        location: float | Tensor = 0.0,
        point_ndim: int = 1,
    ) -> None:
        for name, value in (("df", df), ("scale", scale)):
            if not 0 < value < math.inf:
                raise ConfigError(f"{name}: got {value}; it must be positive and finite.")
        if not bool(torch.isfinite(torch.as_tensor(location)).all()):
            raise ConfigError(f"location: got {location}; it must be finite.")
        if point_ndim < 0:
            raise ConfigError(f"point_ndim: got {point_ndim}; it counts axes, so 0 or more.")
        self.df = float(df)
        self.scale = float(scale)
        self.location = location
        self.point_ndim = point_ndim

    def sample(
        self,
        shape: Sequence[int],
        *,
        generator: Generators = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        shape = tuple(shape)
        self._check(shape)
        dtype = torch.get_default_dtype() if dtype is None else dtype
        working = torch.promote_types(dtype, torch.float32)
        points = len(shape) - self.point_ndim

        def standard(size: tuple[int, ...], one: torch.Generator | None) -> Tensor:
            place = one.device if one is not None else device
            z = torch.randn(size, generator=one, dtype=working, device=place)
            # In float64: for few degrees of freedom gammas are often tiny.
            half = torch.full(size[:points], self.df / 2, dtype=torch.float64, device=place)
            gamma = torch._standard_gamma(half, generator=one).clamp(min=1e-300)
            factor = (self.df / 2 / gamma).sqrt().to(working)
            return z * factor.view(*factor.shape, *(1,) * self.point_ndim)

        x = draw(standard, shape, generator).to(device=device)
        location = self.location
        if isinstance(location, Tensor):
            location = location.to(x)
        return (location + self.scale * x).to(dtype)

    def log_prob(self, x: Tensor) -> Tensor:
        self._check(x.shape)
        location = self.location.to(x) if isinstance(self.location, Tensor) else self.location
        axes = tuple(range(-self.point_ndim, 0))
        square = ((x - location) / self.scale).square()
        square = square.sum(axes) if axes else square
        count = math.prod(x.shape[x.ndim - self.point_ndim :])
        half = (self.df + count) / 2
        constant = math.lgamma(half) - math.lgamma(self.df / 2)
        constant -= count * (0.5 * math.log(self.df * math.pi) + math.log(self.scale))
        return constant - half * torch.log1p(square / self.df)

    def _check(self, shape: Sequence[int]) -> None:
        """Raise unless points fit, and the location broadcasts to them without enlarging them."""
        # Beside the axes of a point there is the batch.
        if len(shape) < self.point_ndim:
            raise ShapeError(
                f"shape: got {tuple(shape)}; points of {self!r} have {self.point_ndim} axes."
            )
        if not isinstance(self.location, Tensor):
            return
        own = tuple(self.location.shape)
        tail = tuple(shape)[max(0, len(shape) - len(own)) :]
        if len(own) > len(shape) or any(a not in (1, b) for a, b in zip(own, tail, strict=True)):
            raise ShapeError(
                f"shape: got {tuple(shape)} for a law whose location has shape {own}; the location "
                "must broadcast to the samples. Give it the shape of one point."
            )

    def __repr__(self) -> str:
        parts = [f"{self.df:g}"]
        if self.scale != 1.0:
            parts.append(f"scale={self.scale:g}")
        if isinstance(self.location, Tensor):
            parts.append(f"location=<{', '.join(map(str, self.location.shape))}>")
        elif self.location != 0.0:
            parts.append(f"location={self.location:g}")
        if self.point_ndim != 1:
            parts.append(f"point_ndim={self.point_ndim}")
        return f"StudentT({', '.join(parts)})"
