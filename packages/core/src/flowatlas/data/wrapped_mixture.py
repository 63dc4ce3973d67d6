"""Mixtures of wrapped normal laws: known densities on curved spaces."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flowatlas._random import Generators
from flowatlas.data._draws import draw_points
from flowatlas.errors import ConfigError, ShapeError
from flowatlas.manifolds import Manifold
from flowatlas.sources import Source, WrappedNormal

__all__ = ["WrappedMixture"]


class WrappedMixture(Source):
    r"""$p(x) = \sum_k w_k\, p_k(x)$, with $p_k$ the law of $\exp_{c_k}(s_k \epsilon)$.

    Args:
        manifold: one that declares `Capability.WRAPPED`.
        centres: `(k, *point_shape)`.
        spreads: `(k,)`, in the units of the manifold's distance.
        weights: `(k,)`, positive; equal if None.

    Raises:
        ConfigError: spreads or weights that are not positive.
        GeometryError: centres off the manifold.
        ShapeError: spreads or weights that do not fit the centres.
        CapabilityError: a manifold without wrapped normal laws.

    Example:
        ```python
        plane = Lorentz()
        centres = plane.projx(torch.tensor([[0.0, 1.0, 0.0], [0.0, -1.0, 0.5]]))
        law = WrappedMixture(plane, centres, torch.tensor([0.2, 0.4]))
        x = law.sample((100, 3), generator=torch.Generator().manual_seed(0))
        ```
    """

    has_density = True

    def __init__(
        self, manifold: Manifold, centres: Tensor, spreads: Tensor, weights: Tensor | None = None
    ) -> None:
        count = len(centres)
        weights = torch.ones(count) if weights is None else weights
        for name, values in (("spreads", spreads), ("weights", weights)):
            if values.shape != (count,):
                raise ShapeError(f"{name}: got shape {tuple(values.shape)}; need ({count},).")
            if not bool(((values > 0) & torch.isfinite(values)).all()):
                raise ConfigError(f"{name}: got {values.tolist()}; all must be positive.")
        self.manifold = manifold
        manifold.check_point(centres, "centres")
        # Rounded to single precision they lie off the manifold in double.
        self.centres = manifold.projx(centres.double())
        self.spreads = spreads.double()
        self.weights = (weights / weights.sum()).double()
        self.parts = [
            WrappedNormal(manifold, centre, float(spread))
            for centre, spread in zip(self.centres, self.spreads, strict=True)
        ]

    def sample(
        self,
        shape: Sequence[int],
        *,
        generator: Generators = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        point_shape = tuple(self.centres.shape[1:])
        return draw_points(
            self._rows, shape, point_shape, generator=generator, dtype=dtype, device=device
        )

    def _rows(self, n: int, generator: torch.Generator | None) -> Tensor:
        home = self.centres.device if generator is None else generator.device
        u = torch.rand(n, generator=generator, dtype=torch.float64, device=home)
        which = torch.searchsorted(self.weights.cumsum(0).to(home), u)
        which = which.clamp(max=len(self.weights) - 1)
        centres = self.centres.to(home)[which]
        noise = self.manifold.random_tangent(centres, generator=generator)
        spread = self.spreads.to(home)[which]
        return self.manifold.expmap(centres, spread.view(-1, *(1,) * (noise.ndim - 1)) * noise)

    def log_prob(self, x: Tensor) -> Tensor:
        logs = torch.stack([part.log_prob(x) for part in self.parts], -1)
        return torch.logsumexp(logs + self.weights.log().to(logs), -1)
