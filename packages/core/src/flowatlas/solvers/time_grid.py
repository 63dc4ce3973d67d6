"""At which times a fixed-step solver stops."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise

from flowatlas._arguments import count
from flowatlas.errors import ConfigError, IntervalError

__all__ = ["GivenGrid", "ShiftedGrid", "TimeGrid", "UniformGrid"]


class TimeGrid(ABC):
    """A rule that puts knots between two times, in either direction.

    ```python
    class OneStep(TimeGrid):
        def knots(self, start, end):
            return [start, end]
    ```
    """

    @abstractmethod
    def knots(self, start: float, end: float) -> list[float]:
        """Strictly monotone times from `start` to `end`, both included."""


class UniformGrid(TimeGrid):
    """`steps` equal steps."""

    def __init__(self, steps: int) -> None:
        self.steps = count("steps", steps)

    def knots(self, start: float, end: float) -> list[float]:
        h = (end - start) / self.steps
        return [start + i * h for i in range(self.steps)] + [end]

    def __repr__(self) -> str:
        return f"UniformGrid({self.steps})"


class ShiftedGrid(TimeGrid):
    r"""`steps` steps, uniform in u with $t = u / (s - (s - 1) u)$.

    A shift s > 1 puts more of them near the source, as high resolutions want; shifts of s_1 and s_2
    in turn make one of s_1 s_2. With noise at t = 1, as in Scaling Rectified Flow Transformers
    (Esser et al., 2024, arXiv:2403.03206, eq. 23), the map reads t' = s t / (1 + (s - 1) t).
    """

    def __init__(self, steps: int, shift: float) -> None:
        if not 0 < shift < math.inf:
            raise ConfigError(f"shift: got {shift}; it must be positive and finite.")
        self.steps, self.shift = count("steps", steps), shift

    def knots(self, start: float, end: float) -> list[float]:
        s = self.shift
        u_0, u_1 = (s * t / (1 + (s - 1) * t) for t in (start, end))
        inner = (u_0 + (u_1 - u_0) * i / self.steps for i in range(1, self.steps))
        return [start, *(u / (s - (s - 1) * u) for u in inner), end]

    def __repr__(self) -> str:
        return f"ShiftedGrid({self.steps}, {self.shift})"


class GivenGrid(TimeGrid):
    """Times given one by one, rising or falling; the grid serves either direction.

    A solve uses those strictly between its own two times, which are knots of every grid: from .5 to
    1 a grid of (0, .25, .75, 1) stops at .75 alone.

    Raises:
        ConfigError: fewer than two times, or times that are not strictly monotone.
        IntervalError: times outside [0, 1].
    """

    def __init__(self, times: Sequence[float]) -> None:
        try:
            times = [float(t) for t in times]
        except (TypeError, ValueError):
            raise ConfigError(
                f"times: got {times!r}; a grid needs a sequence of numbers."
            ) from None
        rising = all(a < b for a, b in pairwise(times))
        falling = all(a > b for a, b in pairwise(times))
        if len(times) < 2 or not (rising or falling):
            raise ConfigError(
                f"times: got {times}; a grid needs two or more times, strictly rising or falling."
            )
        if min(times) < 0.0 or max(times) > 1.0:
            raise IntervalError(
                f"times: got {times}; they run from 0 (source) to 1 (data). Divide step numbers "
                "by their total."
            )
        self.times = sorted(times)

    def knots(self, start: float, end: float) -> list[float]:
        low, high = min(start, end), max(start, end)
        inner = [t for t in self.times if low < t < high]
        return [start, *(inner if start < end else inner[::-1]), end]

    def __repr__(self) -> str:
        return f"GivenGrid({self.times})"
