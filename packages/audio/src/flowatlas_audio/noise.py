"""Noises that are made, not recorded, each by a kind of its own, and mixtures at a given level."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from flowatlas.errors import DataError, ShapeError

__all__ = [
    "babble",
    "bands",
    "brown",
    "drone",
    "engine",
    "gusts",
    "hum",
    "knocks",
    "mix",
    "rain",
    "rattle",
    "shaped",
    "sloped",
    "white",
]

#: `(samples, rate, generator)` to a wave `(samples,)` of root mean square one.
Noise = Callable[[int, int, torch.Generator], Tensor]


def white(samples: int, rate: int, generator: torch.Generator) -> Tensor:
    """Independent normal samples: equal power at all frequencies."""
    return _unit(_normal(samples, generator))


def brown(samples: int, rate: int, generator: torch.Generator) -> Tensor:
    """Power that falls as 1/f^2 above 20 Hz: a low rumble."""
    return _unit(_filtered(_normal(samples, generator), rate, lambda f: 1 / f.clamp(min=20.0)))


def shaped(samples: int, rate: int, generator: torch.Generator) -> Tensor:
    """Noise of a random smooth spectrum: amplitude f^-e, e in [-0.2, 0.6], and six random bumps."""
    exponent = -0.2 + 0.8 * _uniform(generator)
    bumps = [
        (_uniform(generator) * rate / 2, rate * (0.02 + 0.1 * _uniform(generator)), weight)
        for weight in (1.5 * torch.randn(6, generator=generator)).tolist()
    ]

    def gain(f: Tensor) -> Tensor:
        level = -exponent * f.clamp(min=20.0).log()
        for middle, width, weight in bumps:
            level = level + weight * torch.exp(-0.5 * ((f - middle) / width) ** 2)
        return level.exp()

    return _unit(_filtered(_normal(samples, generator), rate, gain))


def sloped(samples: int, rate: int, generator: torch.Generator) -> Tensor:
    """Amplitude that is level up to a corner of 50 to 300 Hz and f^-e beyond it, e in [-.2, .8]."""
    exponent, corner = _uniform(generator) - 0.2, 50.0 + 250.0 * _uniform(generator)
    wave = _normal(samples, generator)
    return _unit(_filtered(wave, rate, lambda f: (f.clamp(min=corner) / corner) ** -exponent))


def bands(samples: int, rate: int, generator: torch.Generator) -> Tensor:
    """One to four bands of noise of random width and strength over a faint level one."""
    found = [
        (_uniform(generator) * rate / 2, rate * (0.01 + 0.06 * _uniform(generator)), weight)
        for weight in torch.randn(4, generator=generator).exp().tolist()
    ][: 1 + int(4 * _uniform(generator))]
    faint = 10 ** -(1.0 + 1.5 * _uniform(generator))

    def gain(f: Tensor) -> Tensor:
        level = torch.full_like(f, faint)
        for middle, width, weight in found:
            level = level + weight * torch.exp(-0.5 * ((f - middle) / width) ** 2)
        return level

    return _unit(_filtered(_normal(samples, generator), rate, gain))


def gusts(samples: int, rate: int, generator: torch.Generator) -> Tensor:
    """`shaped` noise that swells and dies down within half a second or so."""
    slow = _filtered(_normal(samples, generator), rate, lambda f: torch.exp(-((f / 2.0) ** 2)))
    return _unit(shaped(samples, rate, generator) * torch.exp(_unit(slow)))


def hum(samples: int, rate: int, generator: torch.Generator) -> Tensor:
    """Harmonics of 50 or 60 Hz with random strengths, over faint white noise: a transformer."""
    base = 50.0 if _uniform(generator) < 0.5 else 60.0
    count = int(min(3000.0, 0.45 * rate) / base)
    k = torch.arange(1, count + 1, dtype=torch.float64)
    strength = torch.randn(count, generator=generator).exp().double() / k**0.7
    phase = 2 * math.pi * torch.rand(count, generator=generator).double()
    time = torch.arange(samples, dtype=torch.float64) / rate
    wave = torch.zeros(samples, dtype=torch.float64)
    for order, a, turn in zip(k.tolist(), strength.tolist(), phase.tolist(), strict=True):
        wave += a * torch.sin(2 * math.pi * base * order * time + turn)
    return _unit(_unit(wave.float()) + 0.2 * _normal(samples, generator))


def drone(samples: int, rate: int, generator: torch.Generator) -> Tensor:
    """A pitch of 70 to 300 Hz that wanders, with random harmonics, over `shaped` noise."""
    slow = _filtered(_normal(samples, generator), rate, lambda f: torch.exp(-((f / 1.5) ** 2)))
    base = 70.0 + 230.0 * _uniform(generator) ** 2
    pitch = base * torch.exp(0.08 * _uniform(generator) * _unit(slow)).double()
    turns = 2 * math.pi * pitch.cumsum(0) / rate
    count = 1 + int(min(0.4 * rate / base, 40.0) * _uniform(generator))
    fall = 1.2 * _uniform(generator)
    strength = torch.randn(count, generator=generator).mul(0.7).exp().tolist()
    phase = torch.rand(count, generator=generator).mul(2 * math.pi).tolist()
    wave = torch.zeros(samples, dtype=torch.float64)
    for k, (a, start) in enumerate(zip(strength, phase, strict=True), 1):
        wave += a / k**fall * torch.sin(k * turns + start)
    faint = 0.1 + 0.5 * _uniform(generator)
    return _unit(_unit(wave.float()) + faint * shaped(samples, rate, generator))


def engine(samples: int, rate: int, generator: torch.Generator) -> Tensor:
    """A pitch of 25 to 60 Hz that wanders, with harmonics up to 2 kHz, over a rumble."""
    slow = _filtered(_normal(samples, generator), rate, lambda f: torch.exp(-((f / 1.0) ** 2)))
    pitch = (25.0 + 35.0 * _uniform(generator)) * torch.exp(0.1 * _unit(slow)).double()
    turns = 2 * math.pi * pitch.cumsum(0) / rate
    count = int(min(2000.0, 0.4 * rate) / 60.0)
    strength = torch.randn(count, generator=generator).mul(0.7).exp().tolist()
    phase = torch.rand(count, generator=generator).mul(2 * math.pi).tolist()
    wave = torch.zeros(samples, dtype=torch.float64)
    for k, (a, start) in enumerate(zip(strength, phase, strict=True), 1):
        wave += a / k**0.5 * torch.sin(k * turns + start)
    return _unit(_unit(wave.float()) + 0.4 * brown(samples, rate, generator))


def knocks(samples: int, rate: int, generator: torch.Generator) -> Tensor:
    """Eight strokes a second on average, each a burst of noise that dies away, over faint noise."""
    strokes = _strokes(samples, 8.0 / rate, generator)
    decay = (0.01 + 0.04 * _uniform(generator)) * rate
    envelope = _convolved(strokes, torch.exp(-torch.arange(int(8 * decay)) / decay))
    return _unit(_unit(envelope * _normal(samples, generator)) + 0.1 * _normal(samples, generator))


def rattle(samples: int, rate: int, generator: torch.Generator) -> Tensor:
    """Ten to a thousand strokes a second, all of one click, of 1 to 5 ms of noise."""
    often = 10 ** (1.0 + 2.0 * _uniform(generator))
    strokes = _strokes(samples, often / rate, generator) * _normal(samples, generator).sign()
    decay = (0.001 + 0.004 * _uniform(generator)) * rate
    count = int(6 * decay)
    click = torch.exp(-torch.arange(count) / decay) * _normal(count, generator)
    return _unit(_unit(_convolved(strokes, click)) + 0.05 * _normal(samples, generator))


def rain(samples: int, rate: int, generator: torch.Generator) -> Tensor:
    """Four hundred drops a second, each a short ring of a pitch of 0.6 to 3 kHz."""
    wave = torch.zeros(samples)
    for _ in range(4):
        pitch = min(600.0 + 2400.0 * _uniform(generator), 0.4 * rate)
        time = torch.arange(int(0.02 * rate)) / rate
        ring = torch.exp(-time / 0.002) * torch.sin(2 * math.pi * pitch * time)
        wave = wave + _convolved(_strokes(samples, 100.0 / rate, generator), ring)
    return _unit(wave)


def babble(voices: Sequence[Tensor], talkers: int = 5) -> Noise:
    """Noise that is several people talking at once.

    Args:
        voices: waves of speech, `(samples,)` each, at the rate of the noise that is asked for.
        talkers: how many of them talk; the same voice may do so twice.

    Raises:
        DataError: there is no voice.
    """
    if not voices:
        raise DataError("voices: got none; babble needs one recorded voice or more.")

    def made(samples: int, rate: int, generator: torch.Generator) -> Tensor:
        total = torch.zeros(samples)
        for _ in range(talkers):
            voice = voices[int(_uniform(generator) * len(voices))]
            start = int(_uniform(generator) * len(voice))
            looped = voice.repeat(2 + samples // len(voice))
            total = total + _unit(looped[start : start + samples])
        return _unit(total)

    return made


def mix(clean: Tensor, noise: Tensor, snr: Tensor | float) -> Tensor:
    r"""$x + g n$ with $10 \log_{10} (\|x\|^2 / \|g n\|^2)$ equal to `snr`.

    Args:
        clean: x, `(..., samples)`.
        noise: n, of the same shape.
        snr: in dB, a number or `(...)`.

    Raises:
        ShapeError: shapes that differ.
        DataError: silence, which is at no level below or above anything.
    """
    if clean.shape != noise.shape:
        raise ShapeError(
            f"noise: got shape {tuple(noise.shape)}; need that of clean, {tuple(clean.shape)}."
        )
    power = [a.double().square().sum(-1) for a in (clean, noise)]
    for name, value in zip(("clean", "noise"), power, strict=True):
        if not bool((value > 0).all()):
            raise DataError(
                f"{name}: a wave is silent, so that the ratio of the two is not defined. Leave "
                "silent excerpts out."
            )
    decibels = torch.as_tensor(snr, dtype=torch.float64, device=clean.device)
    gain = (power[0] / power[1] * 10 ** (-decibels / 10)).sqrt().to(clean.dtype)
    return clean + gain.unsqueeze(-1) * noise


def _unit(wave: Tensor) -> Tensor:
    return wave / wave.square().mean().sqrt().clamp(min=1e-12)


def _normal(samples: int, generator: torch.Generator) -> Tensor:
    return torch.randn(samples, generator=generator)


def _uniform(generator: torch.Generator) -> float:
    return float(torch.rand((), generator=generator))


def _strokes(samples: int, probability: float, generator: torch.Generator) -> Tensor:
    """Random heights at random instants; one at least."""
    heights = torch.randn(samples, generator=generator).abs()
    struck = torch.rand(samples, generator=generator) < probability
    struck[int(_uniform(generator) * samples)] = True
    return heights * struck


def _filtered(wave: Tensor, rate: int, gain: Callable[[Tensor], Tensor]) -> Tensor:
    """The wave with its spectrum multiplied by a function of the frequency in Hz."""
    frequency = torch.fft.rfftfreq(len(wave), 1 / rate)
    found: Tensor = torch.fft.irfft(torch.fft.rfft(wave) * gain(frequency), len(wave))
    return found


def _convolved(wave: Tensor, kernel: Tensor) -> Tensor:
    size = len(wave) + len(kernel) - 1
    product = torch.fft.rfft(wave, size) * torch.fft.rfft(kernel, size)
    found: Tensor = torch.fft.irfft(product, size)
    return found[: len(wave)]
