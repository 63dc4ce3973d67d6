"""Another schedule at inference: the same endpoints, approached at another rate."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flowatlas.errors import ConfigError, IntervalError
from flowatlas.exact import ExactMixtureFlow, GaussianMixture
from flowatlas.paths import AffinePath
from flowatlas.sampling import integrate
from flowatlas.schedulers import CondOT, Cosine, Exponential, Polynomial, Scheduler
from flowatlas.solvers import RK4

KINDS = AffinePath.kinds
TRAINED = [CondOT(), Polynomial(2)]
USED = [Exponential(4.0), Polynomial(3), CondOT()]
T = torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64)


def as_kind(kind: str, x: Tensor, t: Tensor, x_1: Tensor, schedule: Scheduler) -> Tensor:
    """The prediction of a network that believes in the endpoint x_1, by the trained schedule."""
    c = schedule(t.unsqueeze(-1))
    x_0 = (x - c.alpha * x_1) / c.sigma
    return {
        "velocity": c.d_alpha * x_1 + c.d_sigma * x_0,
        "target": x_1,
        "noise": x_0,
        "score": -x_0 / c.sigma,
    }[kind]


@pytest.mark.parametrize("used", USED, ids=repr)
@pytest.mark.parametrize("trained", TRAINED, ids=repr)
@pytest.mark.parametrize("kind", KINDS)
def test_conversions_are_those_of_the_new_schedule(
    kind: str, trained: Scheduler, used: Scheduler, mixture: GaussianMixture
) -> None:
    """With the posterior mean of the new schedule, all else is the new schedule's exact flow."""
    flow = ExactMixtureFlow(mixture, used)
    path = AffinePath(trained, prediction=kind).with_schedule(used)
    x = mixture.sample(3, torch.Generator().manual_seed(1))
    prediction = as_kind(kind, x, T, flow.posterior_mean(x, T), trained)
    for to in KINDS:
        got = path.convert(prediction, x, T, to)
        torch.testing.assert_close(got, flow.prediction(to)(x, T), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("trained", TRAINED, ids=repr)
@pytest.mark.parametrize("kind", KINDS)
def test_one_point_is_approached_along_the_new_schedule(kind: str, trained: Scheduler) -> None:
    """For data of one point the flow of the trained schedule becomes that of the other, exactly."""
    used = Exponential(4.0)
    x_1 = torch.tensor([[2.0, -1.0, 0.5]], dtype=torch.float64)
    x_0 = torch.tensor([[0.3, 0.4, -0.5]], dtype=torch.float64)
    path = AffinePath(trained, prediction=kind).with_schedule(used)
    start = max(path.interval.start, 0.05)

    def field(x: Tensor, t: Tensor, condition: object = None) -> Tensor:
        return as_kind(kind, x, t, x_1, trained)

    at = [used.at(t) for t in (start, 0.3, 0.6)]
    expected = [alpha * x_1 + sigma * x_0 for alpha, sigma in at]
    found = integrate(
        field, path, expected[0], start=start, end=0.9, times=[0.3, 0.6], solver=RK4(steps=30)
    )
    for got, want in zip(found.x_t[1:], expected[1:], strict=False):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-4)


@pytest.mark.parametrize("used", USED, ids=repr)
def test_asked_at_the_matching_time_the_flow_is_exact(
    used: Scheduler, mixture: GaussianMixture
) -> None:
    """A target field asked where the trained schedule is as far gives the other's exact flow.

    Samplers ask at the time of the grid, since the components of a product share it; a lone field
    can be asked at the matching time by wrapping it, as here.
    """
    trained = Polynomial(2)
    exact = ExactMixtureFlow(mixture, trained)
    path = AffinePath(trained, prediction="target").with_schedule(used)
    x = mixture.sample(3, torch.Generator().manual_seed(2))
    matching = used(T).alpha.sqrt()
    velocity = path.velocity(x, T, exact.posterior_mean(x, matching))
    torch.testing.assert_close(velocity, ExactMixtureFlow(mixture, used)(x, T))
    if not isinstance(used, Polynomial):
        wrong = path.velocity(x, T, exact.posterior_mean(x, T))
        assert (wrong - velocity).abs().max() > 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_conditional_step_follows_the_new_schedule(kind: str) -> None:
    trained, used = CondOT(), Exponential(4.0)
    generator = torch.Generator().manual_seed(3)
    x_0, x_1 = torch.randn(2, 3, 4, generator=generator, dtype=torch.float64)
    s = torch.tensor([0.4, 0.7, 1.0], dtype=torch.float64)
    now, then = used(T.unsqueeze(-1)), used(s.unsqueeze(-1))
    x_t = now.alpha * x_1 + now.sigma * x_0
    path = AffinePath(trained, prediction=kind).with_schedule(used)
    prediction = as_kind(kind, x_t, T, x_1, trained)
    moved = path.conditional_step(x_t, T, s, prediction)
    torch.testing.assert_close(moved, then.alpha * x_1 + then.sigma * x_0, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_training_is_not_changed(kind: str) -> None:
    path = AffinePath(prediction=kind)
    changed = path.with_schedule(Exponential(10.0))
    assert changed.t_max == path.t_max and path.inference_scheduler is None
    x_0, x_1 = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(4))
    t = torch.linspace(0.1, path.t_max, 4)
    one, other = path.sample(x_0, x_1, t), changed.sample(x_0, x_1, t)
    assert isinstance(one.x_t, Tensor) and isinstance(other.x_t, Tensor)
    assert torch.equal(one.x_t, other.x_t)
    assert torch.equal(path.losses(x_0, one)["x"], changed.losses(x_0, other)["x"])


@pytest.mark.parametrize("kind", KINDS)
def test_the_new_schedule_has_its_own_interval(kind: str) -> None:
    path = AffinePath(prediction=kind).with_schedule(Polynomial(2))
    # 2 t / (1 - t^2) = 1000.
    assert path.interval.end == pytest.approx(0.999, abs=1e-5)
    x = torch.zeros(2, 3)
    with pytest.raises(IntervalError):
        path.velocity(x, torch.ones(2), x)
    # 1 / sigma = 1000 comes much sooner where sigma is exponentially small.
    fast = AffinePath(prediction=kind).with_schedule(Exponential(10.0))
    assert fast.conversion_interval("noise").end < 0.7 < fast.conversion_interval("velocity").end


def test_only_convex_schedules() -> None:
    with pytest.raises(ConfigError, match="convex"):
        AffinePath().with_schedule(Cosine())
    with pytest.raises(ConfigError, match="the path's scheduler"):
        AffinePath(Cosine()).with_schedule(CondOT())
