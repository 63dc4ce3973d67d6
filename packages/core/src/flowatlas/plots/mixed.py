"""States of several kinds at once: where one component is, coloured by another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flowatlas.plots.globe import draw_globe
from flowatlas.plots.style import PALETTE, figure, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["dependence", "mixed_states"]

Array = NDArray[Any]


def mixed_states(arrays: Mapping[str, Array], *, title: str = "") -> Figure:
    """Places and directions of data (above) and samples (below), coloured by the first token.

    Args:
        arrays: `points_place` `(n, 2)`, `points_direction` `(n, 3)`, `points_token` `(n, k)`, and
            the same of `samples`.
        title: of the picture.
    """
    from matplotlib.colors import ListedColormap

    with style():
        made = figure(7.4, 5.2)
        grid = made.subplots(2, 2, width_ratios=[1, 1.7])
        colours = ListedColormap(PALETTE[: int(arrays["points_token"].max()) + 1])
        half = 1.05 * np.abs(arrays["points_place"]).max()
        for row, (name, label) in zip(
            grid, (("points", "exact draws"), ("samples", "samples")), strict=True
        ):
            token = arrays[f"{name}_token"][:, 0]
            place = arrays[f"{name}_place"]
            row[0].scatter(
                place[:, 0], place[:, 1], s=3, c=token, cmap=colours, lw=0, rasterized=True
            )
            row[0].set(aspect="equal", xlim=(-half, half), ylim=(-half, half), title=label)
            draw_globe(
                row[1], points=arrays[f"{name}_direction"], colour=token, colours=colours, size=4
            )
        made.suptitle(title)
    return made


def dependence(exact: Array, sampled: Array, *, title: str = "") -> Figure:
    """Covariances of indicators of tokens with coordinates, exact and sampled, side by side.

    Args:
        exact: `(tokens, coordinates)`.
        sampled: the same.
        title: of the picture.
    """
    with style():
        made = figure(5.6, 4.0)
        axes = made.subplots(1, 3)
        limit = np.abs(exact).max()
        panels = (("exact", exact), ("samples", sampled), ("difference", sampled - exact))
        for ax, (label, values) in zip(axes, panels, strict=True):
            image = ax.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
            ax.set(title=label, xticks=range(5), xticklabels=["x", "y", "X", "Y", "Z"])
            ax.set(yticks=range(0, len(exact), 4), yticklabels=[])
        axes[0].set(ylabel="token, by position")
        made.colorbar(image, ax=axes, shrink=0.7, label="covariance")
        made.suptitle(title)
    return made
