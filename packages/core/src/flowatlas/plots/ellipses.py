"""Positive definite matrices as ellipses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flowatlas.plots.style import DATA, INK, MODEL, figure, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["ellipses"]

Array = NDArray[Any]
_ROWS = 8


def ellipses(*, points: Array, samples: Array, title: str = "", most: int = 3000) -> Figure:
    r"""The first two rows and columns, A, as ellipses $x^\top A^{-1} x = 1$ and in coordinates.

    On the right, with $S = \log A$, the traceless part $(S_{11} - S_{22}, 2 S_{12}) / \sqrt 2$:
    its angle is twice that of the long axis, its length the elongation.

    Args:
        points: of the data, `(n, k, k)`.
        samples: `(m, k, k)`.
        title: of the whole.
        most: points drawn at most on the right.
    """
    with style():
        made = figure(11.0, 3.9)
        left, middle, right = made.subplots(1, 3)
        angle = np.linspace(0, 2 * np.pi, 60)
        circle = np.stack([np.cos(angle), np.sin(angle)])
        for axes, x, colour, label in (
            (left, points, DATA, "test matrices"),
            (middle, samples, MODEL, "samples"),
        ):
            shown = x[: _ROWS**2, :2, :2].astype(float)
            scale = 0.42 / np.sqrt(np.quantile(np.linalg.eigvalsh(points[:, :2, :2])[:, 1], 0.9))
            for i, matrix in enumerate(shown):
                curve = scale * np.linalg.cholesky(matrix) @ circle
                axes.plot(curve[0] + i % _ROWS, curve[1] + i // _ROWS, color=colour, lw=0.9)
            axes.set(aspect="equal", xlim=(-0.8, _ROWS - 0.2), ylim=(-0.8, _ROWS - 0.2))
            axes.set_axis_off()
            axes.set_title(f"{len(shown)} {label}", fontweight="normal")
        _coordinates(right, points[:most], DATA, "test")
        _coordinates(right, samples[:most], MODEL, "samples")
        right.set(xlabel=r"$(S_{11} - S_{22}) / \sqrt{2}$", ylabel=r"$\sqrt{2}\, S_{12}$")
        right.set_aspect("equal", adjustable="datalim")
        right.legend(loc="upper right", markerscale=4, frameon=True, edgecolor="none")
        right.set_title("traceless part of the logarithm", fontweight="normal")
        if title:
            made.suptitle(title, fontsize=11, fontweight="bold", color=INK)
    return made


def _coordinates(axes: Axes, x: Array, colour: str, label: str) -> None:
    values, vectors = np.linalg.eigh(x[:, :2, :2].astype(float))
    logs = np.einsum("nik,nk,njk->nij", vectors, np.log(values), vectors)
    across = (logs[:, 0, 0] - logs[:, 1, 1]) / np.sqrt(2)
    axes.scatter(
        across, np.sqrt(2) * logs[:, 0, 1], s=2.0, color=colour, alpha=0.35, lw=0, label=label,
        rasterized=True,
    )  # fmt: skip
