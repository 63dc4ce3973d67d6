"""Uniform source on a manifold of finite volume."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flowatlas._random import Generators
from flowatlas.errors import CapabilityError
from flowatlas.manifolds.base import Manifold
from flowatlas.manifolds.capability import Capability
from flowatlas.sources.base import Source

__all__ = ["Uniform"]


class Uniform(Source):
    """The law with constant density on a manifold, one over its volume.

    Args:
        manifold: one that declares `Capability.UNIFORM`.

    Raises:
        CapabilityError: a manifold without a uniform law.

    Example:
        ```python
        source = Uniform(Sphere())
        x_0 = source.sample((1024, 3), generator=torch.Generator().manual_seed(0))
        ```
    """

    has_density = True

    def __init__(self, manifold: Manifold) -> None:
        if Capability.UNIFORM not in manifold.capabilities:
            raise CapabilityError(
                f"manifold: {manifold!r} has no uniform law (its volume is infinite, or it does "
                "not declare Capability.UNIFORM). Give the path a source: Gaussian() in flat "
                "space, or WrappedNormal(manifold, mean, std) elsewhere."
            )
        self.manifold = manifold

    def sample(
        self,
        shape: Sequence[int],
        *,
        generator: Generators = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        return self.manifold.random_uniform(shape, generator=generator, dtype=dtype, device=device)

    def log_prob(self, x: Tensor) -> Tensor:
        self.manifold.check_shape(x)
        return self.manifold.uniform_log_prob(x)

    def __repr__(self) -> str:
        return f"Uniform({self.manifold!r})"
