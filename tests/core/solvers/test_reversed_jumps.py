"""Tokens backward in time, against exact chains: marginals, rates, and pairs of times."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import flowatlas.paths._jumping as jumping
from flowatlas.errors import CapabilityError
from flowatlas.exact import ExactTokenChain
from flowatlas.paths import AffinePath, Jumps, MixturePath, PerPosition, PerToken, ProductPath
from flowatlas.sampling import encode, integrate, sample
from flowatlas.schedulers import ConvexCosine, Polynomial
from flowatlas.solvers import AdaptiveTauLeaping, Euler, EulerMaruyama, TauLeaping
from flowatlas.sources import Categorical, Empirical

D = torch.float64
JOINT = torch.tensor([[0.3, 0.02, 0.1], [0.05, 0.18, 0.05], [0.01, 0.09, 0.2]], dtype=D)
TRIPLE = torch.tensor(
    [
        [[0.25, 0.0, 0.05], [0.05, 0.05, 0.0], [0.0, 0.02, 0.08]],
        [[0.0, 0.1, 0.0], [0.02, 0.13, 0.05], [0.0, 0.0, 0.0]],
        [[0.05, 0.0, 0.0], [0.0, 0.05, 0.0], [0.0, 0.0, 0.1]],
    ],
    dtype=D,
)
INDEPENDENT = torch.outer(torch.tensor([0.5, 0.2, 0.3]), torch.tensor([0.1, 0.1, 0.8])).to(D)
SOURCES: dict[str, Any] = {
    "mask": "mask",
    "uniform": "uniform",
    "categorical": Categorical(torch.tensor([0.7, 0.0, 0.3])),
    "some masked": Categorical(torch.tensor([0.2, 0.2, 0.0, 0.6]), masks=True),
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(law: Tensor, n: int, seed: int = 0) -> Tensor:
    """States of a law, `(n, tokens)`."""
    code = torch.multinomial(law.flatten(), n, replacement=True, generator=seeded(seed))
    return torch.stack(torch.unravel_index(code, law.shape), 1)


def distance(x: Tensor, law: Tensor) -> float:
    """Total variation between samples and a law."""
    code = torch.zeros(len(x), dtype=torch.int64)
    for column, size in zip(x.unbind(1), law.shape, strict=True):
        code = code * size + column
    seen = torch.bincount(code, minlength=law.numel()).view(law.shape) / len(x)
    return 0.5 * (seen - law).abs().sum().item()


def noise(n: int, law: Tensor) -> float:
    """What n samples of the law itself exceed with a probability below 1e-6 (McDiarmid)."""
    states = int((law > 0).sum())
    return 0.5 * math.sqrt(states / n) + math.sqrt(math.log(1e6) / (2 * n))


def back(chain: Any, path: MixturePath, x: Tensor, start: float, end: float, steps: int) -> Tensor:
    found: Tensor = sample(
        chain, path, x_init=x, start=start, end=end, solver=TauLeaping(steps), generator=seeded(9)
    )
    return found


@pytest.mark.parametrize(
    "schedule",
    [
        ConvexCosine(),
        PerPosition([Polynomial(1), Polynomial(3)]),
        PerToken([Polynomial(1), Polynomial(2), Polynomial(4)]),
    ],
    ids=repr,
)
@pytest.mark.parametrize("prediction", ["logits", "denoiser"])
@pytest.mark.parametrize("source", SOURCES)
def test_independent_tokens_are_exact_at_any_step(
    source: str, prediction: str, schedule: Any
) -> None:
    n, path = 20_000, MixturePath(3, SOURCES[source], schedule, prediction=prediction)
    chain = ExactTokenChain(path, INDEPENDENT)
    for start, end, steps in ((1.0, 0.6, 1), (0.9, 0.4, 2), (0.7, 0.0, 1)):
        x = back(chain, path, drawn(chain.law(start), n), start, end, steps)
        assert distance(x, chain.law(end)) < noise(n, chain.law(end))
        assert distance(x, chain.law(start)) > noise(n, chain.law(start))  # it has power


@pytest.mark.parametrize("source", ["mask", "uniform"])
def test_reversed_rates_are_those_of_bayes(source: str) -> None:
    """u~(y, x) = p_t(y) / p_t(x) u(x, y), by enumeration, for y that differs in one token."""
    path = MixturePath(3, source)
    chain, t = ExactTokenChain(path, JOINT), 0.6
    law, states = chain.law(t), path.states
    x = torch.cartesian_prod(torch.arange(states), torch.arange(states))
    x = x[law[x[:, 0], x[:, 1]] > 0]
    time = torch.full((len(x),), t, dtype=D)
    jumped = jumping._jumped(path, x, time, chain(x, time))
    for place in range(2):
        for token in range(states):
            y = x.clone()
            y[:, place] = token
            differs = y[:, place] != x[:, place]
            posterior = chain.posterior(y, time)[:, place]
            column = x[:, place].clamp(max=2).unsqueeze(1)
            forward = posterior.gather(1, column).squeeze(1) * (x[:, place] < 3) / (1 - t)
            exact = law[y[:, 0], y[:, 1]] / law[x[:, 0], x[:, 1]] * forward
            ours = jumped[:, place] / t * path.source.mass(y[:, place]).double()  # type: ignore[attr-defined]
            torch.testing.assert_close(ours[differs], exact[differs], rtol=1e-6, atol=1e-9)


def test_with_a_mask_any_step_is_exact_whatever_the_data() -> None:
    n, path = 30_000, MixturePath(3, "mask")
    chain = ExactTokenChain(path, TRIPLE)
    for end in (0.6, 0.2, 0.0):
        x = back(chain, path, drawn(chain.law(1.0), n), 1.0, end, 1)
        assert distance(x, chain.law(end)) < noise(n, chain.law(end))


def test_the_law_converges_at_first_order() -> None:
    """Dependent tokens and a uniform source. The errors are too small to be seen in samples.

    A step takes each token to the source with its own chance, whatever the others do: the law is
    propagated by that kernel over all 27 states, whose chances are those of the sampler.
    """
    path = MixturePath(3, "uniform")
    chain = ExactTokenChain(path, TRIPLE)
    x = torch.cartesian_prod(*[torch.arange(3)] * 3)

    def error(steps: int) -> float:
        law = chain.law(0.9).flatten()
        for i in range(steps):
            t, s = (0.9 - 0.8 * k / steps for k in (i, i + 1))
            time = torch.full((27,), t, dtype=D)
            chance = jumping._jumped(path, x, time, chain(x, time)) * (1 - s / t)
            each = (1 - chance).unsqueeze(-1) * torch.nn.functional.one_hot(x, 3)
            each = each + chance.unsqueeze(-1) / 3
            kernel = torch.einsum("ni,nj,nk->nijk", *each.unbind(1)).flatten(1)
            law = law @ kernel
        return 0.5 * (law - chain.law(0.1).flatten()).abs().sum().item()

    errors = [error(steps) for steps in (1, 8, 16, 32)]
    assert errors[0] > 1e-3
    assert math.log2(errors[1] / errors[2]) == pytest.approx(1, abs=0.2)
    assert math.log2(errors[2] / errors[3]) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("source", ["mask", "uniform"])
def test_two_times_have_the_joint_law_of_the_forward_process(
    source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    n, path = 30_000, MixturePath(3, source)
    chain, states = ExactTokenChain(path, JOINT), path.states

    def joint(early: Tensor, late: Tensor) -> Tensor:
        code = ((early[:, 0] * states + early[:, 1]) * states + late[:, 0]) * states + late[:, 1]
        return torch.bincount(code, minlength=states**4).double() / n

    x_s = drawn(chain.law(0.3), n, 1)
    forward = joint(
        x_s,
        sample(
            chain, path, x_init=x_s, start=0.3, end=0.7, solver=TauLeaping(40), generator=seeded(2)
        ),
    )
    x_t = drawn(chain.law(0.7), n, 3)
    allowed = 2 * noise(n, forward)
    backward = joint(back(chain, path, x_t, 0.7, 0.3, 40), x_t)
    assert 0.5 * (backward - forward).abs().sum() < allowed
    if source == "uniform":
        # Taking every token for one that has jumped keeps the marginals, but not the process.
        monkeypatch.setattr(jumping, "_jumped", lambda path, x, *rest: torch.ones(x.shape).to(D))
        wrong = back(chain, path, x_t, 0.7, 0.3, 40)
        assert distance(wrong, chain.law(0.3)) < noise(n, chain.law(0.3))
        assert 0.5 * (joint(wrong, x_t) - forward).abs().sum() > allowed


def one_token(x: Tensor, t: Tensor, condition: Any = None, **masks: Any) -> Tensor:
    return torch.tensor([0.0, 1.0, -1.0, 0.5]).expand(*x.shape, 4)


def test_encoding_ends_at_the_source() -> None:
    x_1 = torch.randint(4, (50, 20), generator=seeded())
    masked = encode(one_token, MixturePath(4, "mask"), x_1, solver=TauLeaping(3))
    assert (masked == 4).all()
    cold = MixturePath(4, "mask").with_jumps(Jumps(temperature=0.0, corrector=1.0))
    assert (encode(one_token, cold, x_1, solver=TauLeaping(3)) == 4).all()
    for path in (MixturePath(4, "uniform"), MixturePath(4, "uniform", prediction="denoiser")):
        x_0 = encode(one_token, path, 0 * x_1, solver=TauLeaping(1), generator=seeded())
        again = encode(one_token, path, 0 * x_1, solver=TauLeaping(1), generator=seeded())
        assert torch.equal(x_0, again)
        count = torch.bincount(x_0.flatten(), minlength=4)
        assert ((count - 250).abs() < 5 * math.sqrt(1000 * 3 / 16)).all()


def test_a_sample_does_not_depend_on_its_batch() -> None:
    path = MixturePath(4, "uniform")
    x_1 = torch.randint(4, (6, 9), generator=seeded())

    def run(rows: slice, **options: Any) -> Tensor:
        generators = [seeded(i) for i in range(6)[rows]]
        x: Tensor = sample(
            one_token,
            path,
            x_init=x_1[rows],
            start=1.0,
            end=0.3,
            solver=TauLeaping(4),
            generator=generators,
            **options,
        )
        return x

    whole = run(slice(0, 6))
    assert torch.equal(run(slice(2, 5)), whole[2:5])
    assert torch.equal(run(slice(0, 6), chunk_size=4), whole)


def test_padding_given_tokens_and_products() -> None:
    path = ProductPath(place=AffinePath(), token=MixturePath(4, "mask"))

    def model(x: Any, t: Tensor, condition: Any = None, **masks: Any) -> Any:
        return {"place": -x["place"], "token": one_token(x["token"], t)}

    x_1 = {"place": torch.ones(30, 5, 2), "token": torch.ones(30, 5, dtype=torch.int64)}
    given = torch.zeros(30, 5, dtype=torch.bool)
    given[:, 2] = True
    for solver in (Euler(4), EulerMaruyama(4, diffusion=0.3)):
        x: Any = integrate(
            model,
            path,
            x_1,
            start=0.9,
            end=0.0,
            solver=solver,
            fixed={"token": (given, x_1["token"])},
            generator=seeded(),
        ).x
        assert (x["token"][:, 2] == 1).all() and (x["token"][:, [0, 1, 3, 4]] == 4).all()
        assert torch.isfinite(x["place"]).all()
    times = integrate(
        one_token,
        MixturePath(4, "mask"),
        x_1["token"],
        start=1.0,
        end=0.0,
        times=[0.5],
        solver=TauLeaping(2),
        generator=seeded(),
    )
    masked = [(state == 4).sum().item() for state in times.x_t]
    assert masked[0] == 0 < masked[1] < masked[2] == 150


def test_errors() -> None:
    x = torch.zeros(2, 3, dtype=torch.int64)
    stored = MixturePath(4, Empirical(torch.randint(4, (9, 3))))
    with pytest.raises(CapabilityError, match="running backward needs the probability of each"):
        encode(one_token, stored, x, solver=TauLeaping(2))
    rates = MixturePath(4, "mask").with_prediction("log_rates")
    with pytest.raises(CapabilityError, match="'log_rates' cannot run backward"):
        encode(one_token, rates, x, solver=TauLeaping(2))
    with pytest.raises(CapabilityError, match="cannot go from 1 back to 0"):
        encode(one_token, MixturePath(4, "mask"), x, solver=AdaptiveTauLeaping())
