"""Voices and noises from which mixtures are drawn without end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flowatlas.errors import DataError
from flowatlas_audio.mixtures import Mixtures, excerpt, mixed
from flowatlas_audio.noise import Noise
from flowatlas_audio.variation import filtered, varied

__all__ = ["MixtureBank"]


@dataclass(frozen=True)
class MixtureBank:
    """Training data that are mixed when they are needed, so that no mixture is seen twice.

    A draw takes a speaker, one of the ways the speaker talks, and an excerpt of that; a kind of
    noise, one of its waves, and an excerpt of that; and a level: each uniformly. The excerpts of a
    draw may be varied: noises as `variation.varied` does, and voices by a filter, as other
    microphones would.

    Attributes:
        voices: for each speaker waves `(samples,)`, such as those of `at_speeds`.
        noises: for each kind waves `(n, samples)`.
        samples: of an excerpt.
        rate: in samples per second.
        snr: lowest and highest level in dB.
        vary: whether to vary the excerpts.

    Raises:
        DataError: waves shorter than an excerpt; no voices or no noises.

    Example:
        ```python
        from flowatlas_audio import MixtureBank, noise

        g = torch.Generator().manual_seed(0)
        voices = [[torch.randn(9000, generator=g)]]
        bank = MixtureBank.made(voices, {"white": noise.white}, 4, samples=8000, rate=8000,
                                snr=(0.0, 10.0), generator=g)
        bank.draw(3, g).noisy.shape  # (3, 8000)
        ```
    """

    voices: tuple[tuple[Tensor, ...], ...]
    noises: Mapping[str, Tensor]
    samples: int
    rate: int
    snr: tuple[float, float]
    vary: bool = False

    def __post_init__(self) -> None:
        lengths = [len(wave) for one in self.voices for wave in one]
        lengths += [waves.shape[1] for waves in self.noises.values()]
        if not self.noises or not self.voices or min(lengths) < self.samples:
            raise DataError(
                f"voices, noises: got {len(self.voices)} and {len(self.noises)} with waves of "
                f"{lengths} samples; need one or more of each, of {self.samples} samples or more. "
                "Pass longer ones."
            )

    @classmethod
    def made(
        cls,
        voices: Sequence[Sequence[Tensor]],
        noises: Mapping[str, Noise],
        count: int,
        *,
        samples: int,
        rate: int,
        snr: tuple[float, float],
        generator: torch.Generator,
        vary: bool = False,
    ) -> MixtureBank:
        """A bank with `count` waves of each kind of noise, each four excerpts long."""
        stored = {
            name: torch.stack([kind(4 * samples, rate, generator) for _ in range(count)])
            for name, kind in noises.items()
        }
        return cls(tuple(tuple(one) for one in voices), stored, samples, rate, snr, vary)

    def draw(self, count: int, generator: torch.Generator) -> Mixtures:
        """So many mixtures.

        Raises:
            DataError: a voice that is silent nearly everywhere.
        """
        names = list(self.noises)
        clean, added, kinds = [], [], []
        for _ in range(count):
            ways = self.voices[_choice(len(self.voices), generator)]
            clean.append(excerpt(ways[_choice(len(ways), generator)], self.samples, generator))
            kinds.append(names[_choice(len(names), generator)])
            waves = self.noises[kinds[-1]]
            start = _choice(waves.shape[1] - self.samples + 1, generator)
            added.append(waves[_choice(len(waves), generator)][start : start + self.samples])
        low, high = self.snr
        levels = low + (high - low) * torch.rand(count, generator=generator)
        voice, noise = torch.stack(clean), torch.stack(added)
        if self.vary:
            voice = filtered(voice, generator, strength=0.5)
            noise = varied(noise, self.rate, generator)
        return mixed(voice, noise, levels, tuple(kinds))


def _choice(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (), generator=generator))
