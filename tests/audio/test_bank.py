"""Mixtures that are drawn without end."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from fractions import Fraction

import pytest
import torch

from flowatlas.errors import DataError
from flowatlas_audio import MixtureBank, Mixtures, noise
from flowatlas_audio import bank as bank_module
from flowatlas_audio.mixtures import at_speeds, synthetic_voice, without_pauses

RATE = 8000


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def bank(voices: int = 2) -> MixtureBank:
    spoken = [[synthetic_voice(2.0, RATE, seeded(i))] for i in range(voices)]
    kinds = {"white": noise.white, "hum": noise.hum}
    return MixtureBank.made(
        spoken, kinds, 3, samples=4000, rate=RATE, snr=(-5.0, 20.0), generator=seeded(9)
    )


def test_draws_follow_the_generator_and_are_never_alike() -> None:
    made = bank()
    one, again, other = (made.draw(4, seeded(s)) for s in (1, 1, 2))
    assert torch.equal(one.noisy, again.noisy) and one.kinds == again.kinds
    assert not torch.isclose(one.snr, other.snr).any()
    g = seeded(1)
    made.draw(4, g)
    assert not torch.equal(made.draw(4, g).noisy, one.noisy)


def test_draws_are_clean_waves_plus_noise_at_their_level() -> None:
    made, found = bank(), bank().draw(64, seeded())
    assert found.clean.shape == found.noisy.shape == (64, 4000)
    assert torch.allclose(found.noisy.square().mean(1), torch.ones(64), atol=1e-4)
    added = found.noisy - found.clean
    ratio = 10 * (found.clean.square().sum(1) / added.square().sum(1)).log10()
    assert torch.allclose(ratio, found.snr, atol=1e-2)
    assert -5 <= found.snr.min() < 0 and 15 < found.snr.max() <= 20
    # Both parts are pieces of what is stored, up to their level.
    for i in range(4):
        for part, stored in (
            (found.clean[i], [way for ways in made.voices for way in ways]),
            (added[i], list(made.noises[found.kinds[i]])),
        ):
            assert max(_likeness(part, whole) for whole in stored) > 0.999


def test_voices_ways_waves_and_places_are_drawn_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """400 draws of a choice among n: within 5 deviations of 400 / n."""
    monkeypatch.setattr(bank_module, "mixed", Mixtures)
    voices = tuple(tuple(torch.full((100,), 10.0 * i + j) for j in (1, 2)) for i in (1, 2))
    waves = torch.stack([torch.arange(100.0), torch.arange(1000.0, 1100.0)])
    made = MixtureBank(voices, {"ramps": waves}, 10, RATE, (0.0, 1.0))
    found = made.draw(400, seeded())
    for values, choices in (
        (found.clean[:, 0].tolist(), (11.0, 12.0, 21.0, 22.0)),
        ((found.noisy[:, 0] // 1000).tolist(), (0.0, 1.0)),
    ):
        counts = Counter(values)
        fair = 400 / len(choices)
        deviation = (fair * (1 - 1 / len(choices))) ** 0.5
        assert set(counts) == set(choices)
        assert all(abs(count - fair) < 5 * deviation for count in counts.values())
    begins = found.noisy[:, 0] % 1000
    assert begins.min() < 5 and begins.max() == 90
    assert (found.noisy.diff(dim=1) == 1).all()


def test_excerpts_are_varied_where_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def turned(noise: torch.Tensor, rate: int, generator: torch.Generator) -> torch.Tensor:
        assert rate == RATE
        return noise.flip(1)

    def halved(wave: torch.Tensor, generator: torch.Generator, strength: float) -> torch.Tensor:
        return strength * wave

    monkeypatch.setattr(bank_module, "varied", turned)
    monkeypatch.setattr(bank_module, "filtered", halved)
    monkeypatch.setattr(bank_module, "mixed", Mixtures)
    plain, varied = (replace(bank(), vary=vary).draw(3, seeded()) for vary in (False, True))
    assert torch.equal(varied.noisy, plain.noisy.flip(1))
    assert torch.equal(varied.clean, 0.5 * plain.clean)


def _likeness(part: torch.Tensor, whole: torch.Tensor) -> float:
    """Largest correlation of a wave with the pieces of a longer one."""
    pieces = whole.unfold(0, len(part), 1)
    products = pieces @ part
    return float((products / pieces.norm(dim=1).clamp(min=1e-9) / part.norm()).max())


def test_kinds_and_speakers_are_drawn_alike() -> None:
    """400 draws of a fair choice: below 5 deviations, 50."""
    counts = Counter(bank().draw(400, seeded(3)).kinds)
    assert abs(counts["white"] - 200) < 50 and counts["white"] + counts["hum"] == 400


def test_speed_moves_the_pitch_and_the_length() -> None:
    time = torch.arange(RATE) / RATE
    plain, fast, slow = at_speeds(
        torch.sin(2 * torch.pi * 500 * time), [Fraction(1), Fraction(9, 8), Fraction(7, 8)]
    )
    assert len(plain) == RATE
    for wave, speed in ((fast, 9 / 8), (slow, 7 / 8)):
        assert len(wave) == pytest.approx(RATE / speed, abs=1)
        power = torch.fft.rfft(wave).abs()
        peak = float(power.argmax()) * RATE / len(wave)
        assert peak == pytest.approx(500 * speed, abs=2)


def test_pauses_are_left_out() -> None:
    """Runs of 4 zeros and more at 160 Hz, wherever they are; single zeros are part of speech."""
    wave = torch.tensor([0.0] * 4 + [1, 0, 0, 0, 2] + [0.0] * 6 + [3, 0] + [4] + [0.0] * 5)
    assert without_pauses(wave, 160).tolist() == [1, 0, 0, 0, 2, 3, 0, 4]
    assert without_pauses(torch.ones(3), 160).tolist() == [1, 1, 1]
    assert len(without_pauses(torch.zeros(9), 160)) == 0


def test_short_waves_are_refused() -> None:
    with pytest.raises(DataError, match="4000 samples or more"):
        MixtureBank(((torch.zeros(3999),),), {"a": torch.zeros(1, 4000)}, 4000, RATE, (0.0, 1.0))
    with pytest.raises(DataError, match="4000 samples or more"):
        MixtureBank(((torch.zeros(4000),),), {"a": torch.zeros(1, 3999)}, 4000, RATE, (0.0, 1.0))
    with pytest.raises(DataError, match="got 1 and 0"):
        MixtureBank(((torch.zeros(4000),),), {}, 4000, RATE, (0.0, 1.0))
