"""The comparison across benchmarks as a table and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from flowatlas.benchmarks.comparison import EVALUATIONS, SOLVERS, TOLERANCE, Cell
from flowatlas.benchmarks.contract import Array
from flowatlas.solvers.named import STAGES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["COMPARISON_LEGEND", "ComparisonTable", "comparison_table"]

COMPARISON_LEGEND = (
    "Quality of samples of one trained system for each coupling, drawn with different solvers and "
    "evaluations of the field. 1 is as good as real data; what is measured differs between "
    "benchmarks, so numbers are to be compared within a row. Means over seeds. Dopri5 chooses its "
    f"evaluations, at a tolerance of {TOLERANCE:g}; they are in brackets. A dash stands where a "
    "benchmark has no such coupling, or a solver could not go through."
)

#: Solver and evaluations of each column of a coupling; Dopri5 has none of its own.
_WAYS: tuple[tuple[str, int], ...] = (
    *((name, n) for name in SOLVERS for n in EVALUATIONS if n % STAGES[name] == 0),
    ("dopri5", 0),
)
_LABELS = {"euler": "Euler", "midpoint": "Midpoint", "dopri5": "Dopri5"}


@dataclass(frozen=True, slots=True)
class ComparisonTable:
    """Means over seeds, a benchmark a row, a coupling with a way to draw a column.

    Attributes:
        rows: benchmarks with presets.
        couplings: of the groups of columns.
        quality: `(rows, columns)`, NaN where there is none.
        evaluations: the same shape, mean evaluations.
        seeds: of each row.
        measures: what quality is, by benchmark.
    """

    rows: tuple[str, ...]
    couplings: tuple[str, ...]
    quality: Array
    evaluations: Array
    seeds: tuple[int, ...]
    measures: dict[str, str]

    @property
    def head(self) -> list[str]:
        """Titles of the columns of `body`."""
        return ["benchmark, preset", "coupling", "seeds", *(_way(name, n) for name, n in _WAYS)]

    def body(self) -> list[list[str]]:
        """A line for each benchmark and coupling that was run."""
        lines = []
        for i, row in enumerate(self.rows):
            for j, coupling in enumerate(self.couplings):
                part = slice(j * len(_WAYS), (j + 1) * len(_WAYS))
                values, counts = self.quality[i, part], self.evaluations[i, part]
                if np.isfinite(counts).any():
                    cells = [
                        _text(value, count, name)
                        for value, count, (name, _) in zip(values, counts, _WAYS, strict=True)
                    ]
                    lines.append([row, coupling, str(self.seeds[i]), *cells])
        return lines

    def figure(self) -> Figure:
        """The map of qualities."""
        from flowatlas.plots import comparison_map

        adaptive = [name == "dopri5" for name, _ in _WAYS] * len(self.couplings)
        notes = [
            [
                f"{count:.0f} ev." if of_dopri5 and np.isfinite(count) else ""
                for count, of_dopri5 in zip(line, adaptive, strict=True)
            ]
            for line in self.evaluations
        ]
        return comparison_map(
            self.quality,
            rows=self.rows,
            columns=[_way(name, n, "\n") for name, n in _WAYS] * len(self.couplings),
            groups=[(coupling, len(_WAYS)) for coupling in self.couplings],
            notes=notes,
        )


def comparison_table(cells: Sequence[Cell]) -> ComparisonTable:
    """The table of the cells of a directory.

    Args:
        cells: of `read_cells`, at least one.
    """
    rows = sorted({(cell.benchmark, cell.preset) for cell in cells})
    couplings = sorted({cell.coupling for cell in cells})
    columns = [(coupling, *way) for coupling in couplings for way in _WAYS]
    quality = np.full((len(rows), len(columns)), np.nan)
    evaluations = np.full_like(quality, np.nan)
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            found = [
                cell
                for cell in cells
                if (cell.benchmark, cell.preset) == row and _column(cell) == column
            ]
            if not found:
                continue
            evaluations[i, j] = np.mean([cell.evaluations for cell in found])
            # A solver that fails for one seed is not to be recommended by the others.
            known = [cell.quality for cell in found if cell.quality is not None]
            if len(known) == len(found):
                quality[i, j] = np.mean(known)
    seeds = tuple(
        len({cell.seed for cell in cells if (cell.benchmark, cell.preset) == row}) for row in rows
    )
    names = tuple(f"{name}, {preset}" for name, preset in rows)
    measures = {cell.benchmark: cell.measure for cell in cells}
    return ComparisonTable(names, tuple(couplings), quality, evaluations, seeds, measures)


def _column(cell: Cell) -> tuple[str, str, int]:
    return (cell.coupling, cell.solver, 0 if cell.solver == "dopri5" else cell.evaluations)


def _way(name: str, evaluations: int, between: str = " ") -> str:
    return f"{_LABELS[name]}{between}{evaluations}" if evaluations else _LABELS[name]


def _text(value: float, count: float, solver: str) -> str:
    if not np.isfinite(value):
        return "-"
    return f"{value:.2f} ({count:.0f})" if solver == "dopri5" else f"{value:.2f}"
