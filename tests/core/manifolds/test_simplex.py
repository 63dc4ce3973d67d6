"""The simplex: conformance inside, the boundary, densities, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from flowatlas._autodiff import jvp
from flowatlas.couplings import MinibatchOT
from flowatlas.errors import CapabilityError, ConfigError, GeometryError, ShapeError
from flowatlas.manifolds import Simplex
from flowatlas.testing import ManifoldConformance

SIMPLEX = Simplex()


class SimplexConformance(ManifoldConformance):
    """Points around the centre, so that no geodesic that is tried meets the boundary."""

    manifold = SIMPLEX
    wrong_shapes = ((), (1,), (4, 1))
    #: Longest distance of points from the centre.
    spread = 0.25

    def random_point(
        self, generator: torch.Generator, batch: tuple[int, ...], dtype: torch.dtype
    ) -> Tensor:
        (size,) = self.point_shape
        centre = torch.full((*batch, size), 1 / size, dtype=dtype)
        u = SIMPLEX.random_tangent(centre, generator=generator)
        share = torch.rand((*batch, 1), generator=generator, dtype=dtype)
        return SIMPLEX.expmap(centre, self.spread * share * u / u.norm(dim=-1, keepdim=True))


class TestSegment(SimplexConformance):
    point_shape, max_length = (2,), 0.6


class TestTriangle(SimplexConformance):
    point_shape, max_length = (3,), 0.4


class TestSimplexOfTwenty(SimplexConformance):
    point_shape, max_length, spread = (20,), 0.1, 0.1


def points(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return SIMPLEX.random_uniform(shape, generator=generator, dtype=dtype)


def test_the_metric_is_that_of_fisher_and_rao() -> None:
    x = points(20, 5)
    u, v = (
        SIMPLEX.random_tangent(x, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)
    )
    a, b = SIMPLEX.pushforward(x, u), SIMPLEX.pushforward(x, v)
    zero = torch.zeros(20, dtype=torch.float64)
    torch.testing.assert_close(a.sum(-1), zero, atol=1e-14, rtol=0)
    torch.testing.assert_close(SIMPLEX.inner(x, u, v), (a * b / x).sum(-1))
    torch.testing.assert_close(SIMPLEX.tangent(x, a), u)


def test_distances_are_twice_the_angle_between_the_roots() -> None:
    x, y = points(50, 4), points(50, 4, seed=1)
    expected = 2 * torch.acos((x * y).sqrt().sum(-1))
    torch.testing.assert_close(SIMPLEX.dist(x, y), expected)
    # The Kullback-Leibler divergence of neighbours is half the square of their distance.
    x = 0.5 * x + 0.125
    near = SIMPLEX.expmap(x, 1e-4 * SIMPLEX.logmap(x, y))
    kl = (near * (near / x).log()).sum(-1)
    torch.testing.assert_close(2 * kl, SIMPLEX.squared_dist(x, near), rtol=1e-3, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [2, 4, 512])
def test_vertices_are_reached_and_left(size: int, dtype: torch.dtype) -> None:
    """The ends of every flow: exp, log, geodesics and tangents are finite and exact there."""
    tolerance = 30 * torch.finfo(dtype).eps
    vertex = torch.eye(size, dtype=dtype)[:3]
    others = torch.eye(size, dtype=dtype).roll(1, 0)[:3]
    x = points(len(vertex), size, dtype=dtype)
    torch.testing.assert_close(SIMPLEX.dist(vertex, others), torch.full_like(vertex[:, 0], math.pi))
    for a, b in ((x, vertex), (vertex, x), (vertex, others), (vertex, vertex)):
        u = SIMPLEX.logmap(a, b)
        torch.testing.assert_close(SIMPLEX.expmap(a, u), b, atol=tolerance, rtol=0)
        for s in (0.0, 0.3, 1.0):
            x_s, velocity = SIMPLEX.geodesic(a, b, torch.full((len(a),), s, dtype=dtype))
            SIMPLEX.check_point(x_s)
            assert (x_s >= 0).all()
            speed = SIMPLEX.norm(x_s, velocity)
            torch.testing.assert_close(speed, SIMPLEX.dist(a, b), atol=1e-5, rtol=1e-5)
    basis = SIMPLEX.tangent_basis(vertex)
    gram = basis @ basis.mT
    torch.testing.assert_close(gram, torch.eye(size - 1, dtype=dtype).expand_as(gram))


def test_float32_keeps_the_digits_next_to_a_vertex() -> None:
    """Entries of 1e-12 beside one that rounds to 1: the logarithm is that of float64."""
    small = torch.tensor([1e-12, 1e-9, 1e-6, 1e-20], dtype=torch.float64)
    y = torch.cat([small, 1 - small.sum().view(1)]).expand(4, 5)
    x = torch.eye(5, dtype=torch.float64)[[4, 0, 4, 1]]
    exact = SIMPLEX.logmap(x, y)
    found = SIMPLEX.logmap(x.float(), y.float())
    torch.testing.assert_close(found.double(), exact, rtol=2e-6, atol=5e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_at_the_boundary_are_finite(dtype: torch.dtype) -> None:
    vertex = torch.eye(4, dtype=dtype)
    edge = torch.tensor([0.5, 0.5, 0.0, 0.0], dtype=dtype).expand(4, 4)
    u = torch.randn(4, 4, generator=torch.Generator().manual_seed(0), dtype=dtype)
    s = torch.full((4,), 0.5, dtype=dtype)
    for x, y in ((vertex, edge), (edge, vertex), (vertex, vertex), (vertex, vertex.roll(1, 0))):
        leaves = [value.clone().requires_grad_() for value in (x, y, u)]
        a, b, w = leaves
        results = [
            SIMPLEX.expmap(a, w),
            SIMPLEX.logmap(a, b),
            SIMPLEX.geodesic(a, b, s)[0],
            SIMPLEX.geodesic(a, b, s)[1],
            SIMPLEX.retract(a, w),
            SIMPLEX.pushforward(a, w),
            SIMPLEX.squared_dist(a, b),
        ]
        for result in results:
            found = torch.autograd.grad(result.sum(), leaves, allow_unused=True)
            assert all(g is None or torch.isfinite(g).all() for g in found)


def test_geodesics_that_leave_are_reflected() -> None:
    """From the middle of an edge outward and back: the root's sign changes, the point stays."""
    x = torch.tensor([[0.25, 0.75]], dtype=torch.float64)
    towards = SIMPLEX.logmap(x, torch.tensor([[0.0, 1.0]], dtype=torch.float64))
    distance = SIMPLEX.norm(x, towards).item()
    for beyond in (0.1, 1.0):
        u = towards * (distance + beyond) / distance
        y = SIMPLEX.expmap(x, u)
        SIMPLEX.check_point(y)
        back = SIMPLEX.dist(y, torch.tensor([[0.0, 1.0]], dtype=torch.float64))
        torch.testing.assert_close(back, torch.tensor([beyond], dtype=torch.float64))
        SIMPLEX.check_point(SIMPLEX.retract(x, u))


def test_pushforward_is_the_derivative_of_geodesics() -> None:
    x, y = points(20, 6), points(20, 6, seed=1)
    s = torch.full((20,), 0.4, dtype=torch.float64)
    x_s, velocity = SIMPLEX.geodesic(x, y, s)
    _, dx = jvp(lambda r: SIMPLEX.geodesic(x, y, r)[0], (s,), (torch.ones_like(s),))
    torch.testing.assert_close(SIMPLEX.pushforward(x_s, velocity), dx)


def test_the_mean_logarithm_of_the_vertices_is_the_sum_of_them() -> None:
    x = torch.cat([points(5, 6), torch.eye(6, dtype=torch.float64)[:2]])
    p = points(7, 6, seed=2)
    logs = torch.stack([SIMPLEX.logmap(x, vertex.expand_as(x)) for vertex in torch.eye(6).double()])
    expected = torch.einsum("bi,ibj->bj", p, logs)
    found = SIMPLEX.logmap_to_vertices(x[:5], p[:5])
    torch.testing.assert_close(found, expected[:5])
    # At a vertex every other one is in a direction of its own, and the same distance away.
    torch.testing.assert_close(SIMPLEX.logmap_to_vertices(x[5:], p[5:]), expected[5:])
    for dtype in (torch.float32, torch.float64):
        leaf = x.to(dtype).requires_grad_()
        value = SIMPLEX.logmap_to_vertices(leaf, p.to(dtype))
        (gradient,) = torch.autograd.grad(value.sum(), leaf)
        assert torch.isfinite(gradient).all()


def grid(cells: int) -> tuple[Tensor, float]:
    """Midpoints of equal triangles that fill (x_1, x_2), x_1 + x_2 < 1, and their area."""
    i = torch.arange(cells, dtype=torch.float64)
    a, b = (v.flatten() for v in torch.meshgrid(i, i, indexing="ij"))
    up = torch.stack([a + 1 / 3, b + 1 / 3], -1)[a + b < cells]
    down = torch.stack([a + 2 / 3, b + 2 / 3], -1)[a + b < cells - 1]
    x = torch.cat([up, down]) / cells
    return torch.cat([x, 1 - x.sum(-1, keepdim=True)], -1), 0.5 / cells**2


def test_the_uniform_density_integrates_to_one_in_the_coordinates() -> None:
    """lebesgue_log_prob on grids of triangles: a volume of 2 pi, for K = 3."""
    sums = []
    for cells in (200, 800):
        x, area = grid(cells)
        density = SIMPLEX.lebesgue_log_prob(x, SIMPLEX.uniform_log_prob(x)).exp()
        sums.append(density.sum().item() * area)
    # It is infinite at the boundary, as an inverse root: what midpoints miss there is halved by
    # triangles a quarter as long.
    assert 2 * sums[1] - sums[0] == pytest.approx(1.0, abs=1e-3)
    assert (-SIMPLEX.uniform_log_prob(x[0])).exp().item() == pytest.approx(2 * math.pi)


@pytest.mark.parametrize("size", [2, 3, 8])
def test_the_conversion_of_densities_is_that_of_the_sphere(size: int) -> None:
    """log p_x = log p_s - (K - 1) log 2 - sum log x / 2, p_s being uniform on the orthant."""
    x = points(10, size)
    # The area of the unit sphere's orthant is a share of 2^-K of all.
    log_area = math.log(2) + size / 2 * math.log(math.pi) - math.lgamma(size / 2)
    log_p_s = size * math.log(2) - log_area
    expected = log_p_s - (size - 1) * math.log(2) - 0.5 * x.log().sum(-1)
    found = SIMPLEX.lebesgue_log_prob(x, SIMPLEX.uniform_log_prob(x))
    torch.testing.assert_close(found, expected)
    half = torch.distributions.Dirichlet(torch.full((size,), 0.5, dtype=torch.float64))
    torch.testing.assert_close(found, half.log_prob(x))


def test_uniform_points_fill_caps_in_proportion() -> None:
    """Share of points nearest to a vertex within r: for K = 3 an octant's cap is a quarter of it.

    Five standard errors: 6e-7.
    """
    n, r = 40000, 0.8
    x = points(n, 3)
    share = (SIMPLEX.dist(torch.eye(3, dtype=torch.float64)[:1].expand_as(x), x) < r).double()
    # On the sphere of radius two: 2 pi 4 (1 - cos(r / 2)) / 4, over 2 pi.
    p = 1 - math.cos(r / 2)
    assert abs(share.mean().item() - p) < 5 * math.sqrt(p * (1 - p) / n)


def test_couplings_measure_it() -> None:
    x_0, x_1 = points(32, 4), points(32, 4, seed=1)
    index = MinibatchOT(SIMPLEX).pair(x_0, x_1)
    coupled = SIMPLEX.squared_dist(x_0[index], x_1).sum()
    assert coupled < SIMPLEX.squared_dist(x_0, x_1).sum()


def test_one_hot_is_exact_and_refuses_other_tokens() -> None:
    simplex = Simplex(5)
    tokens = torch.tensor([[0, 4], [2, 1]])
    x = simplex.one_hot(tokens, dtype=torch.float64)
    assert x.shape == (2, 2, 5) and x.dtype == torch.float64
    assert torch.equal(x.argmax(-1), tokens) and torch.equal(x.sum(-1), torch.ones(2, 2).double())
    assert simplex.one_hot(torch.zeros(0, 3, dtype=torch.int32)).shape == (0, 3, 5)
    for bad in (torch.tensor([5]), torch.tensor([-1, 2])):
        with pytest.raises(GeometryError, match=r"tokens: got ids .*vocabulary is 0 to 4"):
            simplex.one_hot(bad)
    with pytest.raises(GeometryError, match="integers"):
        simplex.one_hot(torch.tensor([1.0]))
    with pytest.raises(CapabilityError, match=r"Simplex\(K\)"):
        SIMPLEX.one_hot(tokens)


def test_what_is_no_probability_is_refused() -> None:
    good = points(3, 4, dtype=torch.float32)
    SIMPLEX.check_point(good)
    for bad, words in (
        (2 * good, "add up to 2"),
        (torch.tensor([[1.2, -0.2, 0.0, 0.0]]), "at least -0.2"),
        (torch.zeros(1, 4), "add up to 0"),
        (torch.full((1, 4), math.nan), "NaN"),
    ):
        with pytest.raises(GeometryError, match=f"x_1: .*{words}"):
            SIMPLEX.check_point(bad, "x_1")
    with pytest.raises(ShapeError, match="one_hot"):
        SIMPLEX.check_shape(torch.zeros(2, 4, dtype=torch.int64), "x_1")
    with pytest.raises(ShapeError, match=r"x_1: got shape \(3, 4\).*\(\.\.\., 5\)"):
        Simplex(5).check_shape(good, "x_1")
    with pytest.raises(ConfigError, match="categories: got 1"):
        Simplex(1)
    assert repr(Simplex(5)) == "Simplex(5)" and repr(SIMPLEX) == "Simplex()"
