"""The sphere: conformance, closed forms, and the places where others go wrong."""

import math
from itertools import pairwise

import geoopt
import pytest
import scipy.integrate
import scipy.stats
import torch
from torch import Tensor

from flowatlas.errors import ShapeError
from flowatlas.manifolds import Sphere
from flowatlas.testing import ManifoldConformance

SPHERE = Sphere()


class TestCircle(ManifoldConformance):
    manifold, point_shape = SPHERE, (2,)
    wrong_shapes = ((), (1,), (4, 1))


class TestSphere(ManifoldConformance):
    manifold, point_shape = SPHERE, (3,)


class TestSphereInTenDimensions(ManifoldConformance):
    manifold, point_shape = SPHERE, (10,)


def points(count: int, d: int = 3, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return SPHERE.random_uniform((count, d), generator=generator, dtype=dtype)


def unit_tangents(x: Tensor) -> Tensor:
    u = SPHERE.random_tangent(x, generator=torch.Generator().manual_seed(99))
    return u / u.square().sum(-1, keepdim=True).sqrt()


@pytest.mark.parametrize("d", [2, 3, 10])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_antipodal_pairs_move_along_a_great_circle(d: int, dtype: torch.dtype) -> None:
    x = points(50, d, dtype=dtype)
    half, velocity = SPHERE.geodesic(x, -x, torch.full((50,), 0.5, dtype=dtype))
    # The direction is the projection of a fixed vector, to which x may be nearly parallel.
    tolerance = 1000 * torch.finfo(dtype).eps
    quarter = torch.full((50,), math.pi / 2, dtype=dtype)
    for end in (x, -x):
        torch.testing.assert_close(SPHERE.dist(half, end), quarter, atol=tolerance, rtol=0)
    speed = SPHERE.norm(half, velocity)
    torch.testing.assert_close(speed, 2 * quarter, atol=tolerance, rtol=0)
    back = SPHERE.expmap(x, SPHERE.logmap(x, -x))
    torch.testing.assert_close(back, -x, atol=tolerance, rtol=0)


@pytest.mark.parametrize("gap", [1e-3, 1e-5, 1e-7, 1e-8, 1e-12])
def test_nearly_antipodal_pairs_end_where_they_should(gap: float) -> None:
    x = points(200)
    for dtype in (torch.float32, torch.float64):
        a = x.to(dtype)
        b = SPHERE.expmap(x, (math.pi - gap) * unit_tangents(x)).to(dtype)
        u = SPHERE.logmap(a, b)
        length = SPHERE.norm(a, u)
        assert (length > math.pi - 2 * gap - 1e-6).all() and (length < math.pi + 1e-6).all()
        tolerance = 20 * torch.finfo(dtype).eps
        torch.testing.assert_close(SPHERE.expmap(a, u), b, atol=tolerance, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_antipodes_that_differ_by_a_rounding_of_length_stay_on_the_sphere(
    dtype: torch.dtype,
) -> None:
    # The sum of x and y is a multiple of x here, whose projection is rounding alone.
    x = SPHERE.projx(torch.ones(1, 3, dtype=dtype))
    longer = torch.nextafter(x, 2 * x)
    for y in (-x, -longer, longer):
        x_s, velocity = SPHERE.geodesic(x, y, torch.full((1,), 0.5, dtype=dtype))
        assert SPHERE.residual(x_s) < 4 * torch.finfo(dtype).eps
        assert (x_s * velocity).sum().abs() < 2e-2


def test_no_point_is_at_a_distance_from_itself() -> None:
    x = points(20000, dtype=torch.float32)
    assert torch.equal(SPHERE.dist(x, x), torch.zeros(20000))
    # The textbook formula, which this is about: a fifth of the points are NaN away from themselves.
    assert torch.acos((x * x).sum(-1)).isnan().float().mean() > 0.1


def test_expmap_is_the_rotation_that_the_matrix_exponential_makes() -> None:
    for d in (2, 3, 10):
        x = points(20, d)
        u = 4 * unit_tangents(x)
        generator = u.unsqueeze(-1) * x.unsqueeze(-2) - x.unsqueeze(-1) * u.unsqueeze(-2)
        expected = (torch.matrix_exp(generator) @ x.unsqueeze(-1)).squeeze(-1)
        torch.testing.assert_close(SPHERE.expmap(x, u), expected, atol=1e-12, rtol=0)


def test_dist_is_the_haversine_of_latitudes_and_longitudes() -> None:
    generator = torch.Generator().manual_seed(0)
    lat, lon = torch.rand(2, 2, 500, generator=generator, dtype=torch.float64) - 0.5
    lat, lon = lat * math.pi, lon * 2 * math.pi
    x, y = torch.stack([lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin()], -1)
    haversine = ((lat[0] - lat[1]) / 2).sin().square()
    haversine = haversine + lat.cos().prod(0) * ((lon[0] - lon[1]) / 2).sin().square()
    expected = 2 * haversine.sqrt().asin()
    torch.testing.assert_close(SPHERE.dist(x, y), expected, atol=1e-12, rtol=0)


def test_uniform_density_is_one_over_the_area_by_quadrature() -> None:
    # The unit sphere of R^(d+1) in slices, each a sphere of R^d of radius sin(angle).
    areas = [2.0]
    for d in range(1, 10):
        slices, _ = scipy.integrate.quad(lambda a, d=d: math.sin(a) ** (d - 1), 0, math.pi)
        areas.append(areas[-1] * slices)
    for d, (_, area) in enumerate(pairwise(areas), start=2):
        log_prob = SPHERE.uniform_log_prob(points(1, d)).item()
        assert log_prob == pytest.approx(-math.log(area), abs=1e-12)


def test_uniform_points_have_uniform_heights() -> None:
    # Archimedes. At p = 1e-6 the law would have to be blamed once in a million seeds.
    heights = points(20000)[:, 2]
    assert scipy.stats.kstest(heights.numpy(), scipy.stats.uniform(-1, 2).cdf).pvalue > 1e-6


@pytest.mark.parametrize("angle", [1e-4, 1e-3, 1e-2, 1.0])
def test_float32_logarithm_where_geoopt_loses_its_digits(angle: float) -> None:
    x = points(2000)
    y = SPHERE.expmap(x, angle * unit_tangents(x))
    x, y = x.float(), y.float()
    exact = SPHERE.logmap(x.double(), y.double())

    def error(u: Tensor) -> float:
        gap = (u.double() - exact).square().sum(-1) / exact.square().sum(-1)
        return gap.max().sqrt().item()

    assert error(SPHERE.logmap(x, y)) < 1e-6
    # Its acos is clamped at 1e-4 from 1, an angle of 0.014: see docs/concepts/manifolds.md.
    expected = {1e-4: 139.4, 1e-3: 13.1, 1e-2: 0.41, 1.0: 0.0}[angle]
    assert error(geoopt.Sphere().logmap(x, y)) == pytest.approx(expected, rel=0.05, abs=1e-5)


def test_gradient_of_expmap_at_zero_where_geoopt_has_none() -> None:
    x = points(10)
    for manifold, finite in ((SPHERE, True), (geoopt.Sphere(), False)):
        u = torch.zeros_like(x).requires_grad_()
        (gradient,) = torch.autograd.grad(manifold.expmap(x, u).sum(), u)
        assert bool(gradient.isfinite().all()) is finite


def test_two_coordinates_for_a_globe_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"x_1.*\(5, 1\).*d >= 2"):
        SPHERE.check_point(torch.zeros(5, 1), "x_1")
