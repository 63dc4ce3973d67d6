"""Levels in decibels."""

from __future__ import annotations

import math

import pytest
import torch

from flowatlas.errors import ConfigError, GeometryError
from flowatlas_audio import amplitude_to_decibels, decibels_to_amplitude


def test_known_levels() -> None:
    amplitude = torch.tensor([1.0, 10.0, 0.1, -0.1, 1 / math.sqrt(2), 2.0], dtype=torch.float64)
    expected = [0.0, 20.0, -20.0, -20.0, -3.0103, 6.0206]
    assert amplitude_to_decibels(amplitude).tolist() == pytest.approx(expected, abs=1e-4)


def test_a_sine_lies_three_decibels_below_a_square_wave() -> None:
    phase = torch.arange(1000, dtype=torch.float64) * 2 * math.pi / 1000
    rms = phase.sin().square().mean().sqrt()
    assert amplitude_to_decibels(rms).item() == pytest.approx(-10 * math.log10(2), abs=1e-9)


def test_reference_shifts_levels() -> None:
    amplitude = torch.tensor([0.5, 3.0], dtype=torch.float64)
    shifted = amplitude_to_decibels(amplitude, reference=0.1)
    assert torch.allclose(shifted, amplitude_to_decibels(amplitude) + 20)


def test_round_trip() -> None:
    level = torch.linspace(-90, 40, 27, dtype=torch.float64)
    for reference in (1.0, 2e-5):
        amplitude = decibels_to_amplitude(level, reference=reference)
        back = amplitude_to_decibels(amplitude, reference=reference)
        assert torch.allclose(back, level, rtol=0, atol=1e-9)


def test_complex_spectra_have_the_level_of_their_magnitude() -> None:
    spectrum = torch.polar(torch.tensor([1.0, 0.01]), torch.tensor([0.3, 2.0]))
    level = amplitude_to_decibels(spectrum)
    assert not level.is_complex()
    assert level.tolist() == pytest.approx([0.0, -40.0], abs=1e-4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_silence_has_the_floor_and_no_gradient(dtype: torch.dtype) -> None:
    amplitude = torch.tensor([0.0, 1e-9, 0.5], dtype=dtype, requires_grad=True)
    level = amplitude_to_decibels(amplitude, floor=-80.0)
    assert level[:2].tolist() == [-80.0, -80.0]
    level.sum().backward()
    assert amplitude.grad is not None
    # d level / d a = 20 / (ln 10 a)
    expected = torch.tensor([0.0, 0.0, 40 / math.log(10)], dtype=dtype)
    assert torch.allclose(amplitude.grad, expected)


def test_nan_is_not_silence() -> None:
    assert amplitude_to_decibels(torch.tensor([float("nan")])).isnan().all()


def test_input_that_cannot_be_meant() -> None:
    with pytest.raises(GeometryError, match="16 bits"):
        amplitude_to_decibels(torch.tensor([100], dtype=torch.int16))
    for reference in (0.0, -1.0, math.inf):
        with pytest.raises(ConfigError, match="reference: got"):
            amplitude_to_decibels(torch.ones(1), reference=reference)
        with pytest.raises(ConfigError, match="reference: got"):
            decibels_to_amplitude(torch.ones(1), reference=reference)
