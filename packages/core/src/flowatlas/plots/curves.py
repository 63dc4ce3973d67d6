"""Quality against evaluations or categories, and the loss over training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flowatlas.plots.style import BASELINE, INK, PALETTE, figure, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["kl_curve", "loss_curve", "nfe_curve"]

Array = NDArray[Any]
_MARKERS = "osD^v*"


def nfe_curve(
    curves: Mapping[str, tuple[Array, Array]],
    *,
    floor: float | None = None,
    label: str = "energy distance to test points",
    title: str = "",
) -> Figure:
    """Quality of samples against the number of field evaluations, one line a solver.

    Args:
        curves: for each solver, evaluations and values (lower is better).
        floor: the value between two sets of data: below it, samples and data cannot be told apart.
        label: of the vertical axis.
        title: of the picture.
    """
    with style():
        made = figure(4.6, 3.2)
        axes = made.subplots()
        lowest = min(
            float(np.min(values[values > 0], initial=np.inf)) for _, values in curves.values()
        )
        # Below the floor differences are chance: leave half a decade of it.
        bottom = 0.3 * floor if floor is not None and floor > 0 else 0.5 * lowest
        ticks: set[int] = set()
        for i, (name, (nfe, values)) in enumerate(curves.items()):
            # Unbiased distances may come out below zero; a logarithmic axis shows them at its foot.
            shown = np.maximum(values, bottom)
            axes.plot(
                nfe, shown, color=PALETTE[i % 6], marker=_MARKERS[i % 6], ms=4, lw=1.4, label=name
            )
            ticks |= {int(n) for n in nfe}
        if floor is not None and floor > 0:
            axes.axhspan(1e-12, floor, color=BASELINE, alpha=0.18, lw=0, label="two sets of data")
        axes.set(
            xscale="log",
            yscale="log",
            ylim=(bottom * 0.9, None),
            xlabel="field evaluations per sample",
            ylabel=label,
        )
        axes.set_xticks(sorted(ticks), [str(n) for n in sorted(ticks)])
        axes.minorticks_off()
        axes.legend()
        if title:
            axes.set_title(title)
    return made


def kl_curve(
    curves: Mapping[str, tuple[Array, Array]],
    *,
    floor: tuple[Array, Array] | None = None,
    guess: tuple[Array, Array] | None = None,
    title: str = "",
) -> Figure:
    """Divergence of sampled categories from their law against how many there are.

    Args:
        curves: for each path, numbers of categories and divergences in nats.
        floor: numbers of categories, and the divergence that as many exact draws have.
        guess: the same of the uniform law.
        title: of the picture.
    """
    with style():
        made = figure(4.6, 3.2)
        axes = made.subplots()
        for i, (name, (sizes, values)) in enumerate(curves.items()):
            colour, marker = PALETTE[i % 6], _MARKERS[i % 6]
            axes.plot(sizes, values, color=colour, marker=marker, ms=4, lw=1.4, label=name)
        if guess is not None:
            axes.plot(*guess, color=BASELINE, lw=1.0, ls=":", label="uniform guess")
        if floor is not None:
            axes.plot(*floor, color=INK, lw=1.0, ls="--", label="as many exact draws")
            sizes, values = floor
            axes.fill_between(sizes, values, 3 * values, color=BASELINE, alpha=0.18, lw=0)
        axes.set(xscale="log", yscale="log", xlabel="categories K", ylabel="KL divergence, nats")
        if floor is not None:
            axes.set_xticks(floor[0], [str(int(n)) for n in floor[0]])
        axes.xaxis.minorticks_off()
        axes.legend()
        if title:
            axes.set_title(title)
    return made


def loss_curve(
    steps: Array,
    losses: Array,
    *,
    validation: tuple[Array, Array] | None = None,
    title: str = "",
) -> Figure:
    """Training loss, faint as it is and bold as a running median, with validation beside it.

    Args:
        steps: optimiser steps.
        losses: at those steps.
        validation: steps and losses of validation.
        title: of the picture.
    """
    with style():
        made = figure(4.6, 3.2)
        axes = made.subplots()
        window = max(1, len(losses) // 50)
        axes.plot(steps, losses, color=PALETTE[0], lw=0.5, alpha=0.3)
        if window > 1:
            padded = np.pad(losses, (window // 2, window - 1 - window // 2), mode="edge")
            smooth = np.median(np.lib.stride_tricks.sliding_window_view(padded, window), axis=-1)
            axes.plot(steps, smooth, color=PALETTE[0], lw=1.5, label="training (running median)")
        if validation is not None and len(validation[0]):
            axes.plot(*validation, color=PALETTE[1], lw=1.2, marker="o", ms=3, label="validation")
        axes.set(xlabel="step", ylabel="loss")
        finite = losses[np.isfinite(losses)]
        if len(finite):
            low, high = np.quantile(finite, [0.005, 0.985])
            margin = 0.15 * max(high - low, 1e-6)
            axes.set_ylim(low - margin, high + margin)
        axes.legend()
        axes.tick_params(colors=INK)
        if title:
            axes.set_title(title)
    return made
