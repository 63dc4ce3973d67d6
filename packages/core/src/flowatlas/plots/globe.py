"""The sphere on paper: points and densities in the Mollweide and orthographic projections."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flowatlas.plots.style import DATA, FAINT, INK, MODEL, density_colours, figure, refine, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

__all__ = ["draw_globe", "globe", "grid", "mollweide", "orthographic"]

Array = NDArray[Any]


def mollweide(latitude: Array, longitude: Array) -> tuple[Array, Array]:
    r"""Equal-area projection of the whole sphere onto an ellipse of half axes 2 and 1.

    $x = \tfrac{2}{\pi} \lambda \cos\theta$, $y = \sin\theta$ with $2\theta + \sin 2\theta = \pi
    \sin\phi$, solved by Newton's method.

    Args:
        latitude: degrees.
        longitude: degrees, -180 to 180.

    Reference: Map Projections: A Working Manual, Snyder, 1987, USGS PP 1395, eq. 31-1 to 31-3.
    """
    phi, lam = np.deg2rad(latitude), np.deg2rad(longitude)
    goal = math.pi * np.sin(phi)
    # The cube root is the behaviour at the poles, where Newton's method from phi stalls.
    start = np.sign(phi) * (
        math.pi / 2 - np.cbrt(3 * math.pi / 8 * (math.pi / 2 - np.abs(phi)) ** 2)
    )
    theta = np.where(np.abs(phi) > 1.2, start, phi)
    for _ in range(12):
        slope = 2 + 2 * np.cos(2 * theta)
        step = (2 * theta + np.sin(2 * theta) - goal) / np.where(slope > 1e-9, slope, 1.0)
        theta = np.clip(theta - np.where(slope > 1e-9, step, 0.0), -math.pi / 2, math.pi / 2)
    return 2 / math.pi * lam * np.cos(theta), np.sin(theta)


def orthographic(
    latitude: Array, longitude: Array, centre: tuple[float, float] = (20.0, 0.0)
) -> tuple[Array, Array]:
    """The half of the sphere that faces the viewer, as seen from far away; NaN behind it.

    Args:
        latitude: degrees.
        longitude: degrees.
        centre: latitude and longitude of the point in the middle.

    Reference: Snyder, 1987, eq. 20-3 to 20-5.
    """
    phi, lam = np.deg2rad(latitude), np.deg2rad(longitude)
    phi_0, lam_0 = (math.radians(angle) for angle in centre)
    facing = math.sin(phi_0) * np.sin(phi) + math.cos(phi_0) * np.cos(phi) * np.cos(lam - lam_0)
    x = np.cos(phi) * np.sin(lam - lam_0)
    y = math.cos(phi_0) * np.sin(phi) - math.sin(phi_0) * np.cos(phi) * np.cos(lam - lam_0)
    hidden = facing < -1e-9
    return np.where(hidden, np.nan, x), np.where(hidden, np.nan, y)


def grid(rows: int = 60, columns: int = 120) -> tuple[Array, Array]:
    """Latitudes and longitudes in degrees of the middles of equal cells, `(rows, columns)` each."""
    latitude = -90 + 180 * (np.arange(rows) + 0.5) / rows
    longitude = -180 + 360 * (np.arange(columns) + 0.5) / columns
    first, second = np.meshgrid(latitude, longitude, indexing="ij")
    return first, second


def draw_globe(
    axes: Axes,
    *,
    points: Array | None = None,
    log_density: Array | None = None,
    projection: str = "mollweide",
    centre: tuple[float, float] = (20.0, 0.0),
    colour: str | Array = DATA,
    size: float = 3.0,
    limits: tuple[float, float] = (-4.0, 4.0),
    colours: Colormap | None = None,
) -> Any:
    """Draw one globe; returns the coloured mesh, or the points if there is none.

    Args:
        axes: to draw on.
        points: unit vectors `(n, 3)`.
        log_density: nats, on the cells of `grid`.
        projection: `"mollweide"` or `"orthographic"`.
        centre: of the orthographic view.
        colour: of the points: one, or a number for each.
        size: of the points.
        limits: of the colours: log density over that of the uniform law, nats.
        colours: a colour map for numbers in `colour`.
    """

    def project(latitude: Array, longitude: Array) -> tuple[Array, Array]:
        if projection == "mollweide":
            return mollweide(latitude, longitude)
        return orthographic(latitude, longitude, centre)

    mesh: Any = None
    if log_density is not None:
        log_density = refine(log_density, 3, wrap=(False, True))
        rows, columns = log_density.shape
        edges = np.meshgrid(
            np.linspace(-90, 90, rows + 1), np.linspace(-180, 180, columns + 1), indexing="ij"
        )
        x, y = project(*edges)
        gain = log_density + math.log(4 * math.pi)
        visible = np.isfinite(x[:-1, :-1] + x[1:, 1:] + x[1:, :-1] + x[:-1, 1:])
        mesh = axes.pcolormesh(
            np.nan_to_num(x),
            np.nan_to_num(y),
            np.ma.masked_array(gain, ~visible),
            cmap=density_colours(),
            vmin=limits[0],
            vmax=limits[1],
            rasterized=True,
            linewidth=0,
            antialiased=False,
        )
    _graticule(axes, project, projection)
    if points is not None:
        latitude = np.rad2deg(np.arcsin(np.clip(points[:, 2], -1, 1)))
        longitude = np.rad2deg(np.arctan2(points[:, 1], points[:, 0]))
        x, y = project(latitude, longitude)
        scattered = axes.scatter(
            x,
            y,
            s=size,
            c=colour,
            cmap=colours,
            linewidths=0.25 if log_density is not None else 0,
            edgecolors="white" if log_density is not None else "none",
            alpha=0.9 if len(points) < 3000 else 0.6,
            rasterized=True,
            zorder=3,
        )
        mesh = scattered if mesh is None else mesh
    half = 2.0 if projection == "mollweide" else 1.0
    axes.set(xlim=(-half * 1.01, half * 1.01), ylim=(-1.02, 1.02), aspect="equal")
    axes.axis("off")
    return mesh


def _graticule(axes: Axes, project: Any, projection: str) -> None:
    """Parallels and meridians every 30 degrees, and the outline."""
    along = np.linspace(-180, 180, 181)
    for latitude in range(-60, 61, 30):
        axes.plot(*project(np.full(181, float(latitude)), along), color=FAINT, lw=0.5, zorder=2)
    for longitude in range(-150, 181, 30):
        line = project(np.linspace(-90, 90, 181), np.full(181, float(longitude)))
        axes.plot(*line, color=FAINT, lw=0.5, zorder=2)
    angle = np.linspace(0, 2 * math.pi, 361)
    width = 2.0 if projection == "mollweide" else 1.0
    axes.plot(width * np.cos(angle), np.sin(angle), color=INK, lw=0.8, zorder=4, clip_on=False)


def globe(
    *,
    log_density: Array,
    points: Array,
    samples: Array,
    title: str = "",
    points_label: str = "test points",
) -> Figure:
    """Density of a flow with the points it is judged by, and its samples, one map above the other.

    Args:
        log_density: nats, on the cells of `grid`.
        points: `(n, 3)`.
        samples: `(m, 3)`.
        title: of the whole.
        points_label: what the points are.
    """
    with style():
        made = figure(6.4, 6.3)
        above, below = made.subplots(2, 1)
        mesh = draw_globe(above, log_density=log_density, points=points, size=6.0)
        above.set_title(
            f"density of the flow, and {len(points)} {points_label}", fontweight="normal"
        )
        draw_globe(below, points=samples, colour=MODEL, size=2.0)
        below.set_title(f"{len(samples)} samples of the flow", fontweight="normal")
        bar = made.colorbar(
            mesh, ax=[above, below], shrink=0.38, pad=0.01, aspect=20, anchor=(0.0, 0.9)
        )
        bar.set_label("log density over uniform (nats)")
        bar.outline.set_linewidth(0.5)
        if title:
            made.suptitle(title, fontsize=11, fontweight="bold", color=INK)
    return made
