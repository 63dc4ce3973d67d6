"""Noises that are made various."""

from __future__ import annotations

import math

import pytest
import torch

from flowatlas.errors import ShapeError
from flowatlas_audio import noise
from flowatlas_audio.variation import added, filtered, swelling, varied

RATE = 8000


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def hums(count: int) -> torch.Tensor:
    return torch.stack([noise.white(4000, RATE, seeded(i)) for i in range(count)])


def test_variants_are_of_root_mean_square_one_and_follow_the_generator() -> None:
    plain = 3 * hums(20)
    found, again, other = (varied(plain, RATE, seeded(s)) for s in (1, 1, 2))
    assert found.shape == plain.shape and found.dtype == plain.dtype
    assert torch.allclose(found.square().mean(1), torch.ones(20), atol=1e-5)
    assert torch.equal(found, again) and not torch.isclose(found, other).all(1).any()
    # Silence stays silence.
    assert torch.equal(varied(torch.zeros(2, 50), RATE, seeded()), torch.zeros(2, 50))


def test_half_have_another_one_added_up_to_ten_decibels_below() -> None:
    """Harmonics stand for waves: they are orthogonal, so that products tell what was added."""
    time = torch.arange(1000) / 1000
    k = torch.arange(1, 401).view(-1, 1)
    unit = math.sqrt(2) * torch.sin(2 * torch.pi * k * time)
    share = added(5 * unit, seeded()) @ unit.T / 1000
    # Itself is there once; now and then it is drawn as its own other.
    other = share.clone().fill_diagonal_(0.0)
    assert (share.diagonal() > 0.999).all()
    assert ((other > 0.01).sum(1) <= 1).all()
    level = other.max(1).values
    among = level[level > 0.01]
    # 400 fair coins: within 5 deviations, 50.
    assert abs(len(among) - 200) < 50
    decibels = 20 * among.log10()
    assert -10.01 < decibels.min() < -9 and -1 < decibels.max() < 0.01
    assert float(decibels.mean()) == pytest.approx(-5, abs=5 * 10 / math.sqrt(12 * len(among)))


def test_filters_have_the_spread_of_their_formula() -> None:
    """log G at frequency f has variance (1/4) sum cos^2(pi k sqrt f) / k, by 2000 draws."""
    pulse = torch.zeros(2000, 4064)
    pulse[:, 2032] = 1.0
    log = torch.fft.rfft(filtered(pulse, seeded()), 8128).abs().log()
    for place in (0.02, 0.25, 0.6, 1.0):
        k = torch.arange(1, 5)
        at = round(place * 4064)
        expected = 0.25 * float((torch.cos(torch.pi * k * math.sqrt(place)).square() / k).sum())
        # The variance of 2000 draws has a relative deviation of sqrt(2 / 1999) = 0.032.
        assert float(log[:, at].var()) == pytest.approx(expected, rel=0.16)


def test_strength_scales_the_logarithm() -> None:
    pulse = torch.zeros(5, 4064)
    pulse[:, 2032] = 1.0
    whole, half = (
        torch.fft.rfft(filtered(pulse, seeded(), s), 8128).abs().log() for s in (1.0, 0.5)
    )
    assert torch.allclose(half, 0.5 * whole, atol=1e-3)


def test_filters_do_not_go_round() -> None:
    """A pulse at the end does not ring at the beginning; without delay it rings on both sides."""
    pulse = torch.zeros(50, 4000)
    pulse[:, -1] = 1.0
    found = filtered(pulse, seeded())
    assert found[:, :2000].abs().max() < 0.05 * found[:, -1].abs().min()
    pulse = pulse.roll(2000, 1)
    middle = filtered(pulse, seeded())[:, 1998:2001]
    assert torch.allclose(middle[:, 0], middle[:, 2], atol=1e-4)


def test_three_of_ten_swell_within_their_depth() -> None:
    gain = swelling(torch.ones(1000, RATE), RATE, seeded())
    moved = (gain != 1).any(1)
    # 5 deviations of 1000 draws of 0.3.
    assert abs(int(moved.sum()) - 300) < 73
    log = gain[moved].log()
    highest = log.amax(1)
    assert 1.9 < highest.max() <= 2 + 1e-5
    # Turning points in a second: twice the frequency, which is at most 20 Hz.
    turns = (log.diff(dim=1).sign().diff(dim=1) != 0).sum(1)
    assert 30 < turns.max() <= 42
    slowest = (log.amax(1) - log.amin(1)) / highest.abs().clamp(min=1e-6)
    assert (turns <= 2).any() and slowest.isfinite().all()
    # Phases differ: in the first sample some are loud and some faint.
    assert (log[:, 0] > 0.1).any() and (log[:, 0] < -0.1).any()


def test_bad_waves_are_named() -> None:
    with pytest.raises(ShapeError, match=r"noise: got shape \(5,\)"):
        varied(torch.zeros(5), RATE, seeded())
    with pytest.raises(ShapeError, match="int64"):
        varied(torch.zeros(2, 5, dtype=torch.long), RATE, seeded())
