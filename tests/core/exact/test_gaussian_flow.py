from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from flowatlas.errors import ConfigError
from flowatlas.exact import ExactGaussianFlow, GaussianMixture
from flowatlas.schedulers import Scheduler

MEAN = torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.float64)
ROOT = torch.tensor([[1.0, 0.0, 0.0], [0.8, 0.4, 0.0], [-0.3, 0.6, 0.7]], dtype=torch.float64)
TARGET = GaussianMixture(torch.ones(1), MEAN, (ROOT @ ROOT.T)[None])
SOURCE_MEAN = torch.tensor([0.5, 0.0, -1.0], dtype=torch.float64)


def full(t: float, x: Tensor) -> Tensor:
    return torch.full((len(x),), t, dtype=torch.float64)


@pytest.fixture
def x(generator: torch.Generator) -> Tensor:
    return torch.randn(12, 3, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(
    ("s", "t", "mean"), [(0.0, 1.0, 0.0), (0.9, 0.05, SOURCE_MEAN), (0.2, 0.6, SOURCE_MEAN)]
)
def test_flow_map_solves_the_equation(
    scheduler: Scheduler,
    s: float,
    t: float,
    mean: float | Tensor,
    x: Tensor,
    solve: Callable[..., Tensor],
) -> None:
    flow = ExactGaussianFlow(TARGET, scheduler, source_std=1.3, source_mean=mean)
    moved = flow.flow_map(x, full(s, x), full(t, x))
    assert (moved - solve(flow, x, s, t)).abs().max() < 1e-9


def test_flow_map_pushes_the_density(scheduler: Scheduler, x: Tensor) -> None:
    flow = ExactGaussianFlow(TARGET, scheduler, source_std=1.3, source_mean=SOURCE_MEAN)
    for s, t in ((0.0, 1.0), (1.0, 0.3), (0.2, 0.7)):
        times = full(s, x[:1]), full(t, x[:1])

        def one(y: Tensor, times: tuple[Tensor, Tensor] = times) -> Tensor:
            return flow.flow_map(y[None], *times)[0]

        jacobian = torch.func.vmap(torch.func.jacrev(one))(x)
        moved = flow.flow_map(x, full(s, x), full(t, x))
        log_prob = flow.log_prob(x, full(s, x)) - torch.linalg.slogdet(jacobian).logabsdet
        torch.testing.assert_close(
            flow.log_prob(moved, full(t, x)), log_prob, rtol=1e-10, atol=1e-10
        )


def test_flow_maps_compose(scheduler: Scheduler, x: Tensor) -> None:
    flow = ExactGaussianFlow(TARGET, scheduler, source_std=0.7, source_mean=SOURCE_MEAN)
    a, b, c = full(0.1, x), full(0.8, x), full(0.4, x)
    direct = flow.flow_map(x, a, c)
    torch.testing.assert_close(flow.flow_map(flow.flow_map(x, a, b), b, c), direct)
    torch.testing.assert_close(flow.flow_map(x, b, b), x)


def test_flow_map_moves_with_the_velocity(scheduler: Scheduler, x: Tensor) -> None:
    flow = ExactGaussianFlow(TARGET, scheduler, source_std=0.7, source_mean=SOURCE_MEAN)
    s, t = full(0.2, x), full(0.7, x)
    along = torch.func.jvp(lambda r: flow.flow_map(x, s, r), (t,), (torch.ones_like(t),))
    moved, speed = along[0], along[1]
    torch.testing.assert_close(speed, flow(moved, t), rtol=1e-9, atol=1e-9)


def test_times_of_each_sample(scheduler: Scheduler, x: Tensor, generator: torch.Generator) -> None:
    flow = ExactGaussianFlow(TARGET, scheduler, source_mean=SOURCE_MEAN)
    s, t = torch.rand(2, len(x), generator=generator, dtype=torch.float64)
    together = flow.flow_map(x, s, t)
    apart = torch.cat([flow.flow_map(x[i : i + 1], s[i : i + 1], t[i : i + 1]) for i in range(12)])
    torch.testing.assert_close(together, apart)
    groups = flow.flow_map(x.view(4, 3, 3), s[:4], t[:4]).view(12, 3)
    torch.testing.assert_close(
        groups, flow.flow_map(x, s[:4].repeat_interleave(3), t[:4].repeat_interleave(3))
    )


def test_average_velocity_leads_to_the_flow_map(scheduler: Scheduler, x: Tensor) -> None:
    flow = ExactGaussianFlow(TARGET, scheduler, source_std=1.3, source_mean=SOURCE_MEAN)
    for start, end in (
        (0.0, 1.0),
        (1.0, 0.0),
        (0.3, 0.305),
        (0.3, 0.29),
        (0.999, 1.0),
        (0.0, 1e-3),
    ):
        s, t = full(start, x), full(end, x)
        moved = x + (t - s)[:, None] * flow.average_velocity(x, s, t)
        torch.testing.assert_close(moved, flow.flow_map(x, s, t), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("t", [0.0, 0.4, 0.9, 1.0])
def test_average_over_no_time_is_the_velocity(scheduler: Scheduler, t: float, x: Tensor) -> None:
    flow = ExactGaussianFlow(TARGET, scheduler, source_std=1.3)
    average = flow.average_velocity(x, full(t, x), full(t, x))
    torch.testing.assert_close(average, flow(x, full(t, x)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("step", [1e-3, 1e-6, 1e-9, 1e-12])
def test_average_over_a_short_time_does_not_cancel(
    scheduler: Scheduler, step: float, x: Tensor
) -> None:
    # The average over [t, t + h] is the velocity midway along the trajectory, to second order.
    flow = ExactGaussianFlow(TARGET, scheduler, source_std=1.3, source_mean=SOURCE_MEAN)
    t = full(0.4, x)
    average = flow.average_velocity(x, t, t + step)
    middle = t + step / 2
    expected = flow(flow.flow_map(x, t, middle), middle)
    assert (average - expected).abs().max() < 1e-11 + 10 * step**2


def test_several_components_are_refused() -> None:
    pair = GaussianMixture(torch.ones(2), torch.zeros(2, 3), stds=1.0)
    with pytest.raises(ConfigError, match="got 2 components"):
        ExactGaussianFlow(pair)
