"""Densities and points on the 2-torus of backbone angles."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flowatlas.plots.style import DATA, INK, MODEL, density_colours, figure, refine, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["angle_grid", "ramachandran"]

Array = NDArray[Any]


def angle_grid(cells: int = 90) -> Array:
    """Angles (phi, psi) in radians at the middles of equal cells, `(cells, cells, 2)`."""
    middle = -math.pi + 2 * math.pi * (np.arange(cells) + 0.5) / cells
    return np.stack(np.meshgrid(middle, middle, indexing="ij"), -1)


def _degrees(angles: Array) -> Array:
    """Radians of any winding as degrees from -180 to 180."""
    return np.rad2deg(np.remainder(angles + math.pi, 2 * math.pi) - math.pi)


def _frame(axes: Axes, title: str) -> None:
    axes.set(xlim=(-180, 180), ylim=(-180, 180), aspect="equal", xlabel=r"$\phi$ (degrees)")
    axes.set_xticks([-180, -90, 0, 90, 180])
    axes.set_yticks([-180, -90, 0, 90, 180])
    axes.axhline(0, color=INK, lw=0.4, alpha=0.35)
    axes.axvline(0, color=INK, lw=0.4, alpha=0.35)
    axes.set_title(title, fontweight="normal")
    for side in ("top", "right"):
        axes.spines[side].set_visible(True)


def ramachandran(
    *, log_density: Array, points: Array, samples: Array, title: str = "", most: int = 4000
) -> Figure:
    """Data, samples and density side by side.

    Args:
        log_density: nats per square radian, on the cells of `angle_grid`.
        points: angles of the data in radians, `(n, 2)`.
        samples: angles of the samples in radians, `(m, 2)`.
        title: of the whole.
        most: points drawn at most.
    """
    with style():
        made = figure(9.6, 3.5)
        left, middle, right = made.subplots(1, 3, sharey=True)
        for axes, angles, colour, name in (
            (left, points, DATA, "test residues"),
            (middle, samples, MODEL, "samples"),
        ):
            shown = _degrees(angles[:most])
            axes.scatter(
                shown[:, 0],
                shown[:, 1],
                s=2.0,
                color=colour,
                alpha=0.5,
                linewidths=0,
                rasterized=True,
            )
            _frame(axes, f"{len(shown)} {name}")
        gain = log_density + 2 * math.log(2 * math.pi)
        mesh = right.imshow(
            refine(gain, 4, wrap=(True, True)).T,
            extent=(-180, 180, -180, 180),
            origin="lower",
            cmap=density_colours(),
            vmin=-4.0,
            vmax=max(4.0, float(np.quantile(gain, 0.999))),
        )
        _frame(right, "density of the flow")
        left.set_ylabel(r"$\psi$ (degrees)")
        bar = made.colorbar(mesh, ax=right, shrink=0.85, pad=0.02, aspect=22)
        bar.set_label("log density over uniform (nats)")
        bar.outline.set_linewidth(0.5)
        if title:
            made.suptitle(title, fontsize=11, fontweight="bold", color=INK)
    return made
