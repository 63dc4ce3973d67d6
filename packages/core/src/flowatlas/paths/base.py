"""What a path is: everything that depends on the kind of space, the source included."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from flowatlas._random import Generators
from flowatlas.errors import CapabilityError
from flowatlas.paths.canonical import Canonical
from flowatlas.paths.interval import Interval
from flowatlas.sources.base import Source
from flowatlas.state import State

if TYPE_CHECKING:
    from flowatlas.manifolds.base import Manifold
    from flowatlas.manifolds.product import ProductManifold

__all__ = ["Noise", "Path", "PathSample", "StatePath"]

#: Random numbers of the components that need some, by name; a lone path is named "x".
Noise = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class PathSample:
    """A point of the path and where it came from; mappings where the state is one.

    Attributes:
        x_0: source sample, `(batch, *event)`.
        x_1: data sample, same shape.
        t: `(batch,)`.
        x_t: the point at time t, same shape as `x_0`.
        dx_t: conditional velocity d x_t / d t, a tangent at `x_t`; absent for discrete components,
            and where it is not what the path regresses on and may be infinite.
        noise: what was drawn beside `x_0` and `x_1`; absent where these determine the path.
        exists: by component, `(batch, *points)`, True where a point is no padding; absent if all
            are. Objectives set it for regularisers.
    """

    x_0: State
    x_1: State
    t: Tensor
    x_t: State
    dx_t: State | None
    noise: State | None = None
    exists: Mapping[str, Tensor] | None = None


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
            t: `(batch,)`, in [0, 1]; or `(batch, *points)` where every component declares
                `pointwise_times`.
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
    def canonical(self, prediction: Any, x: Any, t: Tensor) -> Any:
        """What guidance combines: velocities, log-rates; a mapping for a product.

        Args:
            prediction: of the path's own kinds, `(batch, *event)` or a mapping.
            x: the state.
            t: `(batch,)`.
        """

    @abstractmethod
    def as_canonical(self) -> StatePath:
        """The same path for a field that returns canonical predictions, such as a guided one."""

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
    def t_min(self) -> float:
        """Smallest t at which every component can be trained."""
        return max(path.local_t_min for path in self.components.values())

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
        pointwise_times: whether t may be `(batch, *points)`, a time for each point, in training.
    """

    source: Source
    weight: float
    point_ndim: int
    pointwise_times: bool = False

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

    def as_sampled(self) -> Path:
        """This path by the schedule that it samples by, as if it had been trained with it."""
        return self

    def renoise(self, x: Tensor, t: Tensor, s: Tensor, *, generator: Generators = None) -> Tensor:
        """Draw a state at s <= t given the one at t, so that the law of x_t becomes that of x_s.

        Args:
            x: `(batch, *event)`, the state at t.
            t: `(batch,)`.
            s: `(batch,)`.
            generator: one, or one per sample.

        Raises:
            CapabilityError: a path without such a law that needs no x_1.
        """
        raise CapabilityError(
            f"renoise: {type(self).__name__} cannot go back in time without knowing x_1; an "
            "AffinePath with a Gaussian source and a MixturePath can. Sample without Resampling."
        )

    @abstractmethod
    def point_loss(self, prediction: Tensor, sample: PathSample) -> Tensor:
        """Loss per point, `(batch, *points)`."""

    @property
    @abstractmethod
    def arithmetic(self) -> Canonical:
        """How canonical predictions are combined."""

    def tilt(self, gradient: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """What adding `gradient` to the score adds to the canonical prediction.

        Args:
            gradient: of a log likelihood, a tangent at x.
            x: `(batch, *event)`.
            t: `(batch,)`, `tilt_start` or later.

        Raises:
            CapabilityError: a path whose velocity is no function of the score.
        """
        raise CapabilityError(
            f"path: the velocity of {type(self).__name__} is no function of the score, so what a "
            "gradient adds to it is not known. Pass strength=, a function of t."
        )

    @property
    def tilts(self) -> bool:
        """Whether `tilt` is known."""
        return False

    @property
    def tilt_start(self) -> float:
        """Earliest time at which `tilt` is finite."""
        return 0.0

    @property
    @abstractmethod
    def local_interval(self) -> Interval:
        """Closed interval on which the field can be evaluated by a sampler."""

    @property
    def local_t_min(self) -> float:
        """Smallest t at which the training target is finite."""
        return 0.0

    @property
    def local_t_max(self) -> float:
        """Largest t at which the training target is finite."""
        return 1.0
