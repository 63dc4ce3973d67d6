"""Geodesic paths on any manifold."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from flowatlas._random import Generators
from flowatlas.errors import ConfigError
from flowatlas.manifolds.base import Manifold
from flowatlas.paths._edges import first_finite, last_finite
from flowatlas.paths.base import PathSample
from flowatlas.paths.continuous import ContinuousPath, TimeWeight
from flowatlas.paths.interval import Interval
from flowatlas.schedulers import CondOT, Scheduler
from flowatlas.sources.base import Source
from flowatlas.sources.uniform import Uniform
from flowatlas.state import broadcast_time

__all__ = ["GeodesicPath"]


class GeodesicPath(ContinuousPath):
    r"""$x_t = \exp_{x_0}(\kappa_t \log_{x_0} x_1)$, with $\kappa_t$ the alpha of a convex schedule.

    The conditional velocity is $\dot\kappa_t / (1 - \kappa_t) \log_{x_t}(x_1)$, which a network may
    predict itself (`"velocity"`) or through the endpoint x_1 (`"target"`: a point of the manifold;
    its velocity is finite away from t = 1).

    Points and velocities come from one closed form, `manifold.geodesic`, at training and in tests;
    samplers follow the velocity. At the cut locus, a set of measure zero, one of the shortest
    geodesics is taken.

    Args:
        manifold: any; states are `(batch, ..., *point_shape)` with any number of points a sample.
        source: the law of x_0 on the manifold; uniform if None.
        scheduler: convex; kappa_t = t if None.
        prediction: `"velocity"` or `"target"`.
        weight: factor of this component's loss.
        time_weight: function of t, `(batch,)` to `(batch,)`, that multiplies the loss.
        loss: function of the mean squared error per point.

    Raises:
        ConfigError: a schedule that is not convex, an unknown prediction kind.
        CapabilityError: no source given and the manifold has no uniform law.

    Reference: Flow Matching on General Geometries, Chen and Lipman, 2023, arXiv:2302.03660, eq. 14
    to 17.
    """

    pointwise_times = True

    def __init__(
        self,
        manifold: Manifold,
        source: Source | None = None,
        scheduler: Scheduler | None = None,
        *,
        prediction: str = "velocity",
        weight: float = 1.0,
        time_weight: TimeWeight | None = None,
        loss: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        scheduler = CondOT() if scheduler is None else scheduler
        if not scheduler.convex:
            raise ConfigError(
                f"scheduler: {scheduler!r} is not convex (sigma = 1 - alpha), so it is no speed "
                "along a geodesic. Use CondOT, Polynomial or Exponential."
            )
        super().__init__(
            manifold,
            Uniform(manifold) if source is None else source,
            prediction=prediction,
            scheduler=scheduler,
            weight=weight,
            time_weight=time_weight,
            loss=loss,
        )

    def interpolate(
        self, x_0: Tensor, x_1: Tensor, t: Tensor, noise: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        one = (1,) * (x_1.ndim - self.point_ndim - t.ndim)
        if self.scheduler.straight:
            return self.manifold.geodesic(x_0, x_1, t.view(*t.shape, *one) if one else t)
        c = self.scheduler(t)
        x_t, velocity = self.manifold.geodesic(x_0, x_1, c.alpha.view(*t.shape, *one))
        return x_t, velocity * broadcast_time(c.d_alpha, velocity)

    def squared_error(self, prediction: Tensor, sample: PathSample) -> Tensor:
        x_1, x_t, dx_t = sample.x_1, sample.x_t, sample.dx_t
        assert isinstance(x_1, Tensor)
        assert isinstance(x_t, Tensor)
        assert isinstance(dx_t, Tensor)
        dimension = self.manifold.dimension(self.manifold.point_shape_of(x_t))
        if self.prediction == "target":
            return self.manifold.squared_dist(prediction, x_1) / dimension
        error = prediction - dx_t
        return self.manifold.inner(x_t, error, error) / dimension

    def convert(self, prediction: Tensor, x: Tensor, t: Tensor, to: str) -> Tensor:
        changed = self.inference_scheduler
        if to == self.prediction and (to == "target" or changed is None):
            return prediction
        self.conversion_interval(to).check(t, f"{to} from {self.prediction} prediction")
        log = self._log_to_target(prediction, x, t)
        if to == "target":
            return self.manifold.expmap(x, log)
        c = (changed or self.scheduler)(t)
        return _along(log, c.d_alpha / c.sigma)

    def _log_to_target(self, prediction: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """log_x of the predicted endpoint."""
        if self.prediction == "target":
            return self.manifold.logmap(x, prediction)
        c = self.scheduler(t)
        return _along(prediction, c.sigma / c.d_alpha)

    def conversion_interval(self, to: str) -> Interval:
        start, end = 0.0, self.scheduler.t_max
        if self.prediction == "velocity" and (to == "target" or self.inference_scheduler):
            start = self._edges[0]
        if to == "velocity":
            if self.inference_scheduler is not None:
                end = self._inference_end
            elif self.prediction == "target":
                end = self._edges[1]
        return Interval(start, end)

    @cached_property
    def _edges(self) -> tuple[float, float]:
        schedule = self.scheduler
        return first_finite(lambda t: 1 / schedule(t).d_alpha), _last(schedule)

    @cached_property
    def _inference_end(self) -> float:
        assert self.inference_scheduler is not None
        return _last(self.inference_scheduler)

    def conditional_step(
        self,
        x: Tensor,
        t: Tensor,
        s: Tensor,
        prediction: Tensor,
        *,
        generator: Generators = None,
    ) -> Tensor:
        self.conversion_interval("target").check(t, f"target from {self.prediction} prediction")
        schedule = self.inference_scheduler or self.scheduler
        now, then = schedule(t), schedule(s)
        log = self._log_to_target(prediction, x, t)
        # What is left, not what was done: alphas next to one have no digits left to subtract.
        return self.manifold.expmap(x, _along(log, 1 - then.sigma / now.sigma))


def _along(u: Tensor, factor: Tensor) -> Tensor:
    return u * broadcast_time(factor, u)


def _last(schedule: Scheduler) -> float:
    def rate(t: Tensor) -> Tensor:
        c = schedule(t)
        return torch.where(c.sigma > 0, c.d_alpha / c.sigma.clamp(min=1e-30), torch.inf)

    return last_finite(rate, schedule.t_max)
