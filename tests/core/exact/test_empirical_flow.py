"""The flow to a finite set of points: density, conditional expectation, and regression on it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flowatlas import (
    RK4,
    SO3,
    Euclidean,
    FlatTorus,
    FlowMatching,
    GeodesicPath,
    Manifold,
    MinibatchOT,
    Sphere,
    log_prob,
)
from flowatlas.errors import CapabilityError, ConfigError, ShapeError
from flowatlas.exact import EmpiricalFlow
from flowatlas.schedulers import Cosine, Polynomial

SPACES = {
    "sphere": (Sphere(), (3,)),
    "sphere4": (Sphere(), (4,)),
    "torus": (FlatTorus(), (2,)),
    "periods": (FlatTorus((1.0, 2.0)), (2,)),
    "rotations": (SO3(), (3, 3)),
}


def _points(manifold: Manifold, shape: tuple[int, ...], count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return manifold.random_uniform((count, *shape), generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("space", ["sphere", "sphere4", "torus", "periods"])
def test_closed_forms_agree_with_the_contraction_of_the_volume(space: str) -> None:
    manifold, shape = SPACES[space]
    x, y = _points(manifold, shape, 64, 0), _points(manifold, shape, 50, 1)
    keep = torch.rand(64, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    density, pull = manifold.contraction(x, y, keep)
    expected_density, expected_pull = Manifold.contraction(manifold, x, y, keep)
    torch.testing.assert_close(density, expected_density)
    torch.testing.assert_close(pull, expected_pull)


@pytest.mark.parametrize("space", SPACES)
def test_density_integrates_to_one(space: str) -> None:
    manifold, shape = SPACES[space]
    flow = EmpiricalFlow(manifold, _points(manifold, shape, 5, 0))
    x = _points(manifold, shape, 200_000, 1)
    relative = torch.exp(
        flow.log_prob(x, torch.full((len(x),), 0.4)) - manifold.uniform_log_prob(x)
    )
    error = relative.std() / len(x) ** 0.5
    assert error < 0.01
    assert abs(relative.mean() - 1) < 5 * error  # of five draws, all within: 1 - 3e-6


def test_integration_of_the_field_gives_the_density() -> None:
    sphere = Sphere()
    flow = EmpiricalFlow(sphere, _points(sphere, (3,), 8, 0))
    x = _points(sphere, (3,), 50, 1)
    found = log_prob(flow, GeodesicPath(sphere), x, start=0.3, solver=RK4(steps=200))
    expected = flow.log_prob(x, torch.full((50,), 0.3, dtype=torch.float64))
    # The density has kinks where a point comes into reach, which cost the solver its order.
    assert (found - expected).abs().max() < 0.01
    assert expected.std() > 0.1


@pytest.mark.parametrize("space", SPACES)
def test_velocity_is_the_conditional_expectation(space: str) -> None:
    """E[(dx_t - u(x_t)) g(x_t)] = 0 for every function g."""
    manifold, shape = SPACES[space]
    scheduler = Polynomial(2.0)
    y = _points(manifold, shape, 4, 0)
    generator = torch.Generator().manual_seed(1)
    count = 100_000
    path = GeodesicPath(manifold, scheduler=scheduler)
    x_1 = y[torch.randint(4, (count,), generator=generator)]
    x_0 = path.draw(x_1, generator=generator)
    t = 0.7 * torch.rand(count, generator=generator, dtype=torch.float64)
    sample = path.sample(x_0, x_1, t)
    x_t, dx_t = sample.x_t, sample.dx_t
    assert isinstance(x_t, Tensor)
    assert isinstance(dx_t, Tensor)
    u = EmpiricalFlow(manifold, y, scheduler).velocity(x_t, t)
    features = torch.cat([torch.sin(3 * x_t.flatten(1)), t[:, None], u], 1)

    def largest(velocity: Tensor) -> float:
        products = (dx_t - velocity).unsqueeze(1) * features.unsqueeze(-1)
        z = products.mean(0) / (products.std(0) / count**0.5 + 1e-12)
        return float(z.abs().max())

    assert largest(u) < 5  # of at most 40 numbers, all below with probability 1 - 3e-5
    assert largest(1.1 * u) > 10
    # And it takes noise away.
    assert (dx_t - u).square().mean() < (dx_t - dx_t.mean(0)).square().mean()


def test_regression_on_it_has_the_gradient_of_regression_on_pairs() -> None:
    sphere = Sphere()
    y = _points(sphere, (3,), 8, 0)
    path = GeodesicPath(sphere)
    weight = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)

    def model(x: Tensor, t: Tensor) -> Tensor:
        return sphere.proju(x, x.roll(1, -1) @ weight)

    def gradients(objective: FlowMatching) -> Tensor:
        generator = torch.Generator().manual_seed(1)
        found = []
        for _ in range(200):
            x_1 = y[torch.randint(8, (64,), generator=generator)]
            loss = objective(model, x_1, generator=generator).loss
            found.append(torch.autograd.grad(loss, weight)[0])
        return torch.stack(found)

    pairs = gradients(FlowMatching(path))
    all_points = gradients(FlowMatching(path, marginal=EmpiricalFlow(sphere, y)))
    error = ((pairs.var(0) + all_points.var(0)) / len(pairs)).sqrt()
    assert ((pairs.mean(0) - all_points.mean(0)) / error).abs().max() < 4.5
    assert all_points.var(0).mean() < 0.5 * pairs.var(0).mean()


def test_it_is_refused_where_it_is_not_the_minimiser() -> None:
    sphere = Sphere()
    y = _points(sphere, (3,), 8, 0)
    flow = EmpiricalFlow(sphere, y)
    with pytest.raises(CapabilityError, match=r"marginal.*Independent"):
        FlowMatching(GeodesicPath(sphere), coupling=MinibatchOT(sphere), marginal=flow)
    with pytest.raises(ConfigError, match=r"marginal.*prediction='velocity'"):
        FlowMatching(GeodesicPath(sphere, prediction="target"), marginal=flow)
    with pytest.raises(CapabilityError, match="uniform"):
        EmpiricalFlow(Euclidean(), torch.zeros(3, 2))
    with pytest.raises(ConfigError, match="convex"):
        EmpiricalFlow(sphere, y, Cosine())
    with pytest.raises(ShapeError, match=r"x: got shape \(2, 5, 3\)"):
        flow.velocity(y[:2, None].expand(2, 5, 3), torch.zeros(2))
