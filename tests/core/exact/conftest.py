"""Schedules that every exact flow is tested with, and numerical tools independent of torch."""

import numpy as np
import pytest
import torch
from flowatlas.schedulers import (
    CondOT,
    Cosine,
    Exponential,
    LinearVP,
    Polynomial,
    VariancePreserving,
)
from scipy.integrate import solve_ivp

CONVEX = [CondOT(), Polynomial(2.0), Exponential(3.0)]
OTHERS = [Cosine(), LinearVP(), VariancePreserving()]


@pytest.fixture(params=CONVEX + OTHERS, ids=repr)
def scheduler(request):
    return request.param


@pytest.fixture(params=CONVEX, ids=repr)
def convex(request):
    return request.param


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def solve():
    """`solve(rate, y, start, end)`: scipy's DOP853 for a batch of tensors, rate(y, t) like y."""

    def run(rate, y, start, end, tolerance=1e-12):
        def flat(t, values):
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
def difference():
    """`difference(fn, step)`: the derivative of fn at zero, to fourth order in the step."""

    def run(fn, step):
        near, far = fn(step) - fn(-step), fn(2 * step) - fn(-2 * step)
        return (8 * near - far) / (12 * step)

    return run
