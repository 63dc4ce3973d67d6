"""Recorded speech as named sets: spoken digits, and read sentences."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flowatlas.data.dataset import DataSet
from flowatlas.data.files import find
from flowatlas.errors import ConfigError, DataError
from flowatlas.manifolds import Euclidean

__all__ = ["DIGITS", "LIBRIVOX", "LJSPEECH", "Clips", "clips"]


@dataclass(frozen=True)
class Clips:
    """Recordings of different lengths.

    Attributes:
        waves: `(samples,)` each, float32 in [-1, 1).
        rate: samples per second.
        speakers: who speaks in each.
        labels: what is said: digits as text, or sentences.
    """

    waves: tuple[Tensor, ...]
    rate: int
    speakers: tuple[str, ...]
    labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.waves)

    def of(self, *speakers: str) -> tuple[Tensor, ...]:
        """The waves of some speakers.

        Raises:
            ConfigError: one who is not there.
        """
        unknown = sorted(set(speakers) - set(self.speakers))
        if unknown:
            raise ConfigError(
                f"speakers: got {', '.join(unknown)}; there are "
                f"{', '.join(sorted(set(self.speakers)))}."
            )
        pairs = zip(self.waves, self.speakers, strict=True)
        return tuple(wave for wave, who in pairs if who in speakers)


def clips(data: DataSet, data_root: str | os.PathLike[str] | None = None) -> Clips:
    """The recordings of a set, not padded.

    Args:
        data: `DIGITS`, `LJSPEECH` or `LIBRIVOX`.
        data_root: directory with data files; FLOWATLAS_DATA, then the cache, if None.

    Raises:
        DataError: the file is missing or not the right one.
        ConfigError: a set that holds no speech.
    """
    if data.name not in _KINDS:
        raise ConfigError(f"data: got {data.name!r}; sets of speech are {', '.join(_KINDS)}.")
    path = find(data, data_root)
    assert path is not None
    return _read(path, *_KINDS[data.name])


def _read(path: Path, label: str, speaker: str) -> Clips:
    """From concatenated samples of 16 bits and the length of each recording."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            audio, length = arrays["audio"], arrays["length"].astype(np.int64)
            rate, labels = int(arrays["sample_rate"]), arrays[label]
            named = "speaker" in arrays.files
            speakers = arrays["speaker"] if named else np.full(len(length), speaker)
    except (KeyError, OSError, ValueError) as error:
        raise DataError(
            f"{path}: has no readable arrays 'audio', 'length', 'sample_rate' and {label!r} "
            f"({error}). Restore the original file; its sha256 is in `flowatlas data list`."
        ) from error
    if audio.dtype != np.int16 or length.sum() != len(audio) or len(labels) != len(length):
        raise DataError(
            f"{path}: {audio.dtype} samples {audio.shape} do not fit {len(length)} lengths that "
            f"add up to {length.sum()}. Restore the original file."
        )
    whole = torch.from_numpy(audio).float() / 32768
    return Clips(
        tuple(whole.split(length.tolist())),
        rate,
        tuple(str(one) for one in speakers),
        tuple(str(one) for one in labels),
    )


def _padded(label: str, speaker: str) -> Callable[[Path | None], Tensor]:
    """As points of one dimension, which is what named sets hold: silence follows short ones."""

    def read(path: Path | None) -> Tensor:
        assert path is not None
        waves = _read(path, label, speaker).waves
        return torch.nn.utils.rnn.pad_sequence(list(waves), batch_first=True).double()

    return read


#: For each set the array that says what is said, and who speaks if there is no array of that.
_KINDS = {
    "speech/digits": ("digit", ""),
    "speech/ljspeech": ("text", "Linda Johnson"),
    "speech/librivox": ("text", "LibriVox reader"),
}


def _set(name: str, file: str, sha256: str, summary: str, origin: str, licence: str) -> DataSet:
    return DataSet(
        name=f"speech/{name}",
        summary=summary,
        manifold=Euclidean,
        read=_padded(*_KINDS[f"speech/{name}"]),
        origin=origin,
        licence=licence,
        file=f"speech/{file}.npz",
        sha256=sha256,
    )


DIGITS = _set(
    "digits",
    "fsdd",
    "6e763a1b0b31c22205de8b3d14ce97532c088171302a43d688b504188f7b34ec",
    "3000 spoken digits of 6 speakers, 8 kHz, silence after short ones",
    "Jakobovski/free-spoken-digit-dataset@26eb9aaf76e8",
    "CC BY-SA 4.0",
)
LJSPEECH = _set(
    "ljspeech",
    "ljspeech32",
    "f9f53f0ab884b9d3b5aa23b93abf0390221633641424b4ca5525eda045eebe6f",
    "32 sentences of LJSpeech, one speaker, 22.05 kHz, silence after short ones",
    "coqui-ai/TTS@dbf1a08a0d4e (audio), NVIDIA/tacotron2@185cd24e046c (text)",
    "public domain (LJSpeech); MPL-2.0 and BSD-3 (repositories)",
)
LIBRIVOX = _set(
    "librivox",
    "librivox5",
    "e44b44e9d242f276eb039eeb4d791b9b616b685f887c1355d4669fd0b59d4b95",
    "5 sentences of a LibriVox reading, one speaker, 16 kHz, silence after short ones",
    "Debian pocketsphinx-testdata 0.8+5prealpha+1-15",
    "BSD-2-Clause",
)
