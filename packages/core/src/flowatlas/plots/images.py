"""Small grey images in rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flowatlas.plots.style import INK, figure, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["image_rows"]

Array = NDArray[Any]


def image_rows(
    *, points: Array, samples: Array, title: str = "", rows: int = 5, columns: int = 10
) -> Figure:
    """Data on the left, samples on the right.

    Args:
        points: images of the data `(n, height, width)`, 0 for white paper and 1 for ink.
        samples: images of the flow, the same.
        title: of the whole.
        rows: of images on each side.
        columns: of images on each side.
    """
    with style():
        made = figure(7.6, 3.7 * rows / columns + 0.75)
        for axes, images, name in zip(
            made.subplots(1, 2), (points, samples), ("test images", "samples"), strict=True
        ):
            axes.imshow(_mosaic(images, rows, columns), cmap="gray_r", vmin=0, vmax=1)
            axes.set_title(name, fontweight="normal")
            axes.axis("off")
        made.get_layout_engine().set(wspace=0.06)  # type: ignore[union-attr,call-arg]
        if title:
            made.suptitle(title, fontsize=11, fontweight="bold", color=INK)
    return made


def _mosaic(images: Array, rows: int, columns: int) -> Array:
    """One image of many, a pixel of white between them."""
    height, width = images.shape[1:]
    sheet = np.zeros((rows * (height + 1) - 1, columns * (width + 1) - 1))
    for i, image in enumerate(images[: rows * columns]):
        top, left = (i // columns) * (height + 1), (i % columns) * (width + 1)
        sheet[top : top + height, left : left + width] = np.clip(image, 0, 1)
    return sheet
