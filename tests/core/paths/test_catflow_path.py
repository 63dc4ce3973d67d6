"""CatFlow: cross-entropy as the loss, the posterior mean as the target."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from flowatlas.errors import ConfigError, ShapeError
from flowatlas.objectives import FlowMatching
from flowatlas.paths import AffinePath, CatFlowPath
from flowatlas.sampling import sample
from flowatlas.schedulers import Polynomial
from flowatlas.solvers import Dopri5, Midpoint

Q = torch.tensor([0.5, 0.2, 0.3])
MEAN = torch.eye(3)


def exact(x: Tensor, t: Tensor, condition: Any = None, /, **masks: Any) -> Tensor:
    """Logits of the vertex given x: q times a Gaussian of width 1 - t at t times the vertex."""
    t = t.view(-1, *(1,) * x.ndim)
    gap = x.unsqueeze(-2) - t * MEAN.to(x)
    return Q.log().to(x) - 0.5 * (gap / (1 - t)).square().sum(-1)


def vertices(*shape: int, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.multinomial(Q, math.prod(shape), replacement=True, generator=g).view(shape)


def test_loss_and_conversions() -> None:
    path, g = CatFlowPath(3), torch.Generator().manual_seed(0)
    tokens = vertices(6, 4)
    x_1, t = one_hot(tokens, 3).float(), torch.linspace(0.1, 0.9, 6)
    drawn = path.sample(path.draw(x_1, generator=g), x_1, t)
    logits = torch.randn(6, 4, 3, generator=g)
    expected = cross_entropy(logits.movedim(-1, 1), tokens, reduction="none")
    torch.testing.assert_close(path.point_loss(logits, drawn), expected)
    x_t, p = drawn.x_t, torch.softmax(logits, -1)
    assert isinstance(x_t, Tensor)
    velocity = (p - x_t) / (1 - t.view(-1, 1, 1))
    torch.testing.assert_close(path.velocity(x_t, t, logits), velocity)
    torch.testing.assert_close(path.convert(logits, x_t, t, "target"), p)
    assert path.interval == AffinePath(prediction="target").interval
    faster = path.with_schedule(Polynomial(2)).velocity(x_t, t, logits)
    rate = (2 * t / (1 - t**2)).view(-1, 1, 1)
    torch.testing.assert_close(faster, rate * (p - x_t))


def test_the_posterior_is_the_minimiser() -> None:
    """No change of the exact logits lowers the loss by more than chance."""
    path, n = CatFlowPath(3), 40_000
    x_1 = one_hot(vertices(n), 3).float()
    g = torch.Generator().manual_seed(1)
    objective = FlowMatching(path)
    draws = objective.draw(x_1, generator=g)
    best = objective(exact, x_1, draws=draws).per_sample
    for other in (
        lambda x, t: 1.3 * exact(x, t),
        lambda x, t: exact(x, t) + torch.tensor([0.4, 0.0, 0.0]),
        lambda x, t: exact(x, 0.9 * t),
    ):
        worse = objective(other, x_1, draws=draws).per_sample - best
        assert worse.mean() > 5 * worse.std() / math.sqrt(n)


@pytest.mark.parametrize("solver", [Midpoint(40), Dopri5(1e-4, 1e-4)], ids=repr)
def test_samples_are_vertices_in_proportion(solver: Any) -> None:
    n = 4000
    g = torch.Generator().manual_seed(2)
    x = sample(exact, CatFlowPath(3), shape=(n, 3), solver=solver, generator=g)
    assert (x - one_hot(x.argmax(-1), 3)).abs().max(-1).values.quantile(0.97) < 0.02
    share = torch.bincount(x.argmax(-1), minlength=3) / n
    # Five standard errors, and what the solver errs.
    assert ((share - Q).abs() < 5 * (Q * (1 - Q) / n).sqrt() + 5e-3).all()


def test_errors() -> None:
    with pytest.raises(ConfigError, match="vocab: got 1"):
        CatFlowPath(1)
    with pytest.raises(ShapeError, match="one-hot over 3 categories"):
        FlowMatching(CatFlowPath(3))(exact, torch.zeros(4, 5))
    with pytest.raises(ShapeError, match="the model returned"):
        FlowMatching(CatFlowPath(3))(lambda x, t: torch.zeros(4, 1), torch.zeros(4, 3))
