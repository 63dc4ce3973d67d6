"""Noises, mixtures, and the speech they are mixed with."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch

from flowatlas.errors import ConfigError, DataError, ShapeError
from flowatlas_audio import clips, mix, mixtures, noise
from flowatlas_audio.corpus import TEST_SPEAKERS, generated, recorded
from flowatlas_audio.mixtures import excerpt, synthetic_voice, voice, without_pauses
from flowatlas_audio.speech import DIGITS, LIBRIVOX, LJSPEECH

RATE = 8000
KINDS = (
    noise.white,
    noise.brown,
    noise.shaped,
    noise.sloped,
    noise.bands,
    noise.gusts,
    noise.hum,
    noise.engine,
    noise.drone,
    noise.knocks,
    noise.rattle,
    noise.rain,
    noise.babble([torch.randn(5000, generator=torch.Generator().manual_seed(3))]),
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("samples", [257, 16000])
def test_noises_have_unit_power_and_follow_the_generator(kind: noise.Noise, samples: int) -> None:
    found = kind(samples, RATE, seeded())
    assert found.shape == (samples,) and found.dtype == torch.float32
    assert float(found.square().mean()) == pytest.approx(1.0, rel=1e-4)
    assert torch.equal(found, kind(samples, RATE, seeded()))
    assert not torch.equal(found, kind(samples, RATE, seeded(1)))


def _power(wave: torch.Tensor, low: float, high: float) -> float:
    frequency = torch.fft.rfftfreq(len(wave), 1 / RATE)
    power = torch.fft.rfft(wave.double()).abs().square()
    return float(power[(frequency >= low) & (frequency < high)].sum() / power.sum())


def test_spectra_are_those_of_the_names() -> None:
    n = 2**16
    # White: a share of the band, up to sqrt(2 / bins) = 1 % of it (three deviations).
    white = noise.white(n, RATE, seeded())
    assert _power(white, 1000, 2000) == pytest.approx(0.25, rel=0.05)
    # 1/f^2: the octave above has half the power (integral of f^-2 over [f, 2f] is 1/(2f)).
    brown = noise.brown(n, RATE, seeded())
    assert _power(brown, 200, 400) / _power(brown, 400, 800) == pytest.approx(2.0, rel=0.1)
    hum = noise.hum(n, RATE, seeded())
    lines = [
        sum(_power(hum, base * k - 1, base * k + 1) for k in range(1, 60)) for base in (50, 60)
    ]
    assert max(lines) > 0.9 and min(lines) < 0.5


def test_kinds_to_train_on_are_what_they_say() -> None:
    n = 2**15
    for seed in range(8):
        # A straight line beyond the corner: one octave is to the next as that to the one after.
        wave = noise.sloped(n, RATE, seeded(seed))
        low, middle, high = (_power(wave, f, 2 * f) for f in (400, 800, 1600))
        assert middle / low == pytest.approx(high / middle, rel=0.15)
        # Octaves of density f^-2e, e in [-.2, .8], have ratios 2^(1 - 2e): .66 to 2.64.
        assert 0.6 < middle / low < 2.9
        # Lines: a fiftieth of the frequencies has more than three tenths of the power, at no
        # engine's pitch; of white noise it would be a tenth.
        drone = torch.fft.rfft(noise.drone(n, RATE, seeded(seed)).double()).abs().square()
        assert _largest(drone, 0.02) > 0.3
        assert int(drone.argmax()) * RATE / n > 60
    # Single clicks stand out of what is between them: fourth moments beyond a normal law's 3.
    moments = [float(noise.rattle(n, RATE, seeded(i)).pow(4).mean()) for i in range(8)]
    assert min(moments) > 3.3 and max(moments) > 20
    # Bands: some spectra are narrow, some broad; white noise has a tenth there.
    shares = [
        _largest(torch.fft.rfft(noise.bands(n, RATE, seeded(i))).abs().square(), 0.02)
        for i in range(8)
    ]
    assert min(shares) < 0.3 and max(shares) > 0.3 and min(shares) > 0.1


def test_engines_wander_and_hums_are_of_both_mains() -> None:
    """Two of a thousand bins hold most of steady lines, and little of lines that wander."""
    for seed in range(5):
        power = torch.fft.rfft(noise.engine(2**15, RATE, seeded(seed)).double()).abs().square()
        assert _largest(power, 0.002) < 0.4
    steady = [noise.hum(2**15, RATE, seeded(i)) for i in range(12)]
    assert _largest(torch.fft.rfft(steady[0]).abs().square(), 0.002) > 0.7
    fifty = [_lines(one, 50) > _lines(one, 60) for one in steady]
    assert 0 < sum(fifty) < 12


def _lines(wave: torch.Tensor, base: int) -> float:
    return sum(_power(wave, base * k - 1, base * k + 1) for k in range(1, 50))


def test_gusts_swell() -> None:
    """The logarithm of their amplitude has deviation 1, 8.7 dB; that of steady noise is flat."""
    spread = {}
    for kind in (noise.gusts, noise.shaped):
        waves = torch.stack([kind(2**15, RATE, seeded(i)) for i in range(10)])
        power = waves.view(10, -1, 1024).square().mean(-1)
        spread[kind] = float((10 * power.log10()).std(1).mean())
    assert 5 < spread[noise.gusts] < 12 and spread[noise.shaped] < 2


def test_slopes_are_level_up_to_their_corner() -> None:
    """Corners are uniform from 50 to 300 Hz: with one beyond 200 the octaves below have ratio 2."""
    bent = 0
    for seed in range(40):
        wave = noise.sloped(2**15, RATE, seeded(seed))
        low = _power(wave, 100, 200) / _power(wave, 50, 100)
        high = _power(wave, 1600, 3200) / _power(wave, 800, 1600)
        bent += abs(math.log2(low) - 1) < 0.3 and abs(math.log2(high) - 1) > 0.5
    # Three of five corners are beyond 150 Hz, and half of the slopes that steep: a third of 40,
    # give or take four deviations of 3. Without corners there would be none.
    assert 2 <= bent <= 25


def test_babble_has_so_many_talkers_equally_loud() -> None:
    """Talkers are tones here, of levels of their own; repeats of one talker are rare among 400."""
    time = torch.arange(1000) / 1000
    k = torch.arange(1, 401).view(-1, 1)
    voices = list((1.0 + k % 7) * torch.sin(2 * torch.pi * k * time))
    for talkers in (1, 3, 6):
        power = torch.fft.rfft(noise.babble(voices, talkers)(1000, 1000, seeded(3))).abs().square()
        share = power[1:401] / power.sum()
        heard = share[share > 1e-6]
        assert len(heard) == talkers
        assert torch.allclose(heard, torch.full_like(heard, 1 / talkers), rtol=1e-3)


def _largest(power: torch.Tensor, share: float) -> float:
    """The part of the power that the strongest bins hold."""
    kept = power.sort(descending=True).values[: int(share * len(power))]
    return float(kept.sum() / power.sum())


@pytest.mark.parametrize("snr", [-5.0, 0.0, 12.5])
def test_level_is_exact(snr: float) -> None:
    clean, added = torch.randn(3, 4000, generator=seeded()), torch.rand(3, 4000) * 7
    for at in (snr, torch.tensor([snr, 3.0, 40.0])):
        found = mix(clean, added, at)
        power = [a.double().square().sum(-1) for a in (clean, found - clean)]
        measured = 10 * (power[0] / power[1]).log10()
        expected = torch.as_tensor(at, dtype=torch.float64).expand(3)
        assert torch.allclose(measured, expected, atol=2e-3)


def test_mixtures_have_every_voice_with_every_noise() -> None:
    voices = [synthetic_voice(2.0, RATE, seeded(i)) for i in range(3)]
    kinds = {"white": noise.white, "brown": noise.brown}
    found = mixtures(
        voices, kinds, 12, samples=4000, rate=RATE, snr=(0.0, 5.0, 10.0), generator=seeded()
    )
    assert found.clean.shape == found.noisy.shape == (12, 4000)
    assert found.kinds[:6] == ("white",) * 3 + ("brown",) * 3
    assert set(zip(found.kinds, found.snr.tolist(), strict=True)) >= {("white", 0), ("brown", 5)}
    assert torch.allclose(found.noisy.square().mean(1), torch.ones(12), atol=1e-4)
    power = [a.square().sum(1) for a in (found.clean, found.noisy - found.clean)]
    assert torch.allclose(10 * (power[0] / power[1]).log10(), found.snr, atol=1e-2)


def test_every_kind_has_every_level_equally_often() -> None:
    found = generated(RATE, seeded()).test(48, 4000, 0)
    pairs = Counter(zip(found.kinds, found.snr.tolist(), strict=True))
    assert len(pairs) == 16 and set(pairs.values()) == {3}


def test_excerpts_are_no_pauses() -> None:
    """Faint breath, 40 dB below, is not chosen; speech 10 dB below is."""
    wave = torch.cat([torch.full((1000,), level) for level in (1.0, 0.01, 0.3)])
    generator = seeded()
    loud = [float(excerpt(wave, 10, generator).amin()) for _ in range(200)]
    assert min(loud) < 1.0
    assert sum(one < 0.1 for one in loud) < 10  # only those across an edge
    assert sum(one == pytest.approx(0.3) for one in loud) > 50


def test_silence_and_wrong_shapes_are_refused() -> None:
    with pytest.raises(ShapeError, match="noise"):
        mix(torch.ones(5), torch.ones(6), 0.0)
    with pytest.raises(DataError, match="noise: a wave is silent"):
        mix(torch.ones(5), torch.zeros(5), 0.0)
    with pytest.raises(DataError, match="none"):
        noise.babble([])
    with pytest.raises(DataError, match="voices"):
        mixtures(
            [torch.ones(10)], {"w": noise.white}, 1, samples=11, rate=8, snr=(0, 1),
            generator=seeded(),
        )  # fmt: skip
    quiet = torch.zeros(20_000)
    quiet[0] = 1.0
    with pytest.raises(DataError, match="silent"):
        mixtures(
            [quiet], {"w": noise.white}, 1, samples=11, rate=8, snr=(0, 1), generator=seeded(1)
        )


def test_generated_speech_is_voiced_and_shared_by_nobody() -> None:
    corpus = generated(RATE, seeded())
    assert not set(corpus.train_noises) - {"babble"} & set(corpus.test_noises)
    for spoken, ways in zip(corpus.train_voices, corpus.train_ways, strict=True):
        speeds = [len(spoken) / len(way) for way in ways[:5]]
        assert speeds == pytest.approx([0.75, 0.875, 1, 1.125, 1.25], rel=1e-4)
        assert torch.equal(ways[2], spoken)
        assert torch.equal(ways[7], without_pauses(spoken, RATE)) and len(ways[7]) < len(spoken)
    assert corpus.bank(1, 100, 0).voices == corpus.train_ways
    assert corpus.bank(1, 100, 0, vary=True).vary and not corpus.bank(1, 100, 0).vary
    for wave in (*corpus.train_voices, *corpus.test_voices):
        assert wave.shape == (30 * RATE,) and torch.isfinite(wave).all()
        assert _power(wave, 60, 2500) > 0.8


@pytest.mark.parametrize(
    ("data", "count", "rate", "speakers"),
    [(DIGITS, 3000, 8000, 6), (LJSPEECH, 32, 22050, 1), (LIBRIVOX, 5, 16000, 1)],
)
def test_recordings_are_read(data: object, count: int, rate: int, speakers: int) -> None:
    try:
        found = clips(data)  # type: ignore[arg-type]
    except DataError as error:
        pytest.skip(f"no file: {error}")
    assert len(found) == len(found.labels) == count and found.rate == rate
    assert len(set(found.speakers)) == speakers
    assert all(0 < float(wave.abs().max()) <= 1 for wave in found.waves)
    with pytest.raises(ConfigError, match="speakers"):
        found.of("nobody")


def test_speakers_of_the_test_are_not_trained_on() -> None:
    try:
        corpus, digits = recorded(RATE, seeded()), clips(DIGITS)
    except DataError as error:
        pytest.skip(f"no file: {error}")
    assert len(corpus.train_voices) == 5 and len(corpus.test_voices) == 3
    lengths = {who: sum(len(w) for w in digits.of(who)) for who in set(digits.speakers)}
    for who, wave in zip(TEST_SPEAKERS, corpus.test_voices, strict=False):
        assert 0 < len(wave) - lengths[who] < 500 * RATE * 0.26
    heard = {round(float(w.double().square().sum())) for w in corpus.train_voices}
    assert not heard & {round(float(w.double().square().sum())) for w in corpus.test_voices}


def test_a_voice_is_its_recordings_with_pauses() -> None:
    waves = [torch.full((100,), 3.0), torch.full((50,), -2.0)]
    found = voice(waves, 1000, seeded())
    assert found.abs().unique().tolist() == [0.0, 1.0]
    assert int((found > 0).sum()) == 100 and int((found < 0).sum()) == 50
