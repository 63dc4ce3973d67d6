"""How good a cleaned wave is: scale-invariant distortion, PESQ and ESTOI."""

from __future__ import annotations

from typing import NoReturn

import torch
from torch import Tensor

from flowatlas.errors import CapabilityError, ConfigError, DataError, ShapeError

__all__ = ["estoi", "pesq", "si_sdr"]


def si_sdr(estimate: Tensor, clean: Tensor) -> Tensor:
    r"""Scale-invariant signal-to-distortion ratio in dB, higher is better.

    $$10 \log_{10} \frac{\|a s\|^2}{\|a s - \hat s\|^2}, \qquad
      a = \langle \hat s, s\rangle / \|s\|^2$$

    of waves whose means have been taken away.

    Args:
        estimate: $\hat s$, `(..., samples)`.
        clean: s, of the same shape.

    Returns:
        `(...)`, in float64.

    Raises:
        ShapeError: shapes that differ.
        DataError: a clean wave that is silent.

    Reference: SDR - half-baked or well done?, Le Roux et al., 2018, arXiv:1811.02508.

    Example:
        ```python
        from flowatlas_audio import si_sdr

        clean = torch.randn(8000)
        si_sdr(clean + 0.1 * torch.randn(8000), clean)  # about 20
        ```
    """
    if estimate.shape != clean.shape or clean.ndim < 1:
        raise ShapeError(
            f"estimate: got shape {tuple(estimate.shape)}; need that of clean, "
            f"{tuple(clean.shape)}."
        )
    s, found = (a.double() - a.double().mean(-1, keepdim=True) for a in (clean, estimate))
    power = s.square().sum(-1, keepdim=True)
    if not bool((power > 0).all()):
        raise DataError("clean: a wave is silent; leave it out, for no ratio to it is defined.")
    target = (found * s).sum(-1, keepdim=True) / power * s
    tiny = torch.finfo(torch.float64).tiny
    ratio = target.square().sum(-1) / (target - found).square().sum(-1).clamp(min=tiny)
    return 10 * ratio.clamp(min=tiny).log10()


def pesq(estimate: Tensor, clean: Tensor, rate: int) -> float:
    """Perceptual evaluation of speech quality, from about 1 to 4.5, higher is better.

    Narrow-band (ITU-T P.862.1) at 8 kHz, wide-band (P.862.2) at 16 kHz, by the package `pesq`.

    Args:
        estimate: `(samples,)`.
        clean: of the same shape.
        rate: 8000 or 16000.

    Raises:
        ConfigError: another rate.
        CapabilityError: the package is not installed.
        DataError: waves in which no speech is found, or shorter than a quarter of a second.
    """
    _check(estimate, clean)
    if rate not in (8000, 16000):
        raise ConfigError(f"rate: got {rate}; PESQ is defined at 8000 and 16000. Resample first.")
    try:
        import pesq as package
    except ImportError as error:
        _absent("pesq", error)
    waves = [a.detach().cpu().double().numpy() for a in (clean, estimate)]
    try:
        return float(package.pesq(rate, *waves, "nb" if rate == 8000 else "wb"))
    except package.PesqError as error:
        raise DataError(
            f"clean, estimate: PESQ finds no speech in {len(clean)} samples ({error}). Pass a "
            "second or more of speech."
        ) from error


def estoi(estimate: Tensor, clean: Tensor, rate: int) -> float:
    """Extended short-time objective intelligibility, at most 1, higher is better.

    By the package `pystoi`, which resamples to 10 kHz.

    Args:
        estimate: `(samples,)`.
        clean: of the same shape.
        rate: samples per second.

    Raises:
        CapabilityError: the package is not installed.

    Reference: An Algorithm for Predicting the Intelligibility of Speech Masked by Modulated Noise
    Maskers, Jensen and Taal, 2016.
    """
    _check(estimate, clean)
    waves = [a.detach().cpu().double().numpy() for a in (clean, estimate)]
    try:
        from pystoi import stoi
    except ImportError as error:
        _absent("pystoi", error)
    return float(stoi(*waves, rate, extended=True))


def _check(estimate: Tensor, clean: Tensor) -> None:
    if estimate.ndim != 1 or estimate.shape != clean.shape:
        raise ShapeError(
            f"estimate, clean: got shapes {tuple(estimate.shape)} and {tuple(clean.shape)}; need "
            "(samples,) both. Score one wave at a time."
        )


def _absent(name: str, error: ImportError) -> NoReturn:
    raise CapabilityError(
        f"{name}: it is not installed. pip install 'flowatlas-audio[metrics]'."
    ) from error
