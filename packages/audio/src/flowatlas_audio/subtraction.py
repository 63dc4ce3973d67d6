"""Spectral subtraction: what enhancement was before there were networks."""

from __future__ import annotations

import torch
from torch import Tensor

from flowatlas.errors import ConfigError, ShapeError
from flowatlas_audio.spectrogram import ComplexSpectrogram

__all__ = ["spectral_subtraction"]


def spectral_subtraction(
    wave: Tensor,
    front: ComplexSpectrogram,
    *,
    quiet: float = 0.2,
    strength: float = 2.0,
    floor: float = 0.1,
) -> Tensor:
    r"""$|\hat S|^2 = \max(|Y|^2 - \beta N^2,\ \gamma^2 |Y|^2)$ with the phase of Y.

    The noise power $N^2$ of each bin is the mean over the quietest frames of the wave.

    Args:
        wave: `(..., samples)`.
        front: whose transform is used; its power and scale are not.
        quiet: share of frames that are taken for noise alone.
        strength: $\beta$.
        floor: $\gamma$, which hides the tones that subtraction leaves.

    Raises:
        ConfigError: a share outside of (0, 1], or negative numbers.
        ShapeError: no samples.

    Reference: Suppression of Acoustic Noise in Speech Using Spectral Subtraction, Boll, 1979, with
    the factor and the floor of Berouti et al., 1979 (from memory).

    Example:
        ```python
        from flowatlas_audio import ComplexSpectrogram, spectral_subtraction

        cleaner = spectral_subtraction(torch.randn(8000), ComplexSpectrogram())
        ```
    """
    if not 0 < quiet <= 1 or strength < 0 or floor < 0:
        raise ConfigError(
            f"quiet, strength, floor: got {quiet}, {strength}, {floor}; the first is a share in "
            "(0, 1], the others are 0 or more."
        )
    if wave.ndim < 1 or wave.shape[-1] < 1:
        raise ShapeError(f"wave: got shape {tuple(wave.shape)}; need (..., samples).")
    spectrum = front.transform(wave)
    power = spectrum.abs().square()
    count = max(1, round(quiet * power.shape[-1]))
    frames = power.sum(-2, keepdim=True).argsort(-1)[..., :count]
    noise = power.gather(-1, frames.expand(*power.shape[:-1], count)).mean(-1, keepdim=True)
    there = power > 0
    share = 1 - strength * noise / torch.where(there, power, 1.0)
    gain = share.clamp(min=floor**2).sqrt()
    return front.inverse(spectrum * torch.where(there, gain, 0.0), wave.shape[-1])
