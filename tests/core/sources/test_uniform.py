from __future__ import annotations

import math

import pytest
import torch

from flowatlas.errors import CapabilityError, ShapeError
from flowatlas.manifolds import SE3, SO3, Euclidean, FlatTorus, Lorentz, Manifold, Sphere
from flowatlas.sources import Uniform

VOLUMES = [
    (Sphere(), (2,), 2 * math.pi),
    (Sphere(), (3,), 4 * math.pi),
    (Sphere(), (4,), 2 * math.pi**2),
    (FlatTorus(), (3,), (2 * math.pi) ** 3),
    (FlatTorus((1.0, 3.0)), (2,), 3.0),
    (SO3(), (3, 3), 8 * math.pi**2),
]


@pytest.mark.parametrize(("manifold", "point_shape", "volume"), VOLUMES)
def test_density_is_one_over_the_volume(
    manifold: Manifold, point_shape: tuple[int, ...], volume: float, generator: torch.Generator
) -> None:
    source = Uniform(manifold)
    x = source.sample((5, 2, *point_shape), generator=generator, dtype=torch.float64)
    manifold.check_point(x)
    expected = torch.full((5, 2), -math.log(volume), dtype=torch.float64)
    torch.testing.assert_close(source.log_prob(x), expected)


@pytest.mark.parametrize(("manifold", "point_shape", "volume"), VOLUMES)
def test_samples_fill_balls_in_proportion(
    manifold: Manifold, point_shape: tuple[int, ...], volume: float, generator: torch.Generator
) -> None:
    # The share of samples within r of any point is the volume of a ball over the whole. Five
    # standard errors; a law that avoids or prefers the centre differs.
    n, r = 40000, 0.45
    ball = {
        (Sphere, (2,)): 2 * r,
        (Sphere, (3,)): 2 * math.pi * (1 - math.cos(r)),
        (Sphere, (4,)): math.pi * (2 * r - math.sin(2 * r)),
        (FlatTorus, (2,)): math.pi * r**2,
        (FlatTorus, (3,)): 4 / 3 * math.pi * r**3,
        (SO3, (3, 3)): 8 * math.pi * (r - math.sin(r)),
    }[type(manifold), point_shape]
    x = Uniform(manifold).sample((n, *point_shape), generator=generator, dtype=torch.float64)
    centre = Uniform(manifold).sample((1, *point_shape), generator=generator, dtype=torch.float64)
    share = (manifold.dist(centre.expand_as(x), x) < r).double().mean().item()
    p = ball / volume
    assert abs(share - p) < 5 * math.sqrt(p * (1 - p) / n)


def test_manifolds_of_infinite_volume_are_refused() -> None:
    for manifold in (Euclidean(), Lorentz(), SE3()):
        with pytest.raises(CapabilityError, match="no uniform law"):
            Uniform(manifold)


def test_points_of_the_wrong_shape_are_refused() -> None:
    with pytest.raises(ShapeError):
        Uniform(SO3()).log_prob(torch.zeros(4, 3))
