from __future__ import annotations

import math

import pytest
import torch

from flowatlas.errors import ConfigError, ShapeError
from flowatlas.networks import Features, Identity, Logs, MultiScale, Periodic


@pytest.mark.parametrize(
    ("features", "event"),
    [
        (Identity(), (3,)),
        (Identity(), (4, 3, 3)),
        (Periodic(harmonics=3), (2,)),
        (Periodic(1.0, 2), (5, 3)),
        (MultiScale(3), (3,)),
        (MultiScale(3, scales=(0.5,), count=4), (6, 3)),
        (MultiScale(9, count=2), (4, 3, 3)),
    ],
)
def test_length_is_the_declared_one(features: Features, event: tuple[int, ...]) -> None:
    x = torch.randn(7, *event, dtype=torch.float64)
    out = features(x)
    assert out.shape == (7, features.out_features(event))
    assert out.dtype == torch.float64


def test_logs_are_bounded_and_differentiable_at_zero() -> None:
    x = torch.eye(400)[:2, None].clone().requires_grad_()
    assert Logs().out_features((1, 400)) == 400
    logs = Logs()(x)
    assert logs.shape == (2, 400)
    assert logs.max().item() == pytest.approx(math.log(20))
    assert logs.min().item() == pytest.approx(-4.0)
    (gradient,) = torch.autograd.grad(logs.sum(), x)
    assert torch.isfinite(gradient).all()
    flat = torch.full((2, 3, 400), 1 / 400)
    torch.testing.assert_close(Logs()(flat), torch.zeros(2, 1200))


def test_periodic_has_no_seam() -> None:
    features = Periodic(period=3.0, harmonics=4)
    x = torch.rand(20, 2, dtype=torch.float64) * 3
    torch.testing.assert_close(features(x), features(x + 3.0))
    torch.testing.assert_close(features(x), features(x - 6.0))
    assert (features(x) - features(x + 1.0)).abs().max() > 0.1


def test_multiscale_inner_products_are_gaussian_kernels() -> None:
    # Each product of 2 * count features is a mean of count cosines of variance at most 1/2: with
    # count = 20000, 5 standard deviations are 0.025.
    scale = 0.4
    features = MultiScale(2, scales=(scale,), count=20000)
    x = torch.randn(30, 2) * 0.5
    random = features(x)[:, 2:]
    kernel = random @ random.T / 20000
    expected = torch.exp(-(torch.cdist(x, x) ** 2) / (2 * scale**2))
    assert (kernel - expected).abs().max() < 0.025
    # The test can tell another scale.
    assert (kernel - expected.sqrt()).abs().max() > 0.1


def test_multiscale_is_a_function_of_its_seed_and_is_saved() -> None:
    first, again, other = MultiScale(3), MultiScale(3), MultiScale(3, seed=1)
    assert torch.equal(first.directions, again.directions)
    assert not torch.equal(first.directions, other.directions)
    assert "directions" in first.state_dict()


def test_settings_are_checked() -> None:
    for bad in ({"scales": ()}, {"scales": (1.0, 0.0)}, {"count": 0}):
        with pytest.raises(ConfigError):
            MultiScale(3, **bad)
    with pytest.raises(ConfigError, match="period"):
        Periodic(period=-math.pi)
    with pytest.raises(ShapeError, match="dim"):
        MultiScale(3).out_features((4,))
