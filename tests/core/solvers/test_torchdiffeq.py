"""Adaptive steps cost no more than torchdiffeq's at equal error."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from flowatlas.exact import ExactMixtureFlow, GaussianMixture
from flowatlas.paths import AffinePath
from flowatlas.sampling import integrate
from flowatlas.solvers import Dopri5

torchdiffeq = pytest.importorskip("torchdiffeq")

D = torch.float64
BATCH = 256
FloatField = Callable[[Tensor, Tensor], Tensor]

#: Tolerances from 1e-3 to 1e-7 for torchdiffeq, and closer ones for us to read between.
THEIRS = [10 ** -(k / 2) for k in range(6, 15)]
OURS = [10 ** -(k / 8) for k in range(20, 68)]


def linear(x: Tensor, t: Tensor) -> Tensor:
    return x @ torch.tensor([[-1.0, -2.0], [2.0, -1.0]], dtype=D)


def rotating(x: Tensor, t: Tensor) -> Tensor:
    return 2 * math.pi * torch.stack([-x[:, 1], x[:, 0]], -1)


MIXTURE = ExactMixtureFlow(
    GaussianMixture(torch.ones(4), torch.tensor([[2.0, 0.0], [-2, 0], [0, 2], [0, -2]]), stds=0.3)
)


def untrained() -> FloatField:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(3, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 2)
    ).to(D)
    net.requires_grad_(False)

    def field(x: Tensor, t: Tensor) -> Tensor:
        output: Tensor = net(torch.cat([x, t.view(-1, 1)], -1))
        return output

    return field


def solved(field: FloatField, x: Tensor, tolerance: float, method: str) -> tuple[Tensor, int]:
    calls = [0]

    def counted(t: Tensor, x: Tensor) -> Tensor:
        calls[0] += 1
        return field(x, t.expand(len(x)))

    times = torch.tensor([0.0, 1.0], dtype=D)
    x = torchdiffeq.odeint(counted, x, times, rtol=tolerance, atol=tolerance, method=method)[-1]
    return x, calls[0]


@pytest.mark.parametrize(
    "field",
    [
        pytest.param(linear, id="linear"),
        pytest.param(rotating, id="rotating"),
        pytest.param(MIXTURE, id="mixture"),
        pytest.param(untrained(), id="network"),
    ],
)
def test_evaluations_at_equal_error(field: FloatField, generator: torch.Generator) -> None:
    x = torch.randn(BATCH, 2, generator=generator, dtype=D)
    exact, _ = solved(field, x, 1e-12, "dopri8")

    def error(end: Tensor) -> float:
        return (end - exact).square().mean().sqrt().item()

    ours = []
    for tolerance in OURS:
        found = integrate(field, AffinePath(), x, solver=Dopri5(tolerance, tolerance))
        ours.append((error(found.x), found.nfe))
    ratios = []
    for tolerance in THEIRS:
        end, evaluations = solved(field, x, tolerance, "dopri5")
        reached = error(end)
        ratios.append(min(nfe for e, nfe in ours if e <= reached) / evaluations)
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    # On average no more, and at no tolerance a whole step more of the some twenty they take.
    assert mean <= 1.0
    assert max(ratios) <= 1.06
    # At the same tolerance, too, the error is met.
    assert error(integrate(field, AffinePath(), x, solver=Dopri5(1e-6, 1e-6)).x) < 1e-5
