"""Cells of equal shares of an octave, which a number tells by its bits, without a logarithm."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Octaves"]

#: By item size: the integers of the same bits, how many are of the mantissa, the exponent of one.
_BITS = {4: (torch.int32, 23, 127), 8: (torch.int64, 52, 1023)}


@dataclass(frozen=True, slots=True)
class Octaves:
    """Cells of the numbers from `2^-octaves` to 1: `2^shares` of equal length to each octave.

    The last cell is for 1 itself: it begins there.

    Attributes:
        octaves: how many; 126 are those of the normal numbers of float32.
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

    def starts(self) -> Tensor:
        """`(count,)`: where the cells begin, in float64."""
        cells = torch.arange(self.count)
        share = cells & ((1 << self.shares) - 1)
        return torch.exp2((cells >> self.shares) - self.octaves) * (1 + share * self.length).double()

    def lengths(self) -> Tensor:
        """`(count,)`: their lengths, in float64."""
        return torch.exp2((torch.arange(self.count) >> self.shares) - self.octaves) * self.length

    def locate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Cell, and how far from its start, where its octave begins at one; x in (0, 1].

        What is smaller than all cells is taken for the least number that is not.
        """
        x = x.clamp(2.0**-self.octaves, 1.0)
        kind, digits, bias = _BITS[x.element_size()]
        bits = x.detach().view(kind)
        cell = bits >> (digits - self.shares)
        start = (cell << (digits - self.shares)).view(x.dtype)
        octave = (bits & -(1 << digits)).view(x.dtype)
        # NaN keeps its place, which is NaN, in some cell.
        row = cell.sub_((bias - self.octaves) << self.shares).clamp_(0, self.count - 1)
        return row.long(), (x - start).div_(octave)
