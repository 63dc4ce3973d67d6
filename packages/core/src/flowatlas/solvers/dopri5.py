"""The Dormand-Prince pair of orders 5 and 4 with adaptive steps, on any manifold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from flowatlas._arguments import check_kind, count
from flowatlas.errors import CapabilityError, ConfigError, SolverError
from flowatlas.solvers.base import Dynamics, Solver, Trajectory
from flowatlas.solvers.control import Control, Shared
from flowatlas.solvers.runge_kutta import Tableau, combined, run_stages

__all__ = ["DORMAND_PRINCE", "Dopri5", "StepSizeError"]

#: Stages 1 to 7; the last row is the fifth-order result, so the seventh stage is the next first.
DORMAND_PRINCE = Tableau(
    a=(
        (),
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
        (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
    ),
    b=(35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84, 0.0),
    c=(0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0),
)
#: Fifth-order weights minus fourth-order ones.
ERROR = (
    35 / 384 - 5179 / 57600,
    0.0,
    500 / 1113 - 7571 / 16695,
    125 / 192 - 393 / 640,
    -2187 / 6784 + 92097 / 339200,
    11 / 84 - 187 / 2100,
    -1 / 40,
)
#: A last step this much longer than asked for is still likely to be accepted.
SLACK = 0.03


class StepSizeError(SolverError):
    """An adaptive solver could not go on."""


@dataclass(frozen=True, slots=True)
class _Pace:
    """The signed length to try next, and the error ratio of the last accepted step."""

    length: Tensor
    ratio: Tensor


class Dopri5(Solver):
    r"""Dormand-Prince 5(4) with local extrapolation.

    The error of a step, in the linear space of `manifold.retract`, is measured against
    `atol + rtol |x|`: the root mean square over a component's numbers, then the largest over the
    components (a density in the making is one). Padding and fixed points do not count. A step is
    accepted when that ratio r is at most 1, and the next is

    $$h_{n+1} = 0.9 \, r_n^{-0.1625} \, r_{n-1}^{0.05} \, h_n$$

    long, with the factor within [0.2, 10]; the second ratio damps the swings that cost rejections.
    Every requested time is stepped to exactly, the last two steps before it being of equal length.

    A step costs six evaluations, accepted or not, and a solve one more: the last stage of a step is
    the first of the next.

    The error is that of what moves. Tokens beside it are frozen during a step and jump at its end,
    which is of first order in its length: bound that with `max_step`, or a smooth field takes steps
    in which half of the tokens jump without seeing each other.

    Args:
        rtol: relative tolerance.
        atol: absolute tolerance.
        control: `Shared()` (the default) or `PerSample()`.
        max_steps: most steps, accepted and rejected, between two requested times.
        max_step: longest step; the whole interval if None.

    Raises:
        ConfigError: a negative tolerance, or both zero; no control; `max_steps` below 1; a
            `max_step` that is not positive.
        CapabilityError: on `solve`, if there is nothing but tokens.
        StepSizeError: on `solve`, if the field is not finite, or `max_steps` do not suffice.

    Reference: Solving Ordinary Differential Equations I, Hairer, Norsett and Wanner, 1993, table
    II.5.2 and section II.4; the controller is that of volume II, section IV.2.
    """

    def __init__(
        self,
        rtol: float = 1e-5,
        atol: float = 1e-5,
        *,
        control: Control | None = None,
        max_steps: int = 10_000,
        max_step: float | None = None,
    ) -> None:
        if not (rtol >= 0 and atol >= 0 and 0 < rtol + atol < math.inf):
            raise ConfigError(
                f"rtol, atol: got {rtol}, {atol}; they must be zero or more, and one positive."
            )
        self.rtol, self.atol = rtol, atol
        self.control = Shared() if control is None else control
        check_kind("control", self.control, Control, "PerSample()")
        self.max_steps = count("max_steps", max_steps)
        if max_step is not None and not 0 < max_step < math.inf:
            raise ConfigError(f"max_step: got {max_step}; it must be positive and finite, or None.")
        self.max_step = math.inf if max_step is None else max_step

    def solve(self, dynamics: Dynamics, x: Any, times: Sequence[float]) -> Trajectory:
        if isinstance(x, Mapping) and not x:
            raise CapabilityError(
                "solver: Dopri5 controls the error of what moves, and tokens alone only jump. Use "
                "AdaptiveTauLeaping() or TauLeaping(steps)."
            )
        states = [dynamics.record(x)]
        t = dynamics.time(times[0])
        if not len(t):
            return Trajectory(x, states * len(times), accepted=0, rejected=0)
        first = dynamics.begin(x, t)
        pace = self._first_pace(dynamics, x, t, first, times[-1] - times[0])
        accepted = rejected = 0
        for _, end in pairwise(times):
            x, first, pace, taken, refused = self._reach(dynamics, x, t, end, first, pace)
            t = dynamics.time(end)
            states.append(dynamics.record(x))
            accepted, rejected = accepted + taken, rejected + refused
        return Trajectory(x, states, accepted, rejected)

    def _reach(
        self, dynamics: Dynamics, x: Any, t: Tensor, end: float, first: Any, pace: _Pace
    ) -> tuple[Any, Any, _Pace, int, int]:
        """Step until every sample is at `end`; `first` is None where it has to be evaluated."""
        choose = self.control.choose
        last = dynamics.time(end)
        accepted = rejected = 0
        for _ in range(self.max_steps):
            if first is None:
                first = dynamics.begin(x, t)
            step, reaches = self._step(self._bounded(pace), last - t)
            stages = run_stages(DORMAND_PRINCE, dynamics, x, t, step, first)
            error = combined(step, ERROR, stages.local)
            ratio = self.control.reduce(self._mean_square(dynamics, error, x, stages.last)).sqrt()
            ratio = torch.where(torch.isfinite(ratio), ratio, torch.inf)
            accept = ratio <= 1
            self._check_progress(step, accept, t)
            pace = self._next_pace(pace, step, ratio, accept & reaches)
            arrival = choose(accept, torch.where(reaches, last, t + step), t)
            if accept.any():
                new = choose(accept, stages.last, x)
                x = dynamics.commit(new, t, arrival)
                reuse = dynamics.reusable
                first = choose(accept, stages.velocities[-1], first) if reuse else None
            t = arrival
            taken = bool(accept.all())
            accepted, rejected = accepted + taken, rejected + (not taken)
            if taken and bool(reaches.all()):
                return x, first, pace, accepted, rejected
        behind = t.min() if pace.length.max() > 0 else t.max()
        raise StepSizeError(
            f"Dopri5: {self.max_steps} steps did not reach t = {end:g}; stopped at t = {behind:g}. "
            "Loosen rtol and atol, raise max_steps, or use a fixed-step solver."
        )

    def _bounded(self, pace: _Pace) -> _Pace:
        """The pace with steps of at most `max_step`."""
        if self.max_step == math.inf:
            return pace
        longest = self.max_step / (1 + SLACK)
        return _Pace(pace.length.clamp(-longest, longest), pace.ratio)

    @staticmethod
    def _step(pace: _Pace, left: Tensor) -> tuple[Tensor, Tensor]:
        """The step to take, and whether it reaches the end of what is `left`, `(batch,)`."""
        left = left if pace.length.ndim else left[0]
        parts = (left / pace.length - SLACK).ceil().clamp(min=1)
        return torch.where(parts <= 2, left / parts, pace.length), parts == 1

    @staticmethod
    def _next_pace(pace: _Pace, step: Tensor, ratio: Tensor, cut: Tensor) -> _Pace:
        """How to go on after a step; `cut` says where it may have been short for want of time."""
        accept, known = ratio <= 1, ratio.clamp(min=1e-10)
        growth = torch.where(accept, known**-0.1625 * pace.ratio**0.05, known**-0.2)
        length = (step * (0.9 * growth).clamp(0.2, 10.0)).abs()
        length = torch.where(cut, torch.maximum(length, pace.length.abs()), length)
        return _Pace(
            length.copysign(pace.length), torch.where(accept, ratio.clamp(min=1e-4), pace.ratio)
        )

    @staticmethod
    def _check_progress(step: Tensor, accept: Tensor, t: Tensor) -> None:
        stuck = ~accept & (step.abs() < 16 * torch.finfo(t.dtype).eps)
        if stuck.any():
            where = t[stuck.expand_as(t)][0]
            raise StepSizeError(
                f"Dopri5: at t = {where:g} no step is small enough. The field is NaN, infinite "
                "or discontinuous there, or the tolerances are below what the dtype resolves: "
                "check the model's weights and path.interval, loosen rtol and atol, or use float64."
            )

    def _mean_square(self, dynamics: Dynamics, error: Any, x: Any, new: Any) -> Tensor:
        """Mean over the moving numbers of a component, largest of the components, `(batch,)`."""
        named = isinstance(error, Mapping)
        means: list[Tensor] = []
        for name in error if named else ("x",):
            e, a, b = (v[name] if named else v for v in (error, x, new))
            # Lie-algebra errors have other coordinates than points; their unit is a radian.
            size = torch.maximum(a.abs(), b.abs()) if a.shape == e.shape else 1.0
            square = (e / (self.atol + self.rtol * size)).square().reshape(e.shape[0], -1)
            moving = (dynamics.moving or {}).get(name)
            if moving is None:
                means.append(square.mean(1))
            else:
                per_point = e[0].numel() // max(moving[0].numel(), 1) if len(e) else 1
                count = moving.reshape(e.shape[0], -1).sum(1) * per_point
                means.append(square.sum(1) / count.clamp(min=1))
        return torch.stack(means).amax(0)

    def _first_pace(self, dynamics: Dynamics, x: Any, t: Tensor, first: Any, whole: float) -> _Pace:
        """Length to try first, from the size of the velocity alone.

        A step as long as the tolerance permits if higher derivatives are about as large as the
        velocity. Trying it costs nothing when it is accepted, while a second evaluation to guess
        better costs one each time.
        """
        speed = self.control.reduce(self._mean_square(dynamics, first, x, x)).sqrt()
        h = (0.5 / speed.clamp(min=1e-10)) ** 0.2
        # A velocity that is not finite is reported by the step that meets it.
        h = torch.where(torch.isfinite(h) & (h > 0), h, abs(whole)).clamp(max=abs(whole))
        return _Pace(h.copysign(torch.tensor(whole)).to(t.dtype), torch.full_like(h, 1e-4))

    def __repr__(self) -> str:
        bound = "" if self.max_step == math.inf else f", max_step={self.max_step:g}"
        return f"Dopri5(rtol={self.rtol:g}, atol={self.atol:g}, control={self.control!r}{bound})"
