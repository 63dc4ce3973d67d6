from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from flowatlas.errors import ConfigError, GeometryError, ShapeError
from flowatlas.exact import ExactSphereFlow, VonMisesFisherMixture
from flowatlas.manifolds import Sphere
from flowatlas.schedulers import Cosine, Scheduler

SPHERE = Sphere()
MEANS = SPHERE.projx(
    torch.tensor([[1.0, 2.0, -0.5], [-1.0, 0.3, 0.8], [0.2, -1.0, -1.0]], dtype=torch.float64)
)
TARGET = VonMisesFisherMixture(torch.tensor([1.0, 2.0, 3.0]), MEANS, torch.tensor([30.0, 8.0, 1.5]))
TIMES = [0.0, 0.1, 0.45, 0.8, 0.97]
UNIFORM = -math.log(4 * math.pi)


def full(t: float, x: Tensor) -> Tensor:
    return torch.full((len(x),), t, dtype=torch.float64)


def uniform(n: int, generator: torch.Generator) -> Tensor:
    return SPHERE.random_uniform((n, 3), generator=generator, dtype=torch.float64)


def area_rule(count: int = 120) -> tuple[Tensor, Tensor]:
    """Points and weights that integrate over the sphere: Gauss-Legendre by trapezoid."""
    z, w = np.polynomial.legendre.leggauss(count)
    phi = 2 * np.pi * np.arange(2 * count) / (2 * count)
    z, phi = (v.ravel() for v in np.meshgrid(z, phi, indexing="ij"))
    r = np.sqrt(1 - z**2)
    points = np.stack([r * np.cos(phi), r * np.sin(phi), z], 1)
    return torch.from_numpy(points), torch.from_numpy(np.repeat(w, 2 * count)) * math.pi / count


def divergence(fn: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Trace of the ambient Jacobian: fn is constant along rays, so it is the divergence."""
    jacobian = torch.func.vmap(torch.func.jacrev(lambda y: fn(y[None])[0]))(x)
    trace: Tensor = jacobian.diagonal(dim1=-2, dim2=-1).sum(-1)
    return trace


@pytest.mark.parametrize("concentration", [0.01, 1.0, 40.0])
def test_target_integrates_to_one(concentration: float) -> None:
    points, weights = area_rule()
    target = VonMisesFisherMixture(torch.ones(3), MEANS, concentration)
    assert abs((weights * target.log_prob(points).exp()).sum().item() - 1) < 1e-12


def test_target_samples_have_the_density(generator: torch.Generator) -> None:
    # 8 averages over 20000 samples against quadrature, in standard errors: fails by chance with
    # probability 5e-5.
    points, weights = area_rule()

    def features(x: Tensor) -> Tensor:
        close = torch.exp(20 * (x @ MEANS.T - 1))
        return torch.cat([x, close, x[:, :1] * x[:, 1:2], TARGET.log_prob(x)[:, None]], 1)

    expected = (weights[:, None] * TARGET.log_prob(points).exp()[:, None] * features(points)).sum(0)

    def errors(x: Tensor) -> Tensor:
        f = features(x)
        return ((f.mean(0) - expected) * math.sqrt(len(f)) / f.std(0)).abs().max()

    assert errors(TARGET.sample(20_000, generator)) < 4.5
    wider = VonMisesFisherMixture(TARGET.weights, MEANS, 0.9 * TARGET.rates)
    assert errors(wider.sample(20_000, generator)) > 4.5


def test_sharp_target_keeps_its_digits(generator: torch.Generator) -> None:
    target = VonMisesFisherMixture(torch.ones(1), MEANS[:1], 1e8)
    x = target.sample(2000, generator)
    assert (x.norm(dim=-1) - 1).abs().max() < 1e-14
    # Half the squared angle times the concentration is exponential with mean one: four standard
    # errors are 0.09.
    angle = SPHERE.dist(MEANS[:1].expand_as(x), x)
    assert abs((0.5e8 * angle.square()).mean().item() - 1) < 0.09
    expected = math.log(1e8 / (2 * math.pi)) - 1e8 * (1 - torch.cos(angle[:5]))
    assert torch.allclose(target.log_prob(x[:5]), expected, atol=1e-6)


def test_a_sample_depends_on_its_own_generator_alone() -> None:
    def draw(seeds: list[int]) -> Tensor:
        return TARGET.sample(len(seeds), [torch.Generator().manual_seed(s) for s in seeds])

    torch.testing.assert_close(draw([3, 5, 7])[1:], draw([5, 7]), rtol=0, atol=1e-15)


@pytest.mark.parametrize("t", [*TIMES, 1.0])
def test_density_integrates_to_one(convex: Scheduler, t: float) -> None:
    points, weights = area_rule(80)
    flow = ExactSphereFlow(TARGET, convex)
    assert abs((weights * flow.log_prob(points, full(t, points)).exp()).sum().item() - 1) < 1e-10


def test_ends(convex: Scheduler, generator: torch.Generator) -> None:
    flow = ExactSphereFlow(TARGET, convex)
    x = torch.cat([uniform(50, generator), MEANS, -MEANS])
    torch.testing.assert_close(
        flow.log_prob(x, full(1.0, x)), TARGET.log_prob(x), rtol=1e-13, atol=1e-13
    )
    assert (flow.log_prob(x, full(0.0, x)) - UNIFORM).abs().max() < 1e-13
    assert flow(x, full(1.0, x)).abs().max() < 1e-13
    near = flow(x, full(1 - 1e-9, x))
    assert near.abs().max() < 1e-6
    torch.testing.assert_close(flow(x, full(0.0, x)), flow(x, full(1e-9, x)), rtol=1e-6, atol=1e-6)


def test_velocity_at_the_source_is_the_mean_of_the_logarithm(convex: Scheduler) -> None:
    # x_0 is independent of x_1, so u_0(x) = d_kappa E[log_x(x_1)]. The logarithm is not continuous
    # at -x, where the rule for the sphere is of order 1 / count.
    points, weights = area_rule(400)
    x = MEANS[:2]
    mass = (weights * TARGET.log_prob(points).exp())[:, None]
    expected = torch.stack([(mass * SPHERE.logmap(y.expand_as(points), points)).sum(0) for y in x])
    rate = convex(torch.zeros((), dtype=torch.float64)).d_alpha
    flow = ExactSphereFlow(TARGET, convex)
    torch.testing.assert_close(flow(x, full(0.0, x)), rate * expected, rtol=0, atol=2e-3)


@pytest.mark.parametrize("t", [0.3, 0.7])
def test_density_and_velocity_against_an_integral_over_the_target(
    convex: Scheduler, t: float, generator: torch.Generator
) -> None:
    # The conditional density and velocity at a fixed x_1, summed over a grid of x_1. The density
    # has a kink where theta_0 = pi, which limits the grid to four digits.
    points, weights = area_rule(400)
    x = torch.cat([uniform(3, generator), MEANS[:1]])
    kappa = convex(torch.tensor(t, dtype=torch.float64)).alpha.item()
    d_kappa = convex(torch.tensor(t, dtype=torch.float64)).d_alpha.item()
    flow = ExactSphereFlow(TARGET, convex)
    for y in x:
        log = SPHERE.logmap(y.expand_as(points), points)
        theta = log.norm(dim=-1)
        theta_0 = theta / (1 - kappa)
        conditional = torch.where(
            theta_0 < math.pi, theta_0.sin() / (theta.sin() * (1 - kappa)) / (4 * math.pi), 0.0
        )
        joint = weights * TARGET.log_prob(points).exp() * conditional
        time = full(t, y[None])
        density = flow.log_prob(y[None], time).exp().item()
        assert density == pytest.approx(joint.sum().item(), rel=3e-4)
        u = (joint[:, None] * log).sum(0) * d_kappa / (1 - kappa) / joint.sum()
        torch.testing.assert_close(flow(y[None], time)[0], u, rtol=0, atol=1e-3)


@pytest.mark.parametrize("t", [0.1, 0.45, 0.8, 0.97])
def test_continuity_equation(
    convex: Scheduler, t: float, generator: torch.Generator, difference: Callable[..., Tensor]
) -> None:
    flow = ExactSphereFlow(TARGET, convex)
    x = torch.cat([uniform(30, generator), MEANS])
    basis = SPHERE.tangent_basis(x)

    def density(h: float) -> Tensor:
        return flow.log_prob(x, full(t + h, x)).exp()

    def flux(axis: int) -> Callable[[float], Tensor]:
        def along(h: float) -> Tensor:
            y = SPHERE.expmap(x, h * basis[:, axis])
            u = flow(y, full(t, y))
            return flow.log_prob(y, full(t, y)).exp() * (u * basis[:, axis]).sum(-1)

        return along

    change = difference(density, 1e-3)
    outflow = difference(flux(0), 1e-3) + difference(flux(1), 1e-3)
    assert change.abs().max() > 1e-2
    assert (change + outflow).abs().max() < 1e-6 * change.abs().max()


def test_velocity_is_the_mean_conditional_velocity(generator: torch.Generator) -> None:
    # E[<dx_t - u_t(x_t), g(x_t)>] = 0 for every field g, rotations included, which the continuity
    # equation does not see. 19 averages in standard errors: fails by chance with probability
    # 1.3e-4.
    n = 20_000
    x_0, x_1 = uniform(n, generator), TARGET.sample(n, generator)
    t = torch.rand(n, generator=generator, dtype=torch.float64)
    x, dx_t = SPHERE.geodesic(x_0, x_1, t)
    flow = ExactSphereFlow(TARGET)
    u = torch.cat([flow(*part) for part in zip(x.split(1000), t.split(1000), strict=True)])
    axes = torch.cat([torch.eye(3, dtype=torch.float64), MEANS])
    fields = [SPHERE.proju(x, a.expand_as(x)) for a in axes]
    fields += [torch.linalg.cross(a.expand_as(x), x) for a in axes]
    fields += [(x @ a)[:, None] * g for a, g in zip(axes, fields[6:], strict=True)] + [u]

    def worst(u: Tensor) -> Tensor:
        values = torch.stack([((dx_t - u) * g).sum(-1) for g in fields], 1)
        return (values.mean(0) * math.sqrt(n) / values.std(0)).abs().max()

    assert worst(u) < 4.5
    assert worst(0.9 * u) > 4.5
    assert worst(u + 0.1 * torch.linalg.cross(axes[0].expand_as(x), x)) > 4.5


def test_velocity_is_tangent_and_constant_along_rays(generator: torch.Generator) -> None:
    x, t = uniform(50, generator), torch.rand(50, generator=generator, dtype=torch.float64)
    flow = ExactSphereFlow(TARGET)
    u = flow(x, t)
    assert (u * x).sum(-1).abs().max() < 1e-14
    torch.testing.assert_close(flow(1.7 * x, t), u, rtol=1e-12, atol=1e-12)


def test_rotating_everything_rotates_the_field(generator: torch.Generator) -> None:
    q, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    turned = VonMisesFisherMixture(TARGET.weights, MEANS @ q.T, TARGET.rates)
    x, t = uniform(50, generator), torch.rand(50, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(
        ExactSphereFlow(turned)(x @ q.T, t), ExactSphereFlow(TARGET)(x, t) @ q.T
    )


def test_density_along_trajectories(
    convex: Scheduler, generator: torch.Generator, solve: Callable[..., Tensor]
) -> None:
    flow = ExactSphereFlow(TARGET, convex)
    x_0 = uniform(20, generator)

    def rate(state: Tensor, t: Tensor) -> Tensor:
        x = state[:, :3]
        trace = divergence(lambda y: flow(y, t[:1]), x)
        return torch.cat([flow(x, t), -trace[:, None]], 1)

    start = torch.cat([x_0, torch.full((20, 1), UNIFORM, dtype=torch.float64)], 1)
    end = solve(rate, start, 0.0, 1.0, tolerance=1e-9)
    assert (end[:, :3].norm(dim=-1) - 1).abs().max() < 1e-8
    assert (end[:, 3] - TARGET.log_prob(end[:, :3])).abs().max() < 1e-7


@pytest.mark.parametrize(("concentration", "tolerance"), [(10.0, 1e-13), (1e3, 1e-12)])
def test_stated_accuracy_of_the_quadrature(
    concentration: float, tolerance: float, generator: torch.Generator
) -> None:
    target = VonMisesFisherMixture(torch.ones(3), MEANS, concentration)
    flow = ExactSphereFlow(target)
    fine = ExactSphereFlow(target, nodes=2 * flow.nodes)
    x = torch.cat([uniform(60, generator), MEANS, -MEANS])
    for t in (0.0, 0.3, 0.9, 0.999, 1.0):
        time = full(t, x)
        assert (flow.log_prob(x, time) - fine.log_prob(x, time)).abs().max() < tolerance
        assert (flow(x, time) - fine(x, time)).abs().max() < tolerance


@pytest.mark.parametrize("t", [0.0, 0.5, 1.0])
def test_gradients_are_finite_at_the_means_and_their_antipodes(t: float) -> None:
    flow = ExactSphereFlow(TARGET)
    x = torch.cat([MEANS, -MEANS])
    for transform in (torch.func.jacrev, torch.func.jacfwd):
        jacobian = torch.func.vmap(transform(lambda y: flow(y[None], full(t, y[None]))[0]))(x)
        assert torch.isfinite(jacobian).all()
        # Smooth: equal to the Jacobian close by.
        near = torch.func.vmap(transform(lambda y: flow(y[None], full(t, y[None]))[0]))(
            SPHERE.projx(x + 1e-7 * MEANS.roll(1, 0).repeat(2, 1))
        )
        torch.testing.assert_close(jacobian, near, rtol=1e-4, atol=1e-4)


def test_errors() -> None:
    with pytest.raises(ConfigError, match=r"Cosine\(\) is not convex"):
        ExactSphereFlow(TARGET, Cosine())
    with pytest.raises(ConfigError, match="nodes: got 1"):
        ExactSphereFlow(TARGET, nodes=1)
    with pytest.raises(ShapeError, match=r"x: got shape \(3, 2\)"):
        ExactSphereFlow(TARGET)(torch.zeros(3, 2), torch.zeros(3))
    with pytest.raises(ShapeError, match=r"means: got shape \(1, 2\)"):
        VonMisesFisherMixture(torch.ones(1), torch.tensor([[1.0, 0.0]]), 1.0)
    with pytest.raises(GeometryError, match=r"means.*1.00e"):
        VonMisesFisherMixture(torch.ones(3), 2 * MEANS, 1.0)
    with pytest.raises(ConfigError, match=r"concentrations.*positive"):
        VonMisesFisherMixture(torch.ones(3), MEANS, -1.0)
    with pytest.raises(ShapeError, match=r"concentrations: got shape \(2,\).*\(3,\)"):
        VonMisesFisherMixture(torch.ones(3), MEANS, torch.ones(2))
