"""What a path is: everything that depends on the kind of space, the source included."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from flowatlas._random import Generators, rand
from flowatlas.errors import ConfigError, IntervalError, ShapeError
from flowatlas.sources.base import Source
from flowatlas.state import State, map_state

if TYPE_CHECKING:
    from flowatlas.manifolds.base import Manifold
    from flowatlas.manifolds.product import ProductManifold
    from flowatlas.schedulers import Scheduler

__all__ = ["ContinuousPath", "DiscretePath", "Interval", "Path", "PathSample", "StatePath"]

TimeWeight = Callable[[Tensor], Tensor]
#: Random numbers of the components that need some, by name; a lone path is named "x".
Noise = Mapping[str, Tensor]
_AS_IT_IS = nullcontext()


@dataclass(frozen=True, slots=True)
class Interval:
    """A closed interval of time on which a quantity is finite."""

    start: float
    end: float

    def check(self, t: Tensor, what: str) -> None:
        """Raise `IntervalError` unless every `t` lies inside; free of charge while compiling."""
        if torch.compiler.is_compiling() or t.numel() == 0:
            return
        bounds = torch.aminmax(t.detach())
        low, high = bounds.min.item(), bounds.max.item()
        slack = 1e-6
        # Written so that NaN fails.
        if not (low >= self.start - slack and high <= self.end + slack):
            raise IntervalError(
                f"t: got values in [{low:g}, {high:g}], but {what} is finite only on "
                f"[{self.start:g}, {self.end:g}]. Stop the grid there, or clamp t."
            )

    def __and__(self, other: Interval) -> Interval:
        return Interval(max(self.start, other.start), min(self.end, other.end))


@dataclass(frozen=True, slots=True)
class PathSample:
    """A point of the path and where it came from; mappings where the state is one.

    Attributes:
        x_0: source sample, `(batch, *event)`.
        x_1: data sample, same shape.
        t: `(batch,)`.
        x_t: the point at time t, same shape as `x_0`.
        dx_t: conditional velocity d x_t / d t, a tangent at `x_t`; absent for discrete components.
    """

    x_0: State
    x_1: State
    t: Tensor
    x_t: State
    dx_t: State | None


class StatePath(ABC):
    """What objectives and samplers see: one path, or a product of them, over the whole state."""

    @abstractmethod
    def sample(
        self,
        x_0: Any,
        x_1: Any,
        t: Tensor,
        *,
        noise: Noise | None = None,
        generator: Generators = None,
        validate: bool = True,
    ) -> PathSample:
        """The point at time t between `x_0` and `x_1`, and the conditional velocity there.

        Args:
            x_0: source samples, `(batch, *event)` or a mapping.
            x_1: data samples of the same shapes.
            t: `(batch,)`, in [0, 1].
            noise: the result of `draw_noise`; drawn now if None.
            generator: for drawing it; one, or one per sample.
            validate: whether to look at the values of t (shapes are always checked).

        Raises:
            ShapeError: if the three do not fit.
            IntervalError: if t leaves [0, 1].
        """

    @abstractmethod
    def losses(self, prediction: Any, sample: PathSample) -> dict[str, Tensor]:
        """Loss per point, `(batch, *points)`, of each component; a lone path is named "x"."""

    @abstractmethod
    def velocity(self, x: Any, t: Tensor, prediction: Any) -> Any:
        """Velocity of the continuous components, from the network's prediction at (x, t)."""

    @abstractmethod
    def draw(self, like: Any, *, batch: int | None = None, generator: Generators = None) -> Any:
        """Source samples shaped as `like`, or `batch` of them."""

    def draw_noise(
        self, like: State, *, batch: int | None = None, generator: Generators = None
    ) -> Noise:
        """What the components draw beside x_0: empty where both ends determine the path.

        Args:
            like: gives shapes and device.
            batch: how many samples; as many as `like` has if None.
            generator: one, or one per sample.
        """
        drawn = {}
        for name, path in self.components.items():
            value = like if isinstance(like, Tensor) else like[name]
            noise = path.interpolation_noise(value, batch=batch, generator=generator)
            if noise is not None:
                drawn[name] = noise
        return drawn

    @property
    @abstractmethod
    def components(self) -> Mapping[str, Path]:
        """The component paths by name; a lone path is named "x"."""

    @property
    @abstractmethod
    def manifold(self) -> Manifold | ProductManifold:
        """Where the continuous part of the state lives, and what solvers step on."""

    @property
    def interval(self) -> Interval:
        """Where every component's velocity is finite."""
        whole = Interval(0.0, 1.0)
        for path in self.components.values():
            whole = whole & path.local_interval
        return whole

    @property
    def t_max(self) -> float:
        """Largest t at which every component can be trained."""
        return min(path.local_t_max for path in self.components.values())


class Path(ABC):
    """One component: a tensor-valued path and its share of the loss.

    Attributes:
        source: the law of x_0.
        weight: factor of this component in the loss.
        point_ndim: number of trailing axes that make one point.
    """

    source: Source
    weight: float
    point_ndim: int

    @abstractmethod
    def interpolate(
        self, x_0: Tensor, x_1: Tensor, t: Tensor, noise: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """x_t, and its time derivative where there is one.

        Args:
            x_0: `(batch, *event)`.
            x_1: the same shape.
            t: `(batch,)`.
            noise: of `interpolation_noise`.
        """

    def interpolation_noise(
        self, like: Tensor, *, batch: int | None = None, generator: Generators = None
    ) -> Tensor | None:
        """Random numbers that `interpolate` needs besides both ends; None if it needs none.

        They are drawn outside `interpolate`, so that one evaluation of a loss can be repeated, and
        split among processes, exactly.
        """
        return None

    @abstractmethod
    def point_loss(self, prediction: Tensor, sample: PathSample) -> Tensor:
        """Loss per point, `(batch, *points)`."""

    @property
    @abstractmethod
    def local_interval(self) -> Interval:
        """Closed interval on which the field can be evaluated by a sampler."""

    @property
    def local_t_max(self) -> float:
        """Largest t at which the training target is finite."""
        return 1.0


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
    def conditional_step(self, x: Tensor, t: Tensor, s: Tensor, prediction: Tensor) -> Tensor:
        """Move from time t to time s along the conditional path to the predicted x_1.

        Exact when the prediction is; it is how a grid that must stop short of t = 1 ends.
        """

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
        changed = copy.copy(self)
        changed.inference_scheduler = scheduler
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
        check_pair(x_0, x_1, t, self.point_ndim)
        if validate:
            Interval(0.0, self.local_t_max).check(t, "the path")
        if noise is None:
            own = self.interpolation_noise(x_1, generator=generator)
        else:
            own = noise.get("x")
        with full_precision(x_1):
            x_t, dx_t = self.interpolate(x_0, x_1, t, own)
        return PathSample(x_0, x_1, t, x_t, dx_t)

    def losses(self, prediction: Tensor, sample: PathSample) -> dict[str, Tensor]:
        return {"x": self.point_loss(prediction, sample)}

    def point_loss(self, prediction: Tensor, sample: PathSample) -> Tensor:
        """`loss`(mean squared error) of each point against its target, times `time_weight`(t).

        Velocities and noises are compared in the metric at x_t, endpoints by geodesic distance;
        either is divided by the dimension, so that a weight means the same in every space.
        """
        x_t = sample.x_t
        expected = sample.dx_t if self.prediction == "velocity" else sample.x_1
        assert isinstance(x_t, Tensor)
        assert isinstance(expected, Tensor)
        if prediction.shape != expected.shape:
            raise ShapeError(
                f"prediction: the model returned shape {tuple(prediction.shape)}; "
                f"{self.prediction!r} prediction needs {tuple(expected.shape)}."
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

    @property
    def local_interval(self) -> Interval:
        return self.conversion_interval("velocity")

    @property
    def local_t_max(self) -> float:
        return self.scheduler.t_max


class DiscretePath(Path):
    """A path over token ids, `(batch, *points)`; it needs a product to be sampled beside others.

    ```python
    class Masked(DiscretePath):
        def interpolate(self, x_0, x_1, t, noise=None): ...    # x_t, None
        def point_loss(self, prediction, sample): ...
        def jump(self, x, t, s, prediction, *, generator=None): ...
    ```
    """

    point_ndim = 0

    def interpolation_noise(
        self, like: Tensor, *, batch: int | None = None, generator: Generators = None
    ) -> Tensor:
        """Uniform numbers, one per token: where they are below kappa_t, the path has jumped."""
        shape = like.shape if batch is None else (batch, *like.shape[1:])
        return rand(shape, generator=generator, device=like.device)

    @abstractmethod
    def jump(
        self, x: Tensor, t: Tensor, s: Tensor, prediction: Tensor, *, generator: Generators = None
    ) -> Tensor:
        """Draw the state at time s > t given the state and the prediction at t."""

    @property
    def local_interval(self) -> Interval:
        return Interval(0.0, 1.0)


def check_pair(x_0: Tensor, x_1: Tensor, t: Tensor, point_ndim: int) -> None:
    """Raise `ShapeError` unless `x_0`, `x_1` and `t` fit; nothing is ever broadcast silently."""
    if x_0.shape != x_1.shape:
        raise ShapeError(
            f"x_0: got shape {tuple(x_0.shape)} beside x_1 of shape {tuple(x_1.shape)}; they must "
            "be equal. Draw x_0 with path.draw(x_1)."
        )
    if x_1.ndim < 1 + point_ndim:
        raise ShapeError(
            f"x_1: got shape {tuple(x_1.shape)}; a state has a batch axis and then at least "
            f"{point_ndim} axes for its points. Use x_1.unsqueeze(-1) for scalar data."
        )
    if t.ndim != 1 or t.shape[0] != x_1.shape[0]:
        raise ShapeError(
            f"t: got shape {tuple(t.shape)}; need ({x_1.shape[0]},), one time per sample. "
            "For a single time use torch.full((batch,), t)."
        )


def check_tensor(x: Any, name: str) -> None:
    """Raise `ShapeError` unless `x` is a tensor of real numbers, as a lone path's state is."""
    if not isinstance(x, Tensor):
        raise ShapeError(
            f"{name}: got {type(x).__name__}; a lone path takes a tensor (batch, *event). For a "
            "mapping use ProductPath(name=path)."
        )
    if not x.is_floating_point():
        raise ShapeError(
            f"{name}: got dtype {x.dtype}; points of a continuous path are floating-point. Use "
            f"{name}.float()."
        )


def full_precision(x: Tensor) -> Any:
    """Context without autocast: geometry in half precision is wrong, not fast."""
    kind = x.device.type
    if torch.is_autocast_enabled(kind):
        return torch.autocast(kind, enabled=False)
    return _AS_IT_IS


def at_least_float32(x: State) -> State:
    """Raise the dtype of floating-point states to float32 where it is less."""
    return map_state(
        lambda a: a.float() if a.is_floating_point() and a.element_size() < 4 else a, x
    )
