"""Complex and mel spectrograms, against torchaudio and as inverses."""

from __future__ import annotations

import math

import pytest
import torch

from flowatlas.errors import ConfigError, DataError, ShapeError
from flowatlas_audio import (
    ComplexSpectrogram,
    LogMel,
    griffin_lim,
    load_torchaudio,
    mel_filters,
    mix,
)

torchaudio = load_torchaudio()


def wave(samples: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(2, samples, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("n_fft", "hop"), [(256, 128), (256, 64), (400, 100)])
def test_transform_is_that_of_torchaudio(n_fft: int, hop: int) -> None:
    x = wave(4001)
    theirs = torchaudio.transforms.Spectrogram(
        n_fft, hop_length=hop, power=None, pad_mode="constant"
    )(x)
    ours = ComplexSpectrogram(n_fft, hop).transform(x)
    assert ours.shape == theirs.shape and ours.shape[-1] == 1 + 4001 // hop
    assert (ours - theirs).abs().max() < 1e-5


@pytest.mark.parametrize("power", [0.5, 0.3, 1.0])
@pytest.mark.parametrize("samples", [1, 50, 128, 4001])
def test_decoding_inverts_encoding(power: float, samples: int) -> None:
    front = ComplexSpectrogram(256, 128, power, 0.7)
    x = wave(samples).double()
    frames = front.encode(x)
    assert frames.shape == (2, front.frames(samples), front.dim) and frames.dtype == torch.float64
    assert (front.decode(frames, samples) - x).abs().max() < 1e-9
    single = front.encode(x[0].float())
    assert (front.decode(single, samples) - x[0]).abs().max() < 1e-4


def test_magnitudes_are_compressed_and_phases_kept() -> None:
    front, x = ComplexSpectrogram(256, 128, 0.5, 2.0), wave(2000).double()
    plain = front.transform(x).mT
    found = torch.complex(*front.encode(x).chunk(2, -1))
    assert torch.allclose(found.abs(), 2 * plain.abs().sqrt())
    assert torch.allclose(found * plain.conj(), (found * plain.conj()).abs().to(found.dtype))


def test_fitted_scale_makes_numbers_of_order_one() -> None:
    x = 0.03 * wave(4000)
    front = ComplexSpectrogram().fitted([x])
    assert float(front.encode(x).square().mean()) == pytest.approx(1.0, rel=1e-4)
    with pytest.raises(DataError, match="silent"):
        ComplexSpectrogram().fitted([torch.zeros(1000)])


def test_silence_has_finite_gradients() -> None:
    x = torch.zeros(1000, requires_grad=True)
    front = ComplexSpectrogram()
    front.encode(x).sum().backward()
    assert x.grad is not None and torch.isfinite(x.grad).all()
    frames = torch.zeros(8, front.dim, requires_grad=True)
    front.decode(frames, 900).sum().backward()
    assert frames.grad is not None and torch.isfinite(frames.grad).all()


def test_filters_and_mel_are_those_of_torchaudio() -> None:
    theirs = torchaudio.functional.melscale_fbanks(201, 0.0, 8000.0, 40, 16000)
    assert (mel_filters(201, 40, 16000) - theirs).abs().max() < 1e-5
    x = wave(4000)
    front = LogMel(16000, mels=40, n_fft=400, hop=160, floor=1e-5, mean=1.5, std=2.5)
    mel = torchaudio.transforms.MelSpectrogram(
        16000, n_fft=400, hop_length=160, n_mels=40, pad_mode="constant"
    )(x)
    expected = (mel.clamp(min=1e-5).log() - 1.5) / 2.5
    assert (front.encode(x) - expected.mT).abs().max() < 1e-5
    assert torch.allclose(front.energies(front.encode(x)), mel.mT, rtol=1e-4)


def test_mel_normalisation_is_that_of_the_training_waves() -> None:
    x = wave(8000)
    found = LogMel(8000, mels=20).fitted([x[0], x[1]]).encode(x)
    assert float(found.mean()) == pytest.approx(0, abs=1e-4)
    assert float(found.std()) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_griffin_lim_is_that_of_torchaudio(momentum: float) -> None:
    front, x = ComplexSpectrogram(256, 64), wave(6400)
    magnitude = front.transform(x).abs()
    ours = griffin_lim(
        magnitude, front, 6400, steps=4, momentum=momentum, phase=torch.zeros_like(magnitude)
    )
    theirs = torchaudio.functional.griffinlim(
        magnitude,
        torch.hann_window(256),
        256,
        64,
        256,
        1.0,
        4,
        momentum,
        6400,
        False,
    )
    # Theirs reflects at the ends, where ours is silent; each step carries that one window inwards.
    inner = slice(1500, -1500)
    assert (ours - theirs)[:, inner].abs().max() < 1e-4


def test_griffin_lim_comes_closer_with_steps() -> None:
    front, x = ComplexSpectrogram(256, 64), wave(4000)
    magnitude = front.transform(x).abs()

    def error(steps: int) -> float:
        found = front.transform(griffin_lim(magnitude, front, 4000, steps=steps)).abs()
        return float((found - magnitude).norm() / magnitude.norm())

    assert error(64) < 0.7 * error(4) and error(64) < 0.25
    exact = griffin_lim(magnitude, front, 4000, steps=1, phase=front.transform(x).angle())
    assert (exact - x).abs().max() < 1e-4


def test_bad_input_is_named() -> None:
    front = ComplexSpectrogram()
    for arguments in ({"n_fft": 255}, {"hop": 129}, {"power": 0.0}, {"scale": math.inf}):
        with pytest.raises(ConfigError, match=next(iter(arguments))):
            ComplexSpectrogram(**arguments)
    with pytest.raises(ShapeError, match="wave"):
        front.encode(torch.zeros(5, dtype=torch.int16))
    with pytest.raises(ShapeError, match="frames"):
        front.decode(torch.zeros(4, 7), 100)
    with pytest.raises(ShapeError, match="samples"):
        front.decode(torch.zeros(4, 258), 1000)
    with pytest.raises(ConfigError, match="mels"):
        mel_filters(129, 128, 8000)
    with pytest.raises(ConfigError, match="momentum"):
        griffin_lim(torch.zeros(129, 8), front, 1000, momentum=1.0)
    with pytest.raises(ShapeError, match="magnitude"):
        griffin_lim(torch.zeros(129, 9), front, 1000)
    with pytest.raises(DataError, match="silent"):
        mix(torch.zeros(5), torch.ones(5), 0.0)
