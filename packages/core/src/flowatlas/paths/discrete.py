"""Paths whose points jump."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from flowatlas._random import Generators, rand
from flowatlas.paths.base import Path
from flowatlas.paths.interval import Interval

__all__ = ["DiscretePath"]


class DiscretePath(Path):
    """A path over token ids, `(batch, *points)`; it needs a product to be sampled beside others.

    ```python
    class Masked(DiscretePath):
        def interpolate(self, x_0, x_1, t, noise=None): ...    # x_t, None
        def point_loss(self, prediction, sample): ...
        def jump(self, x, t, s, prediction, *, generator=None): ...
    ```
    """

    point_ndim = 0

    def interpolation_noise(
        self, like: Tensor, *, batch: int | None = None, generator: Generators = None
    ) -> Tensor:
        """Uniform numbers, one per token: where they are below kappa_t, the path has jumped."""
        shape = like.shape if batch is None else (batch, *like.shape[1:])
        return rand(shape, generator=generator, device=like.device)

    @abstractmethod
    def jump(
        self, x: Tensor, t: Tensor, s: Tensor, prediction: Tensor, *, generator: Generators = None
    ) -> Tensor:
        """Draw the state at time s > t given the state and the prediction at t."""

    @property
    def local_interval(self) -> Interval:
        return Interval(0.0, 1.0)
