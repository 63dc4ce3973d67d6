"""Exact chains of tokens: their posterior, their law, and the equation that ties the two."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from flowatlas.errors import CapabilityError, ConfigError, ShapeError
from flowatlas.exact import ExactTokenChain
from flowatlas.paths import MixturePath, PerPosition, PerToken
from flowatlas.schedulers import ConvexCosine, Cubic, Polynomial
from flowatlas.sources import Categorical, Empirical, Mask

D = torch.float64
JOINT = torch.tensor([[0.3, 0.0, 0.1], [0.05, 0.2, 0.05], [0.0, 0.1, 0.2]], dtype=D)

PATHS: dict[str, Callable[[str], MixturePath]] = {
    "mask": lambda kind: MixturePath(3, "mask", prediction=kind),
    "uniform": lambda kind: MixturePath(3, "uniform", Cubic(1.0, 0.5), prediction=kind),
    "categorical": lambda kind: MixturePath(
        3, Categorical(torch.tensor([0.6, 0.1, 0.3])), ConvexCosine(), prediction=kind
    ),
    "some masked": lambda kind: MixturePath(
        3, Categorical(torch.tensor([0.2, 0.0, 0.3, 0.5]), masks=True), prediction=kind
    ),
    "by position": lambda kind: MixturePath(
        3, "uniform", PerPosition([Polynomial(1), Polynomial(3)]), prediction=kind
    ),
    "by token, mask": lambda kind: MixturePath(
        3, "mask", PerToken([Polynomial(1), Polynomial(2), Polynomial(4)]), prediction=kind
    ),
    "by token, uniform": lambda kind: MixturePath(
        3, "uniform", PerToken([Polynomial(1), Polynomial(2), Polynomial(4)]), prediction=kind
    ),
}


@pytest.fixture(params=PATHS)
def build(request: pytest.FixtureRequest) -> Callable[[str], MixturePath]:
    return PATHS[request.param]


def states(path: MixturePath) -> Tensor:
    return torch.cartesian_prod(*[torch.arange(path.states)] * 2)


def test_the_law_at_both_ends(build: Callable[[str], MixturePath]) -> None:
    path = build("logits")
    chain = ExactTokenChain(path, JOINT)
    start, end = chain.law(0.0), chain.law(1.0)
    x = torch.arange(path.states)
    mass = path.source.log_prob(x).exp().double()
    torch.testing.assert_close(start, torch.outer(mass, mass), atol=1e-6, rtol=0)
    torch.testing.assert_close(end[:3, :3], JOINT, atol=1e-12, rtol=0)
    assert chain.law(0.37).sum().item() == pytest.approx(1, abs=1e-6)


def test_samples_of_the_path_have_the_law(build: Callable[[str], MixturePath]) -> None:
    """The path's own interpolation, against the sum: total variation, false alarms below 1e-6."""
    path, n = build("logits"), 100_000
    g = torch.Generator().manual_seed(0)
    data = torch.multinomial(JOINT.flatten(), n, replacement=True, generator=g)
    x_1 = torch.stack([data // 3, data % 3], 1)
    x_t = path.sample(path.draw(x_1, generator=g), x_1, torch.full((n,), 0.6), generator=g).x_t
    assert isinstance(x_t, Tensor)
    k = path.states
    found = torch.bincount(x_t[:, 0] * k + x_t[:, 1], minlength=k * k).view(k, k) / n
    chain = ExactTokenChain(path, JOINT)
    distance = 0.5 * (found - chain.law(0.6)).abs().sum()
    # Expected at most sqrt(states / n) / 2; above by d with probability exp(-2 n d^2).
    assert distance < 0.5 * (k * k / n) ** 0.5 + (13.8 / (2 * n)) ** 0.5
    assert 0.5 * (found - chain.law(0.5)).abs().sum() > 0.02  # and it would see another time


def test_the_forward_equation(build: Callable[[str], MixturePath]) -> None:
    """d p_t(x) / dt is what jumps bring to x less what they take, at the rates of the posterior."""
    path = build("logits")
    chain, t, h = ExactTokenChain(path, JOINT), 0.55, 1e-5
    change = (chain.law(t + h) - chain.law(t - h)) / (2 * h)
    x = states(path)
    time = torch.full((len(x),), t, dtype=D)
    p, law = chain.posterior(x, time), chain.law(t).flatten()
    c = path.scheduler.table(time, x)
    rates = (p * (c.d_alpha / c.sigma)).expand(len(x), 2, 3)
    flow = torch.zeros(path.states, path.states, dtype=D)
    for row, (a, b) in enumerate(x.tolist()):
        for y in range(3):
            for place, target in ((0, (y, b)), (1, (a, y))):
                amount = law[row] * rates[row, place, y]
                flow[target] += amount
                flow[a, b] -= amount
    torch.testing.assert_close(flow, change, atol=1e-6, rtol=1e-4)


def test_predictions_of_either_kind_are_one_posterior(build: Callable[[str], MixturePath]) -> None:
    path, other = build("logits"), build("denoiser")
    x = states(path)
    time = torch.full((len(x),), 0.4, dtype=D)
    likely = ExactTokenChain(path, JOINT).log_prob(x, time) > -50
    direct = path.canonical(ExactTokenChain(path, JOINT)(x, time), x, time)
    bayes = other.canonical(ExactTokenChain(other, JOINT)(x, time), x, time)
    torch.testing.assert_close(direct[likely].exp(), bayes[likely].exp(), atol=1e-6, rtol=1e-5)


def test_independent_tokens_leave_the_denoiser_constant() -> None:
    """Without its own token, nothing is known but the marginal."""
    law = torch.tensor([0.5, 0.2, 0.3], dtype=D)
    path = MixturePath(3, "uniform", prediction="denoiser")
    chain = ExactTokenChain(path, torch.outer(law, law))
    found = torch.softmax(chain(states(path), torch.full((9,), 0.7, dtype=D)), -1)
    torch.testing.assert_close(found, law.expand(9, 2, 3))


def test_states_that_never_occur_have_the_marginal() -> None:
    path = MixturePath(3, Mask())
    chain = ExactTokenChain(path, JOINT)
    p = chain.posterior(torch.tensor([[0, 1]]), torch.tensor([0.5]))
    torch.testing.assert_close(p[0, 0], JOINT.sum(1))


def test_errors() -> None:
    path = MixturePath(3)
    with pytest.raises(ShapeError, match="axis of length 3"):
        ExactTokenChain(path, torch.full((3, 2), 1 / 6))
    with pytest.raises(ConfigError, match="sum to one"):
        ExactTokenChain(path, torch.full((3, 3), 1.0))
    with pytest.raises(CapabilityError, match="Empirical"):
        ExactTokenChain(MixturePath(3, Empirical(torch.zeros(4, 2).long())), JOINT)
    with pytest.raises(ShapeError, match=r"\(batch, 2\)"):
        ExactTokenChain(path, JOINT)(torch.zeros(4, 3).long(), torch.zeros(4))
