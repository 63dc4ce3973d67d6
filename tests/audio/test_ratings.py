"""DNSMOS against what it was made to tell apart."""

from __future__ import annotations

import sys
from dataclasses import asdict

import pytest
import torch

from flowatlas.errors import CapabilityError, DataError, ShapeError
from flowatlas_audio import clips, dnsmos, mix, noise, ratings
from flowatlas_audio.ratings import can_rate
from flowatlas_audio.speech import LIBRIVOX


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.slow
def test_noise_lowers_the_scores_and_level_does_not() -> None:
    pytest.importorskip("speechmos.dnsmos")
    try:
        found = clips(LIBRIVOX)
    except DataError as error:
        pytest.skip(f"no file: {error}")
    clean = found.waves[1][: 4 * found.rate]
    noisy = mix(clean, noise.white(len(clean), found.rate, seeded()), 5.0)
    good, bad, quiet = (dnsmos(wave, found.rate) for wave in (clean, noisy, 0.01 * clean))
    assert good.background > bad.background + 1 and good.overall > bad.overall + 0.5
    assert good.p808 > bad.p808 + 0.3
    assert all(1 <= value <= 5 for one in (good, bad) for value in asdict(one).values())
    assert asdict(quiet) == pytest.approx(asdict(good), abs=0.01)


def test_what_cannot_be_rated_is_refused() -> None:
    with pytest.raises(ShapeError, match="wave"):
        dnsmos(torch.zeros(2, 100), 8000)
    with pytest.raises(ShapeError, match="int64"):
        dnsmos(torch.zeros(100, dtype=torch.long), 8000)
    for value in (0.0, torch.nan, torch.inf):
        with pytest.raises(DataError, match="silent"):
            dnsmos(torch.full((100,), value), 8000)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "speechmos", None)
    with pytest.raises(CapabilityError, match=r"flowatlas-audio\[dnsmos\]"):
        dnsmos(torch.ones(100), 16000)


@pytest.mark.parametrize("absent", ["speechmos", "librosa", "onnxruntime", "requests"])
def test_each_package_is_needed(absent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ratings, "find_spec", lambda name: None if name == absent else object())
    assert not can_rate()
    monkeypatch.setattr(ratings, "find_spec", lambda name: object())
    assert can_rate()
