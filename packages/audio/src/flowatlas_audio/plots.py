"""Pictures of spectrograms, and of quality by level."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from flowatlas.plots.style import BASELINE, MODEL, figure, style
from flowatlas_audio.decibels import amplitude_to_decibels
from flowatlas_audio.spectrogram import ComplexSpectrogram

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["gain_by_level", "spectrograms"]

Array = NDArray[Any]


def spectrograms(arrays: Mapping[str, Array], rate: int, *, title: str = "") -> Figure:
    """Noisy, enhanced and clean spectrograms, a row for each kind of noise.

    Args:
        arrays: `noisy`, `enhanced` and `clean` waves `(n, samples)`, `kinds` and `snr` `(n,)`.
        rate: of the waves.
        title: of the picture.
    """
    front = ComplexSpectrogram(256, 64)
    columns, kinds = ("noisy", "enhanced", "clean"), arrays["kinds"]
    with style():
        made = figure(7.2, 0.5 + 1.35 * len(kinds))
        grid = made.subplots(len(kinds), 3, squeeze=False, sharex=True, sharey=True)
        for i, kind in enumerate(kinds):
            waves = {name: torch.from_numpy(np.asarray(arrays[name][i])) for name in columns}
            loudest = float(front.transform(waves["clean"]).abs().max())
            for axes, name in zip(grid[i], columns, strict=True):
                shown = amplitude_to_decibels(
                    front.transform(waves[name]), reference=loudest, floor=-60.0
                )
                seconds = len(waves[name]) / rate
                picture = axes.imshow(
                    shown.numpy(),
                    origin="lower",
                    aspect="auto",
                    extent=(0, seconds, 0, rate / 2000),
                    vmin=-60,
                    vmax=0,
                    cmap="magma",
                    rasterized=True,
                )
                if i == 0:
                    axes.set_title(name)
                if i == len(kinds) - 1:
                    axes.set_xlabel("time, s")
            grid[i][0].set_ylabel(f"{kind}, {float(arrays['snr'][i]):.0f} dB\nkHz")
        made.colorbar(picture, ax=grid, label="dB", shrink=0.6)
        if title:
            made.suptitle(title)
    return made


def gain_by_level(arrays: Mapping[str, Array], *, title: str = "") -> Figure:
    """SI-SDR of the enhanced waves by the level of the noise, beside that of the input.

    Args:
        arrays: `levels`, `si_sdr_enhanced` and `si_sdr_noisy`, `(levels,)` each.
        title: of the picture.
    """
    with style():
        made = figure(4.0, 3.0)
        axes = made.subplots()
        axes.plot(arrays["levels"], arrays["si_sdr_enhanced"], "o-", color=MODEL, label="enhanced")
        axes.plot(
            arrays["levels"], arrays["si_sdr_noisy"], "s--", color=BASELINE, label="noisy input"
        )
        axes.set(xlabel="signal-to-noise ratio of the input, dB", ylabel="SI-SDR, dB", title=title)
        axes.legend()
    return made
