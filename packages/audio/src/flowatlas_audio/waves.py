"""Waves in files: what can be read, and what is wrong with the rest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowatlas.errors import CapabilityError, ConfigError, DataError, GeometryError, ShapeError
from flowatlas_audio.mixtures import resampled

__all__ = ["Wave", "read_wave", "write_wave"]


@dataclass(frozen=True)
class Wave:
    """A recording of one channel.

    Attributes:
        samples: `(samples,)`, float32, full scale is 1.
        rate: samples per second.
    """

    samples: Tensor
    rate: int


def read_wave(
    path: str | Path, *, rate: int | None = None, resample: bool = False, downmix: bool = False
) -> Wave:
    """A WAV, FLAC or other file that libsndfile reads.

    Args:
        path: of the file.
        rate: that is needed; whatever the file has if None.
        resample: whether a file of another rate is resampled, or an error.
        downmix: whether the channels of a file that has several are averaged, or an error.

    Raises:
        DataError: the file is missing, corrupt, cut short, empty, of another rate, of several
            channels, or has samples that are not finite.
        CapabilityError: the package soundfile is not installed.

    Example:
        ```python
        from flowatlas_audio import read_wave, write_wave

        write_wave("tone.wav", torch.sin(torch.arange(8000) * 0.3), 8000)
        read_wave("tone.wav").rate  # 8000
        ```
    """
    soundfile, place = _soundfile(), Path(path)
    if not place.is_file():
        raise DataError(f"{path}: no such file. Check the path.")
    _check_whole(place)
    try:
        values, found = soundfile.read(str(place), dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, RuntimeError) as error:
        raise DataError(
            f"{path}: it cannot be read as audio ({error}). Give a WAV, FLAC or OGG file; convert "
            "others first."
        ) from error
    samples = torch.from_numpy(values)
    if len(samples) == 0:
        raise DataError(f"{path}: it holds no samples. Record it again, or leave it out.")
    if not bool(torch.isfinite(samples).all()):
        raise DataError(f"{path}: it has samples that are NaN or infinite. Write it again.")
    if samples.shape[1] > 1 and not downmix:
        raise DataError(
            f"{path}: it has {samples.shape[1]} channels; one is needed. Pass downmix=True "
            "(--downmix) to average them."
        )
    mono = samples.mean(1)
    if rate is not None and found != rate:
        if not resample:
            raise DataError(
                f"{path}: its rate is {found} samples per second; {rate} are needed. Pass "
                "resample=True (--resample) to convert it."
            )
        mono, found = resampled(mono, found, rate), rate
    return Wave(mono, int(found))


def write_wave(path: str | Path, samples: Tensor, rate: int) -> Path:
    """Write a WAV file of 16 bits, or whatever the ending says.

    Args:
        path: of the file; its directory must exist.
        samples: `(samples,)`; values beyond full scale are clipped.
        rate: samples per second.

    Returns:
        The path.

    Raises:
        ShapeError: several channels, or none.
        GeometryError: samples that are not finite.
        ConfigError: a rate below 1.
        DataError: the file cannot be written, or its ending is unknown.
    """
    soundfile = _soundfile()
    if samples.ndim != 1 or not samples.is_floating_point():
        raise ShapeError(
            f"samples: got shape {tuple(samples.shape)}, {samples.dtype}; need (samples,) of "
            "floating-point numbers, one channel."
        )
    if not bool(torch.isfinite(samples).all()):
        raise GeometryError("samples: some are NaN or infinite; a file holds finite ones.")
    if rate < 1:
        raise ConfigError(f"rate: got {rate}; it must be 1 or more samples per second.")
    values = samples.detach().cpu().float().clamp(-1, 1).numpy()
    try:
        soundfile.write(str(path), values, rate)
    except (soundfile.SoundFileError, RuntimeError, OSError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: it cannot be written ({error}). Name a file in a directory that exists, with "
            "the ending .wav or .flac."
        ) from error
    return Path(path)


def _check_whole(path: Path) -> None:
    """Raise if a WAV file is shorter than it says: libsndfile reads what is left without a word."""
    with open(path, "rb") as file:
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return
        size, position = path.stat().st_size, 12
        while position + 8 <= size:
            file.seek(position)
            name, length = file.read(4), int.from_bytes(file.read(4), "little")
            position += 8
            # Writers that could not go back to the head leave a length of 0 or of the maximum.
            if name == b"data" and length not in (0, 2**32 - 1) and position + length > size:
                raise DataError(
                    f"{path}: it is cut short: {length} bytes of samples are announced and "
                    f"{size - position} are there. Copy or download it again."
                )
            position += length + length % 2


def _soundfile() -> Any:
    try:
        import soundfile
    except ImportError as error:
        raise CapabilityError(
            "soundfile: it is not installed, and files are read by it. pip install soundfile."
        ) from error
    return soundfile
