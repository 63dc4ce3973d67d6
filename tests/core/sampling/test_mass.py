"""Densities on manifolds integrate to one, under fields with no symmetry to hide behind.

Quadrature of smooth densities converges fast, so the tolerance is far below the one per cent that
would tell a wrong divergence or a missing volume term.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from flowatlas.manifolds import SO3, FlatTorus, Lorentz, Sphere
from flowatlas.manifolds.base import Manifold
from flowatlas.paths import AffinePath, GeodesicPath, ProductPath
from flowatlas.paths.base import StatePath
from flowatlas.sampling import Divergence, Exact, log_prob
from flowatlas.solvers import RK4
from flowatlas.sources import WrappedNormal

D = torch.float64
Points = tuple[Any, Tensor]


def periodic(n: int, start: float = 0.0) -> tuple[Tensor, Tensor]:
    return start + 2 * math.pi * torch.arange(n, dtype=D) / n, torch.full(
        (n,), 2 * math.pi / n, dtype=D
    )


def gauss(n: int, low: float, high: float) -> tuple[Tensor, Tensor]:
    nodes, weights = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(n))
    return low + (high - low) * (nodes + 1) / 2, weights * (high - low) / 2


def grid(*axes: tuple[Tensor, Tensor]) -> tuple[list[Tensor], Tensor]:
    """Coordinates and weights of the product rule, flat."""
    points = torch.meshgrid(*(nodes for nodes, _ in axes), indexing="ij")
    weights = torch.meshgrid(*(weights for _, weights in axes), indexing="ij")
    return [p.flatten() for p in points], torch.stack(weights).prod(0).flatten()


def turn(axis: int, angle: Tensor) -> Tensor:
    generator = torch.zeros(3, 3, dtype=D)
    i, j = [k for k in range(3) if k != axis]
    generator[i, j], generator[j, i] = -1.0, 1.0
    rotation: Tensor = torch.linalg.matrix_exp(angle[:, None, None] * generator)
    return rotation


def on_sphere() -> Points:
    (z, angle), weights = grid(gauss(14, -1, 1), periodic(24))
    ring = (1 - z.square()).sqrt()
    return torch.stack([ring * angle.cos(), ring * angle.sin(), z], -1), weights


def on_torus() -> Points:
    coordinates, weights = grid(periodic(24), periodic(24))
    return torch.stack(coordinates, -1), weights


def on_rotations() -> Points:
    """R_z(a) R_y(b) R_z(c), whose Haar measure of volume 8 pi^2 is da d(cos b) dc."""
    (a, cosine, c), weights = grid(periodic(12), gauss(8, -1, 1), periodic(12))
    return turn(2, a) @ turn(1, cosine.acos()) @ turn(2, c), weights


def on_hyperboloid() -> Points:
    (r, angle), weights = grid(gauss(28, 0, 5.5), periodic(24))
    x = torch.stack([r.cosh(), r.sinh() * angle.cos(), r.sinh() * angle.sin()], -1)
    return x, weights * r.sinh()


def on_line_and_circle() -> Points:
    (place, angle), weights = grid(gauss(48, -8, 8), periodic(24))
    return {"place": place[:, None], "aim": torch.stack([angle.cos(), angle.sin()], -1)}, weights


def swirl(x: Tensor, t: Tensor) -> Tensor:
    """A smooth ambient field without symmetry."""
    shifts = torch.tensor([0.3, -1.0, 0.6], dtype=D)[: x.shape[-1]]
    return torch.sin(x.roll(1, -1) + 2 * t.view(-1, 1) + shifts) + 0.5 * torch.cos(x + shifts)


def sphere_field(x: Tensor, t: Tensor) -> Tensor:
    return Sphere().proju(x, 0.6 * swirl(x, t))


def torus_field(x: Tensor, t: Tensor) -> Tensor:
    return 0.6 * swirl(x, t)


def rotation_field(x: Tensor, t: Tensor) -> Tensor:
    return 0.6 * swirl(x[:, :, 0], t) + 0.4 * x[:, 1] * x[:, :, 2]


def lorentz_field(x: Tensor, t: Tensor) -> Tensor:
    """Given by its spatial part, so that its length is bounded."""
    u = 0.5 * swirl(x[:, 1:], t)
    return torch.cat([(x[:, 1:] * u).sum(-1, keepdim=True) / x[:, :1], u], -1)


def product_field(x: dict[str, Tensor], t: Tensor) -> dict[str, Tensor]:
    place, aim = x["place"], x["aim"]
    return {
        "place": 0.7 * torch.sin(place + aim[:, :1]) - 0.2 * place,
        "aim": Sphere().proju(
            aim, 0.4 * swirl(aim, t) + 0.3 * torch.cat([place.sin(), place.cos()], -1)
        ),
    }


LORENTZ = Lorentz()
CASES = {
    "sphere": (GeodesicPath(Sphere()), sphere_field, on_sphere),
    "torus": (GeodesicPath(FlatTorus()), torus_field, on_torus),
    "rotations": (GeodesicPath(SO3()), rotation_field, on_rotations),
    "hyperbolic": (
        GeodesicPath(LORENTZ, WrappedNormal(LORENTZ, LORENTZ.origin(2, dtype=D), 0.5)),
        lorentz_field,
        on_hyperboloid,
    ),
    "line and circle": (
        ProductPath(place=AffinePath(), aim=GeodesicPath(Sphere())),
        product_field,
        on_line_and_circle,
    ),
}
cases = pytest.mark.parametrize(("path", "field", "points"), CASES.values(), ids=CASES)


class Short(Divergence):
    """Nine tenths of the divergence: what the integral is there to see."""

    def __call__(
        self, velocity: Callable[[Any], Any], x: Any, manifolds: dict[str, Manifold], probe: Any
    ) -> tuple[Any, Tensor]:
        value, divergence = Exact()(velocity, x, manifolds, probe)
        return value, 0.9 * divergence


@cases
def test_density_integrates_to_one(
    path: StatePath, field: Any, points: Callable[[], Points]
) -> None:
    x, weights = points()
    value = log_prob(field, path, x, solver=RK4(10))
    assert abs((weights * value.exp()).sum() - 1) < 1e-3
    assert value.max() - value.min() > 1  # it is far from uniform
    wrong = log_prob(field, path, x, solver=RK4(10), divergence=Short())
    assert abs((weights * wrong.exp()).sum() - 1) > 2e-3


def test_density_in_a_chart_has_its_volume_term() -> None:
    """The Poincare disk, whose tangents are coordinate velocities, against the hyperboloid."""
    geoopt = pytest.importorskip("geoopt")
    from flowatlas.manifolds import GeooptManifold
    from flowatlas.manifolds.geoopt_adapter import poincare_log_volume

    ball = GeooptManifold(geoopt.PoincareBall(), log_volume=poincare_log_volume)
    origin = torch.zeros(2, dtype=D)

    class Wrapped(WrappedNormal):
        """The wrapped normal of the hyperboloid in the disk's coordinates."""

        def __init__(self) -> None:
            super().__init__(LORENTZ, LORENTZ.origin(2, dtype=D), 0.5)

        def log_prob(self, x: Tensor) -> Tensor:
            square = x.square().sum(-1, keepdim=True)
            lifted = torch.cat([1 + square, 2 * x], -1) / (1 - square)
            return super().log_prob(lifted)

    (r, angle), weights = grid(gauss(28, 0, 5.5), periodic(24))
    x = torch.tanh(r / 2)[:, None] * torch.stack([angle.cos(), angle.sin()], -1)

    def field(x: Tensor, t: Tensor) -> Tensor:
        return 0.25 * (1 - x.square().sum(-1, keepdim=True)) * swirl(4 * x, t)

    path = GeodesicPath(ball, Wrapped())
    assert torch.isfinite(path.source.log_prob(origin[None])).all()
    value = log_prob(field, path, x, solver=RK4(10))
    assert abs((weights * r.sinh() * value.exp()).sum() - 1) < 1e-3
