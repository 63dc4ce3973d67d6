"""The law of x_0."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from flowatlas._random import Generators
from flowatlas.errors import CapabilityError

__all__ = ["Source"]


class Source(ABC):
    """Where a flow starts: it can be sampled, and most have a density.

    ```python
    class Laplace(Source):
        def sample(self, shape, *, generator=None, dtype=None, device=None):
            signs = rand(shape, generator=generator, dtype=dtype, device=device) - 0.5
            return -signs.sign() * torch.log1p(-2 * signs.abs())
    ```

    Attributes:
        has_density: whether `log_prob` is implemented; likelihoods need it.
        std: standard deviation of an isotropic Gaussian source, and None for every other source.
            Score and noise prediction read it: their formulae hold for Gaussian sources alone.
        mean: of a Gaussian source.
    """

    has_density: bool = False
    std: float | None = None
    mean: float | Tensor = 0.0

    @abstractmethod
    def sample(
        self,
        shape: Sequence[int],
        *,
        generator: Generators = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Independent draws.

        Args:
            shape: `(batch, ..., *point_shape)`, the batch included.
            generator: one, or one per sample.
            dtype: of the result; torch's default if None.
            device: of the result.
        """

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density in nats with respect to the manifold's volume.

        Args:
            x: `(batch, ..., *point_shape)`.

        Returns:
            `(batch, ...)`: one value per point; samples of several points add them up.

        Raises:
            CapabilityError: if the source has no density.
        """
        raise CapabilityError(
            f"{type(self).__name__} has no density, so likelihoods that start from it do not "
            "exist. Pass source= with one that has, such as Gaussian() or Uniform(manifold)."
        )
