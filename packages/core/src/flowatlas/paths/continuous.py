"""Paths whose points move."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Self

from torch import Tensor

from flowatlas._precision import full_precision
from flowatlas._random import Generators
from flowatlas.errors import CapabilityError, ConfigError, ShapeError
from flowatlas.paths._checks import check_pair, check_tensor
from flowatlas.paths.base import Noise, Path, PathSample, StatePath
from flowatlas.paths.canonical import Canonical, Velocities
from flowatlas.paths.interval import Interval
from flowatlas.sources.base import Source

if TYPE_CHECKING:
    from flowatlas.manifolds.base import Manifold
    from flowatlas.schedulers import Scheduler

__all__ = ["ContinuousPath", "TimeWeight"]

TimeWeight = Callable[[Tensor], Tensor]


class ContinuousPath(Path, StatePath):
    """A path on a manifold. Alone it is a `StatePath` over tensors.

    A subclass writes `interpolate`, `convert` and `conditional_step`.

    Args:
        manifold: where the points live.
        source: the law of x_0 on it.
        prediction: what the network's output means, one of `kinds`.
        scheduler: coefficients in training.
        weight: factor of the loss.
        time_weight: function of t that multiplies the loss.
        loss: function of the mean squared error of each point; the identity if None.
    """

    kinds: tuple[str, ...] = ("velocity", "target")

    def __init__(
        self,
        manifold: Manifold,
        source: Source,
        *,
        prediction: str,
        scheduler: Scheduler,
        weight: float,
        time_weight: TimeWeight | None,
        loss: Callable[[Tensor], Tensor] | None,
    ) -> None:
        if prediction not in self.kinds:
            raise ConfigError(
                f"prediction: got {prediction!r}; {type(self).__name__} takes one of {self.kinds}."
            )
        if not weight >= 0:
            raise ConfigError(f"weight: got {weight}; it must be zero or more.")
        self._manifold = manifold
        self.source = source
        self.prediction = prediction
        self.scheduler = scheduler
        self.inference_scheduler: Scheduler | None = None
        self._within = Interval(0.0, 1.0)
        self.weight = weight
        self.time_weight = time_weight
        self.loss = loss
        self.point_ndim = manifold.point_ndim

    @property
    def manifold(self) -> Manifold:
        return self._manifold

    @property
    def components(self) -> Mapping[str, Path]:
        return {"x": self}

    @abstractmethod
    def convert(self, prediction: Tensor, x: Tensor, t: Tensor, to: str) -> Tensor:
        """Turn the network's prediction at (x, t) into another kind.

        Args:
            prediction: of kind `self.prediction`.
            x: `(batch, *event)`.
            t: `(batch,)`.
            to: one of `kinds`.

        Raises:
            IntervalError: if t leaves `self.conversion_interval(to)`.
        """

    @abstractmethod
    def conversion_interval(self, to: str) -> Interval:
        """Closed interval on which `convert(..., to)` is finite."""

    @abstractmethod
    def conditional_step(
        self,
        x: Tensor,
        t: Tensor,
        s: Tensor,
        prediction: Tensor,
        *,
        generator: Generators = None,
    ) -> Tensor:
        """Move from time t to time s along the conditional path to the predicted x_1.

        Exact when the prediction is; it is how a grid that must stop short of t = 1 ends.

        Args:
            x: `(batch, *event)`, the state at t.
            t: `(batch,)`.
            s: `(batch,)`.
            prediction: of kind `self.prediction`.
            generator: for paths whose prediction is a law to draw x_1 from; one, or one per sample.
        """

    def score(self, x: Tensor, t: Tensor, prediction: Tensor) -> Tensor:
        """Gradient of log p_t at x, from the network's prediction there: for stochastic solvers.

        Args:
            x: `(batch, *event)`.
            t: `(batch,)`, in `score_interval`.
            prediction: of kind `self.prediction`.

        Raises:
            CapabilityError: if the prediction does not tell it.
        """
        raise self._no_score()

    @property
    def score_interval(self) -> Interval:
        """Closed interval on which `score` is finite.

        Raises:
            CapabilityError: if there is no score.
        """
        raise self._no_score()

    def noise_level(self, t: Tensor) -> Tensor:
        """Standard deviation of the Gaussian part of x_t, `(batch,)`.

        Raises:
            CapabilityError: if there is no score.
        """
        raise self._no_score()

    def _no_score(self) -> CapabilityError:
        return CapabilityError(
            f"diffusion: noise needs the score, which the velocity of {type(self).__name__} does "
            "not tell. Use a solver without noise, or name the components that have one: "
            "diffusion={'translation': 0.5}."
        )

    def prediction_shape(self, x: Tensor) -> tuple[int, ...]:
        """What shape the network must return at states of the shape of `x`."""
        shape = tuple(x.shape)
        if self.prediction == "target":
            return shape
        point = self.manifold.point_shape_of(x)
        return (*shape[: len(shape) - len(point)], *self.manifold.tangent_shape(point))

    def with_schedule(self, scheduler: Scheduler) -> Self:
        """A copy that samples by another schedule; training is not changed.

        The prediction is read as an endpoint and approached at the rate of the new schedule, the
        network being asked at the time of the grid: a component of a product may thus run ahead of
        the others, as protein-frame models let their rotations do.

        Raises:
            ConfigError: unless both schedules are convex.
        """
        for name, one in (("scheduler", scheduler), ("the path's scheduler", self.scheduler)):
            if not one.convex:
                raise ConfigError(
                    f"{name}: {one!r} is not convex (sigma = 1 - alpha), and endpoints can only be "
                    "approached along convex schedules. Use CondOT, Polynomial or Exponential."
                )
        changed = self._copied()
        changed.inference_scheduler = scheduler
        return changed

    def as_sampled(self) -> Self:
        if self.inference_scheduler is None:
            return self
        changed = self._copied()
        changed.scheduler, changed.inference_scheduler = self.inference_scheduler, None
        return changed

    def _copied(self) -> Self:
        """A copy without what was worked out for its schedules."""
        changed = copy.copy(self)
        for kind in type(self).__mro__:
            for name, value in vars(kind).items():
                if isinstance(value, cached_property):
                    vars(changed).pop(name, None)
        return changed

    def sample(
        self,
        x_0: Tensor,
        x_1: Tensor,
        t: Tensor,
        *,
        noise: Noise | None = None,
        generator: Generators = None,
        validate: bool = True,
    ) -> PathSample:
        check_tensor(x_0, "x_0")
        check_tensor(x_1, "x_1")
        check_pair(x_0, x_1, t, self.point_ndim, pointwise=self.pointwise_times)
        if validate:
            self._trained_on.check(t, "the path")
        if noise is None:
            own = self.interpolation_noise(x_1, generator=generator)
        else:
            own = noise.get("x")
        with full_precision(x_1):
            x_t, dx_t = self.interpolate(x_0, x_1, t, own)
        return PathSample(x_0, x_1, t, x_t, dx_t, own)

    def losses(self, prediction: Tensor, sample: PathSample) -> dict[str, Tensor]:
        return {"x": self.point_loss(prediction, sample)}

    def point_loss(self, prediction: Tensor, sample: PathSample) -> Tensor:
        """`loss`(mean squared error) of each point against its target, times `time_weight`(t).

        Velocities and noises are compared in the metric at x_t, endpoints by geodesic distance;
        either is divided by the dimension, so that a weight means the same in every space.
        """
        x_t = sample.x_t
        assert isinstance(x_t, Tensor)
        expected = self.prediction_shape(x_t)
        if prediction.shape != expected:
            raise ShapeError(
                f"prediction: the model returned shape {tuple(prediction.shape)}; "
                f"{self.prediction!r} prediction needs {expected}."
            )
        if prediction.dtype != x_t.dtype:
            prediction = prediction.to(x_t.dtype)
        with full_precision(x_t):
            error = self.squared_error(prediction, sample)
            if self.loss is not None:
                error = self.loss(error)
            if self.time_weight is not None:
                weight = self.time_weight(sample.t)
                error = error * weight.view(weight.shape + (1,) * (error.ndim - weight.ndim))
        return error

    @abstractmethod
    def squared_error(self, prediction: Tensor, sample: PathSample) -> Tensor:
        """Mean squared error per point, `(batch, *points)`."""

    def velocity(self, x: Tensor, t: Tensor, prediction: Tensor) -> Tensor:
        if prediction.dtype != x.dtype:
            prediction = prediction.to(x.dtype)
        if self.prediction == "velocity" and self.inference_scheduler is None:
            return prediction
        with full_precision(x):
            return self.convert(prediction, x, t, "velocity")

    def draw(
        self, like: Tensor, *, batch: int | None = None, generator: Generators = None
    ) -> Tensor:
        check_tensor(like, "like")
        shape = like.shape if batch is None else (batch, *like.shape[1:])
        return self.source.sample(shape, generator=generator, dtype=like.dtype, device=like.device)

    def canonical(self, prediction: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """The velocity."""
        return self.velocity(x, t, prediction)

    def as_canonical(self) -> ContinuousPath:
        """The same path for a field that returns velocities, along the schedule of sampling.

        Its interval stays that on which the velocity of this path's predictions is finite.
        """
        changed = self.as_sampled()
        if changed is self:
            changed = copy.copy(self)
        changed.prediction, changed._within = "velocity", self.local_interval
        vars(changed).pop("_trained_on", None)
        return changed

    @property
    def arithmetic(self) -> Canonical:
        return Velocities(self.manifold)

    @property
    def local_interval(self) -> Interval:
        return self.conversion_interval("velocity") & self._within

    @property
    def local_t_max(self) -> float:
        return self.scheduler.t_max

    @cached_property
    def _trained_on(self) -> Interval:
        return Interval(self.local_t_min, self.local_t_max)
