from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

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


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lr", 0.0),
        ("lr", float("nan")),
        ("weight_decay", -1.0),
        ("betas", (0.9, 1.0)),
        ("eps", 0.0),
        ("warmup", -1),
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
