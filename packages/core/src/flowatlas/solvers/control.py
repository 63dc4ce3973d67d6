"""Who shares a step size."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from flowatlas.state import broadcast_time, map_state

__all__ = ["Control", "PerSample", "Shared"]


class Control(ABC):
    """Who shares a step size."""

    @abstractmethod
    def reduce(self, mean_square: Tensor) -> Tensor:
        """From `(batch,)` mean squared errors to one per step size, `()` or `(batch,)`."""

    @abstractmethod
    def choose(self, accept: Tensor, new: Any, old: Any) -> Any:
        """`new` where accepted, else `old`."""


class Shared(Control):
    """One step size for the batch, by the root mean square error over it."""

    def reduce(self, mean_square: Tensor) -> Tensor:
        return mean_square.mean()

    def choose(self, accept: Tensor, new: Any, old: Any) -> Any:
        return new if accept else old

    def __repr__(self) -> str:
        return "Shared()"


class PerSample(Control):
    """A step size for each sample, so that a result does not depend on the batch it is in.

    All samples are evaluated until the last is at the end. `Solution.accepted` counts the steps
    that every sample accepted, `rejected` those that some sample has to take again.
    """

    def reduce(self, mean_square: Tensor) -> Tensor:
        return mean_square

    def choose(self, accept: Tensor, new: Any, old: Any) -> Any:
        return map_state(lambda a, b: torch.where(broadcast_time(accept, a), a, b), new, old)

    def __repr__(self) -> str:
        return "PerSample()"
