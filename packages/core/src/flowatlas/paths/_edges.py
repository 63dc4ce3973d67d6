"""Where a coefficient that diverges at an end of the interval is still small enough to use."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["MAX_RATE", "first_finite", "last_finite"]

#: Largest factor by which a conversion may multiply its input. Rounding of the state is multiplied
#: by it too: 1e3 leaves four digits in float32, and stops a straight path at t = 0.999.
MAX_RATE = 1e3


def last_finite(rate: Callable[[Tensor], Tensor], t_max: float) -> float:
    """Largest t up to which |rate| stays below `MAX_RATE`, for a rate growing towards the data."""
    return t_max if _usable(rate, t_max) else _bisect(rate, 0.5 * t_max, t_max)


def first_finite(rate: Callable[[Tensor], Tensor]) -> float:
    """Smallest t from which |rate| stays below `MAX_RATE`, for a rate falling from the source."""
    return 0.0 if _usable(rate, 0.0) else _bisect(rate, 0.5, 0.0)


def _usable(rate: Callable[[Tensor], Tensor], t: float) -> bool:
    return bool(rate(torch.tensor(t, dtype=torch.float64)).abs() <= MAX_RATE)


def _bisect(rate: Callable[[Tensor], Tensor], inside: float, outside: float) -> float:
    for _ in range(40):
        middle = 0.5 * (inside + outside)
        if _usable(rate, middle):
            inside = middle
        else:
            outside = middle
    return inside
