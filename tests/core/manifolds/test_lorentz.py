"""Hyperbolic space: conformance, closed forms, the limits of float32."""

import math

import pytest
import scipy.integrate
import torch
from torch import Tensor

from flowatlas.errors import GeometryError
from flowatlas.manifolds import Lorentz
from flowatlas.testing import ManifoldConformance

SPACE = Lorentz()


class TestHyperbolicPlane(ManifoldConformance):
    manifold, point_shape = SPACE, (3,)
    base_point = SPACE.origin(2)
    # Coordinates cancel in cosh|u| x + sinh|u| u / |u|: 25 roundings of float32.
    float32_point = 3e-6
    wrong_shapes = ((), (1,), (4, 1))


class TestHyperbolicSpace(ManifoldConformance):
    manifold, point_shape = SPACE, (4,)
    base_point = SPACE.origin(3)
    float32_point = 3e-6


def points(count: int, radius: float, seed: int = 0, n: int = 3) -> Tensor:
    """Points at a distance from the origin."""
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(count, n, generator=generator, dtype=torch.float64)
    direction = direction / torch.linalg.vector_norm(direction, dim=-1, keepdim=True)
    time = torch.full((count, 1), math.cosh(radius), dtype=torch.float64)
    return torch.cat([time, math.sinh(radius) * direction], -1)


def test_dist_from_the_origin_is_the_radius() -> None:
    origin = SPACE.origin(3, dtype=torch.float64)
    for radius in (1e-8, 1e-3, 1.0, 5.0, 15.0):
        x = points(20, radius)
        expected = torch.full((20,), radius, dtype=torch.float64)
        # Squares of coordinates, exp(2 radius) / 4, are subtracted to leave exp(radius).
        tolerance = 1e-14 + 1e-15 * math.exp(radius)
        dist = SPACE.dist(origin.expand_as(x), x)
        torch.testing.assert_close(dist, expected, rtol=tolerance, atol=0)


def test_dist_is_the_closed_form_and_that_of_the_poincare_ball() -> None:
    x, y = points(200, 1.5), points(200, 2.0, seed=1)
    product = x[:, 0] * y[:, 0] - (x[:, 1:] * y[:, 1:]).sum(-1)
    dist = SPACE.dist(x, y)
    torch.testing.assert_close(dist, torch.acosh(product), atol=1e-12, rtol=1e-12)
    a, b = (z[:, 1:] / (1 + z[:, :1]) for z in (x, y))
    ratio = (a - b).square().sum(-1) / ((1 - a.square().sum(-1)) * (1 - b.square().sum(-1)))
    torch.testing.assert_close(dist, torch.acosh(1 + 2 * ratio), atol=1e-12, rtol=1e-12)


def test_points_one_behind_the_other_and_on_opposite_sides() -> None:
    # Where one or the other formula cancels; along one line through the origin distances add up.
    for radius in (0.5, 3.0, 10.0):
        x, far = points(20, radius), points(20, radius + 1e-4)
        opposite = torch.cat([x[:, :1], -x[:, 1:]], -1)
        step, through = torch.full((2, 20), 1e-4, dtype=torch.float64)
        through = torch.full_like(step, 2 * radius)
        torch.testing.assert_close(SPACE.dist(x, opposite), through, rtol=1e-12, atol=0)
        # The data themselves are rounded at exp(radius) eps.
        tolerance = 1e-14 * math.exp(radius)
        torch.testing.assert_close(SPACE.dist(x, far), step, rtol=0, atol=tolerance)


def test_expmap_is_the_boost_that_the_matrix_exponential_makes() -> None:
    x = points(20, 1.0)
    u = SPACE.random_tangent(x, generator=torch.Generator().manual_seed(0))
    sign = torch.tensor([-1.0, 1.0, 1.0, 1.0], dtype=torch.float64)
    generator = x.unsqueeze(-1) * (sign * u).unsqueeze(-2)
    generator = generator - u.unsqueeze(-1) * (sign * x).unsqueeze(-2)
    expected = (torch.matrix_exp(generator) @ x.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(SPACE.expmap(x, u), expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("n", [2, 3])
def test_volume_of_balls_by_quadrature_of_the_exponential(n: int) -> None:
    x = SPACE.origin(n, dtype=torch.float64)[None]

    def shell(r: float) -> float:
        u = torch.zeros_like(x)
        u[0, 1] = r
        area = 2 * math.pi * r if n == 2 else 4 * math.pi * r**2
        return area * math.exp(SPACE.log_det_expmap(x, u).item())

    for radius in (0.1, 1.0, 4.0):
        plane = 2 * math.pi * (math.cosh(radius) - 1)
        space = math.pi * (math.sinh(2 * radius) - 2 * radius)
        volume, _ = scipy.integrate.quad(shell, 0, radius)
        assert volume == pytest.approx(plane if n == 2 else space, rel=1e-9)


@pytest.mark.parametrize("radius", [1.0, 3.0, 5.0])
def test_float32_distances_and_short_steps_are_good_to_radius_five(radius: float) -> None:
    x, y = (points(500, radius, seed).float() for seed in (0, 1))
    SPACE.check_point(x, "x_1")
    exact = SPACE.dist(x.double(), y.double())
    assert (SPACE.dist(x, y).double() - exact).abs().max() < 3e-6
    u = SPACE.random_tangent(x.double(), generator=torch.Generator().manual_seed(0))
    near = SPACE.expmap(x.double(), 0.1 * u).float()
    back = SPACE.expmap(x, SPACE.logmap(x, near))
    # A rounding of coordinates of size exp(radius) / 2, seen as a distance.
    assert SPACE.dist(back.double(), near.double()).max() < 2e-7 * math.exp(radius)


@pytest.mark.parametrize("radius", [5.5, 8.0])
def test_float32_beyond_radius_five_is_refused_and_says_why(radius: float) -> None:
    x = points(4, radius)
    SPACE.check_point(x, "x_1")
    with pytest.raises(GeometryError, match=rf"x_1.*{radius:.2f}.*float32.*about 5.*double"):
        SPACE.check_point(x.float(), "x_1")
