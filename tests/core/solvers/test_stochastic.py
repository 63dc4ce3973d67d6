"""Stochastic solvers against exact flows: marginals, weak orders, ends, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import flowatlas.sampling._dynamics as dynamics_module
from flowatlas.errors import CapabilityError, ConfigError, IntervalError
from flowatlas.exact import ExactGaussianFlow, ExactMixtureFlow, GaussianMixture
from flowatlas.manifolds import SO3, Sphere
from flowatlas.paths import AffinePath, CatFlowPath, GeodesicPath, MixturePath, ProductPath
from flowatlas.sampling import encode, integrate, log_prob, sample
from flowatlas.schedulers import CondOT, Cosine, LinearVP, Polynomial, VariancePreserving
from flowatlas.solvers import (
    BumpDiffusion,
    ConstantDiffusion,
    Diffusion,
    Euler,
    EulerMaruyama,
    Heun,
    LevelDiffusion,
    StochasticHeun,
)
from flowatlas.sources import Empirical, Gaussian

D = torch.float64
SCHEDULES = (CondOT(), Cosine(), LinearVP(), VariancePreserving(), Polynomial(2.0))
KINDS = ("velocity", "target", "noise", "score")
ROOTS = torch.tensor([[[0.6, 0.0], [0.3, 0.5]], [[0.5, 0.0], [-0.2, 0.7]], [[0.5, 0], [0, 0.6]]])
TARGET = GaussianMixture(
    torch.tensor([1.0, 2.0, 1.5]),
    torch.tensor([[2.0, 0.0], [-1.0, 1.5], [-1.0, -2.0]]),
    ROOTS @ ROOTS.mT,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def marginal(flow: ExactMixtureFlow, t: float) -> GaussianMixture:
    """The law of x_t, written down from the two ends."""
    alpha, sigma = flow.scheduler.at(t)
    target = flow.target
    assert target.covariances is not None
    noise = (sigma * flow.source_std) ** 2 * torch.eye(target.dim, dtype=D)
    means = alpha * target.means + sigma * flow.source_mean
    return GaussianMixture(target.weights, means, alpha**2 * target.covariances + noise)


def discrepancy(x: Tensor, law: GaussianMixture) -> float:
    """Largest error of mean, covariance and mode weights, in standard errors of exact samples."""
    exact = law.sample(200_000, seeded(99))

    def statistics(y: Tensor) -> Tensor:
        centred = y - exact.mean(0)
        products = torch.stack([centred[:, 0] ** 2, centred[:, 0] * centred[:, 1]], 1)
        products = torch.cat([products, centred[:, 1:] ** 2], 1)
        z = law.to_axes(y.unsqueeze(-2) - law.means)
        modes = torch.nn.functional.one_hot(law.log_terms(z, law.variances).argmax(-1), 3)
        return torch.cat([centred, products, modes[:, :2].to(y)], 1)

    seen, wanted = statistics(x), statistics(exact)
    error = wanted.std(0) * math.sqrt(1 / len(x) + 1 / len(exact))
    return ((seen.mean(0) - wanted.mean(0)) / error).abs().max().item()


# Seven statistics each, some hundred in this file: one beyond 5 has a probability below 1e-3.
WITHIN = 5.0


# The score.


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_the_score_follows_from_every_prediction(schedule: Any, kind: str) -> None:
    mean = torch.tensor([0.3, -0.5], dtype=D)
    flow = ExactMixtureFlow(TARGET, schedule, source_std=1.7, source_mean=mean)
    path = AffinePath(schedule, source=Gaussian(1.7, mean=mean), prediction=kind)
    inside = path.interval & path.score_interval
    assert inside.start < 0.01 and inside.end > 0.99
    x = 2 * torch.randn(200, 2, dtype=D, generator=seeded())
    t = 0.01 + 0.98 * torch.rand(200, dtype=D, generator=seeded(1))
    score = path.score(x, t, flow.prediction(kind)(x, t))
    torch.testing.assert_close(score, flow.score(x, t), rtol=1e-6, atol=1e-7)
    back = AffinePath(schedule, source=path.source, prediction="score").velocity(x, t, score)
    torch.testing.assert_close(back, flow.velocity(x, t), rtol=1e-6, atol=1e-6)
    levels = path.noise_level(t)
    torch.testing.assert_close(levels, 1.7 * schedule(t).sigma)


# Marginals.


@pytest.mark.parametrize("epsilon", [0.0, 0.5, 1.0, 2.0])
def test_any_constant_diffusion_leaves_the_marginals(epsilon: float) -> None:
    flow, path = ExactMixtureFlow(TARGET), AffinePath()
    x_0 = torch.randn(8_000, 2, dtype=D, generator=seeded(3))
    solver = StochasticHeun(60, diffusion=epsilon)
    found = integrate(flow, path, x_0, solver=solver, times=[0.5], generator=seeded(4))
    # With noise, 0.5 is no knot of the steps to 0.999, and there is a last step from there.
    assert found.nfe == (120 if epsilon == 0 else 123)
    for t, x in zip(found.t[1:], found.x_t[1:], strict=True):
        assert discrepancy(x, marginal(flow, t)) < WITHIN
    if epsilon:  # the noise has moved them
        still = integrate(flow, path, x_0, solver=Heun(60)).x
        assert (found.x - still).norm(dim=1).mean() > 0.3


@pytest.mark.parametrize(
    "diffusion",
    [LevelDiffusion(2.0), LevelDiffusion(2.0, 2.0), BumpDiffusion(2.0), ConstantDiffusion(0.5)],
    ids=repr,
)
def test_diffusion_schedules_leave_the_marginals(diffusion: Diffusion) -> None:
    flow = ExactMixtureFlow(TARGET, Cosine(), source_std=1.5)
    path = AffinePath(Cosine(), source=Gaussian(1.5), prediction="target")
    solver = EulerMaruyama(300, diffusion=diffusion)
    x = sample(
        flow.prediction("target"),
        path,
        shape=(6_000, 2),
        solver=solver,
        dtype=D,
        generator=seeded(5),
    )
    assert discrepancy(x, TARGET) < WITHIN


def test_what_diffusions_are() -> None:
    t, level = torch.tensor([0.0, 0.25, 0.5]), torch.tensor([2.0, 1.0, 0.5])
    for diffusion, expected in (
        (ConstantDiffusion(3.0), [3.0, 3.0, 3.0]),
        (LevelDiffusion(2.0), [4.0, 2.0, 1.0]),
        (LevelDiffusion(2.0, 2.0), [8.0, 2.0, 0.5]),
        (BumpDiffusion(2.0), [0.0, 1.0, 2.0]),
    ):
        torch.testing.assert_close(diffusion(t, level), torch.tensor(expected))


def test_without_the_score_the_marginals_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests above have power."""
    flow, path = ExactMixtureFlow(TARGET), AffinePath()
    monkeypatch.setattr(AffinePath, "score", lambda self, x, t, v: torch.zeros_like(x))
    solver = StochasticHeun(60, diffusion=0.5)
    x = sample(flow, path, shape=(8_000, 2), solver=solver, dtype=D, generator=seeded(4))
    assert discrepancy(x, TARGET) > 4 * WITHIN


@pytest.mark.parametrize("kind", KINDS)
def test_every_prediction_kind_comes_to_its_end(kind: str) -> None:
    flow, path = ExactMixtureFlow(TARGET), AffinePath(prediction=kind)
    solver = StochasticHeun(60, diffusion=0.5)
    x = sample(
        flow.prediction(kind),
        path,
        shape=(6_000, 2),
        solver=solver,
        dtype=D,
        generator=seeded(6),
    )
    assert discrepancy(x, TARGET) < WITHIN


def test_backward_the_marginals_are_left_too() -> None:
    flow, path = ExactMixtureFlow(TARGET), AffinePath()
    x = marginal(flow, 0.95).sample(8_000, seeded(7))
    solver = StochasticHeun(60, diffusion=1.0)
    end = integrate(flow, path, x, start=0.95, end=0.2, solver=solver, generator=seeded(8)).x
    assert discrepancy(end, marginal(flow, 0.2)) < WITHIN
    assert torch.corrcoef(torch.stack([end[:, 0], x[:, 0]]))[0, 1] < 0.9  # it is not the ODE
    with pytest.raises(IntervalError, match=r"score is finite only up to t = 0.999"):
        encode(flow, path, x, solver=solver)


def test_noise_on_one_component_leaves_the_joint_law() -> None:
    """The coordinates of a mixture as two components: they depend on each other."""
    flow = ExactMixtureFlow(TARGET)

    def field(x: Any, t: Tensor) -> Any:
        v = flow.velocity(torch.cat([x["a"], x["b"]], 1), t)
        return {"a": v[:, :1], "b": v[:, 1:]}

    path = ProductPath(a=AffinePath(), b=AffinePath())
    shape = {"a": (8_000, 1), "b": (8_000, 1)}
    for diffusion in ({"a": 1.0}, {"a": 0.5, "b": LevelDiffusion(1.0)}, 0.5):
        solver = StochasticHeun(60, diffusion=diffusion)  # type: ignore[arg-type]
        x: Any = sample(field, path, shape=shape, solver=solver, dtype=D, generator=seeded(9))
        assert discrepancy(torch.cat([x["a"], x["b"]], 1), TARGET) < WITHIN


# Weak order: for linear drifts, mean and variance of the discretised process obey a recursion.


def moments(flow: ExactGaussianFlow, make: Any, steps: int, end: float) -> Tensor:
    """Mean and variance of the solver's law at `end`, without sampling.

    A step is x -> a x + b z + c. Its coefficients are read off three runs of the solver itself.
    """
    path = AffinePath(flow.scheduler)
    mean = variance = torch.zeros((), dtype=D)
    variance = variance + 1.0
    x = torch.tensor([[0.0], [1.0], [0.0]], dtype=D)
    for i in range(steps):
        start, stop = end * i / steps, end * (i + 1) / steps
        y = integrate(flow, path, x, start=start, end=stop, solver=make()).x.squeeze(1)
        a, b, c = y[1] - y[0], y[2] - y[0], y[0]
        mean, variance = a * mean + c, a**2 * variance + b**2
    return torch.stack([mean, variance])


@pytest.mark.parametrize(
    "diffusion", [ConstantDiffusion(0.7), LevelDiffusion(1.5), BumpDiffusion(1.0)], ids=repr
)
@pytest.mark.parametrize(("method", "order"), [(EulerMaruyama, 1), (StochasticHeun, 2)])
def test_weak_order(
    method: Any, order: int, diffusion: Diffusion, monkeypatch: pytest.MonkeyPatch
) -> None:
    z = torch.tensor([[0.0], [0.0], [1.0]], dtype=D)
    monkeypatch.setattr(dynamics_module, "randn", lambda *shape, **options: z)
    flow = ExactGaussianFlow(
        GaussianMixture(torch.ones(1), torch.tensor([[1.5]]), stds=0.4), Cosine()
    )
    end = 0.8
    alpha, sigma = flow.scheduler.at(end)
    exact = torch.tensor([1.5 * alpha, 0.16 * alpha**2 + sigma**2], dtype=D)
    errors = [
        (moments(flow, lambda: method(1, diffusion=diffusion), n, end) - exact).norm().item()
        for n in (64, 128)
    ]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.2)


# What noise is, and where.


def test_no_diffusion_is_the_deterministic_method() -> None:
    flow, path = ExactMixtureFlow(TARGET), AffinePath()
    x = torch.randn(10, 2, generator=seeded())
    for ours, theirs in ((EulerMaruyama, Euler), (StochasticHeun, Heun)):
        for none in (0.0, LevelDiffusion(0.0), {"x": 0.0}, {}):
            noisy = integrate(flow, path, x, solver=ours(7, diffusion=none), generator=seeded())
            plain = integrate(flow, path, x, solver=theirs(7))
            assert torch.equal(noisy.x, plain.x) and noisy.nfe == plain.nfe
    point = Sphere().random_uniform((5, 3), generator=seeded())
    east = GeodesicPath(Sphere())
    field = lambda x, t: torch.stack([-x[:, 1], x[:, 0], 0 * x[:, 0]], 1)  # noqa: E731
    noisy = integrate(field, east, point, solver=EulerMaruyama(5, diffusion=0.0))
    assert torch.equal(noisy.x, integrate(field, east, point, solver=Euler(5)).x)


def test_a_sample_does_not_depend_on_its_batch() -> None:
    flow, path = ExactMixtureFlow(TARGET), AffinePath()

    def run(rows: slice, **options: Any) -> Tensor:
        generators = [seeded(i) for i in range(6)[rows]]
        x: Tensor = sample(
            flow,
            path,
            shape=(len(generators), 2),
            generator=generators,
            solver=EulerMaruyama(5, diffusion=1.0),
            **options,
        )
        return x

    whole = run(slice(0, 6))
    assert torch.equal(run(slice(2, 5)), whole[2:5])
    assert torch.equal(run(slice(0, 6), chunk_size=4), whole)
    assert not torch.equal(whole[0], whole[1])


def test_padding_and_given_points_get_no_noise() -> None:
    path = AffinePath()
    field = lambda x, t, condition=None, **masks: -x  # noqa: E731
    x_0 = torch.randn(4, 5, 2, generator=seeded())
    mask = torch.ones(4, 5, dtype=torch.bool)
    mask[:, 4] = False
    given = torch.zeros(4, 5, dtype=torch.bool)
    given[:, 1] = True
    states = integrate(
        field,
        path,
        x_0,
        solver=EulerMaruyama(3, diffusion=1.0),
        mask=mask,
        times=[0.4],
        fixed=(given, torch.ones(4, 5, 2)),
        generator=seeded(),
    ).x_t
    assert all((x[:, 1] == 1).all() for x in states)
    assert torch.equal(states[0][:, 4], states[1][:, 4])
    assert ((states[0] - states[1])[:, [0, 2, 3]] != 0).all()


def test_one_evaluation_tells_velocity_and_score() -> None:
    calls = []

    def field(x: Tensor, t: Tensor) -> Tensor:
        calls.append(t[0].item())
        return -x

    sample(field, AffinePath(), shape=(2, 2), solver=EulerMaruyama(4, diffusion=1.0))
    assert len(calls) == 5 and calls[-1] == pytest.approx(0.999)  # four steps, and the last
    calls.clear()
    sample(field, AffinePath(), shape=(2, 2), end=0.5, solver=EulerMaruyama(4, diffusion=1.0))
    assert calls == [0.0, 0.125, 0.25, 0.375]


def test_tokens_jump_beside_noise() -> None:
    path = ProductPath(
        place=AffinePath(), turn=GeodesicPath(SO3()), token=MixturePath(4, "uniform")
    )

    def model(x: Any, t: Tensor) -> Any:
        logits = torch.tensor([0.0, 1.0, -1.0, 0.5]).expand(*x["token"].shape, 4)
        return {"place": -x["place"], "turn": torch.ones_like(x["turn"][..., 0]), "token": logits}

    shape = {"place": (500, 2), "turn": (500, 3, 3), "token": (500, 6)}
    with pytest.raises(CapabilityError, match=r"velocity of GeodesicPath does not tell"):
        sample(model, path, shape=shape, solver=EulerMaruyama(5, diffusion=1.0))
    runs: list[Any] = [
        sample(model, path, shape=shape, solver=solver, generator=seeded())
        for solver in (EulerMaruyama(5, diffusion={"place": 1.0}), Euler(5))
    ]
    assert not torch.equal(runs[0]["place"], runs[1]["place"])
    alone = ProductPath(token=MixturePath(4, "uniform"))
    only: Any = sample(
        lambda x, t: {"token": torch.zeros(*x["token"].shape, 4)},
        alone,
        shape={"token": (5, 6)},
        solver=EulerMaruyama(3, diffusion=1.0),
    )
    assert set(only) == {"token"}


def test_categories_in_flat_space_have_a_score() -> None:
    path = CatFlowPath(3)
    logits = torch.randn(5, 3, dtype=D, generator=seeded())
    x, t = torch.randn(5, 3, dtype=D, generator=seeded(1)), torch.full((5,), 0.4, dtype=D)
    expected = -(x - 0.4 * logits.softmax(-1)) / 0.36
    torch.testing.assert_close(path.score(x, t, logits), expected)
    assert path.score_interval.end == pytest.approx(0.999)
    torch.testing.assert_close(path.noise_level(t), 1 - t)


def test_gradients_flow_through_noise() -> None:
    scale = torch.tensor(0.5, requires_grad=True)
    x = sample(
        lambda x, t: scale * x,
        AffinePath(),
        shape=(4, 2),
        enable_grad=True,
        solver=EulerMaruyama(3, diffusion=0.5),
        generator=seeded(),
    )
    (gradient,) = torch.autograd.grad(x.sum(), scale)
    assert torch.isfinite(gradient) and gradient != 0


def test_half_precision_is_lifted() -> None:
    x = torch.zeros(3, 2, dtype=torch.bfloat16)
    field = lambda x, t: (-x).bfloat16()  # noqa: E731
    found = integrate(field, AffinePath(), x, solver=EulerMaruyama(3, diffusion=1.0)).x
    assert found.dtype == torch.float32 and torch.isfinite(found).all()


# What is refused.


def test_errors() -> None:
    flow, path = ExactMixtureFlow(TARGET), AffinePath()
    x = torch.zeros(2, 2)
    noisy = EulerMaruyama(3, diffusion=1.0)
    with pytest.raises(CapabilityError, match="no density along the noisy paths"):
        log_prob(flow, path, x, solver=noisy, start=0.9)
    with pytest.raises(CapabilityError, match="needs a Gaussian source, got Empirical"):
        integrate(flow, AffinePath(source=Empirical(x)), x, solver=noisy)
    with pytest.raises(ConfigError, match=r"no continuous component \['y'\]; there are \['x'\]"):
        integrate(flow, path, x, solver=EulerMaruyama(3, diffusion={"y": 1.0}))
    with pytest.raises(IntervalError, match=r"score is finite only on \[0, 0.999\]"):
        integrate(flow, path, x, solver=noisy, times=[0.9995])
    for bad in (-1.0, math.nan, math.inf):
        with pytest.raises(ConfigError, match=r"value: got .*; it must be zero or more"):
            EulerMaruyama(3, diffusion=bad)
        with pytest.raises(ConfigError, match="scale: got"):
            BumpDiffusion(bad)
        with pytest.raises(ConfigError, match="power: got"):
            LevelDiffusion(1.0, bad)
    for wrong in ("much", True, None, {"x": "much"}):
        with pytest.raises(ConfigError, match="it must be a number, a Diffusion"):
            EulerMaruyama(3, diffusion=wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="exactly one of them"):
        EulerMaruyama(diffusion=1.0)

    class Negative(Diffusion):
        def __call__(self, t: Tensor, level: Tensor) -> Tensor:
            return -t - 1

    with pytest.raises(ConfigError, match=r"must return numbers of zero or more of shape \(2,\)"):
        integrate(flow, path, x, solver=EulerMaruyama(3, diffusion=Negative()))
    assert "BumpDiffusion(2)" in repr(StochasticHeun(3, diffusion=BumpDiffusion(2.0)))
