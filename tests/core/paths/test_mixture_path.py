"""Mixture paths: what they interpolate, what minimises their losses, and what they refuse."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from flowatlas.errors import CapabilityError, ConfigError, IntervalError, ShapeError
from flowatlas.exact import ExactTokenChain
from flowatlas.objectives import FlowMatching
from flowatlas.paths import (
    AffinePath,
    Jumps,
    MixturePath,
    PathSample,
    PerPosition,
    PerToken,
    ProductPath,
    TokenSchedule,
)
from flowatlas.schedulers import (
    Coefficients,
    ConvexCosine,
    Cosine,
    Cubic,
    Exponential,
    Polynomial,
    Scheduler,
)
from flowatlas.sources import Categorical, Empirical, Mask, Source, UniformTokens

D = torch.float64
JOINT = torch.tensor([[0.3, 0.02, 0.1], [0.05, 0.18, 0.05], [0.01, 0.09, 0.2]], dtype=D)
SOURCES: dict[str, Any] = {
    "mask": Mask(),
    "uniform": UniformTokens(),
    "categorical": Categorical(torch.tensor([0.6, 0.1, 0.3])),
    "some masked": Categorical(torch.tensor([0.2, 0.0, 0.3, 0.5]), masks=True),
}
SCHEDULES: dict[str, Any] = {
    "straight": None,
    "polynomial": Polynomial(2),
    "cubic": Cubic(1.0, 2.0),
    "cosine": ConvexCosine(2),
    "by position": PerPosition([Polynomial(1), Exponential(2.0)]),
    "by token": PerToken([Polynomial(1), Polynomial(2), Polynomial(1.5)]),
}


def path_of(source: str, schedule: str = "straight", **options: Any) -> MixturePath:
    return MixturePath(3, SOURCES[source], SCHEDULES[schedule], **options)


def enumerated(path: MixturePath, t: float) -> tuple[PathSample, Tensor]:
    """Every pair of a datum and a state at time t, and how likely it is."""
    x_1 = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    x_t = torch.cartesian_prod(*[torch.arange(path.states)] * 2)
    x_1, x_t = x_1.repeat_interleave(len(x_t), 0), x_t.repeat(len(x_1), 1)
    time = torch.full((len(x_t),), t, dtype=D)
    kappa = path.scheduler.at(time, x_1).alpha
    source = path.source
    assert isinstance(source, Mask | UniformTokens | Categorical)
    likelihood = (1 - kappa) * source.mass(x_t) + kappa * (x_1 == x_t)
    weights = JOINT[x_1[:, 0], x_1[:, 1]] * likelihood.prod(1)
    return PathSample(x_t, x_1, time, x_t, None), weights


# What the losses are minimal at.


@pytest.mark.parametrize("prediction", ["logits", "denoiser"])
@pytest.mark.parametrize("loss", ["cross_entropy", "generalized_kl"])
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("source", SOURCES)
def test_the_exact_prediction_is_the_minimiser(
    source: str, schedule: str, loss: str, prediction: str
) -> None:
    """The expected loss, over all pairs, is stationary in every logit of every state."""
    path = path_of(source, schedule, loss=loss, prediction=prediction)
    pairs, weights = enumerated(path, 0.45)
    assert isinstance(pairs.x_t, Tensor)
    states, index = torch.unique(pairs.x_t, dim=0, return_inverse=True)
    chain = ExactTokenChain(path, JOINT)
    exact = chain(states, torch.full((len(states),), 0.45, dtype=D)).clamp(min=-40)

    def slope(logits: Tensor) -> float:
        logits = logits.clone().requires_grad_()
        (path.point_loss(logits[index], pairs).sum(1) * weights).sum().backward()
        assert logits.grad is not None
        return logits.grad.abs().max().item()

    assert slope(exact) < 1e-9
    assert slope(exact + torch.linspace(0, 1, 3, dtype=D)) > 1e-3


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("source", SOURCES)
def test_the_integral_of_the_divergence_bounds_the_entropy(source: str, schedule: str) -> None:
    """For the exact posterior and a mask, the bound on -log p(x_1) is tight in the mean.

    The divergence of the process that knows x_1 from the one that does not is the information
    between the data and the trajectory, whose end is the data, and what is lost by not remembering
    who has jumped. With a mask, that can be seen.
    """
    path = path_of(source, schedule, loss="generalized_kl")
    chain = ExactTokenChain(path, JOINT)
    total = 0.0
    for u, weight in zip(*np.polynomial.legendre.leggauss(16), strict=True):
        t = 1 - (0.5 - 0.5 * u) ** 2  # more nodes near the data, where the logarithm is
        pairs, likely = enumerated(path, t)
        assert isinstance(pairs.x_t, Tensor)
        logits = chain(pairs.x_t, pairs.t).clamp(min=-60)
        losses = path.point_loss(logits, pairs).sum(1)
        total += 0.5 * weight * 2 * (0.5 - 0.5 * u) * (losses * likely).sum().item()
    entropy = -(JOINT * JOINT.log()).sum().item()
    if source == "mask":
        assert total == pytest.approx(entropy, rel=3e-4)
    else:
        assert entropy < total < 3 * entropy


def test_cross_entropy_in_numbers() -> None:
    logits = torch.tensor([[[0.0, 1.0, 2.0], [1.0, 1.0, 1.0], [3.0, 0.0, 0.0]]])
    x_1, x_t = torch.tensor([[2, 1, 0]]), torch.tensor([[3, 3, 0]])
    sample = PathSample(x_t, x_1, torch.tensor([0.5]), x_t, None)
    loss = MixturePath(3, "mask").point_loss(logits, sample)
    first = math.log(math.exp(-2) + math.exp(-1) + 1)
    torch.testing.assert_close(loss, torch.tensor([[first, math.log(3), 0.0]]))
    kl = MixturePath(3, "mask", loss="generalized_kl").point_loss(logits, sample)
    torch.testing.assert_close(kl, torch.tensor([[2 * first, 2 * math.log(3), 0.0]]))
    weighed = MixturePath(3, "mask", time_weight=lambda t: 4 * t).point_loss(logits, sample)
    torch.testing.assert_close(weighed, 2 * loss)


def test_half_precision_logits_are_raised() -> None:
    path = MixturePath(3, "uniform", loss="generalized_kl")
    x = torch.tensor([[0, 1, 2]])
    sample = PathSample(x, x, torch.tensor([0.3]), x, None)
    logits = torch.randn(1, 3, 3, generator=torch.Generator().manual_seed(0))
    loss = path.point_loss(logits.bfloat16(), sample)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, path.point_loss(logits.bfloat16().float(), sample))


def test_the_divergence_stops_before_it_is_infinite() -> None:
    path = MixturePath(3, "uniform", loss="generalized_kl")
    assert path.t_max == pytest.approx(0.999, abs=1e-6)
    x = torch.zeros(4, 5, dtype=torch.int64)
    with pytest.raises(IntervalError, match=r"0\.999"):
        path.sample(x, x, torch.ones(4))
    output = FlowMatching(path)(lambda x, t: torch.zeros(*x.shape, 3), x, t=None)
    assert torch.isfinite(output.loss)


# What is interpolated.


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("source", SOURCES)
def test_shares_of_jumped_tokens(source: str, schedule: str) -> None:
    """Tokens are x_1 where their noise is below kappa, and x_0 elsewhere: nothing else."""
    path = path_of(source, schedule)
    g = torch.Generator().manual_seed(0)
    x_1 = torch.randint(3, (500, 2), generator=g)
    x_0, noise = path.draw(x_1, generator=g), path.draw_noise(x_1, generator=g)
    before = torch.zeros(500, 2, dtype=torch.bool)
    for t in (0.0, 0.3, 0.8, 1.0):
        time = torch.full((500,), t)
        x_t = path.sample(x_0, x_1, time, noise=noise).x_t
        assert isinstance(x_t, Tensor)
        jumped = noise["x"] < path.scheduler.at(time, x_1).alpha
        assert torch.equal(x_t, torch.where(jumped, x_1, x_0))
        assert (jumped | ~before).all()  # once jumped, they stay
        before = jumped
        assert t < 1 or torch.equal(x_t, x_1)


@pytest.mark.parametrize(
    "scheduler", [Cubic(), Cubic(0.0, 3.0), Cubic(3.0, 1.0), ConvexCosine(), ConvexCosine(2.5)]
)
def test_convex_schedules(scheduler: Scheduler) -> None:
    t = torch.linspace(0, 1, 101, dtype=D).requires_grad_()
    c = scheduler(t)
    assert c.alpha[0] == 0 and abs(c.alpha[-1] - 1) < 1e-12 and c.sigma[-1] == 0
    torch.testing.assert_close(c.alpha + c.sigma, torch.ones_like(t))
    assert (c.alpha.diff() >= 0).all()
    (slope,) = torch.autograd.grad(c.alpha[1:-1].sum(), t)
    torch.testing.assert_close(slope[1:-1], c.d_alpha[1:-1])
    small = scheduler(torch.tensor(1e-4)).alpha.item()
    assert small == pytest.approx(scheduler(torch.tensor(1e-4, dtype=D)).alpha.item(), rel=1e-5)


def test_schedules_by_index() -> None:
    few = PerPosition([Polynomial(1), Polynomial(3)], index=torch.tensor([[0, 1], [1, 1]]))
    x = torch.zeros(4, 2, 2, dtype=torch.int64)
    t = torch.tensor([0.1, 0.2, 0.5, 1.0])
    alpha = few.at(t, x).alpha
    assert alpha.shape == (4, 2, 2)
    torch.testing.assert_close(alpha[:, 0, 0], t)
    torch.testing.assert_close(alpha[:, 1, 0], t**3)
    tokens = PerToken([Polynomial(1), Polynomial(3)], index=torch.tensor([0, 1, 1]))
    alpha = tokens.at(t, torch.tensor([[0, 1], [1, 0], [2, 2], [0, 1]])).alpha
    torch.testing.assert_close(alpha[1], torch.tensor([0.2**3, 0.2]))
    assert tokens.table(t, torch.zeros(4, 7)).alpha.shape == (4, 1, 3)
    assert tokens.max_rate(torch.tensor(0.5)) == pytest.approx(2)


def test_a_schedule_of_ones_own() -> None:
    """From left to right: at half time the first half of the tokens has jumped, and no other."""

    class LeftToRight(TokenSchedule):
        def values(self, t: Tensor) -> Coefficients:
            alpha = (4 * t.unsqueeze(-1) - torch.arange(4)).clamp(0, 1)
            moving = 4.0 * ((alpha > 0) & (alpha < 1))
            return Coefficients(alpha, 1 - alpha, moving, -moving, (alpha - 1) * moving)

    path = MixturePath(3, "mask", LeftToRight())
    x_1 = torch.ones(8, 4, dtype=torch.int64)
    x_t = path.sample(path.draw(x_1), x_1, torch.full((8,), 0.5)).x_t
    assert isinstance(x_t, Tensor)
    assert torch.equal(x_t, torch.tensor([1, 1, 3, 3]).expand(8, 4))
    jumped = path.jump(x_t, torch.full((8,), 0.5), torch.full((8,), 0.75), torch.zeros(8, 4, 3))
    assert (jumped[:, 2] < 3).all() and (jumped[:, 3] == 3).all()


# The objective.


def test_training_learns_the_chain() -> None:
    """A table of logits for each state, trained on pairs, has the law of the data."""
    torch.manual_seed(0)
    path = MixturePath(3, "mask")
    table = torch.nn.Parameter(torch.zeros(4, 4, 2, 3))
    g = torch.Generator().manual_seed(0)
    data = torch.multinomial(JOINT.flatten(), 3000, replacement=True, generator=g)
    x_1 = torch.stack([data // 3, data % 3], 1)

    def model(x: Tensor, t: Tensor, condition: Any = None) -> Tensor:
        return table[x[:, 0], x[:, 1]]

    optimizer = torch.optim.Adam([table], lr=0.05)
    for _ in range(150):
        optimizer.zero_grad()
        FlowMatching(path)(model, x_1, generator=g).loss.backward()
        optimizer.step()
    empirical = torch.bincount(data, minlength=9).view(3, 3) / len(data)
    chain = ExactTokenChain(path, empirical)
    x = torch.tensor([[3, 3], [0, 3], [3, 2]])
    exact = chain.posterior(x, torch.full((3,), 0.5))
    learned = torch.softmax(model(x, torch.zeros(3)), -1).double()
    masked = x == 3
    assert (learned - exact)[masked].abs().max() < 0.04


def test_masks_and_fixed_tokens_have_no_loss() -> None:
    path = MixturePath(5, "uniform")
    x_1 = torch.randint(5, (6, 4), generator=torch.Generator().manual_seed(0))
    exists = torch.tensor([True, True, True, False]).expand(6, 4)
    given = torch.tensor([True, False, False, False]).expand(6, 4)
    seen = []

    def model(x: Tensor, t: Tensor, condition: Any = None, **masks: Tensor) -> Tensor:
        seen.append(x)
        assert x.min() >= 0 and x.max() < 5
        assert set(masks) == {"mask", "fixed"}
        return torch.zeros(*x.shape, 5, requires_grad=True)

    padded = torch.where(exists, x_1, -100)
    output = FlowMatching(path)(model, padded, mask=exists, fixed=(given, x_1), t=torch.zeros(6))
    assert output.loss.item() == pytest.approx(math.log(5), rel=1e-6)
    assert torch.equal(seen[0][:, 0], x_1[:, 0])


def test_a_component_beside_continuous_ones() -> None:
    path = ProductPath(place=AffinePath(), residue=MixturePath(20, Mask(), weight=0.5))
    x_1 = {"place": torch.randn(4, 7, 3), "residue": torch.randint(20, (4, 7))}

    def model(x: Any, t: Tensor) -> Any:
        return {"place": torch.zeros(4, 7, 3), "residue": torch.zeros(4, 7, 20)}

    output = FlowMatching(path)(model, x_1, generator=torch.Generator().manual_seed(0))
    expected = output.components["place"] + 0.5 * output.components["residue"]
    assert output.loss.item() == pytest.approx(expected.item(), rel=1e-6)
    changed = path.with_jumps(residue=Jumps(top_p=0.9)).with_schedule(residue=Cubic())
    residue = changed.components["residue"]
    assert isinstance(residue, MixturePath) and changed.discrete["residue"] is residue
    assert residue.jumps.top_p == 0.9 and "Cubic" in repr(residue.sampling_schedule)
    assert path.discrete["residue"] is path.components["residue"] is not residue
    with pytest.raises(ConfigError, match="place"):
        path.with_jumps(place=Jumps())
    with pytest.raises(ConfigError, match="takes"):
        path.with_schedule(place=PerPosition([Cubic()]))


def test_a_stored_source() -> None:
    """Pairs of texts: tokens go from stored ones to data, and nothing is said of their law."""
    rows = torch.tensor([[0, 1, 2], [2, 2, 2]])
    path = MixturePath(3, Empirical(rows))
    x_0 = path.draw(torch.zeros(50, 3, dtype=torch.int64))
    assert x_0.dtype == torch.int64 and len(torch.unique(x_0, dim=0)) == 2
    with pytest.raises(CapabilityError, match="Empirical"):
        MixturePath(3, Empirical(rows), prediction="denoiser")
    with pytest.raises(CapabilityError, match="Empirical"):
        path.with_jumps(Jumps(corrector=1.0))


# What is refused.


def tokens(*shape: int) -> Tensor:
    return torch.zeros(shape, dtype=torch.int64)


def zeros(x: Tensor, t: Tensor, condition: Any = None, **masks: Any) -> Tensor:
    return torch.zeros(*x.shape, 3)


@pytest.mark.parametrize("wrong", [-1, 3, 4])
def test_tokens_outside_of_the_vocabulary(wrong: int) -> None:
    x_1 = tokens(4, 5)
    x_1[2, 3] = wrong
    for path in (MixturePath(3, "mask"), MixturePath(3, "uniform")):
        with pytest.raises(ShapeError, match=rf"x_1: got tokens .*{wrong}.* from 0 to 2"):
            FlowMatching(path)(zeros, x_1)
        with pytest.raises(ShapeError, match="x_1"):
            path.sample(tokens(4, 5), x_1, torch.zeros(4))
    with pytest.raises(ShapeError, match="3 is the mask"):
        FlowMatching(MixturePath(3, "mask"))(zeros, x_1)
    both = ProductPath(a=MixturePath(3), b=MixturePath(9))
    with pytest.raises(ShapeError, match=r"x_1\['a'\]: got tokens"):
        FlowMatching(both)(zeros, {"a": x_1, "b": x_1.clamp(min=0)})


def test_shapes_and_dtypes() -> None:
    path, x = MixturePath(3, "uniform"), tokens(4, 5)
    with pytest.raises(ShapeError, match="tokens are integers"):
        FlowMatching(path)(zeros, x.float())
    with pytest.raises(ShapeError, match=r"mask\['x'\]: got shape \(4,\); need \(4, 5\)"):
        FlowMatching(path)(zeros, x, mask=torch.ones(4, dtype=torch.bool))
    with pytest.raises(ShapeError, match=r"need \(4, 5, 3\), a logit for each of the 3"):
        FlowMatching(path)(lambda x, t: torch.zeros(4, 5, 4), x)
    given = torch.ones(4, 5, dtype=torch.bool)
    with pytest.raises(ShapeError, match="fixed"):
        FlowMatching(path)(zeros, x, fixed=(given, torch.full((4, 5), 7)))
    with pytest.raises(ShapeError, match=r"positions \(2,\)"):
        FlowMatching(MixturePath(3, "mask", PerPosition([Cubic(), Cubic()])))(zeros, x)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: MixturePath(0), "vocab: got 0"),
        (lambda: MixturePath(3, "masked"), r"source: got 'masked'.*'mask', 'uniform'"),
        (lambda: MixturePath(3, scheduler=Cosine()), "not convex"),
        (lambda: MixturePath(3, prediction="velocity"), "prediction: got 'velocity'"),
        (lambda: MixturePath(3, loss="mse"), "loss: got 'mse'"),
        (lambda: MixturePath(3, weight=-1.0), "weight: got -1"),
        (lambda: MixturePath(3, Mask(4)), r"vocab: got 3 for Mask\(4\)"),
        (lambda: MixturePath(3, Categorical(torch.ones(4) / 4)), "vocabulary has 4 tokens"),
        (lambda: MixturePath(4, scheduler=PerToken([Cubic()])), "1 tokens, the vocabulary 4"),
        (lambda: MixturePath(4).with_prediction("noise"), "prediction: got 'noise'"),
        (lambda: PerPosition([]), "schedulers: got none"),
        (lambda: PerToken([Cubic()], index=torch.tensor([0, 1])), "from 0 to 0"),
        (lambda: Categorical(torch.tensor([0.5, 0.4])), r"sum to 0\.9 rather than one"),
        (lambda: Categorical(torch.tensor([1.5, -0.5])), "zero or more"),
        (lambda: Categorical(torch.tensor([0.5, torch.nan])), "finite"),
        (lambda: Categorical(torch.ones(2, 2) / 4), "need \\(vocab,\\)"),
        (lambda: Mask().sample((2, 2)), "vocab: Mask\\(\\) has none yet"),
        (lambda: Jumps(temperature=-1.0), "temperature: got -1"),
        (lambda: Jumps(top_p=0.0), "top_p: got 0"),
        (lambda: Jumps(corrector=-0.5), "corrector: got -0.5"),
        (lambda: Cubic(4.0), "slopes are from 0 to 3"),
        (lambda: ConvexCosine(0.5), "power: got 0.5"),
    ],
)
def test_settings_out_of_range(build: Any, message: str) -> None:
    with pytest.raises((ConfigError, ShapeError), match=message):
        build()


def test_log_rates_have_one_clock() -> None:
    by_token = PerToken([Polynomial(1), Polynomial(3)])
    with pytest.raises(CapabilityError, match=r"prediction: 'log_rates'.*clock for each"):
        MixturePath(2, "mask", by_token).with_prediction("log_rates")
    with pytest.raises(CapabilityError, match=r"prediction: 'log_rates'.*clock for each"):
        MixturePath(2, "mask", by_token, prediction="log_rates")
    rates = MixturePath(2, prediction="log_rates")
    with pytest.raises(CapabilityError, match=r"prediction: 'log_rates'.*clock for each"):
        rates.with_schedule(by_token)
    common = MixturePath(2, "mask", by_token).with_schedule(Polynomial(2))
    assert common.with_prediction("log_rates").prediction == "log_rates"


def test_log_rates_have_no_loss() -> None:
    with pytest.raises(CapabilityError, match="Train with 'logits'"):
        FlowMatching(MixturePath(3, prediction="log_rates"))(zeros, tokens(2, 4))


@pytest.mark.parametrize("source", [*SOURCES.values(), UniformTokens(3)], ids=repr)
def test_sources_have_the_law_they_say(source: Source) -> None:
    bound = MixturePath(3, source).source
    n = 50_000
    x = bound.sample((n, 1), generator=torch.Generator().manual_seed(0))
    assert x.dtype == torch.int64
    share = torch.bincount(x.flatten(), minlength=4)[:4] / n
    states = torch.arange(3 + bool(getattr(bound, "masks", False)))
    mass = bound.log_prob(states).exp()
    assert mass.sum().item() == pytest.approx(1, abs=1e-6)
    # Five standard errors for each of at most four: false alarms below 3e-6.
    assert ((share[: len(mass)] - mass).abs() <= 5 * (mass * (1 - mass) / n).sqrt() + 1e-6).all()
    several = [torch.Generator().manual_seed(i) for i in range(6)]
    whole = bound.sample((6, 9), generator=several)
    part = bound.sample((2, 9), generator=[torch.Generator().manual_seed(i) for i in (3, 4)])
    assert torch.equal(whole[3:5], part)
