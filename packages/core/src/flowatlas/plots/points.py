"""Points of any space that has a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flowatlas.errors import CapabilityError
from flowatlas.plots.globe import draw_globe
from flowatlas.plots.rotations import draw_rotations
from flowatlas.plots.style import MODEL, figure, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["point_cloud"]

Array = NDArray[Any]


def point_cloud(x: Array, space: str, *, title: str = "", most: int = 5000) -> Figure:
    """A picture of points alone.

    Args:
        x: `(n, *point_shape)`.
        space: class name of the manifold: `Sphere` (in 3 dimensions), `SO3`, `FlatTorus` or
            `Euclidean`; of the last two, the first two coordinates are drawn.
        title: of the picture.
        most: points drawn at most.

    Raises:
        CapabilityError: a space without a picture.
    """
    shape = x.shape[1:]
    x = x[:most]
    with style():
        if space == "Sphere" and shape == (3,):
            made = figure(6.4, 3.4)
            axes = made.subplots()
            draw_globe(axes, points=x, colour=MODEL)
        elif space == "SO3" and shape == (3, 3):
            made = figure(6.8, 3.4)
            axes = made.subplots()
            draw_rotations(made, [axes], [x])
        elif space in ("FlatTorus", "Euclidean") and len(shape) == 1 and shape[0] >= 2:
            made = figure(4.2, 4.0)
            axes = made.subplots()
            axes.scatter(x[:, 0], x[:, 1], s=2.5, color=MODEL, alpha=0.5, lw=0, rasterized=True)
            axes.set(aspect="equal", xlabel="first coordinate", ylabel="second coordinate")
            if space == "FlatTorus":
                axes.set(xlim=(0, 2 * np.pi), ylim=(0, 2 * np.pi))
        else:
            raise CapabilityError(
                f"plot: there is no picture of points of shape {shape} on {space}. Pictures are "
                "there for the sphere in 3 dimensions, SO(3), tori and flat space of 2 dimensions "
                "or more."
            )
        if title:
            axes.set_title(title)
    return made
