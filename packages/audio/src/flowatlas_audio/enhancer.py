"""A trained flow from noisy to clean speech, ready to be called on waves; it writes WAV files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowatlas import AffinePath, Empirical, Gaussian, sample
from flowatlas.errors import ConfigError, DataError, ShapeError
from flowatlas.solvers import Solver
from flowatlas.system import System
from flowatlas_audio.corpus import check_speech, corpus
from flowatlas_audio.mixtures import Mixtures, level
from flowatlas_audio.network import FrameNetwork
from flowatlas_audio.spectrogram import ComplexSpectrogram
from flowatlas_audio.waves import write_wave

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Enhanced", "Enhancer", "enhanced_arrays", "enhancement_path", "regression_path"]

Generators = torch.Generator | Sequence[torch.Generator] | None

_NETWORK = "network"


def enhancement_path(sigma: float = 0.02) -> AffinePath:
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


def regression_path(dim: int) -> AffinePath:
    """The same with a source at rest: trained at t = 0 alone, one Euler step is a regression.

    Args:
        dim: numbers of a frame.
    """
    return AffinePath(source=Empirical(torch.zeros(1, dim)), prediction="target")


@dataclass(frozen=True)
class Enhanced:
    """Held-out mixtures and what became of them.

    Attributes:
        mixtures: clean and noisy waves.
        waves: enhanced ones, of the same shape.
        rate: in samples per second.
    """

    mixtures: Mixtures
    waves: Tensor
    rate: int


@dataclass(frozen=True, kw_only=True)
class Enhancer(System[Enhanced]):
    """A network with all that it takes to clean a wave by it.

    Called on waves it cleans them. What it draws as a `System` are examples: held-out speech in
    held-out noise.

    Attributes:
        network: predicts the clean spectrogram less the noisy one.
        front: between waves and spectrograms, of waves of root mean square one.
        rate: of the waves it was trained on, in samples per second.
        sigma: deviation of the source; 0 for a network that was trained to regress.
        steps: Euler steps, each an evaluation of the network.
        speech: of its examples, `"recorded"` or `"generated"`.

    Raises:
        ConfigError: a rate, deviation, number of steps or kind of speech that cannot be.

    Example:
        ```python
        from flowatlas_audio import ComplexSpectrogram, Enhancer, FrameNetwork

        network = FrameNetwork(129, width=32, depth=1)  # not trained here
        enhancer = Enhancer(network=network, front=ComplexSpectrogram(), rate=8000)
        clean = enhancer(torch.randn(1, 4000))
        enhancer.save("enhancer")
        ```
    """

    name = "enhancer"

    network: FrameNetwork
    front: ComplexSpectrogram
    rate: int
    sigma: float = 0.02
    steps: int = 1
    speech: str = "recorded"

    def __post_init__(self) -> None:
        if self.rate < 1 or self.steps < 1 or not 0 <= self.sigma < float("inf"):
            raise ConfigError(
                f"rate, steps, sigma: got {self.rate}, {self.steps}, {self.sigma}; the first two "
                "are 1 or more, the last 0 or more."
            )
        check_speech(self.speech)

    @property
    def default_solver(self) -> tuple[str, int]:
        return "euler", self.steps

    @property
    def path(self) -> AffinePath:
        """That the network was trained on."""
        return enhancement_path(self.sigma) if self.sigma > 0 else regression_path(self.front.dim)

    @torch.no_grad()
    def __call__(
        self,
        wave: Tensor,
        *,
        lengths: Tensor | None = None,
        solver: Solver | None = None,
        generator: Generators = None,
    ) -> Tensor:
        """Cleaned waves `(batch, samples)`.

        Args:
            wave: `(batch, samples)` at `rate`.
            lengths: samples of each, `(batch,)`, for waves padded to one length; what follows is
                not heard, and comes back as silence.
            solver: `default_solver` if None.
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
        residual = self._residual(noisy, mask, solver or self.solver(), generator)
        if lengths is None:
            return self.front.decode(noisy + residual, samples) * loud
        # Each by itself: a window that lies beyond the end would weigh on the last samples.
        found = torch.zeros_like(wave)
        for i, length in enumerate(lengths.tolist()):
            kept = self.front.frames(length)
            found[i, :length] = self.front.decode((noisy + residual)[i, :kept], length) * loud[i]
        return found

    def _residual(
        self, noisy: Tensor, mask: Tensor | None, solver: Solver, generator: Generators
    ) -> Tensor:
        drawn: Tensor = sample(
            self.network,
            self.path,
            shape=tuple(noisy.shape),
            condition={"noisy": noisy},
            mask=mask,
            solver=solver,
            dtype=noisy.dtype,
            device=noisy.device,
            generator=generator,
        )
        return drawn

    def draw(
        self,
        count: int,
        *,
        seed: int = 0,
        solver: Solver | None = None,
        data_root: str | os.PathLike[str] | None = None,
    ) -> Enhanced:
        """Held-out speech of three seconds in held-out noise, enhanced.

        Args:
            count: how many.
            seed: of the mixtures, and of the noise of the flow.
            solver: `default_solver` if None.
            data_root: directory with recorded speech; the default places if None.

        Raises:
            DataError: recorded speech is missing.
        """
        test = corpus(self.speech, self.rate, seed, data_root).test(count, 3 * self.rate, seed)
        return self.enhanced(test, seed=seed, solver=solver)

    def enhanced(self, test: Mixtures, *, seed: int = 0, solver: Solver | None = None) -> Enhanced:
        """Mixtures with what becomes of them; each wave has a source of its own.

        Args:
            test: clean and noisy waves at `rate`.
            seed: of the noise of the flow.
            solver: `default_solver` if None.
        """
        device = next(self.network.parameters()).device
        sources = [torch.Generator(device).manual_seed(seed + i) for i in range(len(test.noisy))]
        found = self(test.noisy.to(device), solver=solver, generator=sources)
        return Enhanced(test, found.cpu(), self.rate)

    def export(self, samples: Enhanced, output: Path) -> tuple[Path, ...]:
        """Three WAV files for each mixture: `000_noisy.wav`, `000_enhanced.wav`, `000_clean.wav`.

        All three of a mixture are scaled alike, so that the loudest of their samples is full scale.
        """
        try:
            output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(
                f"{output}: cannot be made ({error.strerror}). Name a directory that can be."
            ) from error
        written = []
        for i, waves in enumerate(
            zip(samples.mixtures.noisy, samples.waves, samples.mixtures.clean, strict=True)
        ):
            peak = max(float(wave.abs().max()) for wave in waves)
            for name, wave in zip(("noisy", "enhanced", "clean"), waves, strict=True):
                written.append(
                    write_wave(output / f"{i:03d}_{name}.wav", wave / peak, samples.rate)
                )
        return tuple(written)

    def figure(self, samples: Enhanced, title: str) -> Figure:
        from flowatlas_audio.plots import spectrograms

        return spectrograms(enhanced_arrays(samples), samples.rate, title=title)

    def save_parts(self, directory: Path) -> dict[str, Any]:
        self.network.save_pretrained(directory / _NETWORK)
        return {
            "front": asdict(self.front),
            "rate": self.rate,
            "sigma": self.sigma,
            "steps": self.steps,
            "speech": self.speech,
        }

    @classmethod
    def load_parts(cls, directory: Path, stored: Mapping[str, Any]) -> Enhancer:
        return cls(
            network=FrameNetwork.from_pretrained(directory / _NETWORK).requires_grad_(False),
            front=ComplexSpectrogram(**stored["front"]),
            rate=int(stored["rate"]),
            sigma=float(stored["sigma"]),
            steps=int(stored["steps"]),
            speech=str(stored["speech"]),
        )


def enhanced_arrays(samples: Enhanced) -> dict[str, NDArray[Any]]:
    """What `plots.spectrograms` draws: the first mixture of each kind of noise."""
    kinds = samples.mixtures.kinds
    kept = [kinds.index(kind) for kind in dict.fromkeys(kinds)]
    return {
        "clean": samples.mixtures.clean[kept].numpy(),
        "noisy": samples.mixtures.noisy[kept].numpy(),
        "enhanced": samples.waves[kept].numpy(),
        "kinds": np.array([kinds[i] for i in kept]),
        "snr": samples.mixtures.snr[kept].numpy(),
    }
