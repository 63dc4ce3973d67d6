"""The minimiser of the loss is the exact marginal field.

A field is the minimiser if no direction lowers the loss. Directions are a basis of functions of
(x, t): the gradients of the loss along them, sample by sample, have mean zero at the exact field
and not at another, which Hotelling's T^2 tells with a known law.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from scipy.stats import chi2
from torch import Tensor

from flowatlas.exact import (
    ExactGaussianFlow,
    ExactMixtureFlow,
    ExactSphereFlow,
    ExactTorusFlow,
    GaussianMixture,
    VonMisesFisherMixture,
    WrappedNormalMixture,
)
from flowatlas.manifolds import FlatTorus, Sphere
from flowatlas.objectives import FlowMatching
from flowatlas.paths import AffinePath, ContinuousPath, GeodesicPath
from flowatlas.schedulers import (
    CondOT,
    Cosine,
    Exponential,
    LinearVP,
    Polynomial,
    Scheduler,
    VariancePreserving,
)
from flowatlas.sources import Gaussian

Field = Callable[[Tensor, Tensor], Tensor]
KINDS = AffinePath.kinds
STD, MEAN = 1.5, 0.4
#: One wrong alarm in ten thousand tests; the seeds are fixed.
CONFIDENCE = 1 - 1e-4

MIXTURE = GaussianMixture(
    torch.tensor([1.0, 2.0]),
    torch.tensor([[-1.0, 0.5], [1.5, 1.0]]),
    stds=torch.tensor([[0.6, 0.4], [0.5, 0.8]]),
)


def affine(kind: str, scheduler: Scheduler | None = None) -> AffinePath:
    return AffinePath(scheduler, source=Gaussian(STD, mean=MEAN), prediction=kind)


def waves(x: Tensor, t: Tensor) -> Tensor:
    """Smooth functions of state and time, `(batch, 10)`."""
    directions = torch.randn(4, x.shape[-1], generator=torch.Generator().manual_seed(7)).to(x)
    phase = x @ directions.T + 2 * t.unsqueeze(-1)
    ones = torch.ones_like(t).unsqueeze(-1)
    return torch.cat([ones, t.unsqueeze(-1), torch.sin(phase), torch.cos(phase)], -1)


def t_squared(
    path: ContinuousPath, field: Field, x_1: Tensor, t: Tensor, generator: torch.Generator
) -> tuple[float, int]:
    """Hotelling's T^2 of the gradients along the basis, and the number of directions."""
    batch, dim = x_1.shape
    count = waves(x_1[:1], t[:1]).shape[-1] * dim
    coefficients = torch.zeros(batch, count, dtype=x_1.dtype, requires_grad=True)

    def model(x: Tensor, time: Tensor, condition: object = None) -> Tensor:
        basis = waves(x, time)
        added = (coefficients.view(batch, dim, -1) * basis.unsqueeze(1)).sum(-1)
        if isinstance(path, GeodesicPath):
            added = path.manifold.proju(x, added)
        return field(x, time) + added

    output = FlowMatching(path)(model, x_1, t=t, generator=generator)
    (g,) = torch.autograd.grad(output.loss * batch, coefficients)
    mean, covariance = g.mean(0), torch.cov(g.T) / batch
    # On a sphere some directions are combinations of others: the pseudo-inverse drops them.
    values, axes = torch.linalg.eigh(covariance)
    kept = values > 1e-9 * values[-1]
    square = ((axes.T @ mean)[kept].square() / values[kept]).sum().item()
    return square, int(kept.sum())


def is_minimiser(path: ContinuousPath, field: Field, x_1: Tensor, seed: int = 1) -> bool:
    generator = torch.Generator().manual_seed(seed)
    t = 0.05 + 0.85 * torch.rand(len(x_1), generator=generator, dtype=x_1.dtype)
    square, count = t_squared(path, field, x_1, t, generator)
    return square < float(chi2.ppf(CONFIDENCE, count))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scheduler", [CondOT(), Cosine(), VariancePreserving()], ids=repr)
def test_affine_minimiser(scheduler: Scheduler, kind: str) -> None:
    x_1 = MIXTURE.sample(6000, torch.Generator().manual_seed(0))
    flow = ExactMixtureFlow(MIXTURE, scheduler, source_std=STD, source_mean=MEAN)
    path, exact = affine(kind, scheduler), flow.prediction(kind)
    assert is_minimiser(path, exact, x_1)
    # The field of another source, of another schedule, or two percent off, is not.
    other = ExactMixtureFlow(MIXTURE, scheduler, source_std=STD).prediction(kind)
    late = ExactMixtureFlow(MIXTURE, Polynomial(2), source_std=STD, source_mean=MEAN)
    assert not is_minimiser(path, other, x_1)
    assert not is_minimiser(path, late.prediction(kind), x_1)
    assert not is_minimiser(path, lambda x, t: exact(x, t) + 0.2 * exact(x, t).std(), x_1)


def test_sphere_minimiser() -> None:
    means = Sphere().projx(torch.tensor([[0.0, 0.5, 1.0], [1.0, -1.0, 0.0]]))
    target = VonMisesFisherMixture(torch.tensor([1.0, 2.0]), means, concentrations=8.0)
    x_1 = target.sample(4000, torch.Generator().manual_seed(0))
    for scheduler in (CondOT(), Exponential(2.0)):
        path = GeodesicPath(Sphere(), scheduler=scheduler)
        flow = ExactSphereFlow(target, scheduler)
        assert is_minimiser(path, flow, x_1)
        wrong = ExactSphereFlow(target, Polynomial(2))
        assert not is_minimiser(path, wrong, x_1)


def test_torus_minimiser() -> None:
    target = WrappedNormalMixture(torch.ones(2), torch.tensor([[1.0, 3.0], [4.0, 0.5]]), 0.6)
    x_1 = target.sample(4000, torch.Generator().manual_seed(0))

    def periodic(flow: ExactTorusFlow) -> Field:
        return lambda x, t: flow(x, t)

    path = GeodesicPath(FlatTorus())
    assert is_minimiser(path, periodic(ExactTorusFlow(target)), x_1)
    assert not is_minimiser(path, periodic(ExactTorusFlow(target, Polynomial(2))), x_1)


class Constant:
    """A field that returns what it was given, and remembers where it was asked."""

    def __init__(self, value: Tensor) -> None:
        self.value, self.seen = value, value

    def __call__(self, x: Tensor, t: Tensor, condition: object = None) -> Tensor:
        self.seen = x
        return self.value


# A finite data set: the condition holds to rounding, not only on average.


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "scheduler", [CondOT(), Polynomial(2), Cosine(), LinearVP(), VariancePreserving()], ids=repr
)
def test_posterior_weights_make_the_gradient_vanish(scheduler: Scheduler, kind: str) -> None:
    """Given x_t = x, data point k has weight N((x - alpha x_1^k) / sigma), and x_0 is known."""
    points = torch.tensor([[-1.0, 0.5], [1.5, 1.0], [0.3, -2.0], [0.0, 0.2]], dtype=torch.float64)
    spike = GaussianMixture(torch.ones(4), points, stds=1e-5)
    flow = ExactMixtureFlow(spike, scheduler, source_std=STD, source_mean=MEAN)
    objective = FlowMatching(affine(kind, scheduler))
    for t in (0.2, 0.5, 0.8):
        alpha, sigma = scheduler.at(t)
        x = torch.tensor([0.3, -0.4], dtype=torch.float64)
        x_0 = (x - alpha * points) / sigma
        weight = 4 * torch.softmax(-0.5 * ((x_0 - MEAN) / STD).square().sum(-1), 0)
        times = torch.full((4,), t, dtype=torch.float64)
        exact = flow.prediction(kind)(x.expand(4, 2), times).requires_grad_()

        model = Constant(exact)
        loss = objective(model, points, x_0=x_0, t=times, weight=weight).loss
        torch.testing.assert_close(model.seen, x.expand(4, 2))
        (gradient,) = torch.autograd.grad(loss, exact)
        assert gradient.abs().max() > 1e-3
        assert gradient.sum(0).abs().max() < 1e-6


# Gaussian data: the exact field is linear, and least squares must find its coefficients.


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("t", [0.3, 0.7])
def test_least_squares_finds_the_linear_field(kind: str, t: float) -> None:
    n = 20_000
    covariance = torch.tensor([[[1.0, 0.6], [0.6, 0.5]]])
    target = GaussianMixture(torch.ones(1), torch.tensor([[1.0, -0.5]]), covariance)
    generator = torch.Generator().manual_seed(0)
    x_1, times = target.sample(n, generator), torch.full((n,), t, dtype=torch.float64)
    objective = FlowMatching(affine(kind))
    draws = objective.draw(x_1, generator=generator)
    theta = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    seen: list[Tensor] = []

    def model(x: Tensor, time: Tensor, condition: object = None) -> Tensor:
        seen.append(x)
        return x @ theta[:, :2].T + theta[:, 2]

    # The loss is quadratic: Newton's step from anywhere is its minimiser.
    loss = objective(model, x_1, t=times, draws=draws).loss
    (gradient,) = torch.autograd.grad(loss, theta, create_graph=True)
    rows = [
        torch.autograd.grad(g, theta, retain_graph=True)[0].flatten() for g in gradient.flatten()
    ]
    best = -torch.linalg.solve(torch.stack(rows), gradient.detach().flatten()).view(2, 3)

    flow = ExactGaussianFlow(target, source_std=STD, source_mean=MEAN)
    probes = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    values = flow.prediction(kind)(probes, times[:3])
    expected = torch.stack([values[1] - values[0], values[2] - values[0], values[0]], -1)
    # Standard errors of least squares: residual variance times the inverse of the moments.
    x = torch.cat([seen[0], torch.ones(n, 1, dtype=torch.float64)], -1)
    final = objective(lambda y, _t: y @ best[:, :2].T + best[:, 2], x_1, t=times, draws=draws)
    residual = 2 * final.loss.item()
    error = (residual * torch.linalg.inv(x.T @ x).diagonal()).sqrt()
    assert ((best - expected).abs() < 5 * error).all()
    assert error.max() < 0.05 * max(1.0, expected.abs().max().item())


def test_minimum_is_the_conditional_variance() -> None:
    """What is left at the minimum, E|dx_t - u_t|^2, between two standard normal laws on the line.

    The variance of x_1 - x_0 given x_t is 1 / (t^2 + (1 - t)^2); its integral over [0, 1] is
    pi / 2.
    """
    n = 40_000
    generator = torch.Generator().manual_seed(0)
    target = GaussianMixture(torch.ones(1), torch.zeros(1, 1), stds=1.0)
    flow = ExactGaussianFlow(target)
    output = FlowMatching(AffinePath())(flow, target.sample(n, generator), generator=generator)
    error = output.per_sample.std().item() / math.sqrt(n)
    assert output.loss.item() == pytest.approx(math.pi / 2, abs=4 * error)
    assert error < 0.02
