"""Spectral paths: the distance, its gradient, arrival, and the mass of flows on meshes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from flowatlas.errors import CapabilityError, ConfigError
from flowatlas.manifolds import Mesh, Sphere
from flowatlas.manifolds.spectrum import laplacian
from flowatlas.paths import BiharmonicDistance, DiffusionDistance, SpectralPath
from flowatlas.sampling import integrate, log_prob, sample
from flowatlas.schedulers import Cosine, Polynomial
from flowatlas.solvers import RK4, Midpoint

SPHERE, SQUARE = Mesh.icosphere(2), Mesh.square(8)


def pairs(mesh: Mesh, n: int = 64) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    return (
        mesh.random_uniform((n, 3), generator=g, dtype=torch.float64),
        mesh.random_uniform((n, 3), generator=g, dtype=torch.float64),
    )


def test_the_biharmonic_distance_is_that_of_the_inverse_laplacian() -> None:
    """With all eigenfunctions: dense linear algebra, without a spectrum."""
    mesh = Mesh.icosphere(1)
    stiffness, mass = (m.toarray() for m in laplacian(mesh._first))
    ones = mass.sum(1)
    inverse = np.linalg.inv(stiffness + np.outer(ones, ones) / ones.sum())
    kernel = inverse @ mass @ inverse
    square = kernel.diagonal()[:, None] + kernel.diagonal() - 2 * kernel
    path = SpectralPath(mesh, eigenfunctions=10_000)
    count = len(mesh.vertices)
    x = mesh.vertices.repeat_interleave(count, 0)
    found = path.dist(x, mesh.vertices.repeat(count, 1)).view(count, count)
    np.testing.assert_allclose(found, np.sqrt(square.clip(min=0)), atol=1e-7)


@pytest.mark.parametrize(
    ("premetric", "weight"),
    [
        (BiharmonicDistance(), lambda v: v**-2),
        (DiffusionDistance(0.05), lambda v: np.exp(-0.1 * (v - math.pi**2))),
    ],
)
def test_distances_of_the_square_are_sums_of_cosines(
    premetric: BiharmonicDistance | DiffusionDistance, weight: Callable[[float], float]
) -> None:
    mesh = Mesh.square(32)
    # Eight functions are whole eigenspaces, so that their choice within does not matter.
    path = SpectralPath(mesh, premetric=premetric, eigenfunctions=8)
    x, y = pairs(mesh, 200)
    square = torch.zeros(200, dtype=torch.float64)
    for m, n in ((1, 0), (0, 1), (1, 1), (2, 0), (0, 2), (2, 1), (1, 2), (2, 2)):
        norm = (2 if m else 1) * (2 if n else 1)

        def cosines(z: Tensor, m: int = m, n: int = n) -> Tensor:
            return torch.cos(m * math.pi * z[:, 0]) * torch.cos(n * math.pi * z[:, 1])

        w = weight(math.pi**2 * (m * m + n * n))
        square += w * norm * (cosines(x) - cosines(y)).square()
    torch.testing.assert_close(path.dist(x, y), square.sqrt(), rtol=0.02, atol=1e-4)


@pytest.mark.parametrize("mesh", [SPHERE, SQUARE])
def test_the_gradient_is_that_of_finite_differences(mesh: Mesh) -> None:
    path = SpectralPath(mesh, eigenfunctions=30)
    x, y = pairs(mesh)
    d, gradient = path.dist_and_gradient(x, y)
    torch.testing.assert_close(d, path.dist(x, y))
    eps = 1e-6
    for u in mesh.tangent_basis(x).unbind(1):
        slope = (path.dist(x + eps * u, y) - path.dist(x - eps * u, y)) / (2 * eps)
        torch.testing.assert_close((gradient * u).sum(-1), slope, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(mesh.proju(x, gradient), gradient)
    zero, none = path.dist_and_gradient(x, x)
    assert zero.max() < 1e-12
    assert torch.isfinite(none).all()


@pytest.mark.parametrize("mesh", [SPHERE, SQUARE])
def test_paths_keep_to_their_distance_and_arrive(mesh: Mesh) -> None:
    path = SpectralPath(mesh, eigenfunctions=60, steps=100)
    x_0, x_1 = pairs(mesh)
    for t in (0.0, 0.3, 0.8):
        found = path.sample(x_0, x_1, torch.full((64,), t, dtype=torch.float64))
        assert isinstance(found.x_t, Tensor)
        assert isinstance(found.dx_t, Tensor)
        mesh.check_point(found.x_t)
        left = path.dist(found.x_t, x_1) / path.dist(x_0, x_1)
        assert (left - (1 - t)).abs().max() < 5e-3
        # The velocity goes down at the speed that the distance falls by.
        _, gradient = path.dist_and_gradient(found.x_t, x_1)
        speed = (gradient * found.dx_t).sum(-1) / path.dist(x_0, x_1)
        assert (speed + 1).abs().median() < 1e-10
    arrival = path.arrival(x_0, x_1)
    assert arrival.stuck == 0
    assert arrival.remaining.max() < 0.03
    end, _ = path.interpolate(x_0, x_1, torch.full((64,), 1 - 1e-5, dtype=torch.float64))
    assert (end - x_1).norm(dim=1).median() < 1e-3


def test_errors_of_the_distance_fall_at_second_order() -> None:
    x_0, x_1 = pairs(SPHERE, 256)
    errors = []
    for steps in (10, 20, 40):
        path = SpectralPath(SPHERE, eigenfunctions=60, steps=steps)
        errors.append((path.arrival(x_0, x_1, 0.5).remaining - 0.5).abs().median())
    assert errors[0] / errors[1] > 3
    assert errors[1] / errors[2] > 3
    assert errors[2] < 2e-4


def test_paths_converge_to_one_curve() -> None:
    x_0, x_1 = pairs(SQUARE, 128)
    t = torch.full((128,), 0.5, dtype=torch.float64)
    ends = [
        SpectralPath(SQUARE, eigenfunctions=20, steps=n).interpolate(x_0, x_1, t)[0]
        for n in (10, 40, 640)
    ]
    coarse, fine = ((end - ends[-1]).norm(dim=1).mean() for end in ends[:-1])
    assert fine < coarse / 2.5
    assert fine < 0.01


def test_schedules_set_the_distance() -> None:
    x_0, x_1 = pairs(SPHERE)
    path = SpectralPath(SPHERE, scheduler=Polynomial(2.0), eigenfunctions=40)
    found = path.arrival(x_0, x_1, 0.5)
    assert found.wanted == pytest.approx(0.75)
    assert (found.remaining - 0.75).abs().max() < 0.01
    _, u = path.interpolate(x_0, x_1, torch.full((64,), 0.5, dtype=torch.float64))
    _, v = SpectralPath(SPHERE, eigenfunctions=40).interpolate(
        x_0, x_1, torch.full((64,), 0.25, dtype=torch.float64)
    )
    # At t = 1/2 the quadratic schedule is at the same place, at unit speed.
    torch.testing.assert_close(u, v)


def test_pairs_do_not_depend_on_the_batch_and_samples_hold_several_points() -> None:
    path = SpectralPath(SPHERE, eigenfunctions=30, steps=10)
    x_0, x_1 = pairs(SPHERE, 6)
    t = torch.tensor([0.2, 0.2, 0.5, 0.5, 0.9, 0.9], dtype=torch.float64)
    x_t, u_t = path.interpolate(x_0, x_1, t)
    for row in range(6):
        alone = path.interpolate(x_0[row : row + 1], x_1[row : row + 1], t[row : row + 1])
        torch.testing.assert_close(alone[0][0], x_t[row])
        torch.testing.assert_close(alone[1][0], u_t[row])
    found = path.sample(x_0.view(3, 2, 3), x_1.view(3, 2, 3), t[::2])
    torch.testing.assert_close(found.x_t, x_t.view(3, 2, 3))
    again = path.interpolate(x_0.float(), x_1.float(), t.float())[0]
    torch.testing.assert_close(again.double(), x_t, atol=1e-4, rtol=0)


def test_pairs_that_are_caught_are_counted() -> None:
    """Heat that has not spread yet tells near from far alone: its distance has many minima."""
    x_0, x_1 = pairs(SQUARE, 256)
    caught = SpectralPath(SQUARE, premetric=DiffusionDistance(0.002), eigenfunctions=80).arrival(
        x_0, x_1
    )
    assert caught.stuck > 0.1
    assert SpectralPath(SQUARE, eigenfunctions=80).arrival(x_0, x_1).stuck == 0


def velocity(x: Tensor) -> Tensor:
    """A smooth field of the space around, with a part that points outward."""
    turn = torch.linalg.cross(torch.tensor([0.0, 0.3, 1.0], dtype=x.dtype).expand_as(x), x)
    u: Tensor = 0.5 * x + 0.5 * turn + 0.15 * torch.sin(2 * x.roll(1, -1))
    return u


def mass(mesh: Mesh, field: Callable[[Tensor, Tensor], Tensor], per_face: int) -> float:
    """Integral of the density of a flow, from points in every face."""
    g = torch.Generator().manual_seed(0)
    face = torch.arange(len(mesh.faces)).repeat(per_face)
    a, b = torch.rand(2, len(face), 1, generator=g, dtype=torch.float64)
    place = torch.cat([1 - a.sqrt(), a.sqrt() * (1 - b), a.sqrt() * b], 1)
    path = SpectralPath(mesh, eigenfunctions=3)
    value = log_prob(field, path, mesh.points(face, place), solver=RK4(steps=8)).exp()
    return float((value * mesh.tables(value).areas[face]).sum() / per_face)


def test_flows_of_conforming_fields_keep_their_mass() -> None:
    """On a coarse mesh, whose faces meet at 20 degrees; a projected field does not."""
    mesh = Mesh.icosphere(1)
    assert mass(mesh, lambda x, t: mesh.conforming(x, velocity(x)), 6) == pytest.approx(1, abs=0.02)
    assert mass(mesh, lambda x, t: mesh.proju(x, velocity(x)), 2) < 0.7


def test_flows_that_press_into_walls_have_the_density_of_their_samples() -> None:
    """The share of samples in the last row before a wall is the integral of the density there."""
    mesh = Mesh.square(3)
    path = SpectralPath(mesh, eigenfunctions=3)
    x = mesh.random_uniform(
        (4000, 3), generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )

    def press(x: Tensor, t: Tensor) -> Tensor:
        return torch.stack([0.3 + 0.3 * x[:, 1], -0.4 * torch.cos(x[:, 0]), 0 * x[:, 0]], 1)

    def shares(field: Callable[[Tensor, Tensor], Tensor]) -> tuple[float, float]:
        arrived = integrate(field, path, x, solver=RK4(steps=8)).x
        density = log_prob(field, path, x, solver=RK4(steps=8)).exp()
        drawn = (arrived[:, 1] < 0.15).double().mean()
        return float(drawn), float((density * (x[:, 1] < 0.15)).mean())

    drawn, integral = shares(lambda x, t: mesh.conforming(x, press(x, t)))
    assert drawn > 0.3
    assert integral == pytest.approx(drawn, abs=0.03)
    drawn, integral = shares(press)
    assert integral < drawn - 0.2


def test_velocities_of_paths_do_not_cross_walls() -> None:
    x_0, x_1 = pairs(SQUARE, 256)
    x_0[:128, 1] = 0
    path = SpectralPath(SQUARE, eigenfunctions=80)
    sample = path.sample(x_0, x_1, torch.zeros(256, dtype=x_0.dtype))
    assert isinstance(sample.dx_t, Tensor)
    assert sample.dx_t[:128, 1].abs().max() < 1e-12
    assert sample.dx_t[128:, 1].abs().mean() > 0.1


def test_samples_stay_on_the_mesh_and_solvers_agree() -> None:
    path = SpectralPath(SPHERE, eigenfunctions=10)
    x_0 = pairs(SPHERE, 32)[0]

    def field(x: Tensor, t: Tensor) -> Tensor:
        return SPHERE.conforming(x, velocity(x))

    one = sample(field, path, x_init=x_0, solver=Midpoint(steps=20))
    two = sample(field, path, x_init=x_0, solver=RK4(steps=30))
    SPHERE.check_point(one)
    assert (one - two).norm(dim=1).max() < 0.01
    assert (one - x_0).norm(dim=1).mean() > 0.2


def test_what_a_spectral_path_does_not_take() -> None:
    path = SpectralPath(SPHERE, eigenfunctions=5)
    x, t = pairs(SPHERE)[0], torch.full((64,), 0.5, dtype=torch.float64)
    for wrong in (
        lambda: SpectralPath(SPHERE, scheduler=Cosine()),
        lambda: SpectralPath(SPHERE, prediction="target"),
        lambda: SpectralPath(SPHERE, eigenfunctions=0),
        lambda: SpectralPath(SPHERE, steps=0),
        lambda: SpectralPath(Sphere()),  # type: ignore[arg-type]
        lambda: DiffusionDistance(0.0),
    ):
        with pytest.raises(ConfigError):
            wrong()
    with pytest.raises(CapabilityError, match="does not tell the end"):
        path.convert(x, x, t, "target")
    with pytest.raises(CapabilityError, match="schedule"):
        path.with_schedule(Polynomial(2.0))
    u = 0.1 * SPHERE.proju(x, torch.ones_like(x))
    step = path.conditional_step(x, t, t + 0.5, u)
    assert torch.equal(step, SPHERE.expmap(x, 0.5 * u))
