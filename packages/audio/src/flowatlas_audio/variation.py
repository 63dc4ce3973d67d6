"""Waves of noise made into kinds of their own: added to each other, filtered, swelling."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowatlas.errors import ShapeError
from flowatlas_audio.mixtures import level

__all__ = ["added", "filtered", "swelling", "varied"]


def varied(noise: Tensor, rate: int, generator: torch.Generator) -> Tensor:
    """Other noises, made of these by `added`, `filtered` and `swelling`.

    A network that is trained on few kinds of noise learns these kinds; there are endlessly many
    such as these.

    Args:
        noise: `(n, samples)`.
        rate: in samples per second.
        generator: of everything random.

    Returns:
        `(n, samples)`, of root mean square one.

    Raises:
        ShapeError: another shape, or integers.
    """
    if noise.ndim != 2 or not noise.is_floating_point():
        raise ShapeError(
            f"noise: got shape {tuple(noise.shape)}, {noise.dtype}; need (n, samples) of "
            "floating-point numbers."
        )
    found = swelling(filtered(added(noise, generator), generator), rate, generator)
    return found / level(found)


def added(noise: Tensor, generator: torch.Generator) -> Tensor:
    """Half of the waves with another one added, up to 10 dB below."""
    unit = noise / level(noise)
    below = 10.0 * torch.rand(len(noise), 1, generator=generator)
    chosen = torch.rand(len(noise), 1, generator=generator) < 0.5
    other = unit[torch.randperm(len(noise), generator=generator)]
    return unit + torch.where(chosen, 10 ** (-below / 20), 0.0) * other


def filtered(wave: Tensor, generator: torch.Generator, strength: float = 1.0) -> Tensor:
    r"""Each wave through a smooth filter of its own, without delay.

    $$\log G(f) = \frac s2 \sum_{k=1}^4 \frac{z_k}{\sqrt k} \cos(\pi k \sqrt{f / f_N})$$

    with z normal and $f_N$ the highest frequency: with s = 1 about 6 dB up and down at the lowest
    ones.

    Args:
        wave: `(n, samples)`.
        generator: of z.
        strength: s.
    """
    samples = wave.shape[-1]
    # Twice as long, for the filter must not go round from the end to the beginning.
    spectrum = torch.fft.rfft(wave, 2 * samples)
    place = torch.linspace(0, 1, spectrum.shape[-1]).sqrt()
    k = torch.arange(1, 5).unsqueeze(-1)
    weight = torch.randn(len(wave), 4, generator=generator)
    gain = (0.5 * strength * weight @ (torch.cos(math.pi * k * place) / k.sqrt())).exp()
    found: Tensor = torch.fft.irfft(spectrum * gain, 2 * samples)
    return found[:, :samples]


def swelling(noise: Tensor, rate: int, generator: torch.Generator) -> Tensor:
    r"""Three waves of ten times $e^{a \sin(2 \pi f t + p)}$, a up to 2 and f of 0.5 to 20 Hz."""
    u = torch.rand(4, len(noise), 1, generator=generator)
    depth = torch.where(u[0] < 0.3, 2.0 * u[1], 0.0)
    time = torch.arange(noise.shape[1]) / rate
    return noise * torch.exp(depth * torch.sin(2 * math.pi * (0.5 * 40 ** u[2] * time + u[3])))
