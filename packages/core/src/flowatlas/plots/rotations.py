"""Rotations on paper: where the body diagonal points, and the turn about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flowatlas.plots.globe import draw_globe
from flowatlas.plots.style import INK, cyclic_colours, figure, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["axis_and_turn", "draw_rotations", "rotations"]

Array = NDArray[Any]


def axis_and_turn(matrices: Array) -> tuple[Array, Array]:
    """Image of the body diagonal (1, 1, 1), and the turn about it.

    The turn is counted from the rotation that carries the diagonal there by the shortest way.

    Args:
        matrices: `(n, 3, 3)`.

    Returns:
        Unit vectors `(n, 3)`, and radians in [-pi, pi], `(n,)`.
    """
    frame = np.array([[1, -1, 0], [1, 1, -2], [1, 1, 1]]) / np.sqrt([[2], [6], [3]])
    inner = frame @ matrices @ frame.T
    w = inner[:, :, 2]
    # The shortest rotation from the diagonal to w, applied to two axes across it.
    scale = 1 / np.maximum(1 + w[:, 2], 1e-9)
    first = np.stack([1 - scale * w[:, 0] ** 2, -scale * w[:, 0] * w[:, 1], -w[:, 0]], -1)
    second = np.stack([-scale * w[:, 0] * w[:, 1], 1 - scale * w[:, 1] ** 2, -w[:, 1]], -1)
    image = inner[:, :, 0]
    return w @ frame, np.arctan2((image * second).sum(-1), (image * first).sum(-1))


def rotations(*, points: Array, samples: Array, title: str = "", most: int = 3000) -> Figure:
    """Data above, samples below: a map of the body diagonal, coloured by the turn about it.

    Args:
        points: rotation matrices of the data, `(n, 3, 3)`.
        samples: of the flow, `(m, 3, 3)`.
        title: of the whole.
        most: rotations drawn at most.

    Reference: the picture follows Implicit-PDF, Murphy et al., 2021, arXiv:2106.05965, figure 2.
    """
    with style():
        made = figure(6.4, 6.3)
        panels = list(made.subplots(2, 1))
        draw_rotations(made, panels, [points[:most], samples[:most]])
        panels[0].set_title(f"{len(points[:most])} test rotations", fontweight="normal")
        panels[1].set_title(f"{len(samples[:most])} samples of the flow", fontweight="normal")
        if title:
            made.suptitle(title, fontsize=11, fontweight="bold", color=INK)
    return made


def draw_rotations(made: Figure, panels: Sequence[Axes], sets: Sequence[Array]) -> None:
    """Draw one set of rotations on each panel, and one bar of colours for all."""
    drawn: Any = None
    for axes, matrices in zip(panels, sets, strict=True):
        axis, turn = axis_and_turn(matrices)
        drawn = draw_globe(
            axes, points=axis, colour=np.rad2deg(turn), size=5.0, colours=cyclic_colours()
        )
        drawn.set_clim(-180, 180)
    bar = made.colorbar(drawn, ax=list(panels), shrink=0.6, pad=0.01, aspect=26)
    bar.set_label("turn about the diagonal (degrees)")
    bar.set_ticks([-180, -90, 0, 90, 180])
    bar.outline.set_linewidth(0.5)
    if bar.solids is not None:
        bar.solids.set_alpha(1.0)
