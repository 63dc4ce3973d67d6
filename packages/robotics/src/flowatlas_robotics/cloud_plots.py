"""Pictures of clouds of points."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flowatlas.plots.style import BASELINE, DATA, INK, MODEL, figure, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["clouds", "upsampling_curve"]

Array = NDArray[Any]
_COLOURS = {"flow": MODEL, "surface": DATA}


def clouds(panels: Mapping[str, Array], *, title: str = "") -> Figure:
    """Clouds in rows, one kind a column; what is far is pale.

    Args:
        panels: `(rows, points, 3)` by the name of the column: `"flow"` has the colour of models,
            `"surface"` that of data; the last column sets the scale.
        title: of the whole.
    """
    rows = len(next(iter(panels.values())))
    last = list(panels)[-1]
    with style():
        made = figure(1.9 * len(panels), 1.9 * rows + 0.5)
        axes = np.reshape(made.subplots(rows, len(panels)), (rows, len(panels)))
        for column, (name, x) in enumerate(panels.items()):
            for row in range(rows):
                ax, points = axes[row, column], x[row]
                order = points[:, 2].argsort()
                depth = points[order, 2]
                near = (depth - depth.min()) / max(float(np.ptp(depth)), 1e-9)
                ax.scatter(
                    points[order, 0],
                    points[order, 1],
                    s=3,
                    c=_COLOURS.get(name, INK),
                    alpha=0.15 + 0.85 * near,
                    linewidths=0,
                )
                reach = 1.05 * np.abs(panels[last][row][:, :2]).max()
                ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
                ax.axis("off")
                if row == 0:
                    ax.set_title(f"{name}, {len(points)}", fontweight="normal", fontsize=9)
        if title:
            made.suptitle(title, fontsize=11, fontweight="bold", color=INK)
    return made


def upsampling_curve(
    counts: Array, values: Array, *, interpolation: float, floor: float, title: str = ""
) -> Figure:
    """Earth mover's distance against evaluations, between interpolation and another cloud.

    Args:
        counts: `(n,)`, evaluations.
        values: `(n,)`, distances.
        interpolation: that of midpoints.
        floor: that of another dense cloud of the same surfaces.
        title: of the picture.
    """
    with style():
        made = figure(4.6, 3.2)
        axes = made.subplots()
        axes.plot(counts, values, color=MODEL, marker="o", ms=4, lw=1.4, label="flow")
        axes.axhline(interpolation, color=BASELINE, ls="--", lw=1.2, label="interpolation")
        axes.axhline(floor, color=DATA, ls=":", lw=1.2, label="another cloud of the surface")
        axes.set(xscale="log", xlabel="evaluations of the network", ylabel="earth mover's x 100")
        axes.set_xticks(list(counts), [str(int(n)) for n in counts])
        axes.minorticks_off()
        axes.legend()
        if title:
            axes.set_title(title)
    return made
