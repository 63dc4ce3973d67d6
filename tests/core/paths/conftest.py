"""What the path tests share: schedules, and a mixture to be exact about."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

from flowatlas.exact import GaussianMixture
from flowatlas.schedulers import (
    CondOT,
    Cosine,
    Exponential,
    LinearVP,
    Polynomial,
    Scheduler,
    VariancePreserving,
)

SCHEDULERS: list[Scheduler] = [
    CondOT(),
    Polynomial(2),
    Cosine(),
    LinearVP(),
    VariancePreserving(),
    Exponential(3.0),
]


@pytest.fixture(params=SCHEDULERS, ids=repr)
def scheduler(request: pytest.FixtureRequest) -> Scheduler:
    chosen: Scheduler = request.param
    return chosen


@pytest.fixture(scope="session")
def mixture() -> GaussianMixture:
    return GaussianMixture(
        torch.tensor([1.0, 2.0]),
        torch.tensor([[-1.0, 0.5], [1.5, 1.0]]),
        stds=torch.tensor([[0.6, 0.4], [0.5, 0.8]]),
    )


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def two_tokens() -> ModuleType:
    """The module with `TwoTokenMaskPath`."""
    spec = importlib.util.spec_from_file_location(
        "two_tokens", Path(__file__).with_name("two_tokens.py")
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
