"""The Dirichlet law on the probability simplex."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flowatlas._random import Generators, check_floating, draw
from flowatlas.errors import ConfigError, ShapeError
from flowatlas.sources.base import Source

__all__ = ["Dirichlet"]


class Dirichlet(Source):
    r"""$p(x) \propto \prod_i x_i^{a_i - 1}$ with respect to $dx_1 \cdots dx_{K-1}$.

    Drawn as normalised gamma variates. With a = 1 the law is uniform in the coordinates x, with
    a = 1/2 in the Fisher-Rao metric (`Uniform(Simplex())`).

    `log_prob` is with respect to the volume of `Simplex`, as everywhere in this library:
    $\log p + \frac12 \sum_i \log x_i$. `Simplex().lebesgue_log_prob` takes the second term away.

    Args:
        concentration: a, one number for all categories or `(K,)`, positive.

    Raises:
        ConfigError: concentrations that are not positive and finite.

    Example:
        ```python
        source = Dirichlet(1.0)
        x_0 = source.sample((8, 32, 20), generator=torch.Generator().manual_seed(0))
        source.log_prob(x_0).shape  # (8, 32)
        ```
    """

    has_density = True

    def __init__(self, concentration: float | Sequence[float] | Tensor = 1.0) -> None:
        a = torch.as_tensor(concentration, dtype=torch.float64)
        if a.ndim > 1 or (a.ndim == 1 and len(a) < 2):
            raise ConfigError(
                f"concentration: got shape {tuple(a.shape)}; give one number, or (K,) with K >= 2."
            )
        if not bool(((a > 0) & torch.isfinite(a)).all()):
            raise ConfigError(
                f"concentration: got values from {a.min().item():g} to {a.max().item():g}; they "
                "must be positive and finite."
            )
        self.concentration = a

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
        check_floating(dtype)
        dtype = torch.get_default_dtype() if dtype is None else dtype
        working = torch.promote_types(dtype, torch.float32)
        flat = bool((self.concentration == 1).all())

        def gamma(size: tuple[int, ...], one: torch.Generator | None) -> Tensor:
            place = one.device if one is not None else device
            if flat:
                exponential = torch.empty(size, dtype=working, device=place)
                exponential.exponential_(generator=one)
                return exponential
            a = self.concentration.to(place).expand(size).contiguous()
            drawn: Tensor = torch._standard_gamma(a, generator=one)
            return drawn

        x = draw(gamma, shape, generator).to(device=device)
        # Zeros would have no logarithm; what is added is below rounding.
        x = x.clamp(min=1e-30)
        x = x / x.sum(-1, keepdim=True)
        return x.to(dtype)

    def log_prob(self, x: Tensor) -> Tensor:
        self._check(x.shape)
        a = self.concentration.to(x.device).expand(x.shape[-1])
        constant = torch.lgamma(a.sum()) - torch.lgamma(a).sum()
        # Where a is 1/2 the law is uniform in that category, on the boundary too.
        powers: Tensor = torch.special.xlogy((a - 0.5).to(x.dtype), x)
        return powers.sum(-1) + constant.to(x.dtype)

    def _check(self, shape: Sequence[int]) -> None:
        own = self.concentration.shape
        if not shape or shape[-1] < 2 or (own and shape[-1] != own[0]):
            wanted = f"{own[0]}" if own else "K, K >= 2"
            raise ShapeError(
                f"shape: got {tuple(shape)}; points of {self!r} are probabilities (..., {wanted})."
            )

    def __repr__(self) -> str:
        if self.concentration.ndim == 0:
            return f"Dirichlet({self.concentration.item():g})"
        return f"Dirichlet(<{len(self.concentration)} categories>)"
