"""Smooth functions of two variables, tabulated as a polynomial in each cell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["Grid", "Rows", "Table"]

#: Where a cell, taken as [0, 1], is sampled: Chebyshev's points with both ends, so that neighbours
#: meet.
NODES = (0.0, 0.25, 0.75, 1.0)


class Rows(Protocol):
    """Cells along one axis: how many, and which one a number is in."""

    @property
    def count(self) -> int: ...

    @property
    def length(self) -> float:
        """Of a cell, in the units of `locate`."""

    def locate(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Cell (from 0), place in it (0 to `length`), and how far below all cells (0 or less)."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Equal cells along one axis, the origin being an edge of one.

    Attributes:
        start: index of the first cell: it begins at `start * step`.
        count: of cells.
        step: length of a cell.
        length: of a cell as `locate` counts.
    """

    start: int
    count: int
    step: float
    length: float = 1.0

    def nodes(self) -> Tensor:
        """`(3 * count + 1,)`: where the cells are sampled, shared edges once, in float64."""
        cells = torch.arange(self.start, self.start + self.count + 1, dtype=torch.float64)
        inside = torch.tensor(NODES[:-1], dtype=torch.float64)
        return self.step * (cells.unsqueeze(1) + inside).flatten()[: 3 * self.count + 1]

    def locate(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Cell (from 0), place in it (0 to 1), outside the nearest end; how far below."""
        # Counted from the origin: an offset would round x to the digits of the table's ends.
        end = self.start + self.count
        scaled = (x * (1 / self.step)).clamp(self.start, end)
        # The end of the last cell belongs to it.
        cell = scaled.floor().clamp(max=end - 1)
        below = (x - self.start * self.step).clamp(max=0.0)
        return (cell - self.start).long(), scaled - cell, below


class Table:
    """A function of (u, v) by cubics in each cell; straight below them, constant above.

    Args:
        rows: cells of u.
        columns: cells of v.
        values: `(rows.count, 4, 3 * columns.count + 1)`, float64, at the `NODES` of each cell of u
            and at the nodes of v.
        below: slope below the first cell, as a function of v.
    """

    def __init__(
        self,
        rows: Rows,
        columns: Grid,
        values: Tensor,
        *,
        below: Callable[[Tensor], Tensor],
    ) -> None:
        self.rows, self.columns = rows, columns
        self._below = below
        nodes = torch.tensor(NODES, dtype=torch.float64)
        over_v = torch.linalg.inv(torch.stack([nodes**k for k in range(4)], 1))
        over_u = over_v / rows.length ** torch.arange(4, dtype=torch.float64).unsqueeze(1)
        cells = values.unfold(2, 4, 3)
        # By column, power of v, power of u, row.
        powers = torch.tensordot(over_u, cells @ over_v.mT, dims=([1], [1]))
        self._lines = powers.permute(2, 3, 0, 1).contiguous()
        self._ready: dict[tuple[bool, torch.device, torch.dtype], Tensor] = {}

    def __call__(self, u: Tensor, v: Tensor) -> Tensor:
        """Values at `u`, `v` (broadcast), in the dtype and on the device of `u`."""
        row, a, under = self.rows.locate(u)
        column, b, _ = self.columns.locate(v)
        if v.numel() * self.rows.count <= max(u.numel(), self.rows.count):
            # Few v: the table along each of those lines first, then one cubic for each u.
            c = self._coefficients(u, by_cell=False)
            lines = _horner(c[column.flatten()].unbind(1), b.view(-1, 1, 1))
            powers = lines.transpose(0, 1).reshape(4, -1)
            if v.numel() > 1:
                line = torch.arange(v.numel(), device=v.device).view(v.shape)
                row = line * self.rows.count + row
            # In place, in what was just taken: memory that is new costs more than arithmetic.
            found = [_take(one, row) for one in powers]
            inside = found.pop()
            while found:
                inside = found.pop().addcmul_(inside, a)
        else:
            c = self._coefficients(u, by_cell=True)
            cell = column * self.rows.count + row
            powers = c.index_select(0, cell.flatten()).view(*cell.shape, 4, 4)
            lines = _horner(powers.unbind(-2), b.unsqueeze(-1))
            inside = _horner(lines.unbind(-1), a)
        return torch.addcmul(inside, under, self._below(v))

    def _coefficients(self, like: Tensor, *, by_cell: bool) -> Tensor:
        """`(columns, 4, 4, rows)`; or `(columns * rows, 16)`, for which a cell is one read."""
        key = (by_cell, like.device, like.dtype)
        if key not in self._ready:
            found = self._lines.to(device=like.device, dtype=like.dtype)
            if by_cell:
                found = found.permute(0, 3, 1, 2).reshape(-1, 16)
            self._ready[key] = found
        return self._ready[key]


def _horner(coefficients: Sequence[Tensor], x: Tensor) -> Tensor:
    """Value of a polynomial, constant term first."""
    *rest, value = coefficients
    for one in reversed(rest):
        value = torch.addcmul(one, value, x)
    return value


def _take(table: Tensor, index: Tensor) -> Tensor:
    """`table[index]`, at a quarter of its time."""
    return table.index_select(0, index.flatten()).view(index.shape)
