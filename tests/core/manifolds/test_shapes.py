"""Any leading axes, for every manifold and map."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from flowatlas.manifolds import SE3, SO3, Euclidean, FlatTorus, Lorentz, Manifold, Sphere

CASES: dict[str, tuple[Manifold, tuple[int, ...], Tensor]] = {
    "scalars": (Euclidean(0), (), torch.tensor(0.0)),
    "euclidean": (Euclidean(), (5,), torch.zeros(5)),
    "sphere": (Sphere(), (4,), torch.tensor([0.0, 0.0, 0.0, 1.0])),
    "torus": (FlatTorus(), (2,), torch.ones(2)),
    "so3": (SO3(), (3, 3), torch.eye(3)),
    "se3": (SE3(), (4, 4), torch.eye(4)),
    "lorentz": (Lorentz(), (3,), Lorentz().origin(2)),
}
LEADS = st.lists(st.integers(0, 4), min_size=1, max_size=4).map(tuple)


def draw(name: str, lead: tuple[int, ...], seed: int) -> tuple[Manifold, Any]:
    manifold, _, base = CASES[name]
    generator = torch.Generator().manual_seed(seed)
    origin = base.double().expand(lead + base.shape)
    x, y = (
        manifold.expmap(origin, 0.5 * manifold.random_tangent(origin, generator=generator))
        for _ in range(2)
    )
    return manifold, (x, y, torch.rand(lead, generator=generator, dtype=torch.float64))


@pytest.mark.parametrize("name", CASES)
@given(lead=LEADS, seed=st.integers(0, 1000))
@settings(max_examples=15, deadline=None, derandomize=True)
def test_leading_axes_are_kept(name: str, lead: tuple[int, ...], seed: int) -> None:
    manifold, (x, y, s) = draw(name, lead, seed)
    point, tangent = CASES[name][1], manifold.tangent_shape(CASES[name][1])
    u = manifold.logmap(x, y)
    assert u.shape == lead + tangent
    assert manifold.expmap(x, u).shape == manifold.projx(x).shape == lead + point
    x_s, velocity = manifold.geodesic(x, y, s)
    assert x_s.shape == lead + point and velocity.shape == lead + tangent
    for value in (manifold.dist(x, y), manifold.inner(x, u, u), manifold.log_volume(x)):
        assert value.shape == lead
    if math.prod(lead):
        flat = manifold.dist(x.reshape(-1, *point), y.reshape(-1, *point))
        torch.testing.assert_close(manifold.dist(x, y).reshape(-1), flat)
    manifold.check_point(x)


@pytest.mark.parametrize("name", CASES)
@given(n=st.integers(1, 5), m=st.integers(1, 5), points=st.lists(st.integers(1, 3), max_size=2))
@settings(max_examples=10, deadline=None, derandomize=True)
def test_pairwise_distances_of_any_sizes(name: str, n: int, m: int, points: list[int]) -> None:
    manifold, (x, _, _) = draw(name, (n, *points), 0)
    _, (y, _, _) = draw(name, (m, *points), 1)
    pairs = manifold.pairwise_squared_dist(x, y)
    assert pairs.shape == (n, m)
    expected = manifold.squared_dist(x[-1], y[-1]).sum()
    torch.testing.assert_close(pairs[-1, -1], expected, atol=1e-9, rtol=1e-9)
