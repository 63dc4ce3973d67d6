"""Follow a field between two times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch

from flowatlas._arguments import check_kind
from flowatlas._points import check_state
from flowatlas._precision import at_least_float32
from flowatlas._random import Generators
from flowatlas.errors import ConfigError, IntervalError
from flowatlas.field import Condition, Field, Mask, bound
from flowatlas.paths.base import StatePath
from flowatlas.paths.discrete import DiscretePath
from flowatlas.paths.interval import Interval, times_within
from flowatlas.sampling._dynamics import PathDynamics
from flowatlas.sampling._finite import check_finite
from flowatlas.sampling.replacement import Given
from flowatlas.solvers.base import Solver
from flowatlas.state import State

__all__ = ["Solution", "integrate"]


@dataclass(frozen=True, slots=True)
class Solution:
    """Where an integration ended and what it took.

    Attributes:
        x: the state at the end.
        t: times of the states in `x_t`.
        x_t: states at the start, at each requested time, and at the end; one if they are equal.
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
    fixed: Given | None = None,
    generator: Generators = None,
    enable_grad: bool = False,
    validate: bool = True,
) -> Solution:
    """Move a state from time `start` to time `end`, forward or backward.

    The velocity of some prediction kinds is infinite at an end of [0, 1] (`path.interval` says
    where). The last step of a forward integration is then exact if the prediction is: along the
    conditional path to the predicted x_1. `Euler` makes that of its own last step; other solvers
    stop at the edge first, which costs one more evaluation.
    Before the edge near t = 0, the source is taken for the state, which is off by about the alpha
    of that edge: 0.001 for noise and score prediction on the straight path.

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
        fixed: `(mask, value)` of points to hold, a `Replacement` of points to noise along, or a
            mapping of such.
        generator: for tokens and for solvers that add noise; one, or one per sample.
        enable_grad: whether gradients flow through the integration.
        validate: whether to check that `x` is finite and on the manifold, and the end finite.

    Raises:
        ShapeError: a state, condition, mask or prediction that does not fit.
        ConfigError: `times` that are not strictly monotone between the two ends; a path or solver
            that is none.
        IntervalError: times outside [0, 1], or where the velocity is infinite.
        GeometryError: a state that is not finite or off the manifold.
        CapabilityError: going backward with tokens whose source has no law that is known; noise
            on a component without a score.
        SolverError: the end is not finite, or the solver could not go on.
    """
    check_state(path, x, "x")
    return follow(
        field,
        path,
        x,
        name="x",
        start=start,
        end=end,
        solver=solver,
        times=times,
        condition=condition,
        mask=mask,
        fixed=fixed,
        generator=generator,
        enable_grad=enable_grad,
        validate=validate,
    )


def follow(
    field: Field,
    path: StatePath,
    x: State,
    *,
    name: str,
    start: float,
    end: float,
    solver: Solver,
    times: Sequence[float] = (),
    enable_grad: bool,
    validate: bool,
    drawn: bool = False,
    **parts: Any,
) -> Solution:
    """`integrate` for a state that its user knows by `name`, or that was `drawn` from a source."""
    check_kind("solver", solver, Solver, "Midpoint(steps=50)")
    # A guided field returns velocities, whatever the network predicts.
    interval = solver.interval(bound(field, path)[1])
    _check_times(path, solver, interval, start, end, times)
    x = at_least_float32(x)
    begin, stop = (min(max(t, interval.start), interval.end) for t in (start, end))
    with torch.set_grad_enabled(enable_grad and torch.is_grad_enabled()):
        dynamics = PathDynamics(field, path, x, name=name, **parts)
        last = dynamics.continuous(dynamics.prepare(x, validate and not drawn, start))
        states, accepted, rejected = [dynamics.record(last)], 0, 0
        if begin < stop < end:
            solver, stop = solver.before([begin, *times, end], stop)
        if begin != stop:
            # The last time to be recorded may be where the last step begins.
            stops = [begin, *(t for t in times if t != stop), stop]
            with times_within(begin, stop):
                found = solver.solve(dynamics, last, stops)
            last, states = found.x, found.states
            accepted, rejected = found.accepted, found.rejected
        if max(start, stop) < end:
            last = dynamics.finish(last, max(start, stop), end)
            accepted += 1
            states = [*states[: 1 + len(times)], dynamics.record(last)]
        elif len(states) == 1 and start != end:
            states.append(states[0])
        states = [dynamics.impose(state) for state in states]
        ends = (start, *times, end) if start != end else (start,)
        if validate:
            check_finite(solver, ends, states)
        return Solution(states[-1], ends, tuple(states), dynamics.nfe, accepted, rejected)


def _check_times(
    path: StatePath,
    solver: Solver,
    interval: Interval,
    start: float,
    end: float,
    times: Sequence[float],
) -> None:
    for name, t in (("start", start), ("end", end)):
        if not 0.0 <= t <= 1.0:
            raise IntervalError(f"{name}: got {t}; times run from 0 (source) to 1 (data).")
    if not isinstance(times, Sequence):
        raise ConfigError(
            f"times: got {type(times).__name__}; it must be a sequence of numbers, such as (0.5,)."
        )
    sign = 1 if start < end else -1
    if times and not all(sign * (s - t) > 0 for t, s in pairwise([start, *times, end])):
        raise ConfigError(
            f"times: got {list(times)}; they must lie between start = {start} and end = {end}, "
            "strictly monotone in that direction."
        )
    otherwise = ", or train with velocity prediction" if interval == path.interval else ""
    if not all(interval.start < t < interval.end for t in times):
        raise IntervalError(
            f"times: got {list(times)}, but this path's {solver.evaluates} is finite "
            f"only on [{interval.start:g}, {interval.end:g}]; between that and [0, 1] there is no "
            f"state to record. Ask for times inside{otherwise}."
        )
    if start > interval.end and end < start:
        raise IntervalError(
            f"start: got {start}, but this path's {solver.evaluates} is finite only up to "
            f"t = {interval.end:g}. Pass start={interval.end:g}{otherwise}."
        )
    for component in path.components.values() if end < start else ():
        if isinstance(component, DiscretePath):
            component.check_reversible()
