"""Schedules that every exact flow is tested with, and numerical tools independent of torch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.integrate import solve_ivp
from torch import Tensor

from flowatlas.schedulers import (
    CondOT,
    Cosine,
    Exponential,
    LinearVP,
    Polynomial,
    Scheduler,
    VariancePreserving,
)

CONVEX = [CondOT(), Polynomial(2.0), Exponential(3.0)]
OTHERS = [Cosine(), LinearVP(), VariancePreserving()]


@pytest.fixture(params=CONVEX + OTHERS, ids=repr)
def scheduler(request: pytest.FixtureRequest) -> Scheduler:
    value: Scheduler = request.param
    return value


@pytest.fixture(params=CONVEX, ids=repr)
def convex(request: pytest.FixtureRequest) -> Scheduler:
    value: Scheduler = request.param
    return value


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def solve() -> Callable[..., Tensor]:
    """`solve(rate, y, start, end)`: scipy's DOP853 for a batch of tensors, rate(y, t) like y."""

    def run(
        rate: Callable[[Tensor, Tensor], Tensor],
        y: Tensor,
        start: float,
        end: float,
        tolerance: float = 1e-12,
    ) -> Tensor:
        def flat(t: float, values: NDArray[np.float64]) -> NDArray[np.float64]:
            state = torch.from_numpy(values).view(y.shape)
            return rate(state, torch.full((len(y),), t, dtype=y.dtype)).reshape(-1).numpy()

        found = solve_ivp(
            flat,
            (start, end),
            y.reshape(-1).numpy(),
            method="DOP853",
            rtol=tolerance,
            atol=tolerance,
        )
        assert found.success
        return torch.from_numpy(np.ascontiguousarray(found.y[:, -1])).view(y.shape)

    return run


@pytest.fixture
def difference() -> Callable[[Callable[[float], Tensor], float], Tensor]:
    """`difference(fn, step)`: the derivative of fn at zero, to fourth order in the step."""

    def run(fn: Callable[[float], Tensor], step: float) -> Tensor:
        near, far = fn(step) - fn(-step), fn(2 * step) - fn(-2 * step)
        return (8 * near - far) / (12 * step)

    return run
