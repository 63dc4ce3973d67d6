"""Bridges between two Gaussians that depend on each other, where all is known in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from flowatlas._random import randn
from flowatlas.couplings import MinibatchOT, Paired
from flowatlas.errors import CapabilityError, ConfigError, IntervalError, ShapeError
from flowatlas.manifolds import Sphere
from flowatlas.networks import MLP
from flowatlas.objectives import FlowMatching
from flowatlas.paths import (
    AffinePath,
    BridgePath,
    BrownianGamma,
    Gamma,
    Interval,
    ParabolicGamma,
    ProductPath,
    SineSquaredGamma,
)
from flowatlas.sampling import integrate, sample
from flowatlas.schedulers import CondOT, Cosine, LinearVP, Scheduler
from flowatlas.solvers import BumpDiffusion, EulerMaruyama, Heun, LevelDiffusion, StochasticHeun
from flowatlas.sources import Empirical

D = torch.float64
GAMMAS: tuple[Gamma, ...] = (BrownianGamma(0.8), ParabolicGamma(2.0), SineSquaredGamma(0.7))
SCHEDULES: tuple[Scheduler, ...] = (CondOT(), Cosine())


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@dataclass
class GaussianBridge:
    """(x_0, x_1) jointly Gaussian in the plane, and what follows for x_t."""

    gamma: Gamma
    scheduler: Scheduler
    means = torch.tensor([[0.5, -1.0], [2.0, 1.0]], dtype=D)

    def __post_init__(self) -> None:
        root = torch.tensor(
            [
                [1.0, 0.0, 0.0, 0.0],
                [0.3, 0.8, 0.0, 0.0],
                [0.5, -0.2, 0.6, 0.0],
                [0.1, 0.4, 0.2, 0.5],
            ]
        ).to(D)
        self.root, self.covariance = root, root @ root.T

    def ends(self, n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
        both = randn((n, 4), generator=seeded(seed), dtype=D) @ self.root.T + self.means.view(-1)
        return both[:, :2], both[:, 2:]

    def row(self, a: Tensor, b: Tensor) -> Tensor:
        """b x_0 + a x_1 as a matrix that acts on (x_0, x_1)."""
        eye = torch.eye(2, dtype=D)
        return torch.cat([b * eye, a * eye], 1)

    def law(self, t: float) -> tuple[Tensor, Tensor]:
        """Mean and covariance of x_t."""
        time = torch.tensor(t, dtype=D)
        c, g = self.scheduler(time), self.gamma(time)
        m = self.row(c.alpha, c.sigma)
        noise = g.gamma**2 * torch.eye(2, dtype=D)
        return m @ self.means.view(-1), m @ self.covariance @ m.T + noise

    def predictions(self, x: Tensor, t: float) -> tuple[Tensor, Tensor, Tensor]:
        """E[d m_t | x_t = x], E[z | x_t = x] and E[x_1 | x_t = x]."""
        time = torch.tensor(t, dtype=D)
        c, g = self.scheduler(time), self.gamma(time)
        mean, covariance = self.law(t)
        away = torch.linalg.solve(covariance, (x - mean).T).T
        m = self.row(c.alpha, c.sigma)
        found = []
        for a, b in ((c.d_alpha, c.d_sigma), (torch.ones_like(time), torch.zeros_like(time))):
            u = self.row(a, b)
            found.append(u @ self.means.view(-1) + away @ (u @ self.covariance @ m.T).T)
        return found[0], g.gamma * away, found[1]

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """The exact field."""
        d_mean, z, _ = self.predictions(x, t[0].item())
        return torch.stack([d_mean, z], 1)

    def path(self, **options: Any) -> BridgePath:
        return BridgePath(self.gamma, self.scheduler, **options)


def check_law(x: Tensor, mean: Tensor, covariance: Tensor) -> None:
    """Means and covariances within 5 standard errors."""
    n = len(x)
    spread = covariance.diagonal()
    assert ((x.mean(0) - mean).abs() < 5 * (spread / n).sqrt()).all()
    allowed = ((spread[:, None] * spread + covariance**2) / n).sqrt()
    assert ((x.T.cov() - covariance).abs() < 5 * allowed).all()


every = pytest.mark.parametrize(
    "bridge",
    [GaussianBridge(gamma, schedule) for gamma in GAMMAS for schedule in SCHEDULES],
    ids=lambda b: f"{b.gamma}-{b.scheduler}",
)


@every
def test_the_law_of_a_bridge(bridge: GaussianBridge) -> None:
    n, path = 40_000, bridge.path()
    x_0, x_1 = bridge.ends(n)
    for t in (0.0, 0.3, 0.5, 0.9, 1.0):
        time = torch.full((n,), t, dtype=D)
        found = path.sample(x_0, x_1, time, generator=seeded(1))
        assert isinstance(found.x_t, Tensor) and found.dx_t is None
        check_law(found.x_t, *bridge.law(t))
    torch.testing.assert_close(found.x_t, x_1)


@every
def test_velocity_and_score_move_the_law(bridge: GaussianBridge) -> None:
    """d m/dt = v(m), and d C/dt = A C + C A^T with A the slope of v; the score is that of C."""
    path, h = bridge.path(), 1e-5
    for t in (0.1, 0.45, 0.8):
        mean, covariance = bridge.law(t)
        points = torch.cat([mean[None], mean + torch.eye(2, dtype=D)])
        times = torch.full((3,), t, dtype=D)
        v = path.velocity(points, times, bridge(points, times))
        slope = (v[1:] - v[0]).T
        (m_0, c_0), (m_1, c_1) = bridge.law(t - h), bridge.law(t + h)
        torch.testing.assert_close(v[0], (m_1 - m_0) / (2 * h), rtol=1e-6, atol=1e-7)
        change = slope @ covariance + covariance @ slope.T
        torch.testing.assert_close(change, (c_1 - c_0) / (2 * h), rtol=1e-6, atol=1e-7)
        score = path.score(points, times, bridge(points, times))
        torch.testing.assert_close(score[1:] - score[0], -torch.linalg.inv(covariance))
        x_1 = path.convert(bridge(points, times), points, times, "target")
        torch.testing.assert_close(x_1, bridge.predictions(points, t)[2])
        torch.testing.assert_close(path.noise_level(times), bridge.gamma(times).gamma)


@pytest.mark.parametrize("kind", ["velocity_and_noise", "velocity"])
@every
def test_the_minimiser_of_the_loss_is_the_exact_field(bridge: GaussianBridge, kind: str) -> None:
    """Least squares over affine functions of x_t at one t, of targets read off the gradient."""
    n, t, path = 100_000, 0.35, bridge.path(prediction=kind)
    x_0, x_1 = bridge.ends(n, 2)
    time = torch.full((n,), t, dtype=D)
    found = path.sample(x_0, x_1, time, generator=seeded(3))
    assert isinstance(found.x_t, Tensor)
    guess = torch.zeros(path.prediction_shape(found.x_t), dtype=D, requires_grad=True)
    (gradient,) = torch.autograd.grad(path.losses(guess, found)["x"].sum(), guess)
    target = -gradient.flatten(1)  # the mean of squares over two coordinates
    design = torch.cat([torch.ones(n, 1, dtype=D), found.x_t], 1)
    solution = torch.linalg.lstsq(design, target).solution
    x = 1.5 * torch.randn(50, 2, dtype=D, generator=seeded(4))
    exact = bridge(x, time[:50])
    if kind == "velocity":
        exact = bridge.path().velocity(x, time[:50], exact)
    exact = exact.flatten(1)
    fitted = torch.cat([torch.ones(50, 1, dtype=D), x], 1) @ solution
    residual = (target - design @ solution).square().mean(0).sqrt()
    near = design.T @ design / n
    rows = torch.cat([torch.ones(50, 1, dtype=D), x], 1)
    leverage = (rows * torch.linalg.solve(near, rows.T).T).sum(1).sqrt()
    assert ((fitted - exact).abs() < 5 * residual * leverage[:, None] / math.sqrt(n)).all()


@pytest.mark.parametrize("diffusion", [0.0, 0.32, 1.0, LevelDiffusion(1.0), BumpDiffusion(1.0)])
@pytest.mark.parametrize("gamma", GAMMAS, ids=repr)
def test_every_diffusion_leads_along_the_bridge(gamma: Gamma, diffusion: Any) -> None:
    bridge, n = GaussianBridge(gamma, CondOT()), 6_000
    x_0, _ = bridge.ends(n, 5)
    solver = StochasticHeun(150, diffusion=diffusion)
    found = integrate(bridge, bridge.path(), x_0, times=[0.5], solver=solver, generator=seeded(6))
    check_law(found.x_t[1], *bridge.law(0.5))
    check_law(found.x, *bridge.law(1.0))


def test_without_the_noise_in_the_velocity_the_law_is_lost() -> None:
    """The test above has power."""
    bridge, n = GaussianBridge(GAMMAS[0], CondOT()), 6_000
    x_0, _ = bridge.ends(n, 5)

    def wrong(x: Tensor, t: Tensor) -> Tensor:
        return bridge(x, t) * torch.tensor([1.0, 0.0], dtype=D).view(1, 2, 1)

    x = integrate(wrong, bridge.path(), x_0, end=0.5, solver=Heun(100)).x
    with pytest.raises(AssertionError):
        check_law(x, *bridge.law(0.5))


def test_the_forward_drift_of_a_brownian_bridge() -> None:
    """With epsilon = s^2 / 2 it is E[(x_1 - x_t) / (1 - t) | x_t]."""
    bridge = GaussianBridge(BrownianGamma(0.8), CondOT())
    x = torch.randn(20, 2, dtype=D, generator=seeded())
    for t in (0.01, 0.3, 0.9):
        times = torch.full((20,), t, dtype=D)
        prediction, path = bridge(x, times), bridge.path()
        drift = path.velocity(x, times, prediction) + 0.32 * path.score(x, times, prediction)
        expected = (bridge.predictions(x, t)[2] - x) / (1 - t)
        torch.testing.assert_close(drift, expected)


def test_from_a_point_the_process_is_brownian() -> None:
    """A bridge from 0 to N(0, s^2) is Brownian motion: no drift, covariance s^2 min(r, t)."""

    def field(x: Tensor, t: Tensor) -> Tensor:
        time = t.view(-1, 1)
        z = (1 - time).sqrt() * x / time.sqrt()  # s = 1: x_t ~ N(0, t), gamma = sqrt(t (1 - t))
        return torch.stack([x, z], 1)

    path, n = BridgePath(1.0, source=Empirical(torch.zeros(1, 1))), 10_000
    x_0 = torch.zeros(n, 1, dtype=D)
    solver = EulerMaruyama(20, diffusion=0.5)
    found = integrate(field, path, x_0, times=[0.25, 0.5], solver=solver, generator=seeded(1))
    x = torch.cat([*found.x_t[1:]], 1)
    exact = torch.tensor([[0.25, 0.25, 0.25], [0.25, 0.5, 0.5], [0.25, 0.5, 1.0]], dtype=D)
    check_law(x, torch.zeros(3, dtype=D), exact)


@every
def test_the_conditional_step_follows_the_conditional_path(bridge: GaussianBridge) -> None:
    path = bridge.path()
    x_0, x_1 = bridge.ends(6)
    z = torch.randn(6, 2, dtype=D, generator=seeded(1))
    t, s = torch.full((6,), 0.3, dtype=D), torch.full((6,), 0.8, dtype=D)
    now, then = (path.sample(x_0, x_1, r, noise={"x": z}).x_t for r in (t, s))
    assert isinstance(now, Tensor) and isinstance(then, Tensor)
    _, d_mean = bridge.scheduler.interpolate(x_0, x_1, t.view(-1, 1))
    prediction = torch.stack([d_mean, z], 1)
    torch.testing.assert_close(path.conditional_step(now, t, s, prediction), then)
    torch.testing.assert_close(path.conditional_step(now, t, torch.ones_like(s), prediction), x_1)
    alone = bridge.path(prediction="velocity")
    torch.testing.assert_close(alone.conditional_step(now, t, s, z), now + 0.5 * z)


@pytest.mark.parametrize("gamma", GAMMAS, ids=repr)
def test_gamma_and_its_slope(gamma: Gamma) -> None:
    t = torch.linspace(0.01, 0.99, 50, dtype=D)
    h = 1e-6
    slope = (gamma(t + h).gamma - gamma(t - h).gamma) / (2 * h)
    torch.testing.assert_close(gamma(t).d_gamma, slope, rtol=1e-6, atol=1e-8)
    for kind in (torch.float32, D):
        ends = gamma(torch.tensor([0.0, 1.0], dtype=kind))
        assert torch.equal(ends.gamma, torch.zeros(2, dtype=kind))
        assert not ends.d_gamma.isnan().any()


def test_intervals() -> None:
    """Where a factor is at most 1000; the slope of a Brownian gamma is s (1 - 2 t) / 2 sqrt(..)."""
    path = BridgePath(2.0)
    assert path.interval == path.score_interval == Interval(1e-5, 1 - 1e-5)
    faint = BridgePath(0.02)  # 1 / gamma is 1000 at 1 / (0.02 * 1000)^2
    assert faint.score_interval.start == pytest.approx(2.5e-3, rel=3e-3)
    assert 1 - faint.score_interval.end == pytest.approx(2.5e-3, rel=3e-3)
    noisy = BridgePath(20.0)  # the slope is 1000 at (20 / 2000)^2
    assert noisy.interval.start == pytest.approx(1e-4, rel=1e-3)
    assert (path.t_min, path.t_max) == (0.0, 1.0)
    alone = BridgePath(2.0, prediction="velocity")
    assert alone.t_min == alone.interval.start and alone.t_max == alone.interval.end
    smooth = BridgePath(ParabolicGamma(1.0), prediction="velocity")
    assert (smooth.t_min, smooth.t_max) == (0.0, 1.0)
    assert smooth.interval.start == 0.0 and smooth.interval.end == 1.0
    assert BridgePath(1.0, LinearVP()).t_max == LinearVP.t_max
    x = torch.zeros(2, 2, 3)
    with pytest.raises(IntervalError, match="score from velocity_and_noise prediction is finite"):
        path.convert(x, torch.zeros(2, 3), torch.zeros(2), "score")


@pytest.mark.parametrize("kind", ["velocity_and_noise", "velocity"])
def test_training_with_any_source_and_coupling(kind: str) -> None:
    """The network learns to take one set of points to the other; every part takes part."""
    x_0 = torch.randn(64, 2, generator=seeded())
    x_1 = x_0 + torch.tensor([3.0, 0.0])
    path = BridgePath(0.2, source=Empirical(x_0), prediction=kind)
    torch.manual_seed(0)
    model = MLP((2,), width=32, depth=1, output=kind)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    objectives = [FlowMatching(path, coupling=Paired()), FlowMatching(path)]
    objectives.append(FlowMatching(path, coupling=MinibatchOT(path)))
    g = seeded()
    for step in range(150):
        given = x_0 if step % 3 == 0 else None
        loss = objectives[step % 3](model, x_1, x_0=given, generator=g).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    solver = EulerMaruyama(50, diffusion=0.02 if kind == "velocity_and_noise" else 0.0)
    x = sample(model, path, shape=(500, 2), solver=solver, generator=g)
    assert (x.mean(0) - x_1.mean(0)).norm() < 0.5


def test_per_sample_losses_do_not_depend_on_the_batch() -> None:
    path = BridgePath(ParabolicGamma(1.0))
    x_1 = torch.randn(5, 3, generator=seeded())
    model = lambda x, t: torch.stack([x, -x], 1)  # noqa: E731

    def run(rows: slice) -> Tensor:
        generators = [seeded(i) for i in range(5)[rows]]
        return FlowMatching(path)(model, x_1[rows], generator=generators).per_sample

    assert torch.equal(run(slice(2, 4)), run(slice(0, 5))[2:4])


def test_times_at_which_the_target_is_infinite_are_not_drawn() -> None:
    x_1 = torch.randn(5, 3, generator=seeded())
    for kind in ("velocity", "velocity_and_noise"):
        objective = FlowMatching(BridgePath(1.0, prediction=kind))
        draws = objective.draw(x_1, generator=seeded())
        for end in (0.0, 1.0):
            drawn = replace(draws, t=torch.full((5,), end))
            shape = (5, 3) if kind == "velocity" else (5, 2, 3)
            loss = objective(lambda x, t, s=shape: torch.zeros(s), x_1, draws=drawn).loss
            assert torch.isfinite(loss)
    objective = FlowMatching(BridgePath(1.0, prediction="velocity"))
    with pytest.raises(IntervalError, match="the path is finite only on"):
        objective(lambda x, t: x, x_1, t=torch.zeros(5), generator=seeded())


def test_points_masks_and_products() -> None:
    path = ProductPath(place=BridgePath(1.0), level=AffinePath())
    x_1 = {"place": torch.randn(4, 5, 3), "level": torch.randn(4, 2)}
    mask = {"place": torch.ones(4, 5, dtype=torch.bool).tril(3)}
    x_1["place"] = torch.where(mask["place"].unsqueeze(-1), x_1["place"], torch.nan)

    def model(x: Any, t: Tensor, condition: Any = None, **masks: Any) -> Any:
        return {"place": torch.stack([x["place"], x["place"]], 1), "level": x["level"]}

    loss = FlowMatching(path)(model, x_1, mask=mask, generator=seeded())
    assert torch.isfinite(loss.per_sample).all()
    shape = {name: tuple(value.shape) for name, value in x_1.items()}
    solver = EulerMaruyama(3, diffusion={"place": 0.5})
    x: Any = sample(model, path, shape=shape, solver=solver, mask=mask, generator=seeded())
    assert x["place"].shape == (4, 5, 3) and torch.isfinite(x["place"]).all()
    whole = path.draw_noise(x_1, batch=7, generator=seeded())
    assert whole["place"].shape == (7, 5, 3) and "level" not in whole


def test_networks_leave_padding_out_of_both_parts() -> None:
    torch.manual_seed(0)
    model = MLP((5, 2), width=16, depth=1, output="velocity_and_noise")
    torch.nn.init.normal_(model.trunk.outputs.weight)
    x, t = torch.randn(3, 5, 2), torch.rand(3)
    mask = torch.ones(3, 5, dtype=torch.bool)
    mask[:, 3:] = False
    out = model(x, t, mask=mask)
    assert out.shape == (3, 2, 5, 2)
    assert (out[:, :, 3:] == 0).all() and (out[:, :, :3] != 0).all()


def test_errors() -> None:
    path, alone = BridgePath(1.0), BridgePath(1.0, prediction="velocity")
    x = torch.zeros(2, 3)
    for bad in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ConfigError, match=r"(std|scale): got .*; it must be positive"):
            BridgePath(bad)
        with pytest.raises(ConfigError, match="scale: got"):
            ParabolicGamma(bad)
    for wrong in ("brownian", True, None):
        with pytest.raises(ConfigError, match=r"gamma: got .*; it must be a number"):
            BridgePath(wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="BridgePath takes one of"):
        BridgePath(1.0, prediction="target")
    with pytest.raises(ShapeError, match=r"returned shape \(2, 3\); .* needs \(2, 2, 3\)"):
        FlowMatching(path)(lambda x, t: x, x)
    with pytest.raises(ShapeError, match=r"returned shape \(2, 3\); .* needs \(2, 2, 3\)"):
        integrate(lambda x, t: x, path, x, solver=Heun(2))
    with pytest.raises(CapabilityError, match="Train with prediction='velocity_and_noise'"):
        integrate(lambda x, t: x, alone, x, solver=EulerMaruyama(2, diffusion=1.0))
    with pytest.raises(CapabilityError, match="noise of x_t would be that of another time"):
        path.with_schedule(CondOT())
    with pytest.raises(ConfigError, match="bridges are in flat space"):
        MLP((3,), manifold=Sphere(), output="velocity_and_noise")
