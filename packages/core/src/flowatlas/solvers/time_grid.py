"""At which times a fixed-step solver stops."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from flowatlas.errors import ConfigError

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
        self.steps = _positive(steps)

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
        if not shift > 0:
            raise ConfigError(f"shift: got {shift}; it must be positive.")
        self.steps, self.shift = _positive(steps), shift

    def knots(self, start: float, end: float) -> list[float]:
        s = self.shift
        u_0, u_1 = (s * t / (1 + (s - 1) * t) for t in (start, end))
        inner = (u_0 + (u_1 - u_0) * i / self.steps for i in range(1, self.steps))
        return [start, *(u / (s - (s - 1) * u) for u in inner), end]

    def __repr__(self) -> str:
        return f"ShiftedGrid({self.steps}, {self.shift})"


class GivenGrid(TimeGrid):
    """Times given one by one; those outside the interval asked for are left out."""

    def __init__(self, times: Sequence[float]) -> None:
        times = [float(t) for t in times]
        rising = all(a < b for a, b in zip(times, times[1:], strict=False))
        falling = all(a > b for a, b in zip(times, times[1:], strict=False))
        if len(times) < 2 or not (rising or falling):
            raise ConfigError(
                f"times: got {times}; a grid needs two or more times, strictly rising or falling."
            )
        self.times = sorted(times)

    def knots(self, start: float, end: float) -> list[float]:
        low, high = min(start, end), max(start, end)
        inner = [t for t in self.times if low < t < high]
        return [start, *(inner if start < end else inner[::-1]), end]

    def __repr__(self) -> str:
        return f"GivenGrid({self.times})"


def _positive(steps: int) -> int:
    if int(steps) != steps or steps < 1:
        raise ConfigError(f"steps: got {steps}; it must be an integer of 1 or more.")
    return int(steps)
