"""The exact field of a mixture of products: it is the posterior mean, and it samples the joint."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from flowatlas.data.mixed import MixedLaw, mixed_toy
from flowatlas.errors import ConfigError, ShapeError
from flowatlas.exact import (
    ExactGaussianFlow,
    ExactProductFlow,
    ExactTokenChain,
    GaussianMixture,
)
from flowatlas.paths import AffinePath, MixturePath, ProductPath
from flowatlas.sampling import sample
from flowatlas.solvers import Control, Dopri5, Euler, Midpoint, PerSample, Shared, Solver

D = torch.float64
LAW = mixed_toy()
#: Of 77 features, the largest is above this with probability 77 * 2.9e-7 = 2e-5.
Z = 5.0


def deviations(x: dict[str, Tensor], law: MixedLaw, bias: float = 0.0) -> Tensor:
    """Means of all features against their exact values, in standard errors (plus a bias)."""
    found = law.features(x)
    error = found.std(0) / math.sqrt(len(found)) + bias
    return (found.mean(0) - law.mean_features()).abs() / error


@pytest.fixture
def g() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_the_law_and_its_moments(g: torch.Generator) -> None:
    """Draws against closed forms; tokens that come from other draws fail in the products alone."""
    x, k = LAW.sample(40_000, g)
    assert LAW.features(x).shape[1] == len(LAW.mean_features()) == 17 + 6 + 24 + 36
    assert deviations(x, LAW).max() < Z
    share = torch.bincount(k, minlength=4) / len(k)
    assert (share - LAW.weights).abs().max() < 5 * 0.5 / math.sqrt(len(k))
    apart = {**x, "token": x["token"][torch.randperm(len(k), generator=g)]}
    z = deviations(apart, LAW)
    assert z[: LAW.alone].max() < Z < 10 < z[LAW.alone :].max()


def test_the_density_at_the_data(g: torch.Generator) -> None:
    """Against the sum over the classes written out, and the responsibilities by Bayes' rule."""
    x, _ = LAW.sample(50, g)
    flow = LAW.flow(LAW.path())
    place, direction, token = x["place"].double(), x["direction"].double(), x["token"]
    terms = []
    for k in range(4):
        z = (place - LAW.means[k]) / LAW.stds[k]
        normal = -0.5 * z.square().sum(1) - LAW.stds[k].log().sum() - math.log(2 * math.pi)
        c = LAW.concentrations[k]
        fisher = c * (direction @ LAW.poles[k]) + torch.log(c / (4 * math.pi * torch.sinh(c)))
        chosen = LAW.tokens[k][torch.arange(3), token].log().sum(1)
        terms.append(LAW.weights[k].log() + normal + fisher + chosen)
    total = torch.stack(terms, 1)
    one = torch.ones(50)
    torch.testing.assert_close(flow.log_prob(x, one), total.logsumexp(1), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(
        flow.responsibilities(x, one), total.softmax(1), rtol=1e-4, atol=1e-6
    )
    only = flow.responsibilities(x, one, ("token",))
    by_hand = LAW.weights * torch.stack(
        [LAW.tokens[k][torch.arange(3), token].prod(1) for k in range(4)], 1
    )
    torch.testing.assert_close(only, by_hand / by_hand.sum(1, keepdim=True))


@pytest.mark.parametrize("source", ["mask", "uniform"])
def test_the_field_is_the_conditional_mean(source: str, g: torch.Generator) -> None:
    """What is left of the targets is orthogonal to all functions of the state.

    $E[\\phi(x_t) (\\dot x_t - u_t(x_t))] = 0$, with the path's own pairs; the functions include
    those of the other components. A field that does not see those fails.
    """
    n, path = 20_000, LAW.path(source)
    flow = LAW.flow(path)
    x_1, _ = LAW.sample(n, g)
    t = torch.rand(n, generator=g)
    drawn = path.sample(path.draw(x_1, generator=g), x_1, t, generator=g)
    x_t: Any = drawn.x_t
    dx_t: Any = drawn.dx_t
    states = torch.nn.functional.one_hot(x_t["token"], 5).double().flatten(1)
    tests = torch.cat([torch.ones(n, 1), x_t["place"], x_t["direction"], states], 1).double()

    def scores(field: Any) -> Tensor:
        u = field(x_t, t)
        shown = torch.nn.functional.one_hot(x_1["token"], 4).double()
        left = [
            dx_t["place"].double() - u["place"],
            dx_t["direction"].double() - u["direction"],
            (shown - u["token"].double().exp()).flatten(1),
        ]
        product = (torch.cat(left, 1).unsqueeze(2) * tests.unsqueeze(1)).flatten(1)
        error = product.std(0) / math.sqrt(n)
        return product.mean(0).abs() / error.clamp(min=1e-12)

    # 17 targets by 21 functions: 357 * 5.7e-7 = 2e-4.
    assert scores(flow).max() < Z
    assert scores(flow.apart).max() > 3 * Z


@pytest.mark.parametrize("source", ["mask", "uniform"])
def test_classes_are_as_likely_as_it_says(source: str, g: torch.Generator) -> None:
    """Of points of the path with known classes, by the slope of a logistic regression.

    $E[\\sum_k ([k] - r_k) \\log r_k] = 0$ where the responsibilities are right; those of another
    time are too sure or not sure enough.
    """
    n, path = 20_000, LAW.path(source)
    flow = LAW.flow(path)
    x_1, k = LAW.sample(n, g)
    t = torch.rand(n, generator=g)
    x_t: Any = path.sample(path.draw(x_1, generator=g), x_1, t, generator=g).x_t

    def score(r: Tensor) -> float:
        log_r = r.clamp(min=1e-12).log()
        gap = log_r[torch.arange(n), k] - (r * log_r).sum(1)
        return float(gap.mean().abs() / (gap.std() / math.sqrt(n)))

    assert score(flow.responsibilities(x_t, t)) < Z
    assert score(flow.responsibilities(x_t, 0.9 * t)) > Z


def test_tokens_that_are_late_are_weighed_by_the_limit(g: torch.Generator) -> None:
    """A solver asks at t = 1 with frozen tokens, some of them masked: not a state of the path."""
    flow = LAW.flow(LAW.path())
    x, _ = LAW.sample(50, g)
    x["token"][:, 0] = 4
    late = flow.responsibilities(x, torch.full((50,), 1 - 1e-6, dtype=D))
    torch.testing.assert_close(flow.responsibilities(x, torch.ones(50)), late, rtol=0, atol=1e-4)
    assert (late - LAW.weights).abs().max() > 0.1


@pytest.mark.parametrize(
    ("solver", "n"),
    [(Euler(50), 2000), (Midpoint(50), 1000), (Dopri5(1e-2, 1e-2, max_step=0.06), 700)],
    ids=repr,
)
def test_sampling_the_field_gives_the_joint(solver: Solver, n: int) -> None:
    """All first moments and all products of two components; allowed is about a step's error."""
    path = LAW.path("uniform" if isinstance(solver, Midpoint) else "mask")
    flow = LAW.flow(path)
    g = torch.Generator().manual_seed(1)
    x = sample(flow, path, shape=LAW.shape(n), solver=solver, generator=g)
    assert deviations(x, LAW, 0.02).max() < Z
    shares = flow.responsibilities(x, torch.ones(n)).mean(0)
    allowed = 4 * (LAW.weights * (1 - LAW.weights) / n).sqrt() + 0.02
    assert ((shares - LAW.weights).abs() < allowed).all()


def test_components_sampled_apart_fail(g: torch.Generator) -> None:
    """The power of the test above: right marginals, and nothing between them."""
    n, path = 2000, LAW.path()
    flow = LAW.flow(path)
    x = sample(flow.apart, path, shape=LAW.shape(n), solver=Euler(50), generator=g)
    z = deviations(x, LAW, 0.02)
    assert z[: LAW.alone].max() < Z
    assert z[LAW.alone :].max() > 2 * Z


class OneByOne:
    """A number and a token that name the same of two classes, small enough for many samples."""

    def __init__(self) -> None:
        self.path = ProductPath(place=AffinePath(), token=MixturePath(2, "uniform"))
        token = self.path.components["token"]
        assert isinstance(token, MixturePath)
        laws = torch.tensor([[0.9, 0.1], [0.2, 0.8]], dtype=D)
        one = torch.ones(1)
        self.flow = ExactProductFlow(
            self.path,
            torch.tensor([0.6, 0.4]),
            place=[
                ExactGaussianFlow(GaussianMixture(one, torch.tensor([[m]]), stds=0.4))
                for m in (-1.0, 1.0)
            ],
            token=[ExactTokenChain(token, law) for law in laws],
        )
        self.share = 0.6 * 0.1 + 0.4 * 0.8
        self.product = 0.6 * 0.1 * -1.0 + 0.4 * 0.8

    def errors(self, solver: Solver, n: int) -> tuple[float, float]:
        """Of the token's share and of E[place where the token is 1]."""
        x = sample(
            self.flow,
            self.path,
            shape={"place": (n, 1), "token": (n, 1)},
            solver=solver,
            generator=torch.Generator().manual_seed(0),
        )
        product = (x["place"] * x["token"]).double().mean()
        return float(x["token"].double().mean()) - self.share, float(product) - self.product


#: Standard deviation of the place times the token is below this.
WIDE = 0.8


def test_splitting_is_of_first_order() -> None:
    """Half the step, half the error (.04 at three steps)."""
    toy, n = OneByOne(), 250_000
    errors = [toy.errors(Midpoint(steps), n)[1] for steps in (3, 6)]
    noise = WIDE / math.sqrt(n)
    assert abs(errors[0]) > 20 * noise
    coarse, fine = errors
    # A ratio of two, give or take three standard errors and a tenth for the next order.
    assert abs(coarse - 2 * fine) < 3 * math.sqrt(5) * noise + 0.1 * abs(coarse)


@pytest.mark.parametrize("control", [Shared(), PerSample()], ids=repr)
def test_adaptive_steps_give_the_joint_if_they_are_bounded(control: Control) -> None:
    """The place alone would be followed in a few steps, in which the token jumps blindly."""
    toy, n = OneByOne(), 15_000
    bounded = Dopri5(1e-2, 1e-2, control=control, max_step=0.02)
    share, product = toy.errors(bounded, n)
    assert abs(share) < 5 * 0.5 / math.sqrt(n) + 0.003
    # First order: .006 at a step of .02, as the test above has it.
    assert abs(product) < 5 * WIDE / math.sqrt(n) + 0.006
    _, loose = toy.errors(Dopri5(1e-2, 1e-2, control=control), n)
    assert abs(loose) > 10 * WIDE / math.sqrt(n)


def test_settings_are_checked() -> None:
    toy = OneByOne()
    flows: dict[str, Any] = dict(toy.flow.flows)
    with pytest.raises(ConfigError, match=r"components \['place'\]"):
        ExactProductFlow(toy.path, torch.ones(2), place=flows["place"])
    with pytest.raises(ConfigError, match="2 flows for 3 classes"):
        ExactProductFlow(toy.path, torch.ones(3), **flows)
    other = ProductPath(place=AffinePath(prediction="target"), token=MixturePath(2, "uniform"))
    with pytest.raises(ConfigError, match="'place' predicts 'target'"):
        ExactProductFlow(other, torch.ones(2), **flows)
    x = {"place": torch.zeros(2, 1), "token": torch.zeros(2, 1).long()}
    with pytest.raises(ShapeError, match="no component"):
        toy.flow.responsibilities(x, torch.ones(2), ("tokens",))
    with pytest.raises(ShapeError, match="missing"):
        toy.flow({"place": torch.zeros(2, 1)}, torch.ones(2))
