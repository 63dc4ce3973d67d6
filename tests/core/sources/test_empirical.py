from __future__ import annotations

import math

import pytest
import torch

from flowatlas.errors import CapabilityError, ConfigError, ShapeError
from flowatlas.paths import AffinePath
from flowatlas.sources import Empirical


def test_rows_are_drawn_equally_often(generator: torch.Generator) -> None:
    points = torch.arange(10.0).unsqueeze(1)
    n = 40000
    x = Empirical(points).sample((n, 1), generator=generator)
    share = torch.bincount(x.long().flatten(), minlength=10) / n
    assert (share - 0.1).abs().max() < 5 * math.sqrt(0.09 / n)


def test_rows_are_drawn_by_their_weights(generator: torch.Generator) -> None:
    weights = torch.tensor([0.0, 1.0, 3.0, 0.0, 4.0, 0.0])
    points = torch.arange(6.0).unsqueeze(1)
    n = 40000
    x = Empirical(points, weights=weights).sample((n, 1), generator=generator)
    share = torch.bincount(x.long().flatten(), minlength=6) / n
    assert (share - weights / 8).abs().max() < 5 * math.sqrt(0.25 / n)
    # Never, not seldom.
    assert (share[weights == 0] == 0).all()


def test_rows_of_weight_zero_are_not_drawn_at_the_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    # Uniform numbers that are exactly zero or exactly a level of the distribution function.
    u = torch.tensor([0.0, 0.125, 0.5, 1 - 2.0**-53], dtype=torch.float64)
    monkeypatch.setattr("flowatlas.sources.empirical.rand", lambda *_, **__: u)
    weights = torch.tensor([0.0, 1.0, 3.0, 0.0, 4.0, 0.0])
    x = Empirical(torch.arange(6.0).unsqueeze(1), weights=weights).sample((4, 1))
    assert x.flatten().tolist() == [1, 2, 4, 4]


def test_a_row_is_a_point_or_a_whole_event(generator: torch.Generator) -> None:
    points = torch.randn(7, 5, 3, generator=generator)
    events = Empirical(points).sample((20, 5, 3), generator=generator)
    assert all(any(torch.equal(e, row) for row in points) for e in events)
    single = Empirical(points.flatten(0, 1)).sample((20, 5, 3), generator=generator)
    assert single.shape == (20, 5, 3)
    assert not all(any(torch.equal(e, row) for row in points) for e in single)


def test_it_serves_a_path_and_follows_dtype(generator: torch.Generator) -> None:
    points = torch.randn(7, 3, generator=generator, dtype=torch.float64)
    x = AffinePath(source=Empirical(points)).draw(torch.zeros(4, 3), generator=generator)
    assert x.dtype == torch.float32 and x.shape == (4, 3)


def test_it_has_no_density() -> None:
    source = Empirical(torch.zeros(2, 3))
    assert not source.has_density
    with pytest.raises(CapabilityError, match="no density"):
        source.log_prob(torch.zeros(1, 3))


def test_errors() -> None:
    with pytest.raises(ShapeError, match="points"):
        Empirical(torch.zeros(0, 3))
    with pytest.raises(ShapeError, match="weights"):
        Empirical(torch.zeros(4, 3), weights=torch.ones(3))
    for bad in ([1.0, -1.0], [0.0, 0.0], [math.nan, 1.0], [math.inf, 1.0]):
        with pytest.raises(ConfigError, match="weights"):
            Empirical(torch.zeros(2, 3), weights=torch.tensor(bad))
    for shape in ((8, 4), (3,), (8,)):
        with pytest.raises(ShapeError, match="shape"):
            Empirical(torch.zeros(2, 3)).sample(shape)
