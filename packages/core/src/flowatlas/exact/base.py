"""What the exact flows share: they are fields, and they know their own density."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from flowatlas.errors import ConfigError
from flowatlas.schedulers import CondOT, Scheduler

__all__ = ["ExactFlow", "convex_scheduler", "wider"]


class ExactFlow(ABC):
    r"""A flow whose marginal velocity $u_t(x)$ and marginal density $p_t(x)$ are known.

    The instance is a field, `flow(x, t)`, so that it stands wherever a trained network may. What it
    returns is computed in the wider of the dtypes of `x` and of the target (float64 unless the
    target was converted), and has the dtype of `x`.

    ```python
    class Still(ExactFlow):                       # the target is the source
        def velocity(self, x, t):
            return torch.zeros_like(x)

        def log_prob(self, x, t):
            return -0.5 * (x.square() + math.log(2 * math.pi)).sum(-1)
    ```

    Attributes:
        scheduler: alpha and sigma of the path.
    """

    def __init__(self, scheduler: Scheduler | None = None) -> None:
        self.scheduler = CondOT() if scheduler is None else scheduler

    @abstractmethod
    def velocity(self, x: Tensor, t: Tensor) -> Tensor:
        r"""$u_t(x) = E[\dot x_t \mid x_t = x]$.

        Args:
            x: `(batch, ..., dim)`.
            t: `(batch,)`, in [0, 1].

        Returns:
            `(batch, ..., dim)`.
        """

    @abstractmethod
    def log_prob(self, x: Tensor, t: Tensor) -> Tensor:
        r"""$\log p_t(x)$, the density of x_t, in nats.

        Args:
            x: `(batch, ..., dim)`.
            t: `(batch,)`, in [0, 1].

        Returns:
            `(batch, ...)`: one value per point.
        """

    def __call__(self, x: Tensor, t: Tensor, condition: Any = None, /, **masks: Any) -> Tensor:
        """The velocity. Conditions and masks have no effect: points are independent."""
        return self.velocity(x, t)


def convex_scheduler(scheduler: Scheduler | None) -> Scheduler:
    """The schedule of a geodesic path, whose kappa_t is alpha_t.

    Raises:
        ConfigError: if sigma is not 1 - alpha.
    """
    scheduler = CondOT() if scheduler is None else scheduler
    if not scheduler.convex:
        raise ConfigError(
            f"scheduler: {scheduler!r} is not convex (sigma = 1 - alpha), so it is no speed along "
            "a geodesic. Use CondOT, Polynomial or Exponential."
        )
    return scheduler


def wider(x: Tensor, like: Tensor) -> torch.dtype:
    """The dtype to compute in."""
    return torch.promote_types(x.dtype, like.dtype)
