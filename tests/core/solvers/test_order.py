"""Every method converges at its order to solutions that it had no part in."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from flowatlas.manifolds import SO3, FlatTorus, Lorentz, Sphere
from flowatlas.paths import AffinePath, GeodesicPath, ProductPath
from flowatlas.solvers import (
    DORMAND_PRINCE,
    RK4,
    Euler,
    FixedStepSolver,
    Heun,
    Midpoint,
    RungeKutta,
)
from flowatlas.sources import WrappedNormal

D = torch.float64


class FixedDopri5(RungeKutta):
    """The fifth-order result of Dormand and Prince with fixed steps."""

    tableau = DORMAND_PRINCE


#: Method, order, and numbers of steps between which the error is asymptotic and not yet rounding.
METHODS = [
    pytest.param(Euler, 1, (256, 512), id="Euler"),
    pytest.param(Midpoint, 2, (64, 128), id="Midpoint"),
    pytest.param(Heun, 2, (64, 128), id="Heun"),
    pytest.param(RK4, 4, (32, 64), id="RK4"),
    pytest.param(FixedDopri5, 5, (48, 96), id="Dopri5"),
]
methods = pytest.mark.parametrize(("method", "order", "steps"), METHODS)
Method = type[FixedStepSolver]


def column(t: Tensor) -> Tensor:
    return t.view(-1, 1)


def limit_cycle(x: Tensor, t: Tensor, condition: Any = None) -> Tensor:
    """r' = r (1 - r^2) and angle' = 3 cos(2 t), in Cartesian coordinates."""
    turned = torch.stack([-x[:, 1], x[:, 0]], -1)
    inward = 1 - x.square().sum(-1, keepdim=True)
    velocity: Tensor = x * inward + 3 * torch.cos(2 * column(t)) * turned
    return velocity


def limit_cycle_flow(x: Tensor, start: float, end: float) -> Tensor:
    radius = x.norm(dim=-1)
    angle = torch.atan2(x[:, 1], x[:, 0]) + 1.5 * (math.sin(2 * end) - math.sin(2 * start))
    radius = (1 + (radius.square().reciprocal() - 1) * math.exp(-2 * (end - start))).rsqrt()
    end_point: Tensor = radius.unsqueeze(-1) * torch.stack([angle.cos(), angle.sin()], -1)
    return end_point


@methods
@pytest.mark.parametrize(("start", "end"), [(0.0, 1.0), (1.0, 0.0), (0.9, 0.1)])
def test_flat_space(
    method: Method,
    order: int,
    steps: tuple[int, int],
    start: float,
    end: float,
    slope: Callable[..., float],
    generator: torch.Generator,
) -> None:
    x = torch.randn(6, 2, generator=generator, dtype=D)
    x = 0.7 * x / x.norm(dim=-1, keepdim=True)
    exact = limit_cycle_flow(x, start, end)
    found = slope(limit_cycle, AffinePath(), x, exact, method, steps, start=start, end=end)
    assert abs(found - order) < 0.2


def ambient(x: Tensor, t: Tensor) -> Tensor:
    """A smooth field on the ambient space, without symmetry."""
    c = column(t)
    return torch.stack(
        [
            -x[:, 1:2] * (1 + c) + 0.3,
            x[:, :1] + torch.sin(3 * x[:, 2:]),
            torch.cos(2 * c) * x[:, :1],
        ],
        -1,
    ).squeeze(1)


def sphere_field(x: Tensor, t: Tensor, condition: Any = None) -> Tensor:
    return Sphere().proju(x, ambient(x, t))


def lorentz_field(x: Tensor, t: Tensor, condition: Any = None) -> Tensor:
    # Of the spatial coordinates alone, or the reference's rounding would grow off the manifold.
    space = x[:, 1:]
    time = (1 + space.square().sum(-1, keepdim=True)).sqrt()
    u = 0.8 * torch.sin(
        torch.stack([2 * space[:, 1], 3 * space[:, 0] - space[:, 1]], -1) + 2 * column(t)
    )
    return torch.cat([(space * u).sum(-1, keepdim=True) / time, u], -1)


@methods
def test_sphere(
    method: Method,
    order: int,
    steps: tuple[int, int],
    slope: Callable[..., float],
    reference: Callable[..., dict[str, Tensor]],
    generator: torch.Generator,
) -> None:
    path = GeodesicPath(Sphere())
    x = Sphere().random_uniform((6, 3), generator=generator, dtype=D)
    exact = reference(sphere_field, path, x)["x"]
    assert abs(slope(sphere_field, path, x, exact, method, steps) - order) < 0.2


@methods
def test_lorentz(
    method: Method,
    order: int,
    steps: tuple[int, int],
    slope: Callable[..., float],
    reference: Callable[..., dict[str, Tensor]],
    generator: torch.Generator,
) -> None:
    space = Lorentz()
    path = GeodesicPath(space, WrappedNormal(space, space.origin(2, dtype=D), 0.7))
    x = path.source.sample((6, 3), generator=generator, dtype=D)
    exact = reference(lorentz_field, path, x)["x"]
    assert abs(slope(lorentz_field, path, x, exact, method, steps) - order) < 0.2


def torus_field(x: Tensor, t: Tensor, condition: Any = None) -> Tensor:
    return 2 * torch.sin(x.flip(-1) + 2 * column(t)) + torch.cos(x) + 3


@methods
def test_torus(
    method: Method,
    order: int,
    steps: tuple[int, int],
    slope: Callable[..., float],
    reference: Callable[..., dict[str, Tensor]],
    generator: torch.Generator,
) -> None:
    torus = FlatTorus()
    path = GeodesicPath(torus)
    x = torus.random_uniform((6, 2), generator=generator, dtype=D)
    exact = reference(torus_field, path, x)["x"]
    assert (exact > 2 * math.pi).any()  # the reference is not wrapped, and some points go round
    found = slope(torus_field, path, x, exact, method, steps, difference=torus.logmap)
    assert abs(found - order) < 0.2


A = torch.tensor([[0.0, -1.0, 2.0], [1.0, 0.0, -0.5], [-2.0, 0.5, 0.0]], dtype=D)
B = torch.tensor([[0.0, 0.7, 0.4], [-0.7, 0.0, 1.5], [-0.4, -1.5, 0.0]], dtype=D)
C = torch.tensor([[0.0, -0.3, -1.1], [0.3, 0.0, 0.8], [1.1, -0.8, 0.0]], dtype=D)


def vector(matrix: Tensor) -> Tensor:
    """The vector of a skew matrix, `(..., 3, 3)` to `(..., 3)`."""
    return torch.stack([matrix[..., 2, 1], matrix[..., 0, 2], matrix[..., 1, 0]], -1)


def gyroscope(rotation: Tensor, t: Tensor, condition: Any = None) -> Tensor:
    """Body velocity of R' = W(t) R + R V(t), W = e^(tA) B e^(-tA) and V = e^(-tA) C e^(tA)."""
    turn = torch.linalg.matrix_exp(t[:, None, None] * A)
    space, body = turn @ B @ turn.mT, turn.mT @ C @ turn
    return vector(rotation.mT @ space @ rotation + body)


def gyroscope_flow(rotation: Tensor) -> Tensor:
    """R(1) = e^A e^(B - A) R(0) e^(C - A) e^A, as differentiation shows."""
    exp = torch.linalg.matrix_exp
    end: Tensor = exp(A) @ exp(B - A) @ rotation @ exp(C - A) @ exp(A)
    return end


@methods
def test_rotations(
    method: Method,
    order: int,
    steps: tuple[int, int],
    slope: Callable[..., float],
    generator: torch.Generator,
) -> None:
    path = GeodesicPath(SO3())
    x = SO3().random_uniform((6, 3, 3), generator=generator, dtype=D)
    found = slope(gyroscope, path, x, gyroscope_flow(x), method, steps)
    assert abs(found - order) < 0.2


class NaivePullback(SO3):
    """Stages added up as if the body frame did not turn."""

    def pullback(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        return v


@pytest.mark.parametrize("method", [RK4, FixedDopri5])
def test_rotations_without_pullback_have_order_two(
    method: Method, slope: Callable[..., float], generator: torch.Generator
) -> None:
    path = GeodesicPath(NaivePullback())
    x = SO3().random_uniform((6, 3, 3), generator=generator, dtype=D)
    found = slope(gyroscope, path, x, gyroscope_flow(x), method, (32, 64))
    assert abs(found - 2) < 0.2


def coupled(state: dict[str, Tensor], t: Tensor, condition: Any = None) -> dict[str, Tensor]:
    """Each component's velocity depends on all of them."""
    rotation, place, direction = state["rotation"], state["place"], state["direction"]
    first = rotation[:, :, 0]
    return {
        "rotation": gyroscope(rotation, t) + direction + 0.5 * place,
        "place": torch.sin(place) + column(t) * first - direction,
        "direction": Sphere().proju(direction, 0.5 * ambient(direction, t) + first),
    }


@methods
def test_product(
    method: Method,
    order: int,
    steps: tuple[int, int],
    slope: Callable[..., float],
    reference: Callable[..., dict[str, Tensor]],
    generator: torch.Generator,
) -> None:
    path = ProductPath(
        rotation=GeodesicPath(SO3()), place=AffinePath(), direction=GeodesicPath(Sphere())
    )
    like = {
        "rotation": torch.zeros(4, 3, 3, dtype=D),
        "place": torch.zeros(4, 3, dtype=D),
        "direction": torch.zeros(4, 3, dtype=D),
    }
    x = path.draw(like, generator=generator)
    exact = reference(coupled, path, x)
    assert abs(slope(coupled, path, x, exact, method, steps) - order) < 0.2
