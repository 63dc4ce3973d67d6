"""Measures of cleaned speech, and spectral subtraction."""

from __future__ import annotations

import builtins
import sys
from typing import Any

import pytest
import torch

from flowatlas.errors import CapabilityError, ConfigError, DataError, ShapeError
from flowatlas_audio import (
    ComplexSpectrogram,
    estoi,
    mix,
    noise,
    pesq,
    si_sdr,
    spectral_subtraction,
)
from flowatlas_audio.mixtures import synthetic_voice

RATE = 8000


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def speech() -> torch.Tensor:
    return synthetic_voice(3.0, RATE, seeded())


def test_distortion_of_orthogonal_noise_is_its_level() -> None:
    t = 2 * torch.pi * torch.arange(4000, dtype=torch.float64) / 4000
    clean, other = torch.sin(5 * t), torch.sin(9 * t)
    for scale, offset in ((1.0, 0.0), (7.0, 2.0), (-3.0, 0.0)):
        found = si_sdr(scale * (clean + 0.1 * other) + offset, clean)
        assert float(found) == pytest.approx(20.0, abs=1e-6)
    # Without the projection, an estimate of half the size would have 6 dB.
    assert float(si_sdr(0.5 * clean, clean)) > 200
    assert si_sdr(torch.ones(2, 3, 50), torch.randn(2, 3, 50)).shape == (2, 3)


def test_quality_and_intelligibility_fall_with_noise() -> None:
    clean = speech()
    levels = [mix(clean, noise.white(len(clean), RATE, seeded(1)), snr) for snr in (20.0, 5.0)]
    for measure, best in ((pesq, 4.5), (estoi, 1.0)):
        perfect, good, bad = (measure(one, clean, RATE) for one in (clean, *levels))
        assert bad < good - 0.05 < perfect <= best + 0.1
    assert estoi(clean, clean, RATE) == pytest.approx(1.0, abs=1e-6)


def test_packages_are_asked_for_the_right_measure_of_the_right_wave() -> None:
    """Modes of a rate differ, and so does what is degraded from what it is compared with."""
    package, stoi = pytest.importorskip("pesq"), pytest.importorskip("pystoi").stoi
    clean = synthetic_voice(3.0, 16000, seeded())
    bad = mix(clean, noise.white(len(clean), 16000, seeded(1)), 15.0)
    x, y = clean.double().numpy(), bad.double().numpy()
    for rate, mode, other in ((8000, "nb", "wb"), (16000, "wb", "nb")):
        found = pesq(bad, clean, rate)
        assert found == pytest.approx(package.pesq(rate, x, y, mode), abs=1e-6)
        assert abs(found - package.pesq(rate, y, x, mode)) > 0.01
        assert rate == 8000 or abs(found - package.pesq(rate, x, y, other)) > 0.01
    found = estoi(bad, clean, 16000)
    assert found == pytest.approx(stoi(x, y, 16000, extended=True), abs=1e-9)
    assert abs(found - stoi(x, y, 16000, extended=False)) > 0.01
    assert abs(found - stoi(y, x, 16000, extended=True)) > 0.001


def test_bad_input_is_named() -> None:
    clean = speech()
    with pytest.raises(ShapeError, match="estimate"):
        si_sdr(clean[1:], clean)
    with pytest.raises(DataError, match="silent"):
        si_sdr(clean, torch.zeros_like(clean))
    with pytest.raises(ConfigError, match="8000 and 16000"):
        pesq(clean, clean, 22050)
    with pytest.raises(ShapeError, match="one wave at a time"):
        estoi(clean.unsqueeze(0), clean.unsqueeze(0), RATE)
    with pytest.raises(DataError, match="PESQ finds no speech"):
        pesq(clean[:100], clean[:100], RATE)


@pytest.mark.parametrize(("name", "measure"), [("pesq", pesq), ("pystoi", estoi)])
def test_absent_packages_are_named(
    name: str, measure: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(module: str, *args: Any, **kwargs: Any) -> Any:
        if module == name:
            raise ImportError(name)
        return real(module, *args, **kwargs)

    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(CapabilityError, match=r"flowatlas-audio\[metrics\]"):
        measure(speech(), speech(), RATE)


def test_subtraction_takes_steady_noise_away() -> None:
    clean, front = speech(), ComplexSpectrogram(256, 64)
    noisy = mix(clean, noise.white(len(clean), RATE, seeded(1)), 5.0)
    found = spectral_subtraction(noisy, front)
    assert float(si_sdr(found, clean) - si_sdr(noisy, clean)) > 3
    # Nothing is taken away with a strength of zero.
    assert torch.allclose(spectral_subtraction(noisy, front, strength=0.0), noisy, atol=1e-4)
    assert (spectral_subtraction(torch.zeros(1000), front) == 0).all()
    with pytest.raises(ConfigError, match="quiet"):
        spectral_subtraction(noisy, front, quiet=0.0)
