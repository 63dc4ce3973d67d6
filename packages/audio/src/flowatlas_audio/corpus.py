"""Voices and noises for training, and others for the test."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import torch
from torch import Tensor

from flowatlas.errors import ConfigError
from flowatlas_audio.bank import MixtureBank
from flowatlas_audio.mixtures import (
    Mixtures,
    at_speeds,
    mixtures,
    resampled,
    synthetic_voice,
    voice,
    without_pauses,
)
from flowatlas_audio.noise import (
    Noise,
    babble,
    bands,
    brown,
    drone,
    engine,
    gusts,
    hum,
    knocks,
    rain,
    rattle,
    shaped,
    sloped,
)
from flowatlas_audio.speech import DIGITS, LIBRIVOX, LJSPEECH, clips

__all__ = ["SPEECH", "TEST_SPEAKERS", "Corpus", "check_speech", "corpus", "generated", "recorded"]

SPEECH = ("recorded", "generated")

#: Of the spoken digits; the four others are trained on.
TEST_SPEAKERS = ("lucas", "theo")
_TRAIN, _TEST = 1, 2
_LEVELS = (0.0, 5.0, 10.0, 15.0)
_SPEEDS = (Fraction(3, 4), Fraction(7, 8), Fraction(1), Fraction(9, 8), Fraction(5, 4))


@dataclass(frozen=True)
class Corpus:
    """Voices, each one wave, of two sets of speakers that have nobody in common.

    Attributes:
        train_voices: to train on.
        test_voices: never trained on.
        rate: of all of them.
    """

    train_voices: tuple[Tensor, ...]
    test_voices: tuple[Tensor, ...]
    rate: int

    @cached_property
    def train_ways(self) -> tuple[tuple[Tensor, ...], ...]:
        """Each voice to train on at five speeds, with its pauses and without."""
        return tuple(
            (*at_speeds(voice, _SPEEDS), *at_speeds(without_pauses(voice, self.rate), _SPEEDS))
            for voice in self.train_voices
        )

    @property
    def train_noises(self) -> Mapping[str, Noise]:
        """Kinds of noise to train on; of people who talk, six or three at once."""
        talkers = [way for ways in self.train_ways for way in ways]
        return {
            "shaped": shaped,
            "sloped": sloped,
            "bands": bands,
            "gusts": gusts,
            "hum": hum,
            "drone": drone,
            "knocks": knocks,
            "rattle": rattle,
            "babble": babble(talkers, 6),
            "chatter": babble(talkers, 3),
        }

    @property
    def test_noises(self) -> Mapping[str, Noise]:
        """Other kinds; babble is of voices that training has not heard."""
        return {
            "brown": brown,
            "engine": engine,
            "rain": rain,
            "babble": babble(self.test_voices),
        }

    def bank(self, count: int, samples: int, seed: int, *, vary: bool = False) -> MixtureBank:
        """Mixtures to train on, at -5 to 20 dB, voices as `train_ways` has them.

        Args:
            count: waves of each kind of noise.
            samples: of an excerpt.
            seed: of the noises.
            vary: whether to vary voices and noises.
        """
        return MixtureBank.made(
            self.train_ways,
            self.train_noises,
            count,
            samples=samples,
            rate=self.rate,
            snr=(-5.0, 20.0),
            generator=_generator(seed, _TRAIN),
            vary=vary,
        )

    def test(self, count: int, samples: int, seed: int) -> Mixtures:
        """Pairs to score on, at 0, 5, 10 and 15 dB."""
        return mixtures(
            self.test_voices,
            self.test_noises,
            count,
            samples=samples,
            rate=self.rate,
            snr=_LEVELS,
            generator=_generator(seed, _TEST),
        )


def check_speech(speech: str) -> None:
    """Raise unless there is a corpus of this kind.

    Raises:
        ConfigError: there is none.
    """
    if speech not in SPEECH:
        raise ConfigError(f"speech: got {speech!r}; {' or '.join(SPEECH)}.")


def corpus(
    speech: str, rate: int, seed: int, data_root: str | os.PathLike[str] | None = None
) -> Corpus:
    """Voices to train on and others to test with.

    Args:
        speech: `"recorded"` or `"generated"`.
        rate: in samples per second.
        seed: of the order of recordings and of pauses, or of all.
        data_root: directory with recordings; the default places if None.

    Raises:
        ConfigError: another kind of speech.
        DataError: recordings are missing.
    """
    check_speech(speech)
    generator = _generator(seed, 0)
    if speech == "recorded":
        return recorded(rate, generator, data_root=data_root)
    return generated(rate, generator)


def recorded(
    rate: int, generator: torch.Generator, *, data_root: str | os.PathLike[str] | None = None
) -> Corpus:
    """Spoken digits and read sentences.

    Raises:
        DataError: a file is missing or not the right one.
    """
    digits, read, other = (clips(one, data_root) for one in (DIGITS, LJSPEECH, LIBRIVOX))
    spoken = {
        who: voice([resampled(w, digits.rate, rate) for w in digits.of(who)], rate, generator)
        for who in sorted(set(digits.speakers))
    }
    sentences, strange = (
        voice([resampled(wave, one.rate, rate) for wave in one.waves], rate, generator)
        for one in (read, other)
    )
    train = [wave for who, wave in spoken.items() if who not in TEST_SPEAKERS]
    test = [spoken[who] for who in TEST_SPEAKERS]
    return Corpus((*train, sentences), (*test, strange), rate)


def generated(rate: int, generator: torch.Generator) -> Corpus:
    """Synthetic vowels of four voices to train on and of three others."""
    voices = [synthetic_voice(30.0, rate, generator) for _ in range(7)]
    return Corpus(tuple(voices[:4]), tuple(voices[4:]), rate)


def _generator(seed: int, part: int) -> torch.Generator:
    """For each part of one seed a stream of its own."""
    return torch.Generator().manual_seed(seed + (part << 32))
