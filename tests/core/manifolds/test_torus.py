"""The flat torus: conformance, wrapping, the cut locus."""

import math

import pytest
import torch

from flowatlas.errors import ConfigError, ShapeError
from flowatlas.manifolds import FlatTorus
from flowatlas.testing import ManifoldConformance


class TestTorus(ManifoldConformance):
    manifold, point_shape, everywhere = FlatTorus(), (3,), True
    density_std = math.pi / 2


class TestTorusInDegrees(ManifoldConformance):
    manifold, point_shape, everywhere = FlatTorus(360.0), (2,), True
    density_std = 90.0


class TestTorusOfSeveralPeriods(ManifoldConformance):
    manifold, point_shape, everywhere = FlatTorus(period=(1.0, 1.5, 2.5)), (3,), True
    wrong_shapes = ((), (3, 1), (5, 2), (3, 4))
    density_std = 0.25


def test_log_is_the_angle_of_the_difference_on_the_circle() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = 20 * torch.randn(2, 500, 2, generator=generator, dtype=torch.float64)
    expected = torch.atan2((y - x).sin(), (y - x).cos())
    torch.testing.assert_close(FlatTorus().logmap(x, y), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("period", [1.0, 2 * math.pi, 360.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_at_the_cut_locus_one_of_the_two_ways_is_taken(period: float, dtype: torch.dtype) -> None:
    torus = FlatTorus(period)
    x = torch.linspace(0, period, 33, dtype=dtype)[:-1, None]
    y = torus.projx(x + period / 2)
    u = torus.logmap(x, y)
    eps = 8 * torch.finfo(dtype).eps * period
    half = torch.full_like(u, period / 2)
    torch.testing.assert_close(u.abs(), half, atol=eps, rtol=0)
    assert (torus.dist(torus.expmap(x, u), y) <= eps).all()
    assert (torus.dist(torus.geodesic(x, y, half[:, 0] / period)[0], x) > period / 4 - eps).all()
    # On either side of it, the shorter way.
    for step, sign in ((-0.01 * period, 1), (0.01 * period, -1)):
        u = torus.logmap(x, y + step)
        expected = torch.full_like(u, sign * 0.49 * period)
        torch.testing.assert_close(u, expected, atol=2 * eps, rtol=0)


def test_any_representative_stands_for_the_point() -> None:
    torus = FlatTorus((1.0, 2.0))
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(2, 100, 2, generator=generator, dtype=torch.float64)
    turns = torch.tensor([3.0, -8.0])
    u = torus.logmap(x, y)
    torch.testing.assert_close(torus.logmap(x + turns, y), u, atol=1e-12, rtol=0)
    torch.testing.assert_close(torus.projx(x + turns), x, atol=1e-12, rtol=0)
    torch.testing.assert_close(torus.expmap(x + turns, u), y, atol=1e-12, rtol=0)
    torus.check_point(x + turns)


def test_close_points_keep_their_digits_across_the_seam() -> None:
    x, y = torch.tensor([[6.2831845]]), torch.tensor([[1e-6]])
    exact = y.double() + 2 * math.pi - x.double()
    # Rounding of the period itself is all that is lost.
    torch.testing.assert_close(FlatTorus().logmap(x, y).double(), exact, atol=4e-7, rtol=0)


def test_volume_is_the_product_of_the_periods() -> None:
    x = torch.zeros(1, 3, dtype=torch.float64)
    for period, volume in ((2.0, 8.0), ((1.0, 2.0, 360.0), 720.0)):
        log_prob = FlatTorus(period).uniform_log_prob(x).item()
        assert log_prob == pytest.approx(-math.log(volume), abs=1e-12)


def test_errors_name_the_argument() -> None:
    for period in (0.0, -1.0, math.inf, (1.0, 0.0), ()):
        with pytest.raises(ConfigError, match="period: got"):
            FlatTorus(period)
    with pytest.raises(ShapeError, match=r"x_1: got shape \(4, 3\)"):
        FlatTorus((1.0, 2.0)).check_point(torch.zeros(4, 3), "x_1")
    x = torch.zeros(1, 9)
    with pytest.raises(ConfigError, match="images: 3 windings"):
        FlatTorus().exp_preimages(x, x, 3)
