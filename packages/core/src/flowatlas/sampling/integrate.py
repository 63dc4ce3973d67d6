"""Follow a field between two times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from flowatlas._points import check_data
from flowatlas._random import Generators
from flowatlas.errors import CapabilityError, ConfigError, IntervalError
from flowatlas.field import Condition, Field, Fixed, Mask
from flowatlas.paths.base import DiscretePath, StatePath, at_least_float32
from flowatlas.sampling._dynamics import PathDynamics
from flowatlas.solvers.base import Solver
from flowatlas.state import State

__all__ = ["Solution", "integrate"]


@dataclass(frozen=True, slots=True)
class Solution:
    """Where an integration ended and what it took.

    Attributes:
        x: the state at the end.
        t: times of the states in `x_t`.
        x_t: states at the start, at each requested time, and at the end.
        nfe: evaluations of the field.
        accepted: steps taken.
        rejected: steps tried and shortened, by adaptive solvers.
    """

    x: Any
    t: tuple[float, ...]
    x_t: tuple[Any, ...]
    nfe: int
    accepted: int
    rejected: int


def integrate(
    field: Field,
    path: StatePath,
    x: State,
    *,
    start: float = 0.0,
    end: float = 1.0,
    solver: Solver,
    times: Sequence[float] = (),
    condition: Condition | None = None,
    mask: Mask | None = None,
    fixed: Fixed | None = None,
    generator: Generators = None,
    enable_grad: bool = False,
    validate: bool = True,
) -> Solution:
    """Move a state from time `start` to time `end`, forward or backward.

    The velocity of some prediction kinds is infinite at an end of [0, 1] (`path.interval` says
    where). A forward integration then stops at the edge and takes one last step, exact if the
    prediction is, along the conditional path to the predicted x_1; this costs one more evaluation.
    Before the edge near t = 0, the source is the state.

    Args:
        field: called as `field(x, t)`, with condition, mask and fixed masks where given.
        path: what the field was trained on: it turns predictions into velocities.
        x: the state at `start`.
        start: time in [0, 1].
        end: time in [0, 1]; before `start` to go backward, to encode data for example.
        solver: `Euler(steps=50)`, `Dopri5(rtol=1e-6)` and so on.
        times: further times, strictly between the two, at which to record the state.
        condition: mapping of tensors `(batch, ...)`.
        mask: True where a point exists. Padding comes back at arbitrary valid points.
        fixed: `(mask, value)` of points to hold, or a mapping of such.
        generator: for discrete components; one, or one per sample.
        enable_grad: whether gradients flow through the integration.
        validate: whether to check that `x` is finite and on the manifold.

    Raises:
        IntervalError: times outside [0, 1], or a start where the velocity is infinite.
        GeometryError: a state that is not finite or off the manifold.
        CapabilityError: going backward with discrete components.
    """
    _check_times(path, start, end, times)
    x = at_least_float32(x)
    with torch.set_grad_enabled(enable_grad and torch.is_grad_enabled()):
        dynamics = PathDynamics(
            field, path, x, condition=condition, mask=mask, fixed=fixed, generator=generator
        )
        x = dynamics.prepare(x)
        if validate:
            check_data(path, x, "x")
        begin, stop = _within(path, start), _within(path, end)
        inner = [t for t in times if min(begin, stop) < t < max(begin, stop)]
        if begin == stop:
            states, accepted, rejected = [dynamics.record(dynamics.continuous(x))], 0, 0
            last = dynamics.continuous(x)
        else:
            found = solver.solve(dynamics, dynamics.continuous(x), [begin, *inner, stop])
            states, accepted, rejected = found.states, found.accepted, found.rejected
            last = found.x
        if stop < end:
            last = dynamics.finish(last, stop, end)
            accepted += 1
            states[-1] = dynamics.record(last)
        ends = (start,) if begin == stop == end else (start, *inner, end)
        return Solution(
            dynamics.record(last), ends, tuple(states), dynamics.nfe, accepted, rejected
        )


def _within(path: StatePath, t: float) -> float:
    return min(max(t, path.interval.start), path.interval.end)


def _check_times(path: StatePath, start: float, end: float, times: Sequence[float]) -> None:
    for name, t in (("start", start), ("end", end)):
        if not 0.0 <= t <= 1.0:
            raise IntervalError(f"{name}: got {t}; times run from 0 (source) to 1 (data).")
    ordered = [start, *times, end]
    rising = sorted(ordered, reverse=start > end)
    if ordered != rising or len(set(times)) != len(times):
        raise ConfigError(
            f"times: got {list(times)}; they must lie between start = {start} and end = {end}, "
            "strictly monotone in that direction."
        )
    edge = path.interval.end
    if start > edge and end < start:
        raise IntervalError(
            f"start: got {start}, but this path's velocity is finite only up to t = {edge:g}. "
            f"Start at {edge:g}, or train with velocity prediction."
        )
    if end < start and any(isinstance(p, DiscretePath) for p in path.components.values()):
        raise CapabilityError(
            f"end: got {end} before start = {start}; discrete components cannot run backward."
        )
