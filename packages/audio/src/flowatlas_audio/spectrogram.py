"""Waves as complex spectrograms with compressed magnitudes, and back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from flowatlas.errors import ConfigError, DataError, ShapeError

__all__ = ["ComplexSpectrogram"]


@dataclass(frozen=True)
class ComplexSpectrogram:
    r"""Frames of $c\,|S|^p e^{i \arg S}$, S the short-time Fourier transform.

    A frame is one point of $\mathbb{R}^{2F}$: the real parts of its F bins, then the imaginary
    ones. Speech has a few loud bins and many faint ones; the power p = 1/2 brings them closer, and
    c makes the numbers of order one, as flows want them.

    The transform is centred, with a periodic Hann window and silence beyond both ends, so that n
    samples have 1 + n // hop frames, and `decode` is the exact inverse of `encode`.

    Args:
        n_fft: length of the window and of the transform, even.
        hop: samples between frames, at most half of `n_fft`.
        power: p, in (0, 1].
        scale: c; `fitted` finds it.

    Raises:
        ConfigError: values outside of these ranges.

    Reference: Speech Enhancement and Dereverberation with Diffusion-based Generative Models,
    Richter et al., 2022, arXiv:2208.05830, for the compression (from memory).

    Example:
        ```python
        from flowatlas_audio import ComplexSpectrogram

        front = ComplexSpectrogram(256, 128)
        frames = front.encode(torch.randn(2, 8000))  # (2, 63, 258)
        wave = front.decode(frames, 8000)
        ```
    """

    n_fft: int = 256
    hop: int = 128
    power: float = 0.5
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.n_fft < 2 or self.n_fft % 2:
            raise ConfigError(f"n_fft: got {self.n_fft}; it must be even and at least 2.")
        if not 1 <= self.hop <= self.n_fft // 2:
            raise ConfigError(
                f"hop: got {self.hop}; windows of {self.n_fft} must overlap by half or more for "
                f"an inverse: from 1 to {self.n_fft // 2}."
            )
        if not 0 < self.power <= 1:
            raise ConfigError(f"power: got {self.power}; it must be in (0, 1].")
        if not 0 < self.scale < float("inf"):
            raise ConfigError(f"scale: got {self.scale}; it must be positive and finite.")

    @property
    def bins(self) -> int:
        """F, from zero to half of the sample rate."""
        return self.n_fft // 2 + 1

    @property
    def dim(self) -> int:
        """Numbers of a frame, 2F."""
        return 2 * self.bins

    def frames(self, samples: int) -> int:
        """How many frames so many samples have."""
        return 1 + samples // self.hop

    def fitted(self, waves: Iterable[Tensor]) -> Self:
        """The same with the scale that makes the root mean square of the numbers one.

        Args:
            waves: of the training data, each `(..., samples)`.

        Raises:
            DataError: there is nothing but silence.
        """
        unit = replace(self, scale=1.0)
        total, count = 0.0, 0
        for wave in waves:
            numbers = unit.encode(wave).double()
            total, count = total + float(numbers.square().sum()), count + numbers.numel()
        if not total > 0:
            raise DataError("waves: they are silent, so that no scale fits them. Pass speech.")
        return replace(self, scale=(count / total) ** 0.5)

    def encode(self, wave: Tensor) -> Tensor:
        """Frames `(..., frames, 2F)` of waves `(..., samples)`.

        Raises:
            ShapeError: no samples, or integers.
        """
        if wave.ndim < 1 or wave.shape[-1] < 1 or not wave.is_floating_point():
            raise ShapeError(
                f"wave: got shape {tuple(wave.shape)}, {wave.dtype}; need (..., samples) of "
                "floating-point numbers. Divide samples of 16 bits by 32768."
            )
        spectrum = self.transform(wave).mT
        magnitude = spectrum.abs()
        there = magnitude > 0
        gain = torch.where(there, magnitude, 1.0) ** (self.power - 1)
        out = spectrum * torch.where(there, self.scale * gain, 0.0)
        return torch.cat([out.real, out.imag], -1)

    def decode(self, frames: Tensor, samples: int) -> Tensor:
        """Waves `(..., samples)` of frames `(..., frames, 2F)`.

        Raises:
            ShapeError: frames of another width, or fewer than the samples have.
        """
        if frames.ndim < 2 or frames.shape[-1] != self.dim:
            raise ShapeError(
                f"frames: got shape {tuple(frames.shape)}; need (..., frames, {self.dim}), as "
                "encode gives them."
            )
        if samples < 1 or frames.shape[-2] < self.frames(samples):
            raise ShapeError(
                f"samples: got {samples} for {frames.shape[-2]} frames, which reach to "
                f"{self.hop * frames.shape[-2] - 1}. Pass the length that was encoded."
            )
        compressed = torch.complex(*(frames / self.scale).chunk(2, -1))
        magnitude = compressed.abs()
        there = magnitude > 0
        gain = torch.where(there, magnitude, 1.0) ** (1 / self.power - 1)
        return self.inverse(compressed.mul(torch.where(there, gain, 0.0)).mT, samples)

    def transform(self, wave: Tensor) -> Tensor:
        """The plain transform S, complex, `(..., F, frames)`."""
        flat = torch.stft(
            wave.reshape(-1, wave.shape[-1]),
            self.n_fft,
            self.hop,
            window=self._window(wave),
            pad_mode="constant",
            return_complex=True,
        )
        return flat.view(*wave.shape[:-1], *flat.shape[-2:])

    def inverse(self, spectrum: Tensor, samples: int) -> Tensor:
        """The wave `(..., samples)` whose transform is closest to one, `(..., F, frames)`."""
        flat = torch.istft(
            spectrum.reshape(-1, *spectrum.shape[-2:]),
            self.n_fft,
            self.hop,
            window=self._window(spectrum.real),
            length=samples,
        )
        return flat.view(*spectrum.shape[:-2], samples)

    def _window(self, like: Tensor) -> Tensor:
        return torch.hann_window(self.n_fft, dtype=like.dtype, device=like.device)
