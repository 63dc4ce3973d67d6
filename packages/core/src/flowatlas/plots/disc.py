"""The hyperbolic plane as the Poincare disc."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flowatlas.plots.style import DATA, INK, MODEL, density_colours, figure, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["disc", "disc_grid"]

Array = NDArray[Any]
#: Beyond it, four units from the origin, single precision runs out.
_RADIUS = 0.96


def disc_grid(cells: int) -> Array:
    """Middles of cells of the square around the disc, `(cells, cells, 2)`; those outside the disc
    are moved in along their radius."""
    middle = -1 + 2 * (np.arange(cells) + 0.5) / cells
    grid = np.stack(np.meshgrid(middle, middle, indexing="ij"), -1)
    radius = np.linalg.norm(grid, axis=-1, keepdims=True)
    return np.where(radius < _RADIUS, grid, grid / np.maximum(radius, 1e-9) * _RADIUS)


def disc(
    *,
    points: Array,
    samples: Array,
    log_density: Array,
    exact_log_density: Array,
    title: str = "",
    most: int = 3000,
) -> Figure:
    """Data, samples, the density of the flow and the exact one, side by side.

    Args:
        points: of the disc, `(n, 2)`.
        samples: of the disc, `(m, 2)`.
        log_density: nats with respect to the hyperbolic area, on the cells of `disc_grid`; minus
            infinity where it was not asked for.
        exact_log_density: likewise.
        title: of the whole.
        most: points drawn at most.
    """
    with style():
        made = figure(11.6, 3.4)
        panels = made.subplots(1, 4, sharex=True, sharey=True)
        for axes, x, colour, label in (
            (panels[0], points, DATA, "data"),
            (panels[1], samples, MODEL, "samples"),
        ):
            axes.scatter(*x[:most].T, s=2.0, color=colour, alpha=0.5, lw=0, rasterized=True)
            _frame(axes, label)
        top = float(np.quantile(exact_log_density, 0.999))
        for axes, values, label in (
            (panels[2], log_density, "density of the flow"),
            (panels[3], exact_log_density, "exact density"),
        ):
            mesh = axes.imshow(
                np.where(_inside(len(values)), values, np.nan).T,
                extent=(-1, 1, -1, 1),
                origin="lower",
                cmap=density_colours(),
                vmin=top - 8,
                vmax=top,
            )
            _frame(axes, label)
        bar = made.colorbar(mesh, ax=panels[3], shrink=0.8, pad=0.02, aspect=22)
        bar.set_label("log density (nats)")
        bar.outline.set_linewidth(0.5)
        if title:
            made.suptitle(title, fontsize=11, fontweight="bold", color=INK)
    return made


def _inside(cells: int) -> Array:
    middle = -1 + 2 * (np.arange(cells) + 0.5) / cells
    inside: Array = np.hypot(*np.meshgrid(middle, middle, indexing="ij")) < _RADIUS
    return inside


def _frame(axes: Axes, title: str) -> None:
    angle = np.linspace(0, 2 * np.pi, 200)
    axes.plot(np.cos(angle), np.sin(angle), color=INK, lw=0.7)
    axes.set(xlim=(-1.02, 1.02), ylim=(-1.02, 1.02), aspect="equal")
    axes.set_axis_off()
    axes.set_title(title, fontweight="normal")
