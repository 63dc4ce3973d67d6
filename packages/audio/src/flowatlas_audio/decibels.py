"""Between amplitudes and their levels in decibels."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowatlas.errors import ConfigError, GeometryError

__all__ = ["amplitude_to_decibels", "decibels_to_amplitude"]

_PER_NEPER = 20 / math.log(10)


def amplitude_to_decibels(
    amplitude: Tensor, *, reference: float = 1.0, floor: float = -100.0
) -> Tensor:
    """Level 20 log10(|a| / reference), not below `floor`; its gradient at silence is zero.

    Args:
        amplitude: of a waveform or of a magnitude spectrogram, real or complex, any shape.
        reference: amplitude of 0 dB, above zero.
        floor: level in dB that silence has.

    Returns:
        Levels in dB, real, in the shape of `amplitude`.

    Raises:
        ConfigError: a reference that is not above zero.
        GeometryError: integers.
    """
    _check_reference(reference)
    if not (amplitude.is_floating_point() or amplitude.is_complex()):
        raise GeometryError(
            f"amplitude: got dtype {amplitude.dtype}; allowed are floating-point and complex. "
            "Divide samples of 16 bits by 32768 first."
        )
    lowest = reference * math.exp(floor / _PER_NEPER)
    # abs has no gradient at complex zero, log none at zero: choose the input, not the output.
    audible = ~(amplitude.detach().abs() <= lowest)  # NaN stays NaN
    magnitude = torch.where(audible, amplitude, torch.ones_like(amplitude)).abs()
    level = _PER_NEPER * (magnitude.log() - math.log(reference))
    return torch.where(audible, level, torch.full_like(level, floor))


def decibels_to_amplitude(level: Tensor, *, reference: float = 1.0) -> Tensor:
    """Amplitude reference * 10^(level / 20); the inverse of `amplitude_to_decibels`.

    Args:
        level: in dB, floating-point, any shape.
        reference: amplitude of 0 dB, above zero.

    Raises:
        ConfigError: a reference that is not above zero.
    """
    _check_reference(reference)
    return reference * torch.exp(level / _PER_NEPER)


def _check_reference(reference: float) -> None:
    if not (reference > 0 and math.isfinite(reference)):
        raise ConfigError(
            f"reference: got {reference}; allowed are finite amplitudes above zero. Pass the "
            "amplitude that is to have 0 dB, 1.0 for full scale."
        )
