"""Agreement with flow-matching on tokens, wherever it is right."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from flowatlas.exact import ExactTokenChain
from flowatlas.paths import MixturePath, PathSample
from flowatlas.sampling import sample
from flowatlas.schedulers import CondOT, Polynomial, Scheduler
from flowatlas.solvers import TauLeaping

reason = "flow-matching is not installed"
peer_path = pytest.importorskip("flow_matching.path", reason=reason)
peer_schedulers = pytest.importorskip("flow_matching.path.scheduler", reason=reason)
peer_loss = pytest.importorskip("flow_matching.loss", reason=reason)
peer_solver = pytest.importorskip("flow_matching.solver", reason=reason)

D = torch.float64
PAIRS: dict[str, tuple[Scheduler, Any]] = {
    "straight": (CondOT(), peer_schedulers.PolynomialConvexScheduler(1.0)),
    "quadratic": (Polynomial(2), peer_schedulers.PolynomialConvexScheduler(2.0)),
    "cubic": (Polynomial(3), peer_schedulers.PolynomialConvexScheduler(3.0)),
}


@pytest.fixture(params=PAIRS)
def schedules(request: pytest.FixtureRequest) -> tuple[Scheduler, Any]:
    return PAIRS[request.param]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_shares_of_jumped_tokens(schedules: tuple[Scheduler, Any]) -> None:
    """Probability that x_t is x_1, theirs and ours, in five standard errors (1e-6 a pair)."""
    n = 40_000
    theirs = peer_path.MixtureDiscreteProbPath(schedules[1])
    ours = MixturePath(5, "mask", schedules[0])
    x_1 = torch.zeros(4, n // 4, dtype=torch.int64)
    x_0, t = ours.draw(x_1), torch.tensor([0.1, 0.4, 0.7, 0.95])
    torch.manual_seed(0)
    states: tuple[Any, Any] = (
        theirs.sample(x_0=x_0, x_1=x_1, t=t).x_t,
        ours.sample(x_0, x_1, t, generator=seeded()).x_t,
    )
    found = [(state == 0).double().mean(1) for state in states]
    kappa = schedules[0](t).alpha.double()
    allowed = 5 * (kappa * (1 - kappa) / (n / 4)).sqrt()
    assert ((found[0] - found[1]).abs() < math.sqrt(2) * allowed).all()
    assert ((found[1] - kappa).abs() < allowed).all()


def test_generalised_kl(schedules: tuple[Scheduler, Any]) -> None:
    g = seeded()
    logits = torch.randn(6, 9, 7, generator=g, dtype=D)
    x_1, x_t = (torch.randint(7, (6, 9), generator=g) for _ in range(2))
    x_t = torch.where(torch.rand(6, 9, generator=g) < 0.4, x_1, x_t)
    t = torch.tensor([0.05, 0.2, 0.4, 0.6, 0.8, 0.95], dtype=D)
    path = peer_path.MixtureDiscreteProbPath(schedules[1])
    expected = peer_loss.MixturePathGeneralizedKL(path, reduction="none")(logits, x_1, x_t, t)
    ours = MixturePath(7, "uniform", schedules[0], loss="generalized_kl")
    found = ours.point_loss(logits, PathSample(x_t, x_1, t, x_t, None))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_generalised_kl_with_a_mask(schedules: tuple[Scheduler, Any]) -> None:
    """Their mask is a token of the vocabulary; ours has no logit. Where a token shows, they agree
    if theirs is told that the data is what shows."""
    g = seeded(1)
    logits = torch.randn(6, 9, 7, generator=g, dtype=D)
    x_1 = torch.randint(7, (6, 9), generator=g)
    x_t = torch.where(torch.rand(6, 9, generator=g) < 0.4, x_1, 7)
    t = torch.tensor([0.05, 0.2, 0.4, 0.6, 0.8, 0.95], dtype=D)
    wider = torch.cat([logits, torch.full((6, 9, 1), -torch.inf, dtype=D)], -1)
    shown = torch.full_like(wider, -1e4).scatter(-1, x_t.unsqueeze(-1), 0.0)
    wider = torch.where((x_t < 7).unsqueeze(-1), shown, wider)
    path = peer_path.MixtureDiscreteProbPath(schedules[1])
    expected = peer_loss.MixturePathGeneralizedKL(path, reduction="none")(wider, x_1, x_t, t)
    ours = MixturePath(7, "mask", schedules[0], loss="generalized_kl")
    found = ours.point_loss(logits, PathSample(x_t, x_1, t, x_t, None))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_rates(schedules: tuple[Scheduler, Any]) -> None:
    """Their velocity is our log-rates, times the rate of the clock, less what leaves."""
    g = seeded()
    logits = torch.randn(6, 9, 7, generator=g, dtype=D)
    x_t, t = torch.randint(7, (6, 9), generator=g), torch.linspace(0.05, 0.95, 6, dtype=D)
    path = peer_path.MixtureDiscreteProbPath(schedules[1])
    expected = path.posterior_to_velocity(posterior_logits=logits, x_t=x_t, t=t)
    ours = MixturePath(7, "uniform", schedules[0])
    c = ours.scheduler.table(t, x_t)
    rates = ours.canonical(logits, x_t, t).exp() * c.d_alpha / c.sigma
    off = rates.scatter(-1, x_t.unsqueeze(-1), 0.0)
    found = off.scatter(-1, x_t.unsqueeze(-1), -off.sum(-1, keepdim=True))
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)


def test_samplers_have_the_same_law_in_the_limit() -> None:
    """Both within first order of the exact law of two tokens, theirs and ours with 40 steps."""
    joint = torch.tensor([[0.35, 0.05, 0.0], [0.05, 0.2, 0.05], [0.0, 0.05, 0.25]], dtype=D)
    path = MixturePath(3, "uniform")
    chain = ExactTokenChain(path, joint)
    n = 20_000

    def model(x: Tensor, t: Tensor) -> Tensor:
        return torch.softmax(chain(x, t), -1)

    x_0 = path.draw(torch.zeros(n, 2, dtype=torch.int64), generator=seeded())
    solver = peer_solver.MixtureDiscreteEulerSolver(
        model, peer_path.MixtureDiscreteProbPath(PAIRS["straight"][1]), 3
    )
    torch.manual_seed(0)
    theirs = solver.sample(x_init=x_0, step_size=1 / 40)
    ours = sample(chain, path, x_init=x_0, solver=TauLeaping(40), generator=seeded(1))
    # First order in 40 steps, and a distance that chance exceeds with probability 1e-6.
    noise = 0.5 * math.sqrt(9 / n) + math.sqrt(math.log(1e6) / (2 * n))
    for x in (theirs, ours):
        found = torch.bincount(x[:, 0] * 3 + x[:, 1], minlength=9).view(3, 3) / n
        assert 0.5 * (found - joint).abs().sum() < 0.03 + noise


def test_stopping_early_is_an_end_of_ours_alone(observe: Any) -> None:
    """Asked for t = 0.1, they change every token; here one in ten."""
    path, n = MixturePath(5, "uniform"), 20_000
    logits = torch.full((1, n, 5), -40.0)
    logits[..., 0] = 0.0

    def model(x: Tensor, t: Tensor) -> Tensor:
        return torch.softmax(logits, -1)

    x_0 = torch.ones(1, n, dtype=torch.int64)
    solver = peer_solver.MixtureDiscreteEulerSolver(
        model, peer_path.MixtureDiscreteProbPath(PAIRS["straight"][1]), 5
    )
    grid = torch.tensor([0.0, 0.1])
    observe(
        "flow-matching changes at t = .1",
        lambda: (solver.sample(x_init=x_0, step_size=0.05, time_grid=grid) != 1).double().mean(),
    )
    x = sample(
        lambda x, t: logits, path, x_init=x_0, end=0.1, solver=TauLeaping(2), generator=seeded()
    )
    assert (x != 1).double().mean().item() == pytest.approx(0.1, abs=5 * math.sqrt(0.09 / n))
