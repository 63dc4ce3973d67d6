"""Flows of the plane: data, trajectories and density."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flowatlas.plots.style import BASELINE, DATA, INK, MODEL, density_colours, figure, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plane", "plane_grid"]

Array = NDArray[Any]


def plane_grid(half: float, cells: int = 100) -> Array:
    """Middles of equal cells of the square of that half width, `(cells, cells, 2)`."""
    middle = half * (2 * (np.arange(cells) + 0.5) / cells - 1)
    return np.stack(np.meshgrid(middle, middle, indexing="ij"), -1)


def plane(
    *,
    points: Array,
    trajectories: Array,
    samples: Array,
    log_density: Array,
    half: float,
    title: str = "",
    most: int = 3000,
) -> Figure:
    """Data, the paths from noise to samples, and the density, side by side.

    Args:
        points: of the data, `(n, 2)`.
        trajectories: `(times, m, 2)`.
        samples: `(k, 2)`.
        log_density: nats, on the cells of `plane_grid(half)`.
        half: half width of the square that is shown.
        title: of the whole.
        most: points drawn at most.
    """
    with style():
        made = figure(11.6, 3.2)
        panels = made.subplots(1, 4, sharex=True, sharey=True)
        dots: dict[str, Any] = {"linewidths": 0, "alpha": 0.5, "rasterized": True}
        panels[0].scatter(*points[:most].T, s=2.0, color=DATA, **dots)
        panels[0].set_title("data", fontweight="normal")
        panels[1].plot(*trajectories.transpose(2, 0, 1), color=BASELINE, lw=0.4, alpha=0.6)
        panels[1].scatter(*trajectories[0].T, s=4.0, color=INK, lw=0, zorder=3, label="$t = 0$")
        panels[1].scatter(*trajectories[-1].T, s=4.0, color=MODEL, lw=0, zorder=3, label="$t = 1$")
        panels[1].legend(
            loc="upper right",
            handletextpad=0.1,
            borderpad=0.2,
            frameon=True,
            framealpha=0.85,
            edgecolor="none",
        )
        panels[1].set_title("trajectories", fontweight="normal")
        panels[2].scatter(*samples[:most].T, s=2.0, color=MODEL, **dots)
        panels[2].set_title("samples", fontweight="normal")
        top = max(float(np.quantile(log_density, 0.995)), -8.0)
        mesh = panels[3].imshow(
            log_density.T,
            extent=(-half, half, -half, half),
            origin="lower",
            interpolation="bilinear",
            cmap=density_colours(),
            vmin=top - 6,
            vmax=top,
        )
        panels[3].set_title("density of the flow", fontweight="normal")
        bar = made.colorbar(mesh, ax=panels[3], shrink=0.9, pad=0.02, aspect=22)
        bar.set_label("log density (nats)")
        bar.outline.set_linewidth(0.5)
        for axes in panels:
            axes.set(xlim=(-half, half), ylim=(-half, half), aspect="equal")
            axes.locator_params(nbins=5)
        if title:
            made.suptitle(title, fontsize=11, fontweight="bold", color=INK)
    return made
