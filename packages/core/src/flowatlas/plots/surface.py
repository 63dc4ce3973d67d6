"""Triangle meshes on paper: coloured by a density, and samples beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flowatlas.plots.style import INK, MODEL, density_colours, figure, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["surface"]

Array = NDArray[Any]


def surface(
    *,
    vertices: Array,
    faces: Array,
    density: Array,
    samples: Array,
    title: str = "",
    up: str = "z",
    most: int = 2500,
) -> Figure:
    """The mesh coloured by a density, and samples of a flow on the bare mesh, side by side.

    Flat meshes are seen from above, others from two sides.

    Args:
        vertices: `(V, 3)`.
        faces: `(F, 3)`.
        density: on the faces, `(F,)`.
        samples: `(m, 3)`, on the mesh.
        title: of the whole.
        up: the axis that points upward on paper: `"y"` or `"z"`.
        most: samples drawn at most.
    """
    order = [0, 1, 2] if up == "z" else [2, 0, 1]
    vertices, samples = vertices[:, order], samples[:most, order]
    flat = bool(np.ptp(vertices, axis=0).min() < 1e-9)
    views = [(90.0, -90.0)] if flat else [(20.0, 30.0), (20.0, 210.0)]
    with style():
        made = figure(7.6, 3.9 * len(views))
        panels = made.subplots(
            len(views), 2, squeeze=False, subplot_kw={"projection": "3d", "proj_type": "ortho"}
        )
        for row, (elevation, turn) in zip(panels, views, strict=True):
            for axes in row:
                axes.view_init(elevation, turn)
                axes.computed_zorder = False  # or points vanish behind a mesh that is larger
                _frame(axes, vertices)
            _faces(row[0], vertices, faces, density)
            _faces(row[1], vertices, faces, np.zeros(len(faces)))
            towards = _direction(elevation, turn)
            shown = samples if flat else samples[_facing(vertices, faces, samples, towards)]
            # A little towards the viewer, or the faces they lie on would hide them.
            shown = shown + 0.02 * np.ptp(vertices, axis=0).max() * towards
            row[1].scatter(*shown.T, s=2.5, color=MODEL, alpha=0.7, linewidths=0, zorder=5)
        panels[0][0].set_title("density of the data", fontweight="normal")
        panels[0][1].set_title(f"{len(samples)} samples of the flow", fontweight="normal")
        if title:
            made.suptitle(title, fontsize=11, fontweight="bold", color=INK)
    return made


def _faces(axes: Any, vertices: Array, faces: Array, density: Array) -> None:
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection  # type: ignore[import-untyped]

    top = np.quantile(density, 0.995)
    colours = density_colours()(0.06 + 0.94 * np.clip(density / (top if top > 0 else 1.0), 0, 1))
    corner = vertices[faces]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    light = _direction(axes.elev + 25, axes.azim + 20)
    colours[:, :3] *= (0.72 + 0.28 * np.clip(normal @ light, 0, 1))[:, None]
    made = Poly3DCollection(corner, facecolors=colours, edgecolors=colours, linewidths=0.2)
    made.set_rasterized(True)
    axes.add_collection3d(made)


def _frame(axes: Any, vertices: Array) -> None:
    low, high = vertices.min(0), vertices.max(0)
    size = np.maximum(high - low, 1e-3 * (high - low).max())
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], low[2] + size[2]))
    axes.set_box_aspect(tuple(size), zoom=1.25)
    axes.set_axis_off()


def _direction(elevation: float, turn: float) -> Array:
    """From the mesh to the viewer."""
    a, b = np.deg2rad(elevation), np.deg2rad(turn)
    return np.array([np.cos(a) * np.cos(b), np.cos(a) * np.sin(b), np.sin(a)])


def _facing(vertices: Array, faces: Array, samples: Array, towards: Array) -> Array:
    """Samples whose nearest face is turned to the viewer; parts in front may still hide them."""
    from scipy.spatial import cKDTree

    corner = vertices[faces]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    nearest = cKDTree(corner.mean(1)).query(samples)[1]
    facing: Array = (normal[nearest] @ towards) > 0
    return facing
