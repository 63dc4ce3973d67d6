"""Clean and noisy waves in pairs, for training and for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor
from torch.nn.functional import max_pool1d, pad

from flowatlas.errors import DataError
from flowatlas_audio.noise import Noise, mix

__all__ = [
    "Mixtures",
    "at_speeds",
    "excerpt",
    "level",
    "mixed",
    "mixtures",
    "resampled",
    "synthetic_voice",
    "voice",
    "without_pauses",
]


def level(wave: Tensor) -> Tensor:
    """Root mean square of `(..., samples)`, `(..., 1)`; one for silence."""
    found = wave.square().mean(-1, keepdim=True).sqrt()
    return torch.where(found > 0, found, torch.ones_like(found))


@dataclass(frozen=True)
class Mixtures:
    """Pairs of waves.

    Attributes:
        clean: `(n, samples)`, at the level that makes the noisy waves have root mean square one.
        noisy: of the same shape.
        snr: in dB, `(n,)`.
        kinds: of the noise of each.
    """

    clean: Tensor
    noisy: Tensor
    snr: Tensor
    kinds: tuple[str, ...]


def mixtures(
    voices: Sequence[Tensor],
    noises: Mapping[str, Noise],
    count: int,
    *,
    samples: int,
    rate: int,
    snr: Sequence[float],
    generator: torch.Generator,
) -> Mixtures:
    """Excerpts of voices, in turn, with noises, in turn, at random places and levels.

    Args:
        voices: one wave for each speaker, `(samples,)`, at `rate`.
        noises: by the name of their kind.
        count: how many pairs.
        samples: of each.
        rate: in samples per second.
        snr: levels in dB, taken in turn; two numbers mean a uniform law between them.
        generator: of everything random.

    Raises:
        DataError: a voice that is shorter than an excerpt, or silent.
    """
    if any(len(one) < samples for one in voices) or not voices or not noises:
        raise DataError(
            f"voices: got {len(voices)} of {[len(one) for one in voices]} samples, with "
            f"{len(noises)} noises; each must have {samples} samples or more. Pass longer ones."
        )
    clean, added, names = [], [], list(noises)
    for i in range(count):
        source = voices[i % len(voices)]
        clean.append(excerpt(source, samples, generator))
        # Kinds advance by rounds of voices, so that every voice meets every noise.
        name = names[(i // len(voices)) % len(names)]
        added.append((name, noises[name](samples, rate, generator)))
    if len(snr) == 2:
        low, high = snr
        levels = low + (high - low) * torch.rand(count, generator=generator)
    else:
        rounds = [i // len(voices) for i in range(count)]
        levels = torch.tensor([snr[(r + r // len(names)) % len(snr)] for r in rounds])
    waves = torch.stack([wave for _, wave in added])
    return mixed(torch.stack(clean), waves, levels, tuple(name for name, _ in added))


def mixed(clean: Tensor, noise: Tensor, snr: Tensor, kinds: tuple[str, ...]) -> Mixtures:
    """The sums of waves `(n, samples)` at levels `(n,)` in dB, brought to root mean square one."""
    y = mix(clean, noise, snr)
    loud = level(y)
    return Mixtures(clean / loud, y / loud, snr, kinds)


def excerpt(wave: Tensor, samples: int, generator: torch.Generator) -> Tensor:
    """A random one that is not a pause: within 20 dB of the whole."""
    whole = float(wave.square().mean().sqrt())
    for _ in range(100):
        start = int(torch.randint(len(wave) - samples + 1, (), generator=generator))
        found = wave[start : start + samples]
        if float(found.square().mean().sqrt()) > 0.1 * whole:
            return found
    raise DataError(
        "voices: 100 excerpts of one were silent. Leave that voice out, or cut its pauses."
    )


def resampled(wave: Tensor, rate: int, target: int) -> Tensor:
    """A wave at another rate, by torchaudio's windowed sinc."""
    from flowatlas_audio.torchaudio_import import load_torchaudio

    if rate == target:
        return wave
    out: Tensor = load_torchaudio().functional.resample(wave, rate, target)
    return out


def at_speeds(wave: Tensor, speeds: Sequence[Fraction]) -> tuple[Tensor, ...]:
    """A voice that speaks faster and higher, or slower and lower: another speaker, nearly."""
    return tuple(resampled(wave, one.numerator, one.denominator) for one in speeds)


def voice(waves: Sequence[Tensor], rate: int, generator: torch.Generator) -> Tensor:
    """Recordings of one speaker as one wave, equally loud, in random order, with short pauses."""
    parts = []
    for i in torch.randperm(len(waves), generator=generator).tolist():
        pause = int(rate * (0.05 + 0.2 * float(torch.rand((), generator=generator))))
        parts += [waves[i] / level(waves[i]), torch.zeros(pause)]
    return torch.cat(parts)


def without_pauses(wave: Tensor, rate: int) -> Tensor:
    """What is left of a voice `(samples,)` without exact silence of 25 ms or more.

    Pauses between recordings are exactly silent. One who talks without them is another kind of
    speaker.
    """
    count = max(1, rate // 40)
    silent = (wave == 0).to(wave.dtype).view(1, 1, -1)
    # Runs of zeros of this length, and then all samples of such runs.
    runs = -max_pool1d(-pad(silent, (count - 1, 0)), count, 1)
    kept = max_pool1d(pad(runs, (0, count - 1)), count, 1).flatten() == 0
    return wave[kept]


def synthetic_voice(seconds: float, rate: int, generator: torch.Generator) -> Tensor:
    """Babbled vowels: pulses of a wandering pitch through three resonances, with pauses.

    A stand-in for speech where there are no recordings: voiced, harmonic and in syllables, but no
    language.
    """
    pitch = 90.0 + 140.0 * float(torch.rand((), generator=generator))
    parts, total = [], 0
    while total < seconds * rate:
        part = _syllable(pitch, rate, generator)
        parts.append(part)
        total += len(part)
    return torch.cat(parts)[: int(seconds * rate)]


def _syllable(pitch: float, rate: int, generator: torch.Generator) -> Tensor:
    """A vowel of 0.12 to 0.35 s and a pause."""
    u = torch.rand(6, generator=generator).tolist()
    count = int(rate * (0.12 + 0.23 * u[0]))
    time = torch.arange(count, dtype=torch.float64) / rate
    slide = pitch * (0.85 + 0.3 * u[1]) * (1 + 0.3 * (u[2] - 0.5) * time / time[-1])
    turns = 2 * torch.pi * slide.cumsum(0) / rate
    formants = ((300 + 500 * u[3], 90.0), (900 + 1300 * u[4], 130.0), (2500 + 500 * u[5], 200.0))
    wave = torch.zeros(count, dtype=torch.float64)
    for k in range(1, int(0.45 * rate / (1.2 * pitch)) + 1):
        f = k * float(slide.mean())
        gain = sum(1 / (1 + ((f - middle) / width) ** 2) for middle, width in formants)
        wave += (gain**0.5 / k**0.5) * torch.sin(k * turns)
    envelope = torch.sin(torch.pi * time / time[-1]).clamp(min=0).sqrt()
    pause = torch.zeros(int(rate * (0.03 + 0.15 * u[0])))
    return torch.cat([(wave * envelope).float(), pause])
