"""Bounds on the probability of tokens: closed forms, and chains small enough to enumerate."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from flowatlas import (
    Categorical,
    Cubic,
    Jumps,
    MixturePath,
    PerPosition,
    PerToken,
    Polynomial,
    token_bound,
)
from flowatlas.errors import CapabilityError, ConfigError, ShapeError
from flowatlas.exact import ExactTokenChain

D = torch.float64
JOINT = torch.tensor([[0.3, 0.02, 0.1], [0.05, 0.2, 0.03], [0.02, 0.1, 0.18]], dtype=D)
X_1 = torch.cartesian_prod(torch.arange(3), torch.arange(3))
PATHS = {
    "mask": MixturePath(3, "mask"),
    "mask, cubic": MixturePath(3, "mask", Cubic(1.0, 0.5)),
    "mask by position": MixturePath(3, "mask", PerPosition([Polynomial(1), Polynomial(3)])),
    "mask by token": MixturePath(3, "mask", PerToken([Polynomial(n) for n in (1, 2, 4)])),
    "uniform": MixturePath(3, "uniform"),
    "denoiser": MixturePath(3, "uniform", Polynomial(2.0), prediction="denoiser"),
    "categorical": MixturePath(3, Categorical(torch.tensor([0.6, 0.1, 0.3])), Cubic(1.0, 0.5)),
    "some masked": MixturePath(3, Categorical(torch.tensor([0.2, 0.1, 0.3, 0.4]), masks=True)),
}


def bounds(field: Any, path: MixturePath, *, copies: int = 800, **options: Any) -> tuple[Any, Any]:
    """The mean bound of each of the nine states and its standard error, over many copies."""
    generator = torch.Generator().manual_seed(0)
    x_1 = X_1.repeat_interleave(copies, 0)
    found = token_bound(field, path, x_1, times=32, generator=generator, **options)
    each = found.nats.view(len(X_1), copies)
    return each.mean(1), each.std(1) / math.sqrt(copies)


class Tempered:
    """An exact chain whose logits are made wrong, in a way that depends on t."""

    def __init__(self, path: MixturePath, joint: Tensor) -> None:
        self.chain = ExactTokenChain(path, joint)

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        away = torch.tensor([0.4, 0.0, -0.3], dtype=t.dtype)
        return 0.8 * self.chain(x, t).clamp(min=-30) + away * (1 + t.view(-1, 1, 1))


@pytest.mark.parametrize(
    ("name", "redraw"),
    [
        *((name, False) for name in PATHS if "mask" in name and name != "some masked"),
        *((name, True) for name in PATHS if "by" not in name),
    ],
)
def test_the_bound_of_an_exact_posterior_is_the_probability(name: str, redraw: bool) -> None:
    """State by state: within 4.5 standard errors, those below 0.08 nats."""
    path = PATHS[name]
    found, error = bounds(ExactTokenChain(path, JOINT), path, redraw=redraw)
    exact = -JOINT.flatten().log()
    assert error.max() < 0.08
    assert ((found - exact).abs() < 4.5 * error + 1e-6).all()
    # Power: another law, a third of the way to the uniform one, would be seen.
    other = ExactTokenChain(path, 2 / 3 * JOINT + 1 / 27)
    wrong, error = bounds(other, path, redraw=redraw)
    assert ((wrong - exact).abs() > 4.5 * error).any()


@pytest.mark.parametrize("vocab", [2, 5, 27])
def test_the_gap_of_a_uniform_token(vocab: int) -> None:
    """(log V + 1)(V - 1) / V by the path's own process, log V by redraws."""
    path = MixturePath(vocab, "uniform", Polynomial(1.5), prediction="denoiser")
    x_1 = torch.arange(10_000).unsqueeze(1) % vocab
    generator = torch.Generator().manual_seed(0)

    def flat(x: Tensor, t: Tensor) -> Tensor:
        return torch.zeros(*x.shape, vocab)

    for redraw, exact in (
        (False, (math.log(vocab) + 1) * (vocab - 1) / vocab),
        (True, math.log(vocab)),
    ):
        found = token_bound(flat, path, x_1, times=16, redraw=redraw, generator=generator)
        error = found.nats.std().item() / math.sqrt(len(x_1))
        assert error < 0.03 * exact
        assert found.nats.mean().item() == pytest.approx(exact, abs=4.5 * error)
        assert found.bits_per_token == pytest.approx(found.nats.mean().item() / math.log(2))


def test_from_a_mask_it_is_the_mean_over_orders() -> None:
    """For any field that does not look at t: mean over orders of sums of cross-entropies."""
    generator = torch.Generator().manual_seed(1)
    table = torch.randn(4, 4, 4, 3, 3, generator=generator)  # state of three tokens, position
    path = MixturePath(3, "mask", Cubic(1.0, 0.5))

    def field(x: Tensor, t: Tensor) -> Tensor:
        return table[x[:, 0], x[:, 1], x[:, 2]]

    x_1 = torch.tensor([2, 0, 1])
    total = 0.0
    for order in itertools.permutations(range(3)):
        x = torch.full((1, 3), 3)
        for i in order:
            logits = field(x, torch.zeros(1))[0, i]
            total -= torch.log_softmax(logits, -1)[x_1[i]].item() / 6
            x[0, i] = x_1[i]
    found = token_bound(field, path, x_1.expand(4000, 3), times=16, generator=generator)
    error = found.nats.std().item() / math.sqrt(4000)
    assert error < 0.05
    assert found.nats.mean().item() == pytest.approx(total, abs=4.5 * error)


def ends(field: Any, path: MixturePath) -> Tensor:
    """The law that the jumps of a field end in, `(9,)`, by the master equation in the own clock."""
    n = path.states
    x = torch.cartesian_prod(torch.arange(n), torch.arange(n))
    mass = path.source.log_prob(torch.arange(n)).exp().double()
    steps, last = 250, 12.0

    def change(p: Tensor, clock: float) -> Tensor:
        kappa = 1 - math.exp(-clock)  # kappa_t = t
        t = torch.full((len(x),), kappa, dtype=D)
        rate = path.canonical(field(x, t), x, t).exp()
        moved = path.moved(x)
        if moved is not None:
            rate = torch.where(moved.unsqueeze(-1), 0.0, rate)
        out = torch.zeros_like(p)
        for i in range(2):
            for y in range(path.vocab):
                to = x.clone()
                to[:, i] = y
                flux = torch.where(x[:, i] == y, 0.0, p * rate[:, i, y])
                out.index_add_(0, to[:, 0] * n + to[:, 1], flux)
                out -= flux
        return out

    p, h = torch.outer(mass, mass).flatten(), last / steps
    for k in range(steps):
        half = change(p + 0.5 * h * change(p, k * h), (k + 0.5) * h)  # midpoint
        p = p + h * half
    return p.view(n, n)[:3, :3].flatten()


@pytest.mark.parametrize("name", ["mask", "uniform"])
def test_it_bounds_the_law_of_a_wrong_field(name: str) -> None:
    """That law is another than the data's; it comes from the master equation of its jumps."""
    path = MixturePath(3, name, prediction="denoiser")
    wrong = Tempered(path, JOINT)
    law = ends(wrong, path)
    assert law.sum().item() == pytest.approx(1, abs=3e-4)
    assert (law - JOINT.flatten()).abs().max() > 0.01
    found, error = bounds(wrong, path)
    gap = found + law.log()
    assert (gap > -4.5 * error).all()
    if name == "mask":  # tight but for the field's dependence on t
        assert gap.max() < 0.2
    exact, error = bounds(ExactTokenChain(path, JOINT), path)
    torch.testing.assert_close(
        ends(ExactTokenChain(path, JOINT), path), JOINT.flatten(), atol=3e-4, rtol=0
    )
    assert (exact + JOINT.flatten().log() > -4.5 * error).all()


def test_with_a_mask_the_two_processes_are_one() -> None:
    path = PATHS["mask"]
    wrong = Tempered(path, JOINT)
    found = [
        token_bound(
            wrong, path, X_1, redraw=redraw, generator=torch.Generator().manual_seed(0)
        ).nats
        for redraw in (False, True)
    ]
    torch.testing.assert_close(found[0], found[1], rtol=1e-9, atol=1e-9)


def test_padding_has_no_part() -> None:
    path = PATHS["uniform"]
    generators = [torch.Generator().manual_seed(i) for i in range(6)]
    x_1 = torch.randint(3, (6, 4), generator=torch.Generator().manual_seed(0))
    mask = torch.ones(6, 4, dtype=torch.bool)
    mask[:, 2:] = False
    mask[0] = False

    def field(x: Tensor, t: Tensor, condition: Any = None, mask: Any = None) -> Tensor:
        return torch.nn.functional.one_hot(x, 3).float()

    plain = token_bound(field, path, x_1, mask=mask, generator=generators, times=4)
    other = torch.where(mask, x_1, -100)
    generators = [torch.Generator().manual_seed(i) for i in range(6)]
    padded = token_bound(field, path, other, mask=mask, generator=generators, times=4)
    assert torch.equal(plain.nats, padded.nats)
    assert plain.tokens.tolist() == [0, *[2] * 5]
    assert plain.nats[0] == 0 and (plain.nats[1:] > 0).all()


def test_samples_do_not_depend_on_their_batch() -> None:
    path = PATHS["uniform"]
    chain = ExactTokenChain(path, JOINT)

    def some(rows: slice, **options: Any) -> Tensor:
        generators = [torch.Generator().manual_seed(i) for i in range(9)][rows]
        return token_bound(chain, path, X_1[rows], generator=generators, **options).nats

    whole = some(slice(None))
    torch.testing.assert_close(some(slice(2, 5)), whole[2:5])
    torch.testing.assert_close(some(slice(None), chunk_size=4), whole)


def test_the_standard_error_is_about_right() -> None:
    """Over repeats: stratified times can only make it smaller."""
    path = PATHS["mask"]
    x_1 = X_1[5].expand(3000, 2)
    generator = torch.Generator().manual_seed(0)
    found = token_bound(ExactTokenChain(path, JOINT), path, x_1, times=64, generator=generator)
    stated = found.standard_error.square().mean().sqrt()
    assert 0.7 * stated < found.nats.std() < 1.1 * stated


def test_what_has_no_bound_says_so() -> None:
    path = PATHS["uniform"]
    chain = ExactTokenChain(path, JOINT)
    with pytest.raises(CapabilityError, match="with_jumps"):
        token_bound(chain, path.with_jumps(Jumps(temperature=0.5)), X_1)
    with pytest.raises(CapabilityError, match="with_jumps"):
        token_bound(chain, path.with_jumps(Jumps(corrector=1.0)), X_1)
    with pytest.raises(CapabilityError, match="log_rates"):
        token_bound(chain, path.with_prediction("log_rates"), X_1)
    with pytest.raises(CapabilityError, match="schedule by token"):
        token_bound(chain, PATHS["mask by token"], X_1, redraw=True)
    with pytest.raises(ConfigError, match="times"):
        token_bound(chain, path, X_1, times=0)
    with pytest.raises(ShapeError, match="no tokens"):
        token_bound(chain, path, X_1[:0])
    with pytest.raises(ShapeError, match="from 0 to 2"):
        token_bound(chain, path, X_1 + 1)
    with pytest.raises(ShapeError, match="dtype"):
        token_bound(chain, path, X_1.double())
    with pytest.raises(ShapeError, match="logit"):
        token_bound(lambda x, t: torch.zeros(*x.shape, 4), path, X_1)
