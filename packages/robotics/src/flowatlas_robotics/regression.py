"""The policy that knows one answer: least squares."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flowatlas.objectives import FlowMatching
from flowatlas.sources import Source
from flowatlas.time_samplers import TimeSampler
from flowatlas_robotics.policy import ChunkPolicy, Generators

__all__ = ["RegressionPolicy"]


class _Origin(Source):
    """The point 0."""

    def sample(
        self,
        shape: Sequence[int],
        *,
        generator: Generators = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        return torch.zeros(tuple(shape), dtype=dtype, device=device)


class _AtStart(TimeSampler):
    """t = 0."""

    def quantile(self, u: Tensor) -> Tensor:
        return torch.zeros_like(u)

    def log_prob(self, t: Tensor) -> Tensor:
        return torch.where(t == 0, torch.inf, -torch.inf)


class RegressionPolicy(ChunkPolicy):
    r"""The mean chunk, by least squares: what a flow is compared with.

    It is the flow whose source is the point 0 and that knows only t = 0: its velocity there is
    $E[a | o]$, and one Euler step adds it to 0. Network, normaliser and training are those of
    `FlowPolicy`. Where several answers are right, their mean may be none.

    Args: those of `ChunkPolicy`.

    Raises:
        ConfigError: more than one evaluation, here or at a call.

    Example:
        ```python
        from flowatlas_robotics import RegressionPolicy

        assert RegressionPolicy({"state": 2}, action=2, width=32, depth=2).evaluations == 1
        ```
    """

    source = _Origin()
    # From the point 0, the target is the velocity.
    predictions = ("velocity",)
    max_evaluations = 1

    def objective(self) -> FlowMatching:
        return FlowMatching(self.path, time_sampler=_AtStart())
