"""Flows between clouds: trajectories over data, distances as bars, terrain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flowatlas.plots.style import BASELINE, FAINT, INK, MODEL, PALETTE, figure, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["bridges", "distance_bars", "terrain"]

Array = NDArray[Any]


def bridges(
    *,
    clouds: Array,
    cloud_times: Array,
    trajectories: Array,
    made: Array,
    made_times: Array,
    landscape: Array | None = None,
    title: str = "",
) -> Figure:
    """Data by time with the flow's trajectories, and beside it one marginal, true and made.

    Args:
        clouds: data of all times, `(n, dim)`; of more than two coordinates the first two are shown.
        cloud_times: `(n,)`.
        trajectories: `(times, m, dim)`.
        made: points of the flow, `(k, dim)`.
        made_times: their time, one of `cloud_times`, `(k,)`.
        landscape: further data points of no known time, `(l, dim)`.
        title: of the whole.
    """
    from matplotlib.colors import LinearSegmentedColormap

    colours = LinearSegmentedColormap.from_list(
        "times", ["#7a5195", "#1f5f8b", "#2e8b6f", "#edae49"]
    )
    times = np.unique(cloud_times)
    shade = {t: colours(i / max(1, len(times) - 1)) for i, t in enumerate(times)}
    dots: dict[str, Any] = {"linewidths": 0, "rasterized": True}
    with style():
        made_figure = figure(8.4, 3.8)
        panels = made_figure.subplots(1, 2, sharex=True, sharey=True)
        for axes in panels:
            if landscape is not None:
                axes.scatter(*landscape[:, :2].T, s=3, color=FAINT, **dots)
        for t in times:
            cloud = clouds[cloud_times == t]
            panels[0].scatter(
                *cloud[:, :2].T, s=3, color=shade[t], alpha=0.45, label=f"{t:g}", **dots
            )
        panels[0].plot(*trajectories[..., :2].transpose(2, 0, 1), color=INK, lw=0.5, alpha=0.5)
        panels[0].legend(
            title="time",
            markerscale=3,
            loc="best",
            handletextpad=0.1,
            frameon=True,
            edgecolor="none",
        )
        panels[0].set_title("data and trajectories", fontweight="normal")
        shown = float(made_times[0])
        true = clouds[np.isclose(cloud_times, shown)]
        panels[1].scatter(*true[:, :2].T, s=5, color=BASELINE, alpha=0.6, label="true", **dots)
        panels[1].scatter(*made[:, :2].T, s=5, color=MODEL, alpha=0.6, label="flow", **dots)
        panels[1].legend(
            markerscale=3, loc="best", handletextpad=0.1, frameon=True, edgecolor="none"
        )
        panels[1].set_title(f"time {shown:g}", fontweight="normal")
        for axes in panels:
            axes.set(aspect="equal", xlabel="first coordinate")
        panels[0].set_ylabel("second coordinate")
        if title:
            made_figure.suptitle(title, fontsize=11, fontweight="bold", color=INK)
    return made_figure


def distance_bars(
    heights: Mapping[str, Array],
    groups: Sequence[str],
    *,
    label: str = "earth mover's distance",
    title: str = "",
) -> Figure:
    """Distances as bars, side by side in groups.

    Args:
        heights: for each method, one value a group.
        groups: their names.
        label: of the vertical axis.
        title: of the picture.
    """
    with style():
        made = figure(1.6 + 1.6 * len(groups), 3.2)
        axes = made.subplots()
        width = 0.84 / len(heights)
        for i, (name, values) in enumerate(heights.items()):
            place = np.arange(len(groups)) + (i - (len(heights) - 1) / 2) * width
            axes.bar(place, values, 0.92 * width, color=PALETTE[i % 6], label=name)
        axes.set_xticks(np.arange(len(groups)), groups)
        axes.set_ylabel(label)
        made.legend(loc="outside lower center", ncols=2, fontsize=7.5)
        if title:
            axes.set_title(title)
    return made


def terrain(*, ground: Array, trajectories: Array, title: str = "") -> Figure:
    """Trajectories over a map, from above and from the side.

    Args:
        ground: points of the surface, `(n, 3)`, the last coordinate up.
        trajectories: `(times, m, 3)`.
        title: of the whole.
    """
    with style():
        made = figure(10.2, 4.0)
        above = made.add_subplot(1, 2, 1)
        dots = above.scatter(
            ground[:, 0],
            ground[:, 1],
            c=ground[:, 2],
            s=2,
            cmap="gist_earth",
            lw=0,
            rasterized=True,
        )
        above.plot(trajectories[..., 0], trajectories[..., 1], color="#e4572e", lw=0.6, alpha=0.7)
        for end, mark in ((0, "o"), (-1, "s")):
            above.scatter(
                trajectories[end, :, 0],
                trajectories[end, :, 1],
                s=6,
                color=INK,
                marker=mark,
                lw=0,
                zorder=3,
            )
        above.set(aspect="equal", xlabel="east, km", ylabel="north, km")
        above.set_title("from above", fontweight="normal")
        bar = made.colorbar(dots, ax=above, shrink=0.8)
        bar.set_label("height, km")
        side: Any = made.add_subplot(1, 2, 2, projection="3d", computed_zorder=False)
        side.scatter(*ground.T, c=ground[:, 2], s=1.5, cmap="gist_earth", lw=0, alpha=0.5, zorder=1)
        for path in trajectories.transpose(1, 0, 2)[:40]:
            side.plot(*path.T, color="#e4572e", lw=0.7, alpha=0.8, zorder=2)
        side.set_box_aspect((4.4, 3.3, 1.6))
        side.view_init(elev=28, azim=-70)
        side.set(xlabel="east, km", ylabel="north, km", zlabel="height, km")
        side.set_title("from the south", fontweight="normal")
        # What it asks of the layout pushes the other panel's label out of the picture.
        side.set_in_layout(False)
        if title:
            made.suptitle(title, fontsize=11, fontweight="bold", color=INK)
    return made
