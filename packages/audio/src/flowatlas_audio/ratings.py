"""DNSMOS: what listeners would say about a recording, without a clean one to compare it with."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

import torch
from torch import Tensor

from flowatlas.errors import CapabilityError, DataError, ShapeError
from flowatlas_audio.mixtures import resampled

__all__ = ["Dnsmos", "can_rate", "dnsmos"]

_RATE = 16000
#: What speechmos needs and does not declare comes with it.
_NEEDED = ("speechmos", "librosa", "onnxruntime", "requests")


@dataclass(frozen=True)
class Dnsmos:
    """Mean opinion scores, from 1 to 5, higher is better.

    Attributes:
        speech: how undistorted the speech is (SIG).
        background: how little the background disturbs (BAK).
        overall: both together (OVRL).
        p808: overall, of the model trained on ratings by ITU-T P.808.
    """

    speech: float
    background: float
    overall: float
    p808: float


def can_rate() -> bool:
    """Whether `dnsmos` has what it needs, the extra `dnsmos`."""
    return all(find_spec(name) is not None for name in _NEEDED)


def dnsmos(wave: Tensor, rate: int) -> Dnsmos:
    """Scores of a wave by the networks that the package `speechmos` ships.

    They hear 9 s at 16 kHz: other rates are resampled, shorter waves repeated, of longer ones every
    second has its score and the mean counts. The wave is brought to a peak of one half, so that
    its level does not matter. Telephone-band waves score lower in `p808`.

    Args:
        wave: `(samples,)`.
        rate: samples per second.

    Raises:
        CapabilityError: `speechmos`, or what it needs, is not installed.
        ShapeError: several channels, no samples, or integers.
        DataError: a wave that is silent or not finite.

    Reference: DNSMOS P.835: A Non-Intrusive Perceptual Objective Speech Quality Metric to Evaluate
    Noise Suppressors, Reddy, Gopal and Cutler, 2021, arXiv:2110.01763.
    """
    if wave.ndim != 1 or len(wave) < 1 or not wave.is_floating_point():
        raise ShapeError(
            f"wave: got shape {tuple(wave.shape)}, {wave.dtype}; need (samples,) of "
            "floating-point numbers. Score one wave at a time."
        )
    peak = wave.abs().max()
    if not bool(torch.isfinite(peak)) or not bool(peak > 0):
        raise DataError(
            "wave: it is silent, or has samples that are not finite; nobody could rate it. Leave "
            "it out."
        )
    try:
        import librosa  # noqa: F401
        import onnxruntime  # noqa: F401
        import requests  # noqa: F401
        from speechmos import dnsmos as package
    except ImportError as error:
        raise CapabilityError(
            f"speechmos: it cannot be imported ({error}). pip install 'flowatlas-audio[dnsmos]'."
        ) from error
    heard = resampled((0.5 * wave / peak).detach().cpu().float(), rate, _RATE)
    found = package.run(heard.clamp(-1, 1).numpy(), _RATE)
    return Dnsmos(
        speech=float(found["sig_mos"]),
        background=float(found["bak_mos"]),
        overall=float(found["ovrl_mos"]),
        p808=float(found["p808_mos"]),
    )
