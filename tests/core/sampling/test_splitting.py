"""Continuous and discrete components together: when tokens jump, and on what."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from flowatlas._random import Generators, rand
from flowatlas.paths import AffinePath, DiscretePath, PathSample, ProductPath
from flowatlas.sampling import integrate, sample
from flowatlas.solvers import RK4, Dopri5, Euler, PerSample, Shared, Solver
from flowatlas.sources import Source

D = torch.float64


class Zeros(Source):
    def sample(
        self,
        shape: Sequence[int],
        *,
        generator: Generators = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        return torch.zeros(tuple(shape), dtype=torch.int64)


class Decay(DiscretePath):
    """Tokens 0 turn to 1 at the predicted rate; `calls` records every jump."""

    prediction = "logits"
    weight = 1.0

    def __init__(self) -> None:
        self.source = Zeros()
        self.calls: list[tuple[Tensor, Tensor]] = []

    def interpolate(
        self, x_0: Tensor, x_1: Tensor, t: Tensor, noise: Tensor | None = None
    ) -> tuple[Tensor, None]:
        return x_0, None

    def point_loss(self, prediction: Tensor, sample: PathSample) -> Tensor:
        return prediction

    def jump(
        self, x: Tensor, t: Tensor, s: Tensor, prediction: Tensor, *, generator: Generators = None
    ) -> Tensor:
        self.calls.append((t, s))
        chance = 1 - torch.exp(-(s - t).view(-1, 1) * prediction)
        return torch.where(rand(x.shape, generator=generator) < chance, 1, x)


def field(state: dict[str, Tensor], t: Tensor, condition: Any = None) -> dict[str, Tensor]:
    """Places are pushed by the tokens; tokens decay at rate 2."""
    turned = state["token"].to(D).sum(1, keepdim=True)
    place = state["place"]
    return {
        "place": 3 * torch.cos(4 * place) + turned + 8 * torch.cos(12 * t).view(-1, 1),
        "token": torch.full(state["token"].shape, 2.0, dtype=D),
    }


def start(batch: int) -> dict[str, Tensor]:
    place = torch.linspace(-1, 1, batch, dtype=D).view(-1, 1)
    return {"place": place, "token": torch.zeros(batch, 5, dtype=torch.int64)}


def generators(count: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(i) for i in range(count)]


@pytest.mark.parametrize("solver", [Euler(7), RK4(3), Dopri5(1e-4, 1e-4)], ids=repr)
def test_tokens_jump_once_after_each_accepted_step(solver: Solver) -> None:
    decay = Decay()
    found = integrate(field, ProductPath(place=AffinePath(), token=decay), start(4), solver=solver)
    assert len(decay.calls) == found.accepted
    ends = [(t[0].item(), s[0].item()) for t, s in decay.calls]
    assert ends[0][0] == 0.0 and ends[-1][1] == 1.0
    assert all(before[1] == after[0] for before, after in itertools.pairwise(ends))


def test_evaluations_with_tokens() -> None:
    """The velocity after a jump is another, so a step's last stage is not the next one's first."""
    path = ProductPath(place=AffinePath(), token=Decay())
    found = integrate(field, path, start(4), solver=Dopri5(1e-4, 1e-4))
    assert found.rejected > 0
    assert found.nfe == 7 * found.accepted + 6 * found.rejected
    assert integrate(field, path, start(4), solver=RK4(3)).nfe == 12


def test_the_law_of_the_tokens() -> None:
    """Decay at rate 2 leaves exp(-2) after unit time, for any steps: they compose exactly."""
    path = ProductPath(place=AffinePath(), token=Decay())
    end = integrate(
        field, path, start(4000), solver=Euler(5), generator=torch.Generator().manual_seed(0)
    ).x
    left = (end["token"] == 0).double().mean().item()
    wanted = math.exp(-2)
    assert abs(left - wanted) < 5 * math.sqrt(wanted * (1 - wanted) / 20_000)  # 6e-7


@pytest.mark.parametrize("solver", [Euler(5), Dopri5(1e-4, 1e-4, control=PerSample())], ids=repr)
def test_tokens_do_not_depend_on_the_batch(solver: Solver) -> None:
    """Not even when samples take, and refuse, steps of their own."""

    def run(rows: slice, **options: Any) -> dict[str, Tensor]:
        path = ProductPath(place=AffinePath(), token=Decay())
        x = {name: value[rows] for name, value in start(8).items()}
        end: dict[str, Tensor] = sample(
            field, path, x_init=x, solver=solver, generator=generators(8)[rows], **options
        )
        return end

    whole = run(slice(0, 8))
    assert 0 < whole["token"].sum() < 40
    for part, rows in (
        (run(slice(2, 4)), slice(2, 4)),
        (run(slice(7, 8)), slice(7, 8)),
        (run(slice(0, 8), chunk_size=3), slice(0, 8)),
    ):
        assert torch.equal(part["token"], whole["token"][rows])
        assert (part["place"] - whole["place"][rows]).abs().max() < 1e-12


def test_refused_steps_draw_nothing() -> None:
    decay = Decay()
    path = ProductPath(place=AffinePath(), token=decay)
    integrate(field, path, start(6), solver=Dopri5(1e-5, 1e-5, control=PerSample()))
    assert all((s > t).all() for t, s in decay.calls)
    sizes = {len(t) for t, _ in decay.calls}
    assert len(sizes) > 1  # some jumped while others had been refused


@pytest.mark.parametrize("control", [Shared(), PerSample()], ids=repr)
def test_fixed_and_missing_tokens_do_not_jump(control: Any) -> None:
    path = ProductPath(place=AffinePath(), token=Decay())
    mask = torch.tensor([True, True, False, True, True]).expand(6, 5)
    held = torch.tensor([False, True, False, False, False]).expand(6, 5)
    known = torch.full((6, 5), 3)

    def masked(state: Any, t: Tensor, condition: Any = None, **given: Any) -> Any:
        return field(state, t)

    end = integrate(
        masked,
        path,
        start(6),
        mask={"token": mask},
        fixed={"token": (held, known)},
        solver=Dopri5(1e-4, 1e-4, control=control),
    ).x["token"]
    assert (end[:, 1] == 3).all() and (end[:, 2] == 0).all()
    assert (end[:, [0, 3, 4]] == 1).any()
