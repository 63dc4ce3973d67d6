"""Log-mel spectrograms with stored normalisation, and waves from magnitudes by Griffin-Lim."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from flowatlas.errors import ConfigError, DataError, ShapeError
from flowatlas_audio.spectrogram import ComplexSpectrogram

__all__ = ["LogMel", "griffin_lim", "mel_filters"]


def mel_filters(
    bins: int, mels: int, rate: int, *, low: float = 0.0, high: float | None = None
) -> Tensor:
    r"""Triangles that overlap by half and are equally wide in mel, `(bins, mels)`.

    $m(f) = 2595 \log_{10}(1 + f / 700)$; each triangle has height one (HTK's filters).

    Args:
        bins: frequencies from 0 to rate / 2.
        mels: how many filters.
        rate: samples per second.
        low: where the first triangle begins, Hz.
        high: where the last one ends; half of the rate if None.

    Raises:
        ConfigError: numbers out of range, or so many filters that one of them holds no bin.
    """
    top = rate / 2 if high is None else high
    if min(bins, mels, rate) < 1 or not 0 <= low < top <= rate / 2:
        raise ConfigError(
            f"bins, mels, rate, low, high: got {bins}, {mels}, {rate}, {low}, {top}; counts are 1 "
            "or more, and 0 <= low < high <= rate / 2."
        )
    frequency = torch.linspace(0, rate / 2, bins, dtype=torch.float64)
    ends = 2595 * torch.log10(1 + torch.tensor([low, top], dtype=torch.float64) / 700)
    mel = torch.linspace(float(ends[0]), float(ends[1]), mels + 2, dtype=torch.float64)
    corner = 700 * (10 ** (mel / 2595) - 1)
    width = corner.diff()
    rise = (frequency.unsqueeze(1) - corner[:-2]) / width[:-1]
    fall = (corner[2:] - frequency.unsqueeze(1)) / width[1:]
    filters = torch.minimum(rise, fall).clamp(min=0)
    if bool((filters.amax(0) == 0).any()):
        raise ConfigError(
            f"mels: got {mels}; {bins} bins are too few for that many filters, some would be "
            "empty. Use fewer filters or a longer transform."
        )
    return filters.float()


@dataclass(frozen=True)
class LogMel:
    r"""$(\log \max(M |S|^p, \epsilon) - \mu) / \sigma$ with mel filters M, frames by mels.

    Args:
        rate: of the waves, samples per second.
        mels: how many filters.
        n_fft: length of the window and of the transform.
        hop: samples between frames.
        power: p, 2 for energies and 1 for magnitudes.
        floor: $\epsilon$.
        mean: $\mu$; `fitted` finds it.
        std: $\sigma$; `fitted` finds it.

    Raises:
        ConfigError: numbers out of range.

    Example:
        ```python
        from flowatlas_audio import LogMel

        front = LogMel(8000, mels=40).fitted([torch.randn(8000)])
        front.encode(torch.randn(2, 8000)).shape  # (2, 63, 40)
        ```
    """

    rate: int
    mels: int = 40
    n_fft: int = 256
    hop: int = 128
    power: float = 2.0
    floor: float = 1e-5
    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        if not (self.power > 0 and self.floor > 0 and self.std > 0):
            raise ConfigError(
                f"power, floor, std: got {self.power}, {self.floor}, {self.std}; all must be "
                "positive."
            )
        self._filters()

    def encode(self, wave: Tensor) -> Tensor:
        """Normalised frames `(..., frames, mels)` of waves `(..., samples)`."""
        magnitude = self._spectrogram().transform(wave).abs().mT
        energy = magnitude**self.power @ self._filters().to(magnitude)
        return (energy.clamp(min=self.floor).log() - self.mean) / self.std

    def energies(self, frames: Tensor) -> Tensor:
        """$M |S|^p$, not below the floor: the inverse of normalisation and logarithm."""
        if frames.ndim < 1 or frames.shape[-1] != self.mels:
            raise ShapeError(
                f"frames: got shape {tuple(frames.shape)}; need (..., frames, {self.mels})."
            )
        return (frames * self.std + self.mean).exp()

    def fitted(self, waves: Iterable[Tensor]) -> Self:
        """The same with mean and deviation of some waves, `(..., samples)` each.

        Raises:
            DataError: no waves, or all of one energy.
        """
        plain = replace(self, mean=0.0, std=1.0)
        parts = [plain.encode(wave).double().flatten() for wave in waves]
        whole = torch.cat(parts) if parts else torch.zeros(1, dtype=torch.float64)
        std = float(whole.std(correction=0))
        if not std > 0:
            raise DataError("waves: there are none that differ, so that no deviation is defined.")
        return replace(self, mean=float(whole.mean()), std=std)

    def _spectrogram(self) -> ComplexSpectrogram:
        return ComplexSpectrogram(self.n_fft, self.hop, 1.0)

    def _filters(self) -> Tensor:
        return mel_filters(self._spectrogram().bins, self.mels, self.rate)


def griffin_lim(
    magnitude: Tensor,
    front: ComplexSpectrogram,
    samples: int,
    *,
    steps: int = 32,
    momentum: float = 0.99,
    phase: Tensor | None = None,
) -> Tensor:
    r"""A wave whose spectrogram has the given magnitudes, as well as may be.

    Alternate projections: $c_{k+1} = G(|S| \, z_k / |z_k|)$ with G the transform of the inverse
    transform, sped up by $z_k = c_k - \frac{m}{1 + m} c_{k-1}$.

    Args:
        magnitude: |S|, `(..., F, frames)`.
        front: whose transform it is of.
        samples: of the wave.
        steps: of the projections.
        momentum: m, in [0, 1); 0 is the method of Griffin and Lim.
        phase: to begin with, `(..., F, frames)` in radians; zero if None.

    Returns:
        `(..., samples)`.

    Raises:
        ConfigError: no steps, or a momentum outside of [0, 1).
        ShapeError: magnitudes that do not fit.

    Reference: A fast Griffin-Lim algorithm, Perraudin et al., 2013; the weight m / (1 + m) of the
    last step is that of torchaudio.
    """
    if steps < 1 or not 0 <= momentum < 1:
        raise ConfigError(
            f"steps, momentum: got {steps}, {momentum}; steps are 1 or more, momentum in [0, 1)."
        )
    expected = (front.bins, front.frames(samples))
    if magnitude.ndim < 2 or tuple(magnitude.shape[-2:]) != expected:
        raise ShapeError(
            f"magnitude: got shape {tuple(magnitude.shape)}; need (..., {expected[0]}, "
            f"{expected[1]}) for {samples} samples."
        )
    start = torch.zeros_like(magnitude) if phase is None else phase
    direction = torch.polar(torch.ones_like(magnitude), start)
    last = torch.zeros_like(direction)
    for _ in range(steps):
        found = front.transform(front.inverse(magnitude * direction, samples))
        moved = found - momentum / (1 + momentum) * last
        direction, last = moved / moved.abs().clamp(min=1e-16), found
    return front.inverse(magnitude * direction, samples)
