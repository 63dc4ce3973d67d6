"""Cells of equal shares of an octave, which a number tells by its bits, without a logarithm."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Octaves"]

#: By item size: the integers of the same bits, how many are of the mantissa, the exponent of one.
_BITS = {4: (torch.int32, 23, 127), 8: (torch.int64, 52, 1023)}


@dataclass(frozen=True, slots=True)
class Octaves:
    """Cells of the numbers from `2^-octaves` to 1: `2^shares` of equal length to each octave.

    The last cell is for 1 itself: it begins there. Smaller numbers are in the cells of the first
    octave.

    Attributes:
        octaves: how many.
        shares: logarithm to base 2 of the cells in an octave.
    """

    octaves: int
    shares: int

    @property
    def count(self) -> int:
        """Number of cells."""
        return (self.octaves << self.shares) + 1

    @property
    def length(self) -> float:
        """Of a cell, where its octave begins at one."""
        return 2.0**-self.shares

    def locate(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Cell; how far from its start, where its octave begins at one; and how far below.

        The last is log 2 for each octave between x and the first, negative; 0 above. Numbers below
        the normal ones are taken for the least of these, and those above 1 for 1.
        """
        x = x.clamp(torch.finfo(x.dtype).tiny, 1.0)
        kind, digits, bias = _BITS[x.element_size()]
        bits = x.detach().view(kind)
        cell = bits >> (digits - self.shares)
        start = (cell << (digits - self.shares)).view(x.dtype)
        octave = (bits & -(1 << digits)).view(x.dtype)
        row = cell.sub_((bias - self.octaves) << self.shares)
        below = (row >> self.shares).clamp_(max=0).to(x.dtype).mul_(math.log(2))
        # The share alone, where that is more; NaN keeps its place, which is NaN, in the last cell.
        row = torch.maximum(row, row & ((1 << self.shares) - 1)).clamp_(max=self.count - 1)
        return row.long(), (x - start).div_(octave), below
