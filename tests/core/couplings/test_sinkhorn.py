"""Entropic transport: against POT, its limits, Gaussians in closed form, and the bridge."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from torch import Tensor

from flowatlas.couplings import MinibatchOT, Sinkhorn, _entropic
from flowatlas.errors import ConfigError, GeometryError, ShapeError, SolverError
from flowatlas.manifolds import Euclidean, ProductManifold, Sphere
from flowatlas.objectives import FlowMatching
from flowatlas.paths import AffinePath, BridgePath, MixturePath, ProductPath

D = torch.float64
FLAT = Euclidean()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clouds(n: int, dim: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    g = seeded(seed)
    x_1 = torch.randn(n, dim, generator=g, dtype=D) * 0.5 + 2 * torch.randint(
        2, (n, 1), generator=g
    )
    return torch.randn(n, dim, generator=g, dtype=D), x_1


@pytest.mark.parametrize("epsilon", [0.02, 0.1, 1.0, 30.0])
def test_the_plan_has_its_masses(epsilon: float) -> None:
    x_0, x_1 = clouds(200)
    plan = Sinkhorn(FLAT, epsilon).plan(x_0, x_1)
    assert plan.dtype == D and (plan >= 0).all()
    torch.testing.assert_close(plan.sum(1), torch.full((200,), 1 / 200, dtype=D))
    assert (plan.sum(0) - 1 / 200).abs().sum() <= 1e-4


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 5.0])
def test_agrees_with_pot(epsilon: float) -> None:
    ot = pytest.importorskip("ot")
    x_0, x_1 = clouds(60)
    ours = Sinkhorn(FLAT, epsilon, tolerance=1e-12).plan(x_0, x_1)
    cost = torch.cdist(x_1, x_0).square().numpy()
    mass = np.full(60, 1 / 60)
    theirs = ot.sinkhorn(
        mass, mass, cost, epsilon, method="sinkhorn_log", numItermax=20_000, stopThr=1e-12
    )
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-5, atol=1e-8)


def test_costs_at_which_the_plain_method_underflows() -> None:
    """Image-sized points: exp(-cost / epsilon) is zero in every entry, and the plan not uniform."""
    x_0, x_1 = clouds(32, 3072)
    cost = torch.cdist(x_1, x_0).square()
    assert (cost / 1.0).min() > 750
    plan = Sinkhorn(FLAT, 1.0).plan(x_0, x_1)
    assert torch.equal(plan.argmax(1), MinibatchOT(FLAT).pair(x_0, x_1))
    entropy = -torch.special.xlogy(plan, plan).sum()
    assert entropy < math.log(32) + 0.5  # between that of an assignment and log 32^2
    # What the peer does there, and why it is no reference.
    ot = pytest.importorskip("ot")
    mass = np.full(32, 1 / 32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = ot.sinkhorn(mass, mass, cost.numpy(), 1.0)
    assert not np.allclose(theirs.sum(1), mass, rtol=1e-2)


@pytest.mark.parametrize("seed", [13, 16, 17, 22])
def test_clusters_that_exchange_hardly_any_mass(seed: int) -> None:
    """Between four clusters of unequal sizes some points have to change, at hundreds of epsilon."""
    g = seeded(seed)
    own, other = (torch.randint(4, (128,), generator=g) for _ in range(2))
    centres = 3 * torch.randn(4, 2, generator=g, dtype=D)
    x_0, x_1 = (centres[k] + 0.3 * torch.randn(128, 2, generator=g, dtype=D) for k in (own, other))
    plan = Sinkhorn(FLAT, 0.02, tolerance=1e-6, max_iterations=60).plan(x_0, x_1)
    assert float((plan.sum(0) - 1 / 128).abs().sum()) < 1e-6
    assert float((plan.sum(1) - 1 / 128).abs().sum()) < 1e-6
    # As many points change clusters as have to.
    moved = 1 - float(plan[other.unsqueeze(1) == own].sum())
    surplus = (torch.bincount(own, minlength=4) - torch.bincount(other, minlength=4)).clamp(min=0)
    assert moved >= float(surplus.sum()) / 128 - 1e-6


def test_no_step_lowers_the_dual(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps that lower it for the sake of the masses can go round in circles."""
    steps = []
    improved = _entropic._improved

    def watched(found: _entropic.Potentials, error: float) -> tuple[_entropic.Potentials, float]:
        new = improved(found, error)
        steps.append(new[0].dual() - found.dual())
        return new

    monkeypatch.setattr(_entropic, "_improved", watched)
    for seed in (0, 14, 24, 38):
        g = seeded(seed)
        centres = torch.randn(4, 3, generator=g, dtype=D)
        x_0, x_1 = (
            centres[torch.randint(4, (128,), generator=g)]
            + 0.3 * torch.randn(128, 3, generator=g, dtype=D)
            for _ in range(2)
        )
        Sinkhorn(FLAT, 0.02, max_iterations=40).plan(x_0, x_1)
    assert len(steps) > 20
    assert min(steps) > -1e-10


def test_small_epsilon_is_the_assignment() -> None:
    x_0, x_1 = clouds(24)
    best = MinibatchOT(FLAT).pair(x_0, x_1)
    sinkhorn = Sinkhorn(FLAT, 1e-3, tolerance=0.01)
    plan = sinkhorn.plan(x_0, x_1)
    assert (plan[torch.arange(24), best] > 0.9 / 24).all()
    soft = Sinkhorn(FLAT, 1.0).plan(x_0, x_1)
    assert not (soft[torch.arange(24), best] > 0.9 / 24).all()


def test_large_epsilon_is_independent() -> None:
    x_0, x_1 = clouds(50)
    plan = Sinkhorn(FLAT, 1e7).plan(x_0, x_1)
    torch.testing.assert_close(plan, torch.full((50, 50), 1 / 2500, dtype=D), rtol=1e-4, atol=0)


def test_relative_epsilon_has_no_units() -> None:
    x_0, x_1 = clouds(50)
    one = Sinkhorn(FLAT, 0.1, relative=True, tolerance=1e-8).plan(x_0, x_1)
    other = Sinkhorn(FLAT, 0.1, relative=True, tolerance=1e-8).plan(100 * x_0, 100 * x_1)
    torch.testing.assert_close(one, other)
    mean = torch.cdist(x_1, x_0).square().mean().item()
    same = Sinkhorn(FLAT, 0.1 * mean, tolerance=1e-8).plan(x_0, x_1)
    torch.testing.assert_close(one, same)


# Gaussians.


def quantiles(n: int, std: float) -> Tensor:
    u = (torch.arange(n, dtype=D) + 0.5) / n
    return (std * math.sqrt(2) * torch.erfinv(2 * u - 1)).unsqueeze(1)


def between(plan: Tensor, x_0: Tensor, x_1: Tensor) -> float:
    """Covariance of x_0 and x_1 under a plan of centred points."""
    return (plan * x_1 * x_0.T).sum().item()


@pytest.mark.parametrize("epsilon", [0.5, 2.0, 8.0])
def test_gaussians_in_closed_form(epsilon: float) -> None:
    """Their plan is Gaussian, and (x, y) couple through exp(2 x y / epsilon) alone.

    Off the diagonal the inverse of the covariance [[a, c], [c, b]] is -c / (a b - c^2), which is
    therefore -2 / epsilon: c = (sqrt(epsilon^2 + 16 a b) - epsilon) / 4.
    """
    x_0, x_1 = quantiles(400, 1.0), quantiles(400, 1.5)
    a, b = x_0.square().mean().item(), x_1.square().mean().item()
    seen = between(Sinkhorn(FLAT, epsilon, tolerance=1e-8).plan(x_0, x_1), x_0, x_1)
    exact = (math.sqrt(epsilon**2 + 16 * a * b) - epsilon) / 4
    assert seen == pytest.approx(exact, rel=5e-3)
    assert seen != pytest.approx((math.sqrt(epsilon**2 + 4 * a * b) - epsilon) / 2, rel=2e-2)


@pytest.mark.parametrize("std", [0.5, 1.0])
def test_the_schroedinger_bridge_of_gaussians(std: float) -> None:
    """A mixture of Brownian bridges is the Schroedinger bridge if and only if it is Markov.

    For Gaussians: cov(x_0, x_1) var(x_h) = cov(x_0, x_h) cov(x_h, x_1), at t = 1/2 for one.
    """
    x_0, x_1 = quantiles(400, 1.0), quantiles(400, 1.5)
    a, b = x_0.square().mean().item(), x_1.square().mean().item()

    def markov(c: float) -> float:
        middle = (a + b + 2 * c + std**2) / 4
        return c * middle / ((a + c) * (b + c) / 4)

    coupling = Sinkhorn(FLAT, 2 * std**2, tolerance=1e-8)
    c = between(coupling.plan(x_0, x_1), x_0, x_1)
    assert markov(c) == pytest.approx(1, abs=5e-3)
    wrong = between(Sinkhorn(FLAT, std**2).plan(x_0, x_1), x_0, x_1)
    assert markov(wrong) != pytest.approx(1, abs=1.5e-2)

    # Its marginal at t = 1/2 as the path draws it. The variance is that of Bunne et al., 2023,
    # arXiv:2202.05722: (a + b) / 4 + (c + s^2 / 2) / 2 with c = (sqrt(4 a b + s^4) - s^2) / 2.
    n, path = 12, BridgePath(std)
    draws = []
    for seed in range(n):
        index = coupling.pair(x_0, x_1, generator=seeded(seed))
        half = torch.full((400,), 0.5, dtype=D)
        draws.append(path.sample(x_0[index], x_1, half, generator=seeded(seed + n)).x_t)
    x_h = torch.cat([x for x in draws if isinstance(x, Tensor)])
    c = (math.sqrt(4 * a * b + std**4) - std**2) / 2
    exact = (a + b) / 4 + (c + std**2 / 2) / 2
    assert x_h.var().item() == pytest.approx(exact, rel=5 * math.sqrt(2 / len(x_h)))
    independent = (a + b) / 4 + std**2 / 4
    assert x_h.var().item() > independent * (1 + 10 * math.sqrt(2 / len(x_h)))


# Draws.


def test_draws_follow_the_plan() -> None:
    x_0, x_1 = clouds(6)
    coupling, n = Sinkhorn(FLAT, 1.0), 1000
    conditional = 6 * coupling.plan(x_0, x_1)
    g, count = seeded(), torch.zeros(6, 6, dtype=D)
    for _ in range(n):
        count[torch.arange(6), coupling.pair(x_0, x_1, generator=g)] += 1
    error = (conditional * (1 - conditional) / n).sqrt()
    assert ((count / n - conditional).abs() < 5 * error + 1e-3).all()
    assert ((count / n).sum(0) - 1).abs().max() < 5 / math.sqrt(n)  # each once in the mean


def test_pairs_do_not_depend_on_other_samples_generators() -> None:
    x_0, x_1 = clouds(40)
    one = Sinkhorn(FLAT, 1.0).pair(x_0, x_1, generator=[seeded(i) for i in range(40)])
    other = Sinkhorn(FLAT, 1.0).pair(
        x_0, x_1, generator=[seeded(i if i < 20 else 99) for i in range(40)]
    )
    assert torch.equal(one[:20], other[:20]) and not torch.equal(one, other)
    assert one.dtype == torch.int64


def test_spaces() -> None:
    x_0 = Sphere().random_uniform((30, 3), generator=seeded())
    x_1 = Sphere().random_uniform((30, 3), generator=seeded(1))
    plan = Sinkhorn(Sphere(), 0.1).plan(x_0, x_1)
    cosine = (x_1 @ x_0.T).double()
    assert (plan * cosine).sum() > cosine.mean() + 0.3
    path = ProductPath(place=AffinePath(), token=MixturePath(3))
    state = {"place": x_0, "token": torch.zeros(30, 4, dtype=torch.int64)}
    coupling = Sinkhorn(path, 0.5)
    assert coupling.pair(state, {**state, "place": x_1}, generator=seeded()).shape == (30,)
    assert Sinkhorn(FLAT, 1.0).pair(x_0[:1], x_1[:1]).tolist() == [0]
    assert Sinkhorn(FLAT, 1.0).pair(x_0[:0], x_1[:0]).shape == (0,)
    bridge = BridgePath(0.5)
    loss = FlowMatching(bridge, coupling=Sinkhorn(bridge, 0.5))(
        lambda x, t: torch.stack([x, x], 1), x_1, generator=seeded()
    )
    assert torch.isfinite(loss.loss)


def test_errors() -> None:
    x_0, x_1 = clouds(40)
    with pytest.raises(SolverError, match=r"after 3 iterations .* Raise epsilon"):
        Sinkhorn(FLAT, 1e-3, max_iterations=3).pair(x_0, x_1)
    for bad in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ConfigError, match="epsilon: got"):
            Sinkhorn(FLAT, bad)
        with pytest.raises(ConfigError, match="tolerance: got"):
            Sinkhorn(FLAT, 1.0, tolerance=bad)
    with pytest.raises(ConfigError, match="max_iterations: got 0"):
        Sinkhorn(FLAT, 1.0, max_iterations=0)
    with pytest.raises(ConfigError, match="space: got int"):
        Sinkhorn(3, 1.0)  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="Pass Sinkhorn the path"):
        Sinkhorn(ProductManifold(a=FLAT), 1.0).pair(x_0, x_1)
    with pytest.raises(ShapeError, match="as many source samples as data"):
        Sinkhorn(FLAT, 1.0).pair(x_0[:-1], x_1)
    with pytest.raises(GeometryError, match="NaN or infinite"):
        Sinkhorn(FLAT, 1.0).pair(torch.full_like(x_0, torch.nan), x_1)
    assert repr(Sinkhorn(FLAT, 0.5, relative=True)).endswith("epsilon=0.5, relative=True)")
