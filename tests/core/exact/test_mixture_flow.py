from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from scipy.integrate import quad
from torch import Tensor

from flowatlas.errors import ConfigError, ShapeError
from flowatlas.exact import ExactMixtureFlow, GaussianMixture
from flowatlas.schedulers import Coefficients, CondOT, LinearVP, Scheduler, VariancePreserving

MEANS = torch.tensor([[-2.0, 0.0], [1.0, 1.5], [0.5, -2.0]], dtype=torch.float64)
COVARIANCES = torch.tensor(
    [[[0.5, 0.2], [0.2, 0.3]], [[0.2, 0.0], [0.0, 1.0]], [[0.4, -0.3], [-0.3, 0.6]]],
    dtype=torch.float64,
)
TARGET = GaussianMixture(torch.tensor([1.0, 3.0, 2.0]), MEANS, COVARIANCES)
# In two dimensions eigenvectors may come as a symmetric matrix, which hides a transposition.
ROOT = torch.tensor([[0.7, 0.0, 0.0], [0.3, 0.5, 0.0], [-0.4, 0.6, 0.3]], dtype=torch.float64)
SPACE = GaussianMixture(
    torch.tensor([1.0, 2.0]), torch.eye(3)[:2], torch.stack([ROOT @ ROOT.T, ROOT.T @ ROOT])
)
LINE = GaussianMixture(torch.tensor([1.0, 2.0]), torch.tensor([[-1.5], [1.0]]), stds=0.4)
SOURCE_MEAN = torch.tensor([0.7, -0.4], dtype=torch.float64)
TIMES = [0.05, 0.3, 0.6, 0.9]


def full(t: float, x: Tensor) -> Tensor:
    return torch.full((len(x),), t, dtype=torch.float64)


def points(generator: torch.Generator, n: int = 40) -> Tensor:
    return 2 * torch.randn(n, 2, generator=generator, dtype=torch.float64)


def divergence(fn: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Trace of the Jacobian of fn at each point."""
    jacobian = torch.func.vmap(torch.func.jacrev(lambda y: fn(y[None])[0]))(x)
    trace: Tensor = jacobian.diagonal(dim1=-2, dim2=-1).sum(-1)
    return trace


@pytest.mark.parametrize("t", TIMES)
def test_continuity_equation(
    scheduler: Scheduler, t: float, generator: torch.Generator, difference: Callable[..., Tensor]
) -> None:
    flow = ExactMixtureFlow(TARGET, scheduler, source_std=1.3, source_mean=SOURCE_MEAN)
    x = points(generator)

    def density(h: float) -> Tensor:
        return flow.log_prob(x, full(t + h, x)).exp()

    def flux(axis: int) -> Callable[[float], Tensor]:
        def along(h: float) -> Tensor:
            y = x + h * torch.eye(2, dtype=x.dtype)[axis]
            return flow.log_prob(y, full(t, y)).exp() * flow(y, full(t, y))[:, axis]

        return along

    change = difference(density, 1e-3)
    outflow = difference(flux(0), 1e-3) + difference(flux(1), 1e-3)
    assert change.abs().max() > 1e-3
    assert (change + outflow).abs().max() < 1e-7 * change.abs().max()


@pytest.mark.parametrize("t", [0.0, *TIMES, 1.0])
def test_score_is_the_gradient_of_the_density(
    scheduler: Scheduler, t: float, generator: torch.Generator
) -> None:
    flow = ExactMixtureFlow(SPACE, scheduler, source_std=1.3, source_mean=0.4)
    x = torch.randn(40, 3, generator=generator, dtype=torch.float64).requires_grad_()
    (gradient,) = torch.autograd.grad(flow.log_prob(x, full(t, x)).sum(), x)
    torch.testing.assert_close(flow.score(x, full(t, x)), gradient, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("t", TIMES)
def test_expectations_against_quadrature(scheduler: Scheduler, t: float) -> None:
    # On the line, by adaptive quadrature over x_1 of the joint density of x_1 and x_t.
    std, mean = 0.8, 0.3
    flow = ExactMixtureFlow(LINE, scheduler, source_std=std, source_mean=mean)
    c = scheduler(torch.tensor(t, dtype=torch.float64))
    alpha, sigma, d_alpha, d_sigma = (v.item() for v in (c.alpha, c.sigma, c.d_alpha, c.d_sigma))

    def integral(x: float, value: Callable[[float, float], float]) -> float:
        def joint(x_1: float) -> float:
            x_0 = (x - alpha * x_1) / sigma
            weighted = zip(LINE.weights.tolist(), LINE.means[:, 0].tolist(), strict=True)
            target: float = sum(
                w * math.exp(-0.5 * ((x_1 - m) / 0.4) ** 2) / (0.4 * math.sqrt(2 * math.pi))
                for w, m in weighted
            )
            source = math.exp(-0.5 * ((x_0 - mean) / std) ** 2) / (std * math.sqrt(2 * math.pi))
            return value(x_0, x_1) * target * source / sigma

        # Where sigma is small the integrand is a peak at the x_1 that leads straight to x.
        peak = (x - sigma * mean) / alpha
        breaks = sorted({-4.5, -1.5, 1.0, 4.0, min(max(peak, -4.4), 3.9)})
        options = {"epsabs": 1e-13, "epsrel": 1e-12, "limit": 200}
        return sum(float(quad(joint, a, b, **options)[0]) for a, b in pairwise(breaks))

    x = torch.tensor([[-1.7], [0.2], [0.9]], dtype=torch.float64)
    for i, point in enumerate(x[:, 0].tolist()):
        total = integral(point, lambda x_0, x_1: 1.0)
        expected = {
            "target": integral(point, lambda x_0, x_1: x_1) / total,
            "noise": integral(point, lambda x_0, x_1: x_0) / total,
            "velocity": integral(point, lambda x_0, x_1: d_alpha * x_1 + d_sigma * x_0) / total,
            "score": integral(point, lambda x_0, x_1: -(x_0 - mean) / (sigma * std**2)) / total,
        }
        assert flow.log_prob(x, full(t, x))[i].exp().item() == pytest.approx(total, rel=1e-9)
        for kind, value in expected.items():
            found = flow.prediction(kind)(x, full(t, x))[i].item()
            assert found == pytest.approx(value, rel=1e-8, abs=1e-8), kind


def test_predictions_determine_each_other(scheduler: Scheduler, generator: torch.Generator) -> None:
    flow = ExactMixtureFlow(TARGET, scheduler, source_std=1.3, source_mean=SOURCE_MEAN)
    x = points(generator, 200)
    t = torch.rand(200, generator=generator, dtype=torch.float64) * scheduler.t_max
    c = scheduler(t[:, None])
    x_1, x_0 = flow.posterior_mean(x, t), flow.noise_mean(x, t)
    torch.testing.assert_close(c.alpha * x_1 + c.sigma * x_0, x, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(c.d_alpha * x_1 + c.d_sigma * x_0, flow(x, t), rtol=1e-9, atol=1e-9)
    score = (SOURCE_MEAN - x_0) / (c.sigma * 1.3**2)
    torch.testing.assert_close(score, flow.score(x, t), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("mean", [0.0, 0.3])
def test_the_source_end(scheduler: Scheduler, mean: float, generator: torch.Generator) -> None:
    flow = ExactMixtureFlow(TARGET, scheduler, source_std=1.3, source_mean=mean)
    x = points(generator)
    for kind in ("velocity", "target", "noise", "score"):
        value = flow.prediction(kind)(x, full(0.0, x))
        near = flow.prediction(kind)(x, full(1e-9, x))
        torch.testing.assert_close(value, near, rtol=1e-6, atol=1e-6)
    if isinstance(scheduler, VariancePreserving):
        return  # a trace of the data is left at t = 0
    source = torch.distributions.Normal(mean, 1.3)
    torch.testing.assert_close(flow.log_prob(x, full(0.0, x)), source.log_prob(x).sum(-1))
    c = scheduler(torch.zeros((), dtype=torch.float64))
    average = (TARGET.weights[:, None] * TARGET.means).sum(0)
    torch.testing.assert_close(flow(x, full(0.0, x)), c.d_alpha * average + c.d_sigma * x)
    torch.testing.assert_close(flow.noise_mean(x, full(0.0, x)), x)


@pytest.mark.parametrize("mean", [0.0, 0.3])
def test_the_data_end(scheduler: Scheduler, mean: float, generator: torch.Generator) -> None:
    flow = ExactMixtureFlow(TARGET, scheduler, source_std=1.3, source_mean=mean)
    x = points(generator).requires_grad_()
    at_end = TARGET.log_prob(x)
    torch.testing.assert_close(flow.log_prob(x, full(1.0, x)), at_end, rtol=1e-12, atol=1e-12)
    (score,) = torch.autograd.grad(at_end.sum(), x)
    torch.testing.assert_close(flow.score(x, full(1.0, x)), score, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(flow.posterior_mean(x, full(1.0, x)), x, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(flow.noise_mean(x, full(1.0, x)), torch.full_like(x, mean))
    c = scheduler(torch.ones((), dtype=torch.float64))
    if mean and not torch.isfinite(c.d_sigma):
        assert torch.isinf(flow(x, full(1.0, x))).all()  # and so is the true velocity
        return
    drift = c.d_sigma * mean if mean else 0.0
    expected = c.d_alpha * x + drift - c.sigma_d_sigma * 1.3**2 * score
    torch.testing.assert_close(flow(x, full(1.0, x)), expected, rtol=1e-10, atol=1e-10)
    if torch.isfinite(c.d_sigma):
        near = flow(x, full(1 - 1e-9, x))
        torch.testing.assert_close(flow(x, full(1.0, x)), near, rtol=1e-5, atol=1e-5)


def test_only_the_coordinates_with_a_mean_diverge() -> None:
    flow = ExactMixtureFlow(TARGET, LinearVP(), source_mean=torch.tensor([0.5, 0.0]))
    u = flow(MEANS, full(1.0, MEANS))
    assert torch.isinf(u[:, 0]).all()
    assert torch.isfinite(u[:, 1]).all()


@pytest.mark.parametrize("t", [0.0, 0.2, 0.7, 1.0])
def test_density_integrates_to_one(scheduler: Scheduler, t: float) -> None:
    flow = ExactMixtureFlow(TARGET, scheduler, source_std=1.3, source_mean=SOURCE_MEAN)
    axis = torch.linspace(-15, 15, 301, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    total = flow.log_prob(grid, full(t, grid)).exp().sum() * (axis[1] - axis[0]) ** 2
    assert abs(total.item() - 1) < 1e-10


def test_density_along_trajectories(
    scheduler: Scheduler, generator: torch.Generator, solve: Callable[..., Tensor]
) -> None:
    flow = ExactMixtureFlow(SPACE, scheduler)
    x_0 = torch.randn(20, 3, generator=generator, dtype=torch.float64)

    def rate(state: Tensor, t: Tensor) -> Tensor:
        x = state[:, :3]
        trace = divergence(lambda y: flow(y, t[:1]), x)
        return torch.cat([flow(x, t), -trace[:, None]], 1)

    start = torch.cat([x_0, flow.log_prob(x_0, full(0.0, x_0))[:, None]], 1)
    end = solve(rate, start, 0.0, 1.0, tolerance=1e-10)
    error = (end[:, 3] - SPACE.log_prob(end[:, :3])).abs().max()
    assert error < 1e-7


def test_far_points_are_finite() -> None:
    x = 1e4 * MEANS
    flow = ExactMixtureFlow(TARGET)
    for t in (0.0, 0.5, 1.0):
        for kind in ("velocity", "target", "noise", "score"):
            assert torch.isfinite(flow.prediction(kind)(x, full(t, x))).all()
        assert torch.isfinite(flow.log_prob(x, full(t, x))).all()


def test_a_schedule_of_a_third_party() -> None:
    class Square(Scheduler):
        convex = True

        def __call__(self, t: Tensor) -> Coefficients:
            return Coefficients(t**2, 1 - t**2, 2 * t, -2 * t, -2 * t * (1 - t**2))

    from flowatlas.schedulers import Polynomial

    t = torch.tensor([0.0, 0.4, 1.0], dtype=torch.float64)
    torch.testing.assert_close(
        ExactMixtureFlow(TARGET, Square())(MEANS, t),
        ExactMixtureFlow(TARGET, Polynomial(2))(MEANS, t),
    )


def test_diagonal_and_full_covariances_agree(generator: torch.Generator) -> None:
    stds = torch.tensor([[0.5, 1.0], [0.3, 0.3], [2.0, 0.1]], dtype=torch.float64)
    full_target = GaussianMixture(TARGET.weights, MEANS, torch.diag_embed(stds**2))
    target = GaussianMixture(TARGET.weights, MEANS, stds=stds)
    x, t = points(generator), torch.rand(40, generator=generator, dtype=torch.float64)
    for kind in ("velocity", "target", "noise", "score"):
        torch.testing.assert_close(
            ExactMixtureFlow(target).prediction(kind)(x, t),
            ExactMixtureFlow(full_target).prediction(kind)(x, t),
            rtol=1e-10,
            atol=1e-10,
        )


def test_errors() -> None:
    with pytest.raises(ConfigError, match="source_std: got 0"):
        ExactMixtureFlow(TARGET, source_std=0)
    with pytest.raises(ShapeError, match=r"source_mean: got shape \(3,\)"):
        ExactMixtureFlow(TARGET, source_mean=torch.zeros(3))
    with pytest.raises(ConfigError, match=r"kind: got 'logits'.*velocity, target, noise, score"):
        ExactMixtureFlow(TARGET).prediction("logits")
    with pytest.raises(ShapeError, match="one time per sample"):
        ExactMixtureFlow(TARGET)(MEANS, torch.tensor(0.5))
    assert repr(ExactMixtureFlow(TARGET, CondOT())).endswith("CondOT())")
