"""Rows of text, to be read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from flowatlas.plots.style import DATA, INK, MODEL, figure, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["text_panel"]


def text_panel(
    *,
    points: Sequence[str],
    samples: Sequence[str],
    title: str = "",
    rows: int = 6,
    width: int = 64,
) -> Figure:
    """Data on the left, samples on the right, in a typewriter's letters.

    Args:
        points: texts of the data.
        samples: texts of the flow.
        title: of the whole.
        rows: how many texts on each side.
        width: characters of a line; a longer text goes on in the next.
    """
    sides = [[_lines(text, width) for text in texts[:rows]] for texts in (points, samples)]
    height = max(sum(len(lines) + 1 for lines in side) for side in sides)
    with style():
        made = figure(9.6, 0.135 * height + 0.75)
        for axes, side, name, colour in zip(
            made.subplots(1, 2), sides, ("test text", "samples"), (DATA, MODEL), strict=True
        ):
            axes.set_title(name, fontweight="normal", color=colour)
            axes.axis("off")
            axes.set(xlim=(0, 1), ylim=(height, 0))
            line = 0
            for lines in side:
                shown = "\n".join(lines)
                axes.text(0, line, shown, family="monospace", fontsize=6.4, va="top", color=INK)
                line += len(lines) + 1
        if title:
            made.suptitle(title, fontsize=11, fontweight="bold", color=INK)
    return made


def _lines(text: str, width: int) -> list[str]:
    """Cut after so many characters, wherever that is: spaces are characters too."""
    return [text[i : i + width] for i in range(0, len(text), width)] or [""]
