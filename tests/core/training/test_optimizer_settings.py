from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import AdamW, Muon, Optimizer

from flowatlas.errors import ConfigError
from flowatlas.training import OptimizerSettings


def test_warm_up_then_cosine() -> None:
    settings = OptimizerSettings(warmup=10, final=0.1)
    factors = [settings.factor(step, 100) for step in range(101)]
    assert factors[0] == pytest.approx(0.1)
    assert factors.index(max(factors)) == 9
    assert factors[50] == pytest.approx(0.55)
    assert factors[100] == pytest.approx(0.1)
    assert all(a >= b for a, b in pairwise(factors[9:]))


def test_constant() -> None:
    settings = OptimizerSettings(warmup=0, schedule="constant")
    assert {settings.factor(step, 0) for step in range(50)} == {1.0}


def test_vectors_are_not_decayed_and_the_schedule_is_followed() -> None:
    model = nn.Linear(3, 2)
    settings = OptimizerSettings(lr=0.1, weight_decay=0.3, warmup=2, schedule="constant")
    optimizer, schedule = settings.build(model, 10, fused=False)
    decays = {p.ndim: g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert decays == {2: 0.3, 1: 0.0}
    rates = []
    for _ in range(3):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([0.05, 0.1, 0.1])


def layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(40, 64), nn.Tanh(), nn.Linear(64, 48), nn.Tanh(), nn.Linear(48, 2)
    )


def descend(model: nn.Module, optimizers: list[Optimizer], steps: int) -> None:
    for step in range(steps):
        x = torch.randn(16, 40, generator=torch.Generator().manual_seed(step))
        loss = model(x).square().mean()
        model.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()


def test_muon_has_the_hidden_matrices_and_adamw_the_rest() -> None:
    mine, theirs = layers(), layers()
    settings = OptimizerSettings(lr=0.01, weight_decay=0.1, warmup=0, algorithm="muon")
    optimizer, _ = settings.build(mine, 10, fused=False)
    descend(mine, [optimizer], 5)

    values = list(theirs.parameters())
    hidden, head, vectors = [values[0], values[2]], [values[4]], values[1::2]
    peers: list[Optimizer] = [
        Muon(hidden, lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        AdamW(head, lr=0.01, weight_decay=0.1),
        AdamW(vectors, lr=0.01, weight_decay=0.0),
    ]
    descend(theirs, peers, 5)
    torch.testing.assert_close(list(mine.parameters()), list(theirs.parameters()))


def test_a_model_without_hidden_matrices_is_left_to_adamw() -> None:
    optimizer, _ = OptimizerSettings(algorithm="muon").build(nn.Linear(3, 2), 10, fused=False)
    assert type(optimizer) is AdamW


def test_muon_goes_on_from_its_state_and_follows_the_schedule() -> None:
    settings = OptimizerSettings(lr=0.01, warmup=0, algorithm="muon")
    whole = layers()
    optimizer, schedule = settings.build(whole, 8, fused=False)
    for _ in range(8):
        descend(whole, [optimizer], 1)
        schedule.step()

    half = layers()
    optimizer, schedule = settings.build(half, 8, fused=False)
    for _ in range(4):
        descend(half, [optimizer], 1)
        schedule.step()
    saved = copy.deepcopy((optimizer.state_dict(), schedule.state_dict()))
    optimizer, schedule = settings.build(half, 8, fused=False)
    optimizer.load_state_dict(saved[0])
    schedule.load_state_dict(saved[1])
    for _ in range(4):
        descend(half, [optimizer], 1)
        schedule.step()
    assert all(map(torch.equal, half.parameters(), whole.parameters()))
    assert {group["lr"] for group in optimizer.param_groups} == {0.0}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lr", 0.0),
        ("lr", float("nan")),
        ("weight_decay", -1.0),
        ("betas", (0.9, 1.0)),
        ("eps", 0.0),
        ("warmup", -1),
        ("algorithm", "sgd"),
        ("schedule", "linear"),
        ("final", 2.0),
    ],
)
def test_values_are_checked(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name):
        OptimizerSettings(**{name: value})


def test_nothing_to_train() -> None:
    model = nn.Linear(1, 1).requires_grad_(False)
    with pytest.raises(ConfigError, match="requires a gradient"):
        OptimizerSettings().build(model, 1, fused=False)
    assert torch.is_grad_enabled()
