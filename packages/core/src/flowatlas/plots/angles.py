"""Pairs of angles of a torus of any dimension."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flowatlas.plots.style import DATA, INK, MODEL, figure, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["angle_pairs"]

Array = NDArray[Any]


def angle_pairs(
    *,
    points: Array,
    samples: Array,
    names: Sequence[str],
    pairs: Sequence[tuple[int, int]],
    title: str = "",
    most: int = 3000,
) -> Figure:
    """Data above, samples below, one column for each pair of angles.

    Args:
        points: angles of the data in radians, `(n, d)`.
        samples: angles of the samples in radians, `(m, d)`.
        names: of the d angles, as Greek letters with digits, such as `chi1`.
        pairs: which two angles are shown together.
        title: of the whole.
        most: points drawn at most.
    """
    most = min(most, len(points), len(samples))
    with style():
        made = figure(3.1 * len(pairs), 6.2)
        rows = made.subplots(2, len(pairs), squeeze=False)
        for axes_of_row, x, colour, label in (
            (rows[0], points, DATA, "test points"),
            (rows[1], samples, MODEL, "samples"),
        ):
            shown = np.rad2deg(np.remainder(x[:most], 2 * np.pi))
            for axes, (i, j) in zip(axes_of_row, pairs, strict=True):
                axes.scatter(
                    shown[:, i], shown[:, j], s=2.0, color=colour, alpha=0.4, linewidths=0,
                    rasterized=True,
                )  # fmt: skip
                axes.set(xlim=(0, 360), ylim=(0, 360), aspect="equal")
                axes.set(xlabel=_symbol(names[i]), ylabel=_symbol(names[j]))
                axes.set_xticks([0, 120, 240, 360])
                axes.set_yticks([0, 120, 240, 360])
                for side in ("top", "right"):
                    axes.spines[side].set_visible(True)
                axes.set_title(f"{most} {label}", fontweight="normal")
        if title:
            made.suptitle(title, fontsize=11, fontweight="bold", color=INK)
    return made


def _symbol(name: str) -> str:
    letter = name.rstrip("0123456789")
    digits = name[len(letter) :]
    return rf"$\{letter}_{{{digits}}}$" if digits else rf"$\{letter}$"
