"""Rotations, translations and tokens in one flow: trained, sampled by splitting, and compared.

The discrete component is the smallest there is (`two_tokens.py`). What is tested is the contract
around it: the noise of its interpolation, its loss in the sum, its jumps between the steps of the
continuous components, and what is refused.
"""

from __future__ import annotations

import math
from itertools import pairwise
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flowatlas.errors import CapabilityError
from flowatlas.manifolds import SO3
from flowatlas.objectives import FlowMatching
from flowatlas.paths import AffinePath, GeodesicPath, ProductPath
from flowatlas.sampling import encode, integrate, log_prob, sample
from flowatlas.solvers import Euler, Midpoint

State = dict[str, Tensor]


def mixed(two_tokens: ModuleType, prediction: str = "target") -> ProductPath:
    return ProductPath(
        rotation=GeodesicPath(SO3()),
        translation=AffinePath(prediction=prediction),
        token=two_tokens.TwoTokenMaskPath(),
    )


def state_shape(n: int) -> dict[str, tuple[int, ...]]:
    return {"rotation": (n, 3, 3), "translation": (n, 3), "token": (n,)}


def turn(*w: float) -> Tensor:
    return SO3().expmap(torch.eye(3), torch.tensor(w))


# With the exact field of three atoms, nothing but the splitting and the sample size errs.


class ThreeAtoms:
    """The exact field of a law on three states, two of which share their token."""

    weights = torch.tensor([0.5, 0.3, 0.2])
    rotations = torch.stack([turn(0.0, 0.0, 1.0), turn(2.0, 0.0, 0.0), turn(0.0, -2.0, 1.0)])
    translations = torch.tensor([[1.0, 0.0, 0.0], [-1.0, 1.0, 0.0], [0.0, -1.0, 1.0]])
    tokens = torch.tensor([0, 1, 1])

    def posterior(self, x: Any, t: Tensor) -> Tensor:
        """Probability of each atom given the state at time t, `(batch, 3)`.

        The components of a state are independent given the atom. Geodesics from uniform rotations
        to an atom contract angles by 1 - t; the volume of a shell at angle a is as 1 - cos a.
        """
        left = 1 - t.unsqueeze(-1)
        angle = SO3().dist(x["rotation"].unsqueeze(1), self.rotations)
        before = angle / left
        shell = (1 - torch.cos(before.clamp(max=math.pi))) / (1 - torch.cos(angle)).clamp(min=1e-9)
        rotation = shell.clamp(min=1e-9).log() - 50 * (before - math.pi).clamp(min=0)
        gap = x["translation"].unsqueeze(1) - t[:, None, None] * self.translations
        translation = -0.5 * (gap / left.unsqueeze(-1)).square().sum(-1)
        token = x["token"].unsqueeze(-1)
        possible = (token == 2) | (token == self.tokens)
        log_weights = self.weights.log() + rotation + translation
        return torch.softmax(log_weights.masked_fill(~possible, -1e4), -1)

    def __call__(self, x: Any, t: Tensor, condition: Any = None, /, **masks: Any) -> State:
        p = self.posterior(x, t)
        to_atoms = SO3().logmap(x["rotation"].unsqueeze(1), self.rotations)
        turning = torch.einsum("bk,bki->bi", p, to_atoms) / (1 - t).unsqueeze(-1)
        chances = torch.stack([p[:, 0], p[:, 1] + p[:, 2]], -1)
        return {
            "rotation": turning,
            "translation": p @ self.translations,
            "token": chances.clamp(min=1e-30).log(),
        }


def test_splitting_the_exact_field_samples_the_exact_joint(two_tokens: ModuleType) -> None:
    atoms, n = ThreeAtoms(), 1500
    x: Any = sample(
        atoms,
        mixed(two_tokens),
        shape=state_shape(n),
        solver=Midpoint(steps=60),
        generator=torch.Generator().manual_seed(0),
    )
    by_rotation = SO3().dist(x["rotation"].unsqueeze(1), atoms.rotations)
    by_translation = (x["translation"].unsqueeze(1) - atoms.translations).norm(dim=-1)
    assert by_rotation.min(1).values.quantile(0.98) < 0.05
    assert by_translation.min(1).values.quantile(0.98) < 0.05
    atom = by_rotation.argmin(1)
    # The components name the same atom, except where the last jumps came too late to be heard.
    assert (by_translation.argmin(1) == atom).float().mean() > 0.98
    assert (atoms.tokens[atom] == x["token"]).float().mean() > 0.98
    share = torch.bincount(atom, minlength=3) / n
    # Four standard errors, and one step of the splitting.
    allowed = 4 * (atoms.weights * (1 - atoms.weights) / n).sqrt() + 1 / 60
    assert ((share - atoms.weights).abs() < allowed).all()


# A trained network.

SHIFT = torch.tensor([[1.0, 0.0, 0.0], [-1.0, 0.5, 0.0]])
TURN = torch.tensor([[0.0, 0.0, 0.8], [1.0, 0.0, -0.6]])
SPREAD, SHARE = 0.3, 0.3


def draw_joint(n: int, generator: torch.Generator) -> State:
    """Token 1 with probability 0.3; the token decides where and how the frame lies."""
    token = (torch.rand(n, generator=generator) < SHARE).long()
    shift = SHIFT[token] + SPREAD * torch.randn(n, 3, generator=generator)
    w = SPREAD * torch.randn(n, 3, generator=generator)
    base = SO3().expmap(torch.eye(3).expand(n, 3, 3), TURN[token])
    return {"rotation": SO3().expmap(base, w), "translation": shift, "token": token}


class Network(nn.Module):
    """A small perceptron over all components at once."""

    def __init__(self) -> None:
        super().__init__()
        width = 96
        self.layers = nn.Sequential(
            nn.Linear(2 * (9 + 3) + 3 + 1, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, 3 + 3 + 2),
        )

    def forward(self, x: Any, t: Tensor, condition: Any = None) -> State:
        shown = nn.functional.one_hot(x["token"], 3).to(t)
        frame = torch.cat([x["rotation"].flatten(1), x["translation"]], -1)
        # Late fields are steep: what they see is scaled with them.
        steep = frame / (1.05 - t).unsqueeze(-1)
        parts = [frame, steep, shown, t.unsqueeze(-1)]
        out = self.layers(torch.cat(parts, -1))
        rotation, translation, token = out.split([3, 3, 2], -1)
        return {"rotation": rotation, "translation": translation, "token": token}


@pytest.fixture(scope="module")
def trained(two_tokens: ModuleType) -> tuple[Network, list[float]]:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    network, objective = Network(), FlowMatching(mixed(two_tokens, "velocity"))
    steps = 700
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    losses = []
    for _ in range(steps):
        output = objective(network, draw_joint(256, generator), generator=generator)
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(output.loss.item())
    return network, losses


def summary(x: State) -> Tensor:
    """What is compared: the share of token 1, and the mean frame of either token, 13 numbers."""
    one = x["token"] == 1
    parts = [one.float().mean().view(1)]
    for chosen, base in ((~one, TURN[0]), (one, TURN[1])):
        parts.append(x["translation"][chosen].mean(0))
        foot = SO3().expmap(torch.eye(3), base).expand(int(chosen.sum()), 3, 3)
        parts.append(SO3().logmap(foot, x["rotation"][chosen]).mean(0))
    return torch.cat(parts)


def expected_and_errors(n: int) -> tuple[Tensor, Tensor]:
    """The summary of the joint and its standard errors for n samples."""
    value = torch.cat([torch.tensor([SHARE]), SHIFT[0], torch.zeros(3), SHIFT[1], torch.zeros(3)])
    zeros, ones = [SPREAD / math.sqrt(n * p) for p in (1 - SHARE, SHARE)]
    share = math.sqrt(SHARE * (1 - SHARE) / n)
    return value, torch.tensor([share] + [zeros] * 6 + [ones] * 6)


#: What the network is allowed to be wrong by; the samples' own error comes on top.
TRAINING_ERROR = 0.1


def fits(x: State) -> bool:
    value, error = expected_and_errors(len(x["token"]))
    if len(x["token"].unique()) != 2:
        return False
    return bool(((summary(x) - value).abs() < TRAINING_ERROR + 4 * error).all())


def test_training_reduces_the_loss(trained: tuple[Network, list[float]]) -> None:
    _, losses = trained
    assert sum(losses[-50:]) < 0.6 * sum(losses[:10]) * 5


def test_samples_have_the_joint_law(
    trained: tuple[Network, list[float]], two_tokens: ModuleType
) -> None:
    n = 1000
    x: Any = sample(
        trained[0],
        mixed(two_tokens, "velocity"),
        shape=state_shape(n),
        solver=Midpoint(steps=40),
        generator=torch.Generator().manual_seed(1),
    )
    assert set(x) == {"rotation", "translation", "token"}
    assert x["token"].dtype == torch.int64 and x["token"].max() <= 1
    assert SO3().residual(x["rotation"]).max() < 1e-5
    assert fits(x)
    # Token and place are as correlated as in the data: the distance between the two means is
    # 2.06 standard deviations of a mixture that is 0.3 wide within.
    one = x["token"].float()
    place = x["translation"][:, 0]
    correlation = torch.corrcoef(torch.stack([one, place]))[0, 1].item()
    between = SHARE * (1 - SHARE) * (SHIFT[1, 0] - SHIFT[0, 0]).square().item()
    assert correlation == pytest.approx(-math.sqrt(between / (between + SPREAD**2)), abs=0.1)


def test_the_comparison_has_power() -> None:
    """The law itself passes; tokens that ignore the frame, or a wrong share, do not."""
    generator = torch.Generator().manual_seed(2)
    x = draw_joint(1000, generator)
    assert fits(x)
    assert not fits({**x, "token": x["token"][torch.randperm(1000, generator=generator)]})
    assert not fits({**x, "token": 1 - x["token"]})
    keep = (x["token"] == 0) | (torch.rand(1000, generator=generator) < 0.25)
    assert not fits({name: value[keep] for name, value in x.items()})


# The contract around the jumps.


def test_tokens_jump_as_often_as_the_schedule_says(two_tokens: ModuleType) -> None:
    """Half way to t = 0.5, half of the tokens have appeared: those, and no others, have changed."""
    n = 2000
    for end in (0.1, 0.5):
        x: Any = sample(
            ThreeAtoms(),
            mixed(two_tokens),
            shape=state_shape(n),
            end=end,
            solver=Euler(steps=10),
            generator=torch.Generator().manual_seed(3),
        )
        shown = (x["token"] != two_tokens.MASK).float().mean().item()
        assert shown == pytest.approx(end, abs=4 * math.sqrt(end * (1 - end) / n))


def test_tokens_that_have_appeared_stay(two_tokens: ModuleType) -> None:
    path, n = mixed(two_tokens), 200
    like = {"rotation": torch.eye(3).expand(n, 3, 3), "translation": torch.zeros(n, 3)}
    x_0 = path.draw({**like, "token": torch.zeros(n, dtype=torch.int64)})
    found = integrate(ThreeAtoms(), path, x_0, times=[0.3, 0.6, 0.9], solver=Euler(steps=20))
    tokens = [x["token"] for x in found.x_t]
    for before, after in pairwise(tokens):
        shown = before != two_tokens.MASK
        assert torch.equal(before[shown], after[shown])
    assert (tokens[-1] != two_tokens.MASK).all()


def test_one_evaluation_a_step_serves_both_kinds(two_tokens: ModuleType) -> None:
    """The jump takes the first stage's logits; only after the midpoint's last step comes another,
    conditional one."""
    path = mixed(two_tokens)
    x_0 = path.draw({k: torch.zeros(v) for k, v in state_shape(4).items()})
    for solver, evaluations in ((Euler(steps=5), 5), (Midpoint(steps=5), 2 * 5 + 1)):
        found = integrate(ThreeAtoms(), path, {**x_0, "token": x_0["token"].long()}, solver=solver)
        assert found.nfe == evaluations


def test_per_sample_generators_make_the_loss_independent_of_the_batch(
    two_tokens: ModuleType,
) -> None:
    objective = FlowMatching(mixed(two_tokens))
    x_1 = draw_joint(6, torch.Generator().manual_seed(0))

    def run(rows: slice) -> Tensor:
        generators = [torch.Generator().manual_seed(seed) for seed in range(6)[rows]]
        part = {name: value[rows] for name, value in x_1.items()}
        return objective(ThreeAtoms(), part, generator=generators).per_sample

    torch.testing.assert_close(run(slice(None))[2:5], run(slice(2, 5)))
    draws = objective.draw(x_1, generator=torch.Generator().manual_seed(1))
    assert draws.rows(slice(0, 2)).noise["token"].shape == (2,)
    whole = objective(ThreeAtoms(), x_1, draws=draws).per_sample
    part = objective(
        ThreeAtoms(), {k: v[:2] for k, v in x_1.items()}, draws=draws.rows(slice(0, 2))
    )
    torch.testing.assert_close(whole[:2], part.per_sample)


def test_densities_and_reversal_are_refused(two_tokens: ModuleType) -> None:
    path = mixed(two_tokens)
    x = draw_joint(2, torch.Generator().manual_seed(0))
    with pytest.raises(CapabilityError, match=r"token.*discrete"):
        log_prob(ThreeAtoms(), path, x, solver=Euler(steps=2))
    frames = ProductPath(rotation=GeodesicPath(SO3()), token=path.discrete["token"])
    x = {"rotation": x["rotation"], "token": x["token"]}
    with pytest.raises(CapabilityError, match="backward"):
        encode(ThreeAtoms(), frames, x, solver=Euler(steps=2))
