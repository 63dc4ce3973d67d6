"""Sheets of images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flowatlas.plots.style import INK, figure, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["class_grid", "completions", "image_sheet", "sheet"]

Array = NDArray[Any]


def sheet(images: Array, columns: int, *, gap: int = 1) -> Array:
    """One image of many, row by row, with a white line between them.

    Args:
        images: `(n, C, H, W)` in [-1, 1], one channel or three; values outside are clamped.
        columns: images in a row.
        gap: pixels between images.

    Returns:
        `(height, width, C)` in [0, 1].
    """
    count, channels, height, width = images.shape
    rows = -(-count // columns)
    made = np.ones((rows * (height + gap) - gap, columns * (width + gap) - gap, channels))
    for i, image in enumerate(np.clip((images.astype(np.float64) + 1) / 2, 0, 1)):
        top, left = (i // columns) * (height + gap), (i % columns) * (width + gap)
        made[top : top + height, left : left + width] = image.transpose(1, 2, 0)
    return made


def image_sheet(images: Array, columns: int, *, title: str = "") -> Figure:
    """Images in rows.

    Args:
        images: `(n, C, H, W)` in [-1, 1].
        columns: images in a row.
        title: of the whole.
    """
    rows = -(-len(images) // columns)
    with style():
        made = figure(0.6 * columns + 0.4, 0.6 * rows + 0.6)
        axes = made.subplots()
        _show(axes, sheet(images, columns))
        if title:
            axes.set_title(title)
    return made


def class_grid(*, points: Array, samples: Array, columns: int, title: str = "") -> Figure:
    """Data on the left, samples on the right, a class in each row.

    Args:
        points: images of the data, `columns` of each class, `(n, C, H, W)` in [-1, 1].
        samples: of the flow, the same.
        columns: images of each class.
        title: of the whole.
    """
    rows = len(points) / columns
    with style():
        made = figure(7.6, 3.7 * rows / columns + 0.6)
        for axes, images, name in zip(
            made.subplots(1, 2), (points, samples), ("test images", "samples"), strict=True
        ):
            _show(axes, sheet(images, columns))
            axes.set_title(name, fontweight="normal")
        if title:
            made.suptitle(title, fontsize=11, fontweight="bold", color=INK)
    return made


def completions(given: Array, completed: Array, *, title: str = "") -> Figure:
    """Images, what is given of them, and several draws of the rest, in rows.

    Args:
        given: `(2, n, C, H, W)`: the images, and the same without what is to be filled.
        completed: `(draws, n, C, H, W)`.
        title: of the whole.
    """
    rows = np.concatenate([given, completed])
    count = rows.shape[1]
    with style():
        made = figure(0.7 * count + 0.9, 0.7 * len(rows) + 0.5)
        axes = made.subplots()
        _show(axes, sheet(rows.reshape(-1, *rows.shape[2:]), count))
        height = rows.shape[3] + 1
        names = ["image", "given", *(f"draw {i + 1}" for i in range(len(completed)))]
        for i, name in enumerate(names):
            axes.text(-1, (i + 0.5) * height, name, ha="right", va="center", fontsize=8, color=INK)
        if title:
            axes.set_title(title)
    return made


def _show(axes: Axes, image: Array) -> None:
    if image.shape[-1] == 1:
        axes.imshow(image[..., 0], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    else:
        axes.imshow(image, interpolation="nearest")
    axes.axis("off")
