from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from flowatlas.errors import ConfigError
from flowatlas.schedulers import (
    Coefficients,
    CondOT,
    Cosine,
    Exponential,
    LinearVP,
    Polynomial,
    Scheduler,
    VariancePreserving,
)

SCHEDULERS = [
    CondOT(),
    Polynomial(1),
    Polynomial(1.5),
    Polynomial(3),
    Cosine(),
    LinearVP(),
    VariancePreserving(),
    VariancePreserving(0.5, 0.5),
    Exponential(0.1),
    Exponential(10.0),
]
DTYPES = [torch.float64, torch.float32]


@pytest.fixture(params=SCHEDULERS, ids=repr)
def scheduler(request: pytest.FixtureRequest) -> Scheduler:
    value: Scheduler = request.param
    return value


def fields(c: Coefficients) -> tuple[Tensor, ...]:
    return (c.alpha, c.sigma, c.d_alpha, c.d_sigma, c.sigma_d_sigma)


def test_derivatives_are_those_of_autograd(scheduler: Scheduler) -> None:
    t = torch.linspace(1e-3, scheduler.t_max - 1e-3, 101, dtype=torch.float64).requires_grad_()
    c = scheduler(t)
    for value, derivative in ((c.alpha, c.d_alpha), (c.sigma, c.d_sigma)):
        (gradient,) = torch.autograd.grad(value.sum(), t, retain_graph=True)
        torch.testing.assert_close(derivative, gradient, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(c.sigma_d_sigma, c.sigma * c.d_sigma, rtol=1e-9, atol=1e-12)


def test_derivatives_are_those_of_finite_differences(scheduler: Scheduler) -> None:
    t = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
    h = 1e-5
    after, before, c = scheduler(t + h), scheduler(t - h), scheduler(t)
    for name in ("alpha", "sigma"):
        slope = (getattr(after, name) - getattr(before, name)) / (2 * h)
        torch.testing.assert_close(getattr(c, f"d_{name}"), slope, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_ends(scheduler: Scheduler, dtype: torch.dtype) -> None:
    start, end = scheduler(torch.zeros(1, dtype=dtype)), scheduler(torch.ones(1, dtype=dtype))
    eps = 4 * torch.finfo(dtype).eps
    if isinstance(scheduler, VariancePreserving):
        left = math.exp(-0.25 * (scheduler.beta_min + scheduler.beta_max))
        assert start.alpha.item() == pytest.approx(left, rel=1e-6)
        assert start.sigma.item() == pytest.approx(math.sqrt(1 - left**2), rel=1e-6)
    else:
        assert start.alpha.item() == 0.0
        assert start.sigma.item() == pytest.approx(1.0, abs=eps)
    assert end.alpha.item() == pytest.approx(1.0, abs=eps)
    assert end.sigma.item() == 0.0


def test_the_default_schedule_starts_with_a_trace_of_the_data() -> None:
    alpha, sigma = VariancePreserving().at(0.0)
    assert alpha == pytest.approx(0.0066, abs=5e-5)
    assert sigma == pytest.approx(1.0, abs=5e-5)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_monotone_and_never_negative(scheduler: Scheduler, dtype: torch.dtype) -> None:
    # Close to t = 1 in float32, differences of rounded terms would dip below zero.
    t = torch.cat([torch.linspace(0, 1, 2001), 1 - torch.logspace(-7, -3, 200).flip(0)]).to(dtype)
    t = t.sort().values
    c = scheduler(t)
    assert ((c.alpha >= 0) & (c.sigma >= 0)).all()
    eps = 2 * torch.finfo(dtype).eps
    assert ((c.alpha.diff() >= -eps) & (c.sigma.diff() <= eps)).all()
    assert ((c.d_alpha >= 0) & (c.sigma_d_sigma <= 0)).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_everything_is_finite_up_to_t_max(scheduler: Scheduler, dtype: torch.dtype) -> None:
    c = scheduler(torch.tensor([0.0, 0.5, scheduler.t_max], dtype=dtype))
    for value in fields(c):
        assert torch.isfinite(value).all()
        assert (value.dtype, value.shape) == (dtype, (3,))


def test_sigma_d_sigma_is_finite_where_d_sigma_is_not(scheduler: Scheduler) -> None:
    end = scheduler(torch.ones(2, dtype=torch.float64))
    assert torch.isfinite(end.sigma_d_sigma).all()
    assert torch.isfinite(end.d_sigma).all() == (scheduler.t_max == 1.0)


@pytest.mark.parametrize("scheduler", [LinearVP(), VariancePreserving()], ids=repr)
def test_t_max_leaves_a_hundredth_of_noise(scheduler: Scheduler) -> None:
    assert 0.99 < scheduler.t_max < 1
    assert scheduler.at(scheduler.t_max)[1] == pytest.approx(0.01, rel=1e-4)


def test_convex_schedules_sum_to_one_and_the_others_preserve_variance(scheduler: Scheduler) -> None:
    c = scheduler(torch.linspace(0, 1, 101, dtype=torch.float64))
    total = c.alpha + c.sigma if scheduler.convex else c.alpha**2 + c.sigma**2
    assert (total - 1).abs().max() < 1e-14
    if not scheduler.convex:
        assert (c.alpha + c.sigma - 1).abs().max() > 0.1


@pytest.mark.parametrize("scheduler", [s for s in SCHEDULERS if s.t_max == 1], ids=repr)
def test_small_sigma_keeps_its_digits(scheduler: Scheduler) -> None:
    # d_sigma is finite at the data, so sigma is nearly proportional to 1 - t there.
    left = torch.tensor([2.0**-20, 2.0**-30, 2.0**-40], dtype=torch.float64)
    c = scheduler(1 - left)
    rate = -scheduler(torch.ones(1, dtype=torch.float64)).d_sigma
    assert (c.sigma / (rate * left) - 1).abs().max() < 2e-4


def test_interpolate(scheduler: Scheduler) -> None:
    generator = torch.Generator().manual_seed(0)
    x_0, x_1 = torch.randn(2, 5, 3, 2, generator=generator, dtype=torch.float64)
    t = torch.linspace(0, scheduler.t_max, 5, dtype=torch.float64).view(5, 1, 1)
    c = scheduler(t)
    x_t, dx_t = scheduler.interpolate(x_0, x_1, t)
    torch.testing.assert_close(x_t, c.alpha * x_1 + c.sigma * x_0)
    torch.testing.assert_close(dx_t, c.d_alpha * x_1 + c.d_sigma * x_0)


def test_at_gives_numbers() -> None:
    assert CondOT().at(0.25) == (0.25, 0.75)


def test_polynomial_of_power_one_is_the_straight_line() -> None:
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    for value, expected in zip(fields(Polynomial(1)(t)), fields(CondOT()(t)), strict=True):
        torch.testing.assert_close(value, expected)


def test_exponential_moves_a_constant_fraction_of_what_is_left() -> None:
    c = Exponential(10.0)(torch.tensor([0.0, 0.2, 0.5], dtype=torch.float64))
    torch.testing.assert_close(
        c.d_alpha / c.sigma, torch.full_like(c.sigma, 10.0), rtol=1e-2, atol=0
    )


def test_a_fast_exponential_does_not_overflow() -> None:
    for value in fields(Exponential(500.0)(torch.linspace(0, 1, 11))):
        assert torch.isfinite(value).all()


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda: Polynomial(0.5), "power: got 0.5"),
        (lambda: Polynomial(math.nan), "power: got nan"),
        (lambda: Polynomial(math.inf), "power: got inf"),
        (lambda: VariancePreserving(0.0, 1.0), "beta_min, beta_max: got 0.0, 1.0"),
        (lambda: VariancePreserving(2.0, 1.0), "beta_min <= beta_max"),
        (lambda: VariancePreserving(1.0, math.inf), "finite"),
        (lambda: Exponential(0.0), "rate: got 0.0"),
        (lambda: Exponential(-1.0), "rate: got -1.0"),
        (lambda: Exponential(math.inf), "rate: got inf"),
    ],
)
def test_settings_out_of_range(build: Callable[[], Scheduler], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        build()


def test_repr_says_the_settings() -> None:
    assert [repr(s) for s in SCHEDULERS[:4]] == [
        "CondOT()",
        "Polynomial(1)",
        "Polynomial(1.5)",
        "Polynomial(3)",
    ]
    assert repr(VariancePreserving()) == "VariancePreserving(0.1, 20.0)"
    assert repr(Exponential(10.0)) == "Exponential(10.0)"


def test_only_the_coefficients_are_abstract() -> None:
    assert Scheduler.__abstractmethods__ == {"__call__"}
