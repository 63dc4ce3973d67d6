"""Pictures of policies at work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flowatlas.plots.style import BASELINE, DATA, FAINT, MODEL, PALETTE, figure, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["coverage_steps", "film_strips", "hands", "routes", "success_curve"]

Array = NDArray[Any]


def success_curve(
    counts: Array, rates: Array, *, rivals: Mapping[str, float], title: str = ""
) -> Figure:
    """Success against evaluations of the network for a chunk, with intervals.

    Args:
        counts: `(n,)`, evaluations.
        rates: `(n, 3)`, success and the two ends of its interval.
        rivals: success of other policies, by name.
        title: of the picture.
    """
    with style():
        made = figure(4.6, 3.2)
        axes = made.subplots()
        errors = np.stack([rates[:, 0] - rates[:, 1], rates[:, 2] - rates[:, 0]]).clip(min=0)
        axes.errorbar(
            counts,
            rates[:, 0],
            errors,
            color=MODEL,
            marker="o",
            ms=4,
            lw=1.4,
            capsize=3,
            label="flow",
        )
        for (name, rate), dashes in zip(rivals.items(), cycle(("--", ":", "-.")), strict=False):
            axes.axhline(rate, color=BASELINE, ls=dashes, lw=1.2, label=name)
        axes.set(
            xscale="log",
            ylim=(-0.02, 1.05),
            xlabel="evaluations of the network for a chunk",
            ylabel="success (95 % interval)",
        )
        axes.set_xticks(list(counts), [str(int(n)) for n in counts])
        axes.minorticks_off()
        axes.legend(loc="lower right")
        if title:
            axes.set_title(title)
    return made


def routes(
    panels: Mapping[str, Array],
    *,
    center: float = 1.0,
    radius: float = 0.3,
    labels: tuple[str, str] = ("along the way, m", "to the side, m"),
) -> Figure:
    """Paths past a round obstacle, side by side.

    Args:
        panels: by heading, `(paths, steps, 2)` relative to the obstacle's height; NaN after the
            end of each.
        center: of the obstacle along the way.
        radius: of it.
        labels: of the two axes.
    """
    from matplotlib.patches import Circle

    with style():
        made = figure(2.9 * len(panels), 2.6)
        all_axes = made.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
        for axes, (heading, paths) in zip(all_axes, panels.items(), strict=True):
            axes.add_patch(Circle((center, 0.0), radius, color=FAINT, lw=0))
            for path in paths:
                real = path[np.isfinite(path[:, 0])]
                hit = np.hypot(real[-1, 0] - center, real[-1, 1]) < radius
                colour = DATA if hit else MODEL
                axes.plot(real[:, 0], real[:, 1], color=colour, lw=0.7, alpha=0.6)
            axes.set(aspect="equal", xlabel=labels[0], title=heading)
        all_axes[0].set_ylabel(labels[1])
    return made


def coverage_steps(curves: Mapping[str, Array], *, title: str = "") -> Figure:
    """Share of trials whose best coverage is at least so much.

    Args:
        curves: by name, best coverage of each trial.
        title: of the picture.
    """
    with style():
        made = figure(4.6, 3.2)
        axes = made.subplots()
        for i, (name, values) in enumerate(curves.items()):
            ordered = np.sort(values)
            share = 1 - np.arange(len(ordered)) / len(ordered)
            axes.step(ordered, share, where="pre", color=PALETTE[i % 6], lw=1.4, label=name)
        axes.set(xlim=(0, 1.02), ylim=(0, 1.05), xlabel="best coverage", ylabel="share of trials")
        axes.legend(loc="lower left")
        if title:
            axes.set_title(title)
    return made


def film_strips(films: Sequence[Sequence[Array]], *, count: int = 6, title: str = "") -> Figure:
    """Some frames of each episode in a row, from its first to its last.

    Args:
        films: frames `(height, width, 3)` of each episode.
        count: frames in a row.
        title: of the picture.
    """
    height, width = films[0][0].shape[:2]
    with style():
        made = figure(1.5 * count, (1.5 * height / width + 0.2) * len(films) + 0.3)
        rows = made.subplots(len(films), count, squeeze=False)
        for row, frames in zip(rows, films, strict=True):
            shown = np.linspace(0, len(frames) - 1, count).round().astype(int)
            for axes, step in zip(row, shown, strict=True):
                axes.imshow(frames[step])
                axes.set(xticks=[], yticks=[])
                axes.set_xlabel(f"step {step}", fontsize=7, labelpad=2)
        if title:
            made.suptitle(title)
    return made


def hands(panels: Mapping[str, Array]) -> Figure:
    """Paths of a robot's hand in the plane of depth and height, side by side.

    Args:
        panels: by heading, `(episodes, steps, 3)`, metres; NaN after the end of each.
    """
    with style():
        made = figure(2.6 * len(panels), 2.8)
        all_axes = made.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
        for axes, (heading, paths) in zip(all_axes, panels.items(), strict=True):
            for path in paths:
                real = path[np.isfinite(path[:, 0])]
                axes.plot(real[:, 1], real[:, 2], color=MODEL, lw=0.7, alpha=0.6)
                axes.plot(real[-1, 1], real[-1, 2], color=DATA, marker="o", ms=2.5)
            axes.set(xlabel="depth, m", title=heading)
        all_axes[0].set_ylabel("height, m")
    return made
