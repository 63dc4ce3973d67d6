"""What the solver tests share: a reference that knows nothing of manifolds, and slopes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from flowatlas.paths.base import StatePath
from flowatlas.sampling import integrate
from flowatlas.solvers import Solver

Reference = Callable[..., dict[str, Tensor]]
Slope = Callable[..., float]


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _named(state: Any) -> dict[str, Tensor]:
    return {"x": state} if isinstance(state, Tensor) else dict(state)


@pytest.fixture(scope="session")
def reference() -> Reference:
    """`reference(field, path, x, start, end)`: scipy's DOP853 on the stored coordinates.

    The derivative of a stored point is `pushforward` of the velocity; nothing else of the manifold
    is used: no exponential, no projection, no pullback.
    """

    def run(
        field: Callable[..., Any], path: StatePath, x: Any, start: float = 0.0, end: float = 1.0
    ) -> dict[str, Tensor]:
        initial = _named(x)
        shapes = {name: value.shape for name, value in initial.items()}
        sizes = [value.numel() for value in initial.values()]

        def unpacked(flat: np.ndarray[Any, Any]) -> dict[str, Tensor]:
            parts = torch.from_numpy(flat.copy()).split(sizes)
            return {n: p.view(s) for (n, s), p in zip(shapes.items(), parts, strict=True)}

        def rate(t: float, flat: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            state = unpacked(flat)
            batch = next(iter(state.values())).shape[0]
            time = torch.full((batch,), t, dtype=torch.float64)
            velocity = _named(field(state["x"] if isinstance(x, Tensor) else state, time))
            rates = [
                component.manifold.pushforward(state[name], velocity[name]).reshape(-1)  # type: ignore[attr-defined]
                for name, component in path.components.items()
            ]
            result: np.ndarray[Any, Any] = torch.cat(rates).numpy()
            return result

        flat = torch.cat([value.reshape(-1) for value in initial.values()]).numpy()
        found = solve_ivp(rate, (start, end), flat, method="DOP853", rtol=3e-14, atol=1e-14)
        assert found.success
        return unpacked(np.ascontiguousarray(found.y[:, -1]))

    return run


@pytest.fixture(scope="session")
def slope() -> Slope:
    """`slope(field, path, x, exact, make, steps)`: the order seen between two numbers of steps."""

    def run(
        field: Callable[..., Any],
        path: StatePath,
        x: Any,
        exact: Any,
        make: Callable[[int], Solver],
        steps: tuple[int, int],
        difference: Callable[[Tensor, Tensor], Tensor] = torch.sub,
        **options: Any,
    ) -> float:
        wanted: Mapping[str, Tensor] = _named(exact)
        errors = []
        for n in steps:
            end = _named(integrate(field, path, x, solver=make(n), **options).x)
            square = sum(
                difference(end[name], wanted[name]).square().sum().item() for name in wanted
            )
            errors.append(math.sqrt(square))
        assert errors[-1] > 1e-13, "the error is rounding, and has no order"
        return math.log(errors[0] / errors[1]) / math.log(steps[1] / steps[0])

    return run
