"""Unit quaternions: conformance, and that they are SO(3) in other coordinates."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from flowatlas.errors import ShapeError
from flowatlas.manifolds import SO3, UnitQuaternions
from flowatlas.objectives import FlowMatching
from flowatlas.paths import GeodesicPath
from flowatlas.sampling import log_prob, sample
from flowatlas.solvers import RK4
from flowatlas.sources import Uniform, WrappedNormal
from flowatlas.testing import ManifoldConformance

Q, GROUP = UnitQuaternions(), SO3()
DOUBLE = torch.float64


class TestUnitQuaternions(ManifoldConformance):
    manifold, point_shape = Q, (4,)
    wrong_shapes = ((3,), (2, 3), (2, 3, 3), (2, 5))


def draws(count: int, *seeds: int) -> list[Tensor]:
    return [
        Q.random_uniform((count, 4), generator=torch.Generator().manual_seed(s), dtype=DOUBLE)
        for s in seeds
    ]


def tangents(count: int, seed: int, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(count, 3, generator=generator, dtype=DOUBLE)


def close(actual: Tensor, expected: Tensor, atol: float = 1e-12) -> None:
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)


def test_products_and_exponentials_are_those_of_scipy() -> None:
    (p,) = draws(200, 0)
    u = torch.cat([tangents(150, 1, 2.0), tangents(50, 2, 1e-9)])
    expected = Rotation.from_quat(p.numpy(), scalar_first=True) * Rotation.from_rotvec(u.numpy())
    close(Q.to_matrix(Q.expmap(p, u)), torch.from_numpy(expected.as_matrix()))


def test_matrices_and_quaternions_are_isometric() -> None:
    p, q = draws(300, 0, 1)
    r, s = Q.to_matrix(p), Q.to_matrix(q)
    GROUP.check_point(r)
    close(Q.from_matrix(r), p)
    close(Q.dist(p, q), GROUP.dist(r, s))
    close(Q.logmap(p, q), GROUP.logmap(r, s), 1e-9)
    u = tangents(300, 2)
    close(Q.to_matrix(Q.expmap(p, u)), GROUP.expmap(r, u))
    share = torch.rand(300, generator=torch.Generator().manual_seed(3), dtype=DOUBLE)
    (x_q, u_q), (x_r, u_r) = Q.geodesic(p, q, share), GROUP.geodesic(r, s, share)
    close(Q.to_matrix(x_q), x_r)
    close(u_q, u_r, 1e-9)
    # Tangents are the same numbers: the derivative of the matrix is that of the rotation.
    moved = torch.func.jvp(Q.to_matrix, (p,), (Q.pushforward(p, u),))[1]
    close(moved, GROUP.pushforward(r, u))


def test_a_quaternion_and_its_opposite_are_one_point() -> None:
    p, q = draws(200, 0, 1)
    Q.check_point(-p)
    for a, b in ((-p, q), (p, -q), (-p, -q)):
        close(Q.dist(a, b), Q.dist(p, q))
        close(Q.logmap(a, b), Q.logmap(p, q))
        close(Q.pairwise_squared_dist(a, b), Q.pairwise_squared_dist(p, q), 1e-9)
    close(Q.dist(p, -p), torch.zeros(200, dtype=DOUBLE), 1e-7)
    assert Q.dist(p, q).max() <= math.pi
    for made in (Q.projx(-3 * p), Q.expmap(-p, 0 * tangents(200, 2)), Q.retract(-p, 0 * p[:, 1:])):
        close(made, p)
    # Power: the sphere of quaternions would go the long way for half of them.
    assert ((p * q).sum(-1) < 0).double().mean() > 0.3


def test_losses_and_densities_agree_with_those_of_matrices() -> None:
    x_0, x_1 = draws(64, 4, 5)
    target = draws(1, 6)[0]

    def on_quaternions(x: Tensor, t: Tensor, condition: object = None) -> Tensor:
        return 0.7 * Q.logmap(x, target.to(x).expand_as(x)) * (1 + t[:, None])

    def on_matrices(x: Tensor, t: Tensor, condition: object = None) -> Tensor:
        return 0.7 * GROUP.logmap(x, Q.to_matrix(target).to(x).expand_as(x)) * (1 + t[:, None])

    values = []
    for manifold, field, a, b in (
        (Q, on_quaternions, x_0, x_1),
        (GROUP, on_matrices, Q.to_matrix(x_0), Q.to_matrix(x_1)),
    ):
        loss = FlowMatching(GeodesicPath(manifold))(
            field, b, x_0=a, generator=torch.Generator().manual_seed(0)
        )
        narrow = WrappedNormal(manifold, b[0], 0.8)
        path = GeodesicPath(manifold, source=narrow)
        solver = RK4(steps=16)
        density = log_prob(field, path, b[:16], solver=solver)
        moved = sample(field, path, x_init=a[:16], solver=solver)
        moved = moved if manifold is GROUP else Q.to_matrix(moved)
        values.append((loss.per_sample, narrow.log_prob(b), density, moved))
    for one, other in zip(*values, strict=True):
        close(one, other, 1e-7)
    assert values[0][2].std() > 0.1


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_logarithms_of_half_turns(dtype: torch.dtype) -> None:
    axis = tangents(500, 0)
    axis = axis / torch.linalg.vector_norm(axis, dim=-1, keepdim=True)
    turn = torch.cat([torch.zeros(500, 1, dtype=DOUBLE), axis], -1).to(dtype)
    one = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=dtype).expand_as(turn)
    u = Q.logmap(one, turn)
    close(u, math.pi * axis.to(dtype), 8 * torch.finfo(dtype).eps)
    leaf = turn.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(Q.logmap(one, leaf).sum(), leaf)
    assert gradient.isfinite().all()


def test_volume_is_that_of_the_sphere_of_quaternions() -> None:
    # Twice the angles of S^3 make eight times its volume 2 pi^2, and q ~ -q halves it.
    (p,) = draws(3, 0)
    expected = torch.full((3,), -math.log(8 * 2 * math.pi**2 / 2), dtype=DOUBLE)
    close(Uniform(Q).log_prob(p), expected)


def test_steps_do_not_leave_the_sphere() -> None:
    x = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    u = torch.tensor([[0.3, -0.2, 0.1]])
    for _ in range(3000):
        x = Q.retract(x, u)
    assert Q.residual(x).item() < 5e-7


def test_wrong_shapes_say_how_to_convert() -> None:
    with pytest.raises(ShapeError, match="from_matrix"):
        Q.check_shape(torch.eye(3))
