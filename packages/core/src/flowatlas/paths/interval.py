"""Intervals of time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor

from flowatlas.errors import IntervalError

__all__ = ["Interval", "times_within"]

#: Between which times everything happens, where that is known.
_KNOWN: ContextVar[tuple[float, float] | None] = ContextVar("known", default=None)


@contextmanager
def times_within(start: float, end: float) -> Iterator[None]:
    """Promise that all times inside this block lie between the two, in either order.

    `Interval.check` then asks the promise first: to read the times themselves makes the host wait
    for the device, at every stage of a solver whose times the host chose.
    """
    token = _KNOWN.set((min(start, end), max(start, end)))
    try:
        yield
    finally:
        _KNOWN.reset(token)


@dataclass(frozen=True, slots=True)
class Interval:
    """A closed interval of time on which a quantity is finite."""

    start: float
    end: float

    def check(self, t: Tensor, what: str) -> None:
        """Raise `IntervalError` unless every `t` lies inside; free of charge while compiling."""
        if torch.compiler.is_compiling() or t.numel() == 0:
            return
        slack = 1e-6
        known = _KNOWN.get()
        if known and self.start - slack <= known[0] and known[1] <= self.end + slack:
            return
        least, most = torch.aminmax(t)
        low, high = least.item(), most.item()
        # Written so that NaN fails.
        if not (low >= self.start - slack and high <= self.end + slack):
            raise IntervalError(
                f"t: got values in [{low:g}, {high:g}], but {what} is finite only on "
                f"[{self.start:g}, {self.end:g}]. Stop the grid there, or clamp t."
            )

    def __and__(self, other: Interval) -> Interval:
        return Interval(max(self.start, other.start), min(self.end, other.end))
