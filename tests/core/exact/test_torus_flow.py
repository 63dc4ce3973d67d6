from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from scipy.special import ndtr
from torch import Tensor

from flowatlas.errors import ConfigError, ShapeError
from flowatlas.exact import ExactTorusFlow, WrappedNormalMixture
from flowatlas.schedulers import Cosine, Scheduler

PERIOD = 3.0
MEANS = torch.tensor([[0.4, 2.8], [1.5, 1.0], [2.2, 0.1]], dtype=torch.float64)
STDS = torch.tensor([[0.2, 0.3], [0.5, 0.25], [0.3, 1.0]], dtype=torch.float64)
TARGET = WrappedNormalMixture(torch.tensor([1.0, 2.0, 3.0]), MEANS, STDS, PERIOD)
LINE = WrappedNormalMixture(torch.tensor([1.0, 2.0]), torch.tensor([[0.3], [2.0]]), 0.25, PERIOD)
TIMES = [0.1, 0.45, 0.8, 0.97]


def full(t: float, x: Tensor) -> Tensor:
    return torch.full((len(x),), t, dtype=torch.float64)


def uniform(n: int, generator: torch.Generator, dim: int = 2) -> Tensor:
    return PERIOD * torch.rand(n, dim, generator=generator, dtype=torch.float64)


def shortest(delta: Tensor) -> Tensor:
    return (delta + PERIOD / 2).remainder(PERIOD) - PERIOD / 2


def grid(count: int = 40) -> tuple[Tensor, float]:
    axis = PERIOD * torch.arange(count, dtype=torch.float64) / count
    return torch.cartesian_prod(axis, axis), (PERIOD / count) ** 2


def divergence(fn: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    jacobian = torch.func.vmap(torch.func.jacrev(lambda y: fn(y[None])[0]))(x)
    trace: Tensor = jacobian.diagonal(dim1=-2, dim2=-1).sum(-1)
    return trace


def test_target_density_is_the_fourier_series(generator: torch.Generator) -> None:
    x = uniform(30, generator, 1)
    n = torch.arange(1, 60, dtype=torch.float64)
    total = torch.zeros(30, dtype=torch.float64)
    for w, mean in zip(LINE.weights, LINE.means[:, 0], strict=True):
        wave = torch.cos(2 * math.pi * n * (x - mean) / PERIOD)
        damp = torch.exp(-0.5 * (2 * math.pi * n * 0.25 / PERIOD) ** 2)
        total += w * (1 + 2 * (damp * wave).sum(-1)) / PERIOD
    torch.testing.assert_close(LINE.log_prob(x).exp(), total, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("std", [0.1, 1.0, 20.0])
def test_target_integrates_to_one_and_is_periodic(std: float, generator: torch.Generator) -> None:
    target = WrappedNormalMixture(torch.ones(3), MEANS, std, PERIOD)
    points, cell = grid(120)
    assert abs(cell * target.log_prob(points).exp().sum().item() - 1) < 1e-12
    x = uniform(20, generator)
    torch.testing.assert_close(target.log_prob(x + 5 * PERIOD), target.log_prob(x))


def test_target_samples_have_the_density(generator: torch.Generator) -> None:
    # 8 averages over 20000 samples against the sum over a grid, in standard errors: fails by chance
    # with probability 5e-5.
    points, cell = grid()

    def features(x: Tensor) -> Tensor:
        waves = [torch.sin(2 * math.pi * x / PERIOD), torch.cos(2 * math.pi * x / PERIOD)]
        waves += [torch.cos(4 * math.pi * x / PERIOD), waves[0][:, :1] * waves[1][:, 1:]]
        return torch.cat([*waves, TARGET.log_prob(x)[:, None]], 1)

    expected = (cell * TARGET.log_prob(points).exp()[:, None] * features(points)).sum(0)

    def errors(x: Tensor) -> Tensor:
        f = features(x)
        return ((f.mean(0) - expected) * math.sqrt(len(f)) / f.std(0)).abs().max()

    x = TARGET.sample(20_000, generator)
    assert ((x >= 0) & (x < PERIOD)).all()
    assert errors(x) < 4.5
    assert errors(x + 0.05) > 4.5
    wide = WrappedNormalMixture(TARGET.weights, MEANS, 1.15 * STDS, PERIOD)
    assert errors(wide.sample(20_000, generator)) > 4.5


def test_a_sample_depends_on_its_own_generator_alone() -> None:
    def draw(seeds: list[int]) -> Tensor:
        return TARGET.sample(len(seeds), [torch.Generator().manual_seed(s) for s in seeds])

    assert torch.equal(draw([3, 5, 7])[1:], draw([5, 7]))


@pytest.mark.parametrize("t", [0.0, *TIMES, 1.0])
def test_density_integrates_to_one(convex: Scheduler, t: float) -> None:
    points, cell = grid()
    flow = ExactTorusFlow(TARGET, convex)
    assert abs(cell * flow.log_prob(points, full(t, points)).exp().sum().item() - 1) < 1e-12


def test_ends(convex: Scheduler, generator: torch.Generator) -> None:
    flow = ExactTorusFlow(TARGET, convex)
    x = torch.cat([uniform(50, generator), MEANS, MEANS + PERIOD / 2])
    torch.testing.assert_close(
        flow.log_prob(x, full(1.0, x)), TARGET.log_prob(x), rtol=1e-13, atol=1e-13
    )
    assert (flow.log_prob(x, full(0.0, x)) + 2 * math.log(PERIOD)).abs().max() < 1e-13
    assert flow(x, full(1.0, x)).abs().max() < 1e-13
    assert flow(x, full(1 - 1e-9, x)).abs().max() < 1e-6
    torch.testing.assert_close(flow(x, full(0.0, x)), flow(x, full(1e-9, x)), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("t", [0.0, *TIMES])
def test_one_dimension_against_the_error_function(
    convex: Scheduler, t: float, generator: torch.Generator
) -> None:
    # p_t is the mean of p_1 over an interval around x, and the velocity a difference of its ends:
    # integrals of a Gaussian and of its first moment, in closed form.
    x = uniform(40, generator, 1)
    c = convex(torch.tensor(t, dtype=torch.float64))
    half = 0.5 * PERIOD * c.sigma
    density, moment = torch.zeros_like(x), torch.zeros_like(x)
    for w, mean in zip(LINE.weights, LINE.means[:, 0], strict=True):
        for n in range(-6, 7):
            centre = mean + n * PERIOD - x
            low, high = (-half - centre) / 0.25, (half - centre) / 0.25
            mass = torch.from_numpy(ndtr(high.numpy()) - ndtr(low.numpy()))
            bell = torch.exp(-0.5 * low**2) - torch.exp(-0.5 * high**2)
            density += w * mass
            moment += w * (centre * mass + 0.25 * bell / math.sqrt(2 * math.pi))
    flow = ExactTorusFlow(LINE, convex)
    expected = density / (PERIOD * c.sigma)
    torch.testing.assert_close(flow.log_prob(x, full(t, x)).exp(), expected[:, 0])
    u = c.d_alpha * moment / density / c.sigma
    torch.testing.assert_close(flow(x, full(t, x)), u, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("t", TIMES)
def test_continuity_equation(
    convex: Scheduler, t: float, generator: torch.Generator, difference: Callable[..., Tensor]
) -> None:
    flow = ExactTorusFlow(TARGET, convex)
    x = torch.cat([uniform(30, generator), MEANS])

    def density(h: float) -> Tensor:
        return flow.log_prob(x, full(t + h, x)).exp()

    def flux(axis: int) -> Callable[[float], Tensor]:
        def along(h: float) -> Tensor:
            y = x + h * torch.eye(2, dtype=x.dtype)[axis]
            return flow.log_prob(y, full(t, y)).exp() * flow(y, full(t, y))[:, axis]

        return along

    change = difference(density, 1e-3)
    outflow = difference(flux(0), 1e-3) + difference(flux(1), 1e-3)
    assert change.abs().max() > 1e-2
    assert (change + outflow).abs().max() < 1e-6 * change.abs().max()


def test_velocity_is_the_mean_conditional_velocity(generator: torch.Generator) -> None:
    # E[<dx_t - u_t(x_t), g(x_t)>] = 0 for every field g. 10 averages in standard errors: fails by
    # chance with probability 7e-5.
    n = 20_000
    x_0, x_1 = uniform(n, generator), TARGET.sample(n, generator)
    t = torch.rand(n, generator=generator, dtype=torch.float64)
    dx_t = shortest(x_1 - x_0)
    x = (x_0 + t[:, None] * dx_t).remainder(PERIOD)
    flow = ExactTorusFlow(TARGET)
    u = torch.cat([flow(*part) for part in zip(x.split(1000), t.split(1000), strict=True)])
    phase = 2 * math.pi * x / PERIOD
    waves = [torch.sin(phase), torch.cos(phase), torch.sin(2 * phase), torch.sin(phase).flip(1), u]

    def worst(u: Tensor) -> Tensor:
        values = torch.cat([(dx_t - u) * g for g in waves], 1)
        return (values.mean(0) * math.sqrt(n) / values.std(0)).abs().max()

    assert worst(u) < 4.5
    assert worst(0.9 * u) > 4.5


def test_no_seam() -> None:
    # A point and its images, and points to both sides of the seam of the remainder.
    x = torch.cat([MEANS, MEANS + PERIOD / 2 - 1e-9, MEANS + PERIOD / 2 + 1e-9])
    t = full(0.4, x)
    flow = ExactTorusFlow(TARGET)
    torch.testing.assert_close(flow(x - 2 * PERIOD, t), flow(x, t), rtol=1e-10, atol=1e-10)
    u = flow(x, t)
    torch.testing.assert_close(u[3:6], u[6:], rtol=1e-7, atol=1e-7)


def test_density_along_trajectories(
    convex: Scheduler, generator: torch.Generator, solve: Callable[..., Tensor]
) -> None:
    flow = ExactTorusFlow(TARGET, convex)
    x_0 = uniform(20, generator)

    def rate(state: Tensor, t: Tensor) -> Tensor:
        x = state[:, :2]
        trace = divergence(lambda y: flow(y, t[:1]), x)
        return torch.cat([flow(x, t), -trace[:, None]], 1)

    base = torch.full((20, 1), -2 * math.log(PERIOD), dtype=torch.float64)
    end = solve(rate, torch.cat([x_0, base], 1), 0.0, 1.0, tolerance=1e-9)
    assert (end[:, 2] - TARGET.log_prob(end[:, :2])).abs().max() < 1e-7


@pytest.mark.parametrize(("std", "tolerance"), [(0.3, 1e-13), (0.1, 1e-12), (0.03, 1e-9)])
def test_stated_accuracy_of_the_quadrature(
    std: float, tolerance: float, generator: torch.Generator
) -> None:
    target = WrappedNormalMixture(torch.ones(3), MEANS, std)
    flow = ExactTorusFlow(target)
    fine = ExactTorusFlow(target, nodes=2 * flow.nodes)
    x = torch.cat([2 * uniform(30, generator), MEANS, MEANS + math.pi])
    for t in (0.0, 0.3, 0.9, 0.999, 1.0):
        time = full(t, x)
        assert (flow.log_prob(x, time) - fine.log_prob(x, time)).abs().max() < tolerance
        assert (flow(x, time) - fine(x, time)).abs().max() < tolerance


def test_many_dimensions(generator: torch.Generator) -> None:
    # Coordinates of a single component are independent, so five of them are five flows.
    means = uniform(5, generator, 1)
    together = ExactTorusFlow(WrappedNormalMixture(torch.ones(1), means.T, 0.4, PERIOD))
    x, t = uniform(10, generator, 5), torch.rand(10, generator=generator, dtype=torch.float64)
    apart = [
        ExactTorusFlow(WrappedNormalMixture(torch.ones(1), mean[None], 0.4, PERIOD))
        for mean in means
    ]
    u = torch.cat([flow(x[:, i : i + 1], t) for i, flow in enumerate(apart)], 1)
    torch.testing.assert_close(together(x, t), u)
    total = sum(flow.log_prob(x[:, i : i + 1], t) for i, flow in enumerate(apart))
    torch.testing.assert_close(together.log_prob(x, t), total)


def test_errors() -> None:
    with pytest.raises(ConfigError, match=r"Cosine\(\) is not convex"):
        ExactTorusFlow(TARGET, Cosine())
    with pytest.raises(ConfigError, match="nodes: got 0"):
        ExactTorusFlow(TARGET, nodes=0)
    with pytest.raises(ShapeError, match=r"x: got shape \(3, 3\)"):
        ExactTorusFlow(TARGET)(torch.zeros(3, 3), torch.zeros(3))
    with pytest.raises(ConfigError, match="period: got 0"):
        WrappedNormalMixture(torch.ones(3), MEANS, 0.5, period=0)
    with pytest.raises(ConfigError, match=r"stds.*ten periods"):
        WrappedNormalMixture(torch.ones(3), MEANS, 31.0, period=3.0)
    with pytest.raises(ConfigError, match=r"stds.*positive"):
        WrappedNormalMixture(torch.ones(3), MEANS, 0.0)
