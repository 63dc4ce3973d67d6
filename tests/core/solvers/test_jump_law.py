"""Leaps of tokens against exact chains: the law they have, at any step or in the limit."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from flowatlas.errors import CapabilityError, ConfigError, GeometryError, ShapeError
from flowatlas.exact import ExactTokenChain
from flowatlas.paths import AffinePath, Jumps, MixturePath, PerPosition, PerToken, ProductPath
from flowatlas.sampling import integrate, interpolate, log_prob, sample
from flowatlas.schedulers import ConvexCosine, Cubic, Polynomial
from flowatlas.solvers import Euler, GivenGrid, TauLeaping
from flowatlas.sources import Categorical

D = torch.float64
JOINT = torch.tensor(
    [
        [[0.25, 0.0, 0.05], [0.05, 0.05, 0.0], [0.0, 0.02, 0.08]],
        [[0.0, 0.1, 0.0], [0.02, 0.13, 0.05], [0.0, 0.0, 0.0]],
        [[0.05, 0.0, 0.0], [0.0, 0.05, 0.0], [0.0, 0.0, 0.1]],
    ],
    dtype=D,
)
LAWS = torch.tensor([[0.5, 0.2, 0.3], [0.1, 0.1, 0.8]], dtype=D)
INDEPENDENT = torch.outer(LAWS[0], LAWS[1])
SOURCES: dict[str, Any] = {
    "mask": "mask",
    "uniform": "uniform",
    "categorical": Categorical(torch.tensor([0.7, 0.0, 0.3])),
    "some masked": Categorical(torch.tensor([0.2, 0.2, 0.0, 0.6]), masks=True),
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def frequencies(x: Tensor, states: int) -> Tensor:
    code = torch.zeros(len(x), dtype=torch.int64)
    for column in x.unbind(1):
        code = code * states + column
    count = torch.bincount(code, minlength=states ** x.shape[1])
    return count.view((states,) * x.shape[1]) / len(x)


def distance(x: Tensor, law: Tensor) -> float:
    """Total variation between samples and a law."""
    return 0.5 * (frequencies(x, law.shape[0]) - law).abs().sum().item()


def noise(n: int, law: Tensor) -> float:
    """What n samples of the law itself exceed with a probability below 1e-6.

    Their distance is sqrt(states / n) / 2 at most in the mean, and larger by d with probability
    exp(-2 n d^2) at most (McDiarmid).
    """
    states = int((law > 0).sum())
    return 0.5 * math.sqrt(states / n) + math.sqrt(math.log(1e6) / (2 * n))


# Independent tokens: the posterior of each is constant but for its own jump.


@pytest.mark.parametrize("corrector", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("prediction", ["logits", "denoiser"])
@pytest.mark.parametrize("source", SOURCES)
def test_leaps_are_exact_at_any_step_for_independent_tokens(
    source: str, prediction: str, corrector: float
) -> None:
    n = 30_000
    path = MixturePath(3, SOURCES[source], prediction=prediction)
    chain = ExactTokenChain(path, INDEPENDENT)
    sampled = path.with_jumps(Jumps(corrector=corrector))
    for end, steps in ((0.4, 1), (0.7, 2), (1.0, 1), (1.0, 3)):
        x = sample(
            chain,
            sampled,
            shape=(n, 2),
            end=end,
            solver=TauLeaping(steps),
            generator=seeded(steps),
        )
        law = chain.law(end)
        assert distance(x, law) < noise(n, law)
        assert distance(x, chain.law(end - 0.1)) > noise(n, law)  # the test has power


@pytest.mark.parametrize(
    ("source", "schedule"),
    [
        ("mask", Cubic(0.5, 2.0)),
        ("uniform", ConvexCosine()),
        ("mask", PerPosition([Polynomial(1), Polynomial(3)])),
        ("uniform", PerPosition([Polynomial(1), Polynomial(3)])),
        ("mask", PerToken([Polynomial(1), Polynomial(2), Polynomial(4)])),
        ("uniform", PerToken([Polynomial(1), Polynomial(2), Polynomial(4)])),
        ("some masked", PerToken([Polynomial(1), Polynomial(2), Polynomial(4)])),
    ],
)
@pytest.mark.parametrize("prediction", ["logits", "denoiser"])
def test_schedules_are_followed_exactly(source: str, schedule: Any, prediction: str) -> None:
    n = 30_000
    path = MixturePath(3, SOURCES[source], schedule, prediction=prediction)
    chain = ExactTokenChain(path, INDEPENDENT)
    for end, steps in ((0.6, 1), (0.8, 2), (1.0, 2)):
        x = sample(
            chain, path, shape=(n, 2), end=end, solver=TauLeaping(steps), generator=seeded(1)
        )
        assert distance(x, chain.law(end)) < noise(n, chain.law(end))


def test_a_corrector_with_a_schedule_by_token() -> None:
    """With a mask, tokens that show are the data's, so that it is known how far they are."""
    n, schedule = 30_000, PerToken([Polynomial(1), Polynomial(2), Polynomial(4)])
    path = MixturePath(3, "mask", schedule)
    chain = ExactTokenChain(path, INDEPENDENT)
    jumps = Jumps(corrector=lambda t: 3 * (1 - t))
    x = sample(
        chain,
        path.with_jumps(jumps),
        shape=(n, 2),
        end=0.7,
        solver=TauLeaping(4),
        generator=seeded(),
    )
    assert distance(x, chain.law(0.7)) < noise(n, chain.law(0.7))
    with pytest.raises(CapabilityError, match="does not show whether it has jumped"):
        MixturePath(3, "uniform", schedule).with_jumps(jumps)


# Tokens that depend on each other: first order.


@pytest.mark.parametrize("corrector", [0.0, 1.0])
@pytest.mark.parametrize("source", ["mask", "uniform"])
def test_the_law_converges_at_first_order(source: str, corrector: float) -> None:
    n = 100_000
    path = MixturePath(3, source)
    chain = ExactTokenChain(path, JOINT)
    jumps = path.with_jumps(Jumps(corrector=corrector))
    for end in (0.6, 1.0):
        errors = [
            distance(
                sample(
                    chain,
                    jumps,
                    shape=(n, 3),
                    end=end,
                    solver=TauLeaping(steps),
                    generator=seeded(2),
                ),
                chain.law(end),
            )
            for steps in (3, 12)
        ]
        # A quarter of the step leaves a quarter of the error, to its next order and the noise.
        assert errors[1] > 2 * noise(n, chain.law(end)) or end < 1
        assert 2.4 < errors[0] / errors[1] < 5


def test_the_corrector_corrects() -> None:
    """Tokens drawn wrong in one long leap are drawn again by a corrector, and not without one."""
    path, n = MixturePath(3, "mask"), 40_000
    chain = ExactTokenChain(path, JOINT)
    grid = GivenGrid([0, 0.7, *[0.7 + 0.3 * i / 30 for i in range(1, 30)], 1.0])
    errors = [
        distance(
            sample(
                chain,
                path.with_jumps(Jumps(corrector=a)),
                shape=(n, 3),
                solver=TauLeaping(grid=grid),
                generator=seeded(3),
            ),
            chain.law(1.0),
        )
        for a in (0.0, 8.0)
    ]
    assert errors[1] < 0.7 * errors[0]


def test_log_rates_are_sampled_as_the_posterior_is() -> None:
    n = 30_000
    for source in ("mask", "uniform"):
        path = MixturePath(3, source)
        chain = ExactTokenChain(path, INDEPENDENT)

        def rates(x: Tensor, t: Tensor, path: Any = path, chain: Any = chain) -> Tensor:
            return path.canonical(chain(x, t), x, t).clamp(min=-60)  # type: ignore[no-any-return]

        for end in (0.5, 1.0):
            x = sample(
                rates,
                path.with_prediction("log_rates"),
                shape=(n, 2),
                end=end,
                solver=TauLeaping(2),
                generator=seeded(4),
            )
            assert distance(x, chain.law(end)) < noise(n, chain.law(end))


def test_log_rates_that_are_higher_jump_sooner() -> None:
    """Twice the rates leave the square of the share that would stay."""
    path = MixturePath(3, "mask").with_prediction("log_rates")
    x = torch.full((1, 100_000), 3)
    rates = torch.full((1, 100_000, 3), 2 / 3).log()
    t, s = torch.tensor([0.2]), torch.tensor([0.6])
    left = (path.jump(x, t, s, rates, generator=seeded()) == 3).double().mean().item()
    assert left == pytest.approx(0.25, abs=5 * math.sqrt(0.25 * 0.75 / 1e5))


def test_another_schedule_at_inference_is_exact_with_a_mask() -> None:
    n, path = 30_000, MixturePath(3, "mask")
    chain = ExactTokenChain(path, INDEPENDENT)
    x = sample(
        chain,
        path.with_schedule(Polynomial(3)),
        shape=(n, 2),
        end=0.5,
        solver=TauLeaping(3),
        generator=seeded(),
    )
    assert distance(x, chain.law(0.125)) < noise(n, chain.law(0.125))


# Steps.


def one_token(x: Tensor, t: Tensor, condition: Any = None, **masks: Any) -> Tensor:
    return torch.tensor([0.0, 1.0, -1.0, 0.5]).expand(*x.shape, 4)


def test_stopping_early_changes_only_those_that_should_have_jumped() -> None:
    n, path = 100_000, MixturePath(4, "mask")
    for steps in (1, 4):
        x = sample(
            one_token,
            path,
            shape=(n // 100, 100),
            end=0.1,
            solver=TauLeaping(steps),
            generator=seeded(),
        )
        share = (x != 4).double().mean().item()
        assert share == pytest.approx(0.1, abs=5 * math.sqrt(0.09 / n))
    later = integrate(one_token, path, x, start=0.1, end=0.2, solver=TauLeaping(1)).x
    assert torch.equal(later[x != 4], x[x != 4])


def test_states_are_recorded_and_evaluations_counted() -> None:
    path = MixturePath(4, "mask")
    x_0 = path.draw(torch.zeros(3, 50, dtype=torch.int64))
    found = integrate(one_token, path, x_0, times=[0.25, 0.5], solver=TauLeaping(10))
    assert found.nfe == found.accepted == 11  # 0.25 is no knot of ten steps
    masked = [(x == 4).sum().item() for x in found.x_t]
    assert masked[0] == 150 and masked == sorted(masked, reverse=True) and masked[-1] == 0


def test_a_sample_does_not_depend_on_its_batch() -> None:
    for path in (
        MixturePath(4, "uniform").with_jumps(Jumps(corrector=1.0)),
        MixturePath(4, "mask", PerToken([Polynomial(1), Polynomial(2)] * 2)),
    ):

        def run(rows: slice, path: MixturePath = path, **options: Any) -> Tensor:
            generators = [seeded(i) for i in range(6)[rows]]
            shape = (len(generators), 9)
            x: Tensor = sample(
                one_token,
                path,
                shape=shape,
                solver=TauLeaping(5),
                end=0.8,
                generator=generators,
                **options,
            )
            return x

        whole = run(slice(0, 6))
        assert torch.equal(run(slice(2, 5)), whole[2:5])
        assert torch.equal(run(slice(0, 6), chunk_size=4), whole)


def test_padding_and_given_tokens_do_not_move() -> None:
    path = MixturePath(4, "mask")
    mask = torch.tensor([True, True, True, False]).expand(5, 4)
    given = torch.tensor([False, True, False, False]).expand(5, 4)
    known = torch.full((5, 4), 2)
    seen = []

    def model(x: Tensor, t: Tensor, condition: Any = None, **masks: Any) -> Tensor:
        seen.append(x)
        assert torch.equal(masks["fixed"], given)
        return one_token(x, t)

    x = sample(model, path, shape=(5, 4), mask=mask, fixed=(given, known), solver=TauLeaping(3))
    assert all((state[:, 1] == 2).all() for state in seen)  # the network is shown them
    assert (x[:, 1] == 2).all() and (x[:, 3] == 4).all() and (x[:, [0, 2]] < 4).all()


def test_tokens_leap_after_the_steps_of_another_solver() -> None:
    path = ProductPath(place=AffinePath(), token=MixturePath(4, "uniform"))

    def model(x: Any, t: Tensor) -> Any:
        return {"place": torch.zeros_like(x["place"]), "token": one_token(x["token"], t)}

    shape = {"place": (4, 3), "token": (4, 6)}
    x: Any = sample(model, path, shape=shape, solver=Euler(3), dtype=D)
    assert x["token"].dtype == torch.int64 and x["place"].dtype == D
    with pytest.raises(CapabilityError, match=r"components \['place'\] cannot jump"):
        sample(model, path, shape=shape, solver=TauLeaping(3))
    alone = ProductPath(token=MixturePath(4, "uniform"))
    y: Any = sample(
        lambda x, t: {"token": one_token(x["token"], t)},
        alone,
        shape={"token": (4, 6)},
        solver=TauLeaping(3),
    )
    assert set(y) == {"token"}


# Options of drawing.


def drawn(jumps: Jumps, logits: Tensor, n: int = 40_000) -> Tensor:
    path = MixturePath(len(logits), "mask").with_jumps(jumps)
    x = torch.full((1, n), len(logits))
    t, s = torch.zeros(1), torch.ones(1)
    return path.jump(x, t, s, logits.expand(1, n, -1), generator=seeded()).view(-1, 1)


def test_temperature_and_nucleus() -> None:
    p = torch.tensor([0.4, 0.05, 0.3, 0.25], dtype=D)
    n = 40_000
    cold = p**2 / (p**2).sum()
    for jumps, law in (
        (Jumps(temperature=0.5), cold),
        (Jumps(top_p=0.7), torch.tensor([4.0, 0.0, 3.0, 0.0]) / 7),
        (Jumps(top_p=0.71), torch.tensor([40.0, 0.0, 30.0, 25.0]) / 95),
        (
            Jumps(temperature=0.5, top_p=0.6),
            cold * torch.tensor([1, 0, 1, 0]) / (cold[[0, 2]].sum()),
        ),
        (Jumps(top_p=1e-9), torch.tensor([1.0, 0.0, 0.0, 0.0])),
        (Jumps(temperature=0.0), torch.tensor([1.0, 0.0, 0.0, 0.0])),
    ):
        x = drawn(jumps, p.log())
        assert distance(x, law.double()) < noise(n, law)
        assert (law > 0)[x.flatten()].all()


def test_options_are_checked_when_used() -> None:
    path = MixturePath(4, "mask").with_jumps(Jumps(corrector=lambda t: -t))
    with pytest.raises(ConfigError, match="corrector: it must return"):
        sample(one_token, path, shape=(2, 3), solver=TauLeaping(3))


# What is refused.


def test_errors() -> None:
    path = MixturePath(4, "uniform")
    x = torch.zeros(2, 3, dtype=torch.int64)
    solver = TauLeaping(3)
    with pytest.raises(ShapeError, match=r"returned shape \(2, 3, 5\); need \(2, 3, 4\)"):
        integrate(lambda x, t: torch.zeros(2, 3, 5), path, x, solver=solver)
    with pytest.raises(ShapeError, match="got tokens from 0 to 4"):
        integrate(one_token, path, x + 4 * (x.cumsum(1) == 0).cumsum(1).eq(3), solver=solver)
    with pytest.raises(ShapeError, match="tokens are integers"):
        integrate(one_token, path, x.float(), solver=solver)
    fixed = (torch.ones(2, 3, dtype=torch.bool), x - 1)
    with pytest.raises(ShapeError, match="fixed"):
        integrate(one_token, path, x, fixed=fixed, solver=solver)
    for bad in (torch.nan, torch.inf, -torch.inf):
        with pytest.raises(GeometryError, match="logits are NaN"):
            integrate(lambda x, t, bad=bad: torch.full((2, 3, 4), bad), path, x, solver=solver)
    with pytest.raises(CapabilityError, match="discrete"):
        log_prob(one_token, path, x, solver=solver)
    with pytest.raises(CapabilityError, match="TauLeaping moves tokens alone"):
        integrate(lambda x, t: x, AffinePath(), torch.zeros(2, 3), solver=solver)
    with pytest.raises(ConfigError, match="exactly one"):
        TauLeaping()
    with pytest.raises(CapabilityError, match="discrete"):
        interpolate(one_token, path, x, x, steps=3, solver=solver)
