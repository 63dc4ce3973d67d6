"""Couplings, solvers and evaluations by benchmark, as a map of shades."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flowatlas.plots.style import FAINT, INK, density_colours, figure, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["comparison_map"]

Array = NDArray[Any]


def comparison_map(
    quality: Array,
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    groups: Sequence[tuple[str, int]],
    notes: Sequence[Sequence[str]] | None = None,
    title: str = "",
) -> Figure:
    """Quality from 0, white, to 1, dark, with the number in each field; a dash where there is none.

    Args:
        quality: `(rows, columns)`, NaN where nothing was measured.
        rows: their names.
        columns: their names.
        groups: of neighbouring columns: heading and how many.
        notes: what else to say in a field, in small print; empty for nothing.
        title: of the picture.
    """
    height, width = quality.shape
    with style():
        made = figure(2.0 + 0.5 * width, 1.3 + 0.42 * height)
        axes = made.subplots()
        image = axes.imshow(quality, vmin=0, vmax=1, cmap=density_colours(), aspect="auto")
        for i in range(height):
            for j in range(width):
                known = bool(np.isfinite(quality[i, j]))
                ink = "white" if known and quality[i, j] > 0.5 else INK
                note = notes[i][j] if notes is not None else ""
                raised = 0.14 if note else 0.0
                text = f"{quality[i, j]:.2f}" if known else "-"
                axes.text(j, i - raised, text, ha="center", va="center", color=ink, fontsize=7.5)
                if note:
                    axes.text(j, i + 0.28, note, ha="center", va="center", color=ink, fontsize=5.5)
        axes.set_xticks(range(width), columns, fontsize=7)
        axes.set_yticks(range(height), rows, fontsize=8)
        axes.tick_params(length=0)
        axes.set_xticks(np.arange(width + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(height + 1) - 0.5, minor=True)
        axes.grid(which="minor", color="white", lw=1.2)
        axes.grid(which="major", visible=False)
        axes.tick_params(which="minor", length=0)
        for side in axes.spines.values():
            side.set_visible(False)
        place = -0.5
        for heading, count in groups:
            axes.text(
                place + count / 2,
                -0.62,
                heading,
                ha="center",
                va="bottom",
                fontsize=8,
                fontweight="bold",
                color=INK,
            )
            place += count
            if place < width - 0.5:
                axes.axvline(place, color=INK, lw=0.8)
        bar = made.colorbar(image, ax=axes, fraction=0.025, pad=0.015)
        bar.set_label("1: as good as real data", fontsize=7.5)
        bar.outline.set_edgecolor(FAINT)
        if title:
            made.suptitle(title, fontsize=10, fontweight="bold", color=INK)
    return made
