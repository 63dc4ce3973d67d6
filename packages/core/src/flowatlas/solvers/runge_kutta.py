"""Explicit Runge-Kutta methods with fixed steps, on any manifold."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from flowatlas._arguments import check_kind
from flowatlas.errors import ConfigError
from flowatlas.solvers.base import Dynamics, Solver, Trajectory
from flowatlas.solvers.time_grid import GivenGrid, TimeGrid, UniformGrid
from flowatlas.state import broadcast_time, map_state

__all__ = ["RK4", "Euler", "FixedStepSolver", "Heun", "Midpoint", "RungeKutta", "Tableau"]


@dataclass(frozen=True, slots=True)
class Tableau:
    """Butcher tableau of an explicit method.

    Attributes:
        a: row i holds the coefficients of stages 0 to i - 1; the first row is empty.
        b: weights of the result.
        c: times of the stages.
    """

    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    c: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Stages:
    """The stages of one step.

    Attributes:
        velocities: at each stage, tangent there.
        local: the same in the linear space of `retract` at the start of the step.
        last: the point of the last stage, which some methods return.
    """

    velocities: list[Any]
    local: list[Any]
    last: Any


def scaled(h: Tensor, u: Any) -> Any:
    """h u, with h a number or one per sample."""
    if isinstance(u, Tensor):
        return u * (h if h.ndim == 0 else broadcast_time(h, u))
    return map_state(lambda a: a * (h if h.ndim == 0 else broadcast_time(h, a)), u)


def combined(h: Tensor, weights: Sequence[float], us: Sequence[Any]) -> Any:
    """h times the sum of w u, over the weights that are not zero."""
    (first, total), *others = [(w, u) for w, u in zip(weights, us, strict=True) if w != 0.0]
    for w, u in others:
        total = map_state(partial(torch.add, alpha=w / first), total, u)
    # The first weight goes with h: scaling the state is a pass over memory, scaling h is not.
    return scaled(h if first == 1.0 else h * first, total)


def run_stages(
    tableau: Tableau, dynamics: Dynamics, x: Any, t: Tensor, h: Tensor, first: Any
) -> Stages:
    """Evaluate the stages of one step.

    The stages are added up in the linear space of `manifold.retract` at x. In flat space that is
    the textbook method; on an embedded manifold the ambient one, evaluated on the manifold and
    projected; on a Lie group, with `pullback` = dexpinv, the Runge-Kutta-Munthe-Kaas method. All
    keep the order of the tableau.

    Reference: Geometric Numerical Integration, Hairer, Lubich and Wanner, 2006, IV.4 (projection)
    and IV.8 (Munthe-Kaas).
    """
    velocities, local, point = [first], [first], x
    for row, c in zip(tableau.a[1:], tableau.c[1:], strict=True):
        u = combined(h, row, local[: len(row)])
        point = dynamics.manifold.retract(x, u)
        velocity = dynamics.velocity(point, t + c * h)
        velocities.append(velocity)
        local.append(dynamics.manifold.pullback(x, u, velocity))
    return Stages(velocities, local, point)


class FixedStepSolver(Solver):
    """Steps of given length.

    Args:
        steps: number of equal steps.
        grid: where to put the knots instead; give one of the two.

    Raises:
        ConfigError: neither or both given, fewer than one step, or a grid that is none.
    """

    def __init__(self, steps: int | None = None, *, grid: TimeGrid | None = None) -> None:
        name = type(self).__name__
        if (steps is None) == (grid is None):
            raise ConfigError(
                f"steps, grid: {name} takes exactly one of them: {name}(steps=50), or "
                f"{name}(grid=UniformGrid(50))."
            )
        self.grid = UniformGrid(steps) if steps is not None else grid
        check_kind("grid", self.grid, TimeGrid, "UniformGrid(50)")

    @abstractmethod
    def step(self, dynamics: Dynamics, x: Any, t: Tensor, h: Tensor, first: Any) -> Any:
        """The continuous state at t + h, given the velocity `first` at (x, t)."""

    def knots(self, times: Sequence[float]) -> list[float]:
        """Where its steps begin and end, with the requested times among them."""
        assert self.grid is not None
        return _merged(self.grid, times)

    def solve(self, dynamics: Dynamics, x: Any, times: Sequence[float]) -> Trajectory:
        stops, knots = set(times), self.knots(times)
        states = [dynamics.record(x)]
        ts = [dynamics.time(t) for t in knots]
        hs = step_lengths(knots, ts[0])
        for i, h in enumerate(hs):
            t, s = ts[i], ts[i + 1]
            x = dynamics.commit(self.step(dynamics, x, t, h, dynamics.begin(x, t)), t, s)
            if knots[i + 1] in stops:
                states.append(dynamics.record(x))
        return Trajectory(x, states, accepted=len(hs), rejected=0)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(grid={self.grid!r})"


def step_lengths(knots: Sequence[float], like: Tensor) -> tuple[Tensor, ...]:
    """Lengths of the steps between knots, each `()`, rounded once."""
    lengths = [s - t for t, s in pairwise(knots)]
    return torch.tensor(lengths, dtype=like.dtype, device=like.device).unbind()


def _merged(grid: TimeGrid, times: Sequence[float]) -> list[float]:
    """The grid's knots with the requested times among them, so that each is stopped at exactly."""
    start, end = times[0], times[-1]
    knots = grid.knots(start, end)
    sign = 1 if start < end else -1
    monotone = all(sign * (s - t) > 0 for t, s in pairwise(knots))
    if len(knots) < 2 or (knots[0], knots[-1]) != (start, end) or not monotone:
        raise ConfigError(
            f"grid: {grid!r} returned {knots}; from {start:g} to {end:g} it must return strictly "
            "monotone times that begin and end with exactly these two."
        )
    if len(times) == 2:
        return knots
    # A knot that is a requested time but for rounding would make a step of no length.
    near = 1e-9 * abs(end - start)
    kept = [t for t in knots if all(abs(t - s) > near for s in times)]
    return sorted([*kept, *times], reverse=start > end)


class RungeKutta(FixedStepSolver):
    """An explicit Runge-Kutta method given by its tableau."""

    tableau: Tableau

    def step(self, dynamics: Dynamics, x: Any, t: Tensor, h: Tensor, first: Any) -> Any:
        stages = run_stages(self.tableau, dynamics, x, t, h, first)
        return dynamics.manifold.retract(x, combined(h, self.tableau.b, stages.local))


class Euler(FixedStepSolver):
    """Order 1, one evaluation a step, along the exponential map.

    Where the velocity is infinite at the end, the last step is the conditional one to the predicted
    x_1, from where that step begins: on straight paths the same, and no evaluation more.
    """

    def before(self, times: Sequence[float], edge: float) -> tuple[Solver, float]:
        knots = self.knots(times)[:-1]
        if knots[-1] > edge:
            return self, edge
        return (Euler(grid=GivenGrid(knots)) if len(knots) > 1 else self), knots[-1]

    def step(self, dynamics: Dynamics, x: Any, t: Tensor, h: Tensor, first: Any) -> Any:
        return dynamics.manifold.expmap(x, scaled(h, first))


class Midpoint(RungeKutta):
    """Order 2, two evaluations a step."""

    tableau = Tableau(a=((), (0.5,)), b=(0.0, 1.0), c=(0.0, 0.5))


class Heun(RungeKutta):
    """Order 2, two evaluations a step, the second at its end."""

    tableau = Tableau(a=((), (1.0,)), b=(0.5, 0.5), c=(0.0, 1.0))


class RK4(RungeKutta):
    """The classical method of order 4, four evaluations a step."""

    tableau = Tableau(
        a=((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)),
        b=(1 / 6, 1 / 3, 1 / 3, 1 / 6),
        c=(0.0, 0.5, 0.5, 1.0),
    )
