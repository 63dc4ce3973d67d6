"""A trained flow from noisy to clean speech, ready to be called on waves, and as a directory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from flowatlas import AffinePath, Euler, Gaussian, sample
from flowatlas.errors import ConfigError, DataError, ShapeError
from flowatlas_audio.network import FrameNetwork
from flowatlas_audio.spectrogram import ComplexSpectrogram

__all__ = ["Enhancer", "enhancement_path", "level"]

Generators = torch.Generator | Sequence[torch.Generator] | None

_FILE = "enhancer.json"


def enhancement_path(sigma: float = 0.1) -> AffinePath:
    r"""The path from noisy to clean spectrograms, for their difference.

    A flow from $y + \sigma z$ to x, y noisy and x clean, has $x_t = t x + (1 - t)(y + \sigma z)$.
    Less y, which is known throughout, that is the straight path from a Gaussian of deviation sigma
    to x - y: so the source has a density and does not depend on the data.

    Args:
        sigma: deviation of z, in units of the spectrogram.

    Reference: FlowSE: Flow Matching-based Speech Enhancement, 2025 (from memory): mean and
    deviation are those of its path, with time turned round. Here the network predicts the clean end
    instead of the velocity.
    """
    return AffinePath(source=Gaussian(sigma), prediction="target")


def level(wave: Tensor) -> Tensor:
    """Root mean square of `(..., samples)`, `(..., 1)`; one for silence."""
    found = wave.square().mean(-1, keepdim=True).sqrt()
    return torch.where(found > 0, found, torch.ones_like(found))


@dataclass(frozen=True)
class Enhancer:
    """A network with all that it takes to clean a wave by it.

    Attributes:
        network: predicts the clean spectrogram less the noisy one.
        front: between waves and spectrograms, of waves of root mean square one.
        rate: of the waves it was trained on, in samples per second.
        sigma: deviation of the source; 0 for a network that was trained to regress, which is then
            asked once.
        steps: evaluations of the network.

    Raises:
        ConfigError: a rate, deviation or number of steps that cannot be.
    """

    network: FrameNetwork
    front: ComplexSpectrogram
    rate: int
    sigma: float = 0.1
    steps: int = 5

    def __post_init__(self) -> None:
        if self.rate < 1 or self.steps < 1 or not 0 <= self.sigma < float("inf"):
            raise ConfigError(
                f"rate, steps, sigma: got {self.rate}, {self.steps}, {self.sigma}; the first two "
                "are 1 or more, the last 0 or more."
            )

    @torch.no_grad()
    def __call__(
        self, wave: Tensor, *, lengths: Tensor | None = None, generator: Generators = None
    ) -> Tensor:
        """Cleaned waves `(batch, samples)`.

        Args:
            wave: `(batch, samples)` at `rate`.
            lengths: samples of each, `(batch,)`, for waves padded to one length; what follows is
                not heard, and comes back as silence.
            generator: one, or one per wave.

        Raises:
            ShapeError: another shape, or lengths that do not fit.
        """
        if wave.ndim != 2 or wave.shape[1] < 1 or not wave.is_floating_point():
            raise ShapeError(
                f"wave: got shape {tuple(wave.shape)}, {wave.dtype}; need (batch, samples) of "
                "floating-point numbers."
            )
        samples, mask = wave.shape[1], None
        if lengths is not None:
            fits = lengths.shape == wave.shape[:1] and bool(
                ((lengths > 0) & (lengths <= samples)).all()
            )
            if not fits:
                raise ShapeError(
                    f"lengths: got {lengths.tolist()}; need one per wave, from 1 to {samples}."
                )
            places = torch.arange(samples, device=wave.device)
            wave = torch.where(places < lengths.unsqueeze(1), wave, 0.0)
            numbers = torch.arange(self.front.frames(samples), device=wave.device)
            mask = numbers < 1 + (lengths // self.front.hop).unsqueeze(1)
        loud = level(wave)
        if lengths is not None:
            loud = loud * (samples / lengths.to(wave.dtype)).sqrt().unsqueeze(1)
        noisy = self.front.encode(wave / loud)
        residual = self._residual(noisy, mask, generator)
        if lengths is None:
            return self.front.decode(noisy + residual, samples) * loud
        # Each by itself: a window that lies beyond the end would weigh on the last samples.
        found = torch.zeros_like(wave)
        for i, length in enumerate(lengths.tolist()):
            kept = self.front.frames(length)
            found[i, :length] = self.front.decode((noisy + residual)[i, :kept], length) * loud[i]
        return found

    def _residual(self, noisy: Tensor, mask: Tensor | None, generator: Generators) -> Tensor:
        condition = {"noisy": noisy}
        if self.sigma == 0:
            t = noisy.new_zeros(len(noisy))
            out: Tensor = self.network(torch.zeros_like(noisy), t, condition, mask=mask)
            return out
        drawn: Tensor = sample(
            self.network,
            enhancement_path(self.sigma),
            shape=tuple(noisy.shape),
            condition=condition,
            mask=mask,
            solver=Euler(steps=self.steps),
            dtype=noisy.dtype,
            device=noisy.device,
            generator=generator,
        )
        return drawn if mask is None else torch.where(mask.unsqueeze(-1), drawn, 0.0)

    def save_pretrained(self, directory: str | Path) -> Path:
        """Write the network and `enhancer.json` into a directory.

        Raises:
            DataError: a file cannot be written.
        """
        place = self.network.save_pretrained(directory)
        settings = {
            "front": asdict(self.front),
            "rate": self.rate,
            "sigma": self.sigma,
            "steps": self.steps,
        }
        try:
            (place / _FILE).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise DataError(f"{place / _FILE}: cannot be written ({error.strerror}).") from error
        return place

    @classmethod
    def from_pretrained(cls, directory: str | Path) -> Enhancer:
        """What `save_pretrained` has written.

        Raises:
            DataError: a file is missing or corrupt.
        """
        path = Path(directory) / _FILE
        try:
            settings = json.loads(path.read_text(encoding="utf-8"))
            front = ComplexSpectrogram(**settings.pop("front"))
            return cls(FrameNetwork.from_pretrained(directory), front, **settings)
        except OSError as error:
            raise DataError(
                f"{path}: cannot be read ({error.strerror}). Name a directory that "
                "Enhancer.save_pretrained or `flowatlas bench run audio/enhancement` has written."
            ) from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(
                f"{path}: it does not describe an enhancer ({error}). Write it again with "
                "Enhancer.save_pretrained."
            ) from error
