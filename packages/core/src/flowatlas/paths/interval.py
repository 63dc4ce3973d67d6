"""Intervals of time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flowatlas.errors import IntervalError

__all__ = ["Interval"]


@dataclass(frozen=True, slots=True)
class Interval:
    """A closed interval of time on which a quantity is finite."""

    start: float
    end: float

    def check(self, t: Tensor, what: str) -> None:
        """Raise `IntervalError` unless every `t` lies inside; free of charge while compiling."""
        if torch.compiler.is_compiling() or t.numel() == 0:
            return
        least, most = torch.aminmax(t)
        low, high = least.item(), most.item()
        slack = 1e-6
        # Written so that NaN fails.
        if not (low >= self.start - slack and high <= self.end + slack):
            raise IntervalError(
                f"t: got values in [{low:g}, {high:g}], but {what} is finite only on "
                f"[{self.start:g}, {self.end:g}]. Stop the grid there, or clamp t."
            )

    def __and__(self, other: Interval) -> Interval:
        return Interval(max(self.start, other.start), min(self.end, other.end))
