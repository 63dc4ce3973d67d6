"""Paths whose velocity tells nothing of the end."""

from __future__ import annotations

from typing import NoReturn

from torch import Tensor

from flowatlas._random import Generators
from flowatlas.errors import CapabilityError
from flowatlas.paths.continuous import ContinuousPath
from flowatlas.paths.interval import Interval
from flowatlas.schedulers import Scheduler
from flowatlas.state import broadcast_time

__all__ = ["VelocityOnlyPath"]


class VelocityOnlyPath(ContinuousPath):
    """A path whose curves depend on both ends, so that only velocities can be predicted.

    A subclass writes `interpolate` and `squared_error`.
    """

    kinds = ("velocity",)

    def convert(self, prediction: Tensor, x: Tensor, t: Tensor, to: str) -> Tensor:
        """The velocity itself.

        Raises:
            CapabilityError: any other kind.
        """
        if to != "velocity":
            raise CapabilityError(
                f"to: got {to!r}; the curves of a {type(self).__name__} depend on both ends, so a "
                "velocity does not tell the end. Use 'velocity'."
            )
        return prediction

    def conversion_interval(self, to: str) -> Interval:
        return Interval(0.0, 1.0)

    def conditional_step(
        self,
        x: Tensor,
        t: Tensor,
        s: Tensor,
        prediction: Tensor,
        *,
        generator: Generators = None,
    ) -> Tensor:
        # No grid stops short of t = 1 here; a step along the velocity is what there is.
        return self.manifold.expmap(x, broadcast_time(s - t, prediction) * prediction)

    def with_schedule(self, scheduler: Scheduler) -> NoReturn:
        """Refused: the end, which another schedule would approach, is not known.

        Raises:
            CapabilityError: always.
        """
        raise CapabilityError(
            f"scheduler: a {type(self).__name__} cannot be sampled by {scheduler!r}, since its "
            "curves depend on both ends and a velocity does not tell them. Use a grid of a solver, "
            "such as ShiftedGrid, or train with the schedule that is wanted."
        )
