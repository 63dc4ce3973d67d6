"""Waves in files."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from flowatlas.errors import ConfigError, DataError, GeometryError, ShapeError
from flowatlas_audio import read_wave, write_wave

TONE = 0.5 * torch.sin(2 * math.pi * 440 * torch.arange(8000) / 8000)


@pytest.mark.parametrize("ending", ["wav", "flac"])
def test_round_trip_to_sixteen_bits(tmp_path: Path, ending: str) -> None:
    path = write_wave(tmp_path / f"tone.{ending}", TONE, 8000)
    found = read_wave(path, rate=8000)
    assert found.rate == 8000 and found.samples.dtype == torch.float32
    assert (found.samples - TONE).abs().max() <= 1 / 32768


def test_what_is_beyond_full_scale_is_clipped(tmp_path: Path) -> None:
    found = read_wave(write_wave(tmp_path / "loud.wav", 4 * TONE, 8000)).samples
    # Wrapped samples would have the wrong sign.
    assert (found * TONE >= 0).all() and found.abs().max() > 0.99


def test_another_rate_is_an_error_or_is_converted(tmp_path: Path) -> None:
    path = write_wave(tmp_path / "tone.wav", TONE, 8000)
    with pytest.raises(DataError, match=r"tone\.wav.*rate is 8000.*resample=True"):
        read_wave(path, rate=16000)
    found = read_wave(path, rate=16000, resample=True)
    exact = 0.5 * torch.sin(2 * math.pi * 440 * torch.arange(16000) / 16000)
    assert found.rate == 16000 and found.samples.shape == (16000,)
    assert (found.samples - exact)[200:-200].abs().max() < 2e-3


def test_channels_are_an_error_or_are_averaged(tmp_path: Path) -> None:
    import soundfile

    path = tmp_path / "two.wav"
    both = torch.stack([TONE, 0.5 * TONE], 1)
    soundfile.write(str(path), both.numpy(), 8000)
    with pytest.raises(DataError, match=r"two\.wav.*2 channels.*downmix=True"):
        read_wave(path)
    assert (read_wave(path, downmix=True).samples - 0.75 * TONE).abs().max() < 1e-4


@pytest.mark.parametrize("keep", [0, 4, 40, 44, 1000, 16043])
def test_files_cut_short_are_refused(tmp_path: Path, keep: int) -> None:
    path = write_wave(tmp_path / "tone.wav", TONE, 8000)
    content = path.read_bytes()
    assert len(content) == 16044
    path.write_bytes(content[:keep])
    with pytest.raises(DataError, match=r"tone\.wav"):
        read_wave(path)


def test_files_that_are_no_audio_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.wav: no such file"):
        read_wave(tmp_path / "absent.wav")
    for content in (b"this is text", bytes(range(256)) * 8):
        (tmp_path / "other.wav").write_bytes(content)
        with pytest.raises(DataError, match=r"other\.wav.*cannot be read as audio"):
            read_wave(tmp_path / "other.wav")
    with pytest.raises(DataError, match="no samples"):
        read_wave(write_wave(tmp_path / "empty.wav", torch.zeros(0), 8000))


def test_bad_samples_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    with pytest.raises(GeometryError, match="NaN"):
        write_wave(path, torch.tensor([0.0, math.nan]), 8000)
    with pytest.raises(ShapeError, match=r"\(samples,\)"):
        write_wave(path, torch.zeros(2, 5), 8000)
    with pytest.raises(ConfigError, match="rate"):
        write_wave(path, TONE, 0)
    with pytest.raises(DataError, match="cannot be written"):
        write_wave(tmp_path / "no" / "x.wav", TONE, 8000)
    import soundfile

    soundfile.write(str(path), [0.0, math.nan], 8000, subtype="FLOAT")
    with pytest.raises(DataError, match=r"x\.wav.*NaN"):
        read_wave(path)
