"""Products of paths: one time, one network, a mapping of components."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Self

from torch import Tensor

from flowatlas._precision import full_precision
from flowatlas._random import Generators
from flowatlas.errors import ConfigError, ShapeError
from flowatlas.manifolds.product import ProductManifold
from flowatlas.paths._checks import check_pair
from flowatlas.paths.base import Noise, Path, PathSample, StatePath
from flowatlas.paths.continuous import ContinuousPath
from flowatlas.paths.discrete import DiscretePath
from flowatlas.paths.interval import Interval
from flowatlas.paths.jumps import Jumps
from flowatlas.paths.mixture import MixturePath
from flowatlas.paths.token_schedule import TokenSchedule
from flowatlas.schedulers import Scheduler
from flowatlas.state import State

__all__ = ["ProductPath"]


class ProductPath(StatePath):
    """Independent conditional paths side by side, over states that are mappings.

    The components share t; sources, schedules, prediction kinds, losses and weights are each
    component's own. The product is over paths rather than manifolds because tokens are no manifold.

    Args:
        components: paths by the names that the state's mapping has.

    Example:
        ```python
        path = ProductPath(
            rotation=GeodesicPath(SO3(), prediction="target"),
            translation=AffinePath(source=Gaussian(10.0), weight=2.0),
        )
        x_0 = path.draw({"rotation": rotation, "translation": translation})
        ```
    """

    def __init__(self, **components: Path) -> None:
        if not components:
            raise ConfigError("components: ProductPath needs at least one, as name=path.")
        for name, path in components.items():
            if not isinstance(path, Path):
                raise ConfigError(f"{name}: got {type(path).__name__}; it must be a Path.")
        self._components = dict(components)
        self.continuous, self.discrete = _by_kind(components)
        self._manifold = ProductManifold(
            {name: path.weight for name, path in self.continuous.items()},
            **{name: path.manifold for name, path in self.continuous.items()},
        )

    @property
    def components(self) -> Mapping[str, Path]:
        return self._components

    @property
    def manifold(self) -> ProductManifold:
        return self._manifold

    def with_schedule(self, **schedules: Scheduler | TokenSchedule) -> Self:
        """A copy whose named components sample by other schedules; training is not changed."""
        changed: dict[str, Path] = {}
        for name, schedule in schedules.items():
            path = self._components.get(name)
            if isinstance(path, ContinuousPath) and isinstance(schedule, Scheduler):
                changed[name] = path.with_schedule(schedule)
                continue
            if not isinstance(path, MixturePath):
                raise ConfigError(
                    f"with_schedule: no component {name!r} that takes {schedule!r}; there are "
                    f"{sorted(self._components)}."
                )
            changed[name] = path.with_schedule(schedule)
        return self._with(changed)

    def with_jumps(self, **jumps: Jumps) -> Self:
        """A copy whose named components draw tokens otherwise; training is not changed."""
        changed: dict[str, Path] = {}
        for name, one in jumps.items():
            path = self._components.get(name)
            if not isinstance(path, MixturePath):
                tokens = [k for k, p in self._components.items() if isinstance(p, MixturePath)]
                raise ConfigError(
                    f"with_jumps: no component {name!r} with tokens; there are {tokens}."
                )
            changed[name] = path.with_jumps(one)
        return self._with(changed)

    def _with(self, components: Mapping[str, Path]) -> Self:
        """A copy with some components in place of those of the same names."""
        changed = copy.copy(self)
        changed._components = {**self._components, **components}
        changed.continuous, changed.discrete = _by_kind(changed._components)
        return changed

    def check_names(self, state: Any, what: str) -> None:
        """Raise `ShapeError` unless `state` is a mapping with exactly the components' names."""
        if not isinstance(state, Mapping):
            raise ShapeError(
                f"{what}: got {type(state).__name__}; a product takes a mapping with the names "
                f"{sorted(self._components)}."
            )
        if set(state) != set(self._components):
            missing = sorted(set(self._components) - set(state))
            extra = sorted(set(state) - set(self._components))
            raise ShapeError(f"{what}: components missing: {missing}; not in the path: {extra}.")

    def sample(
        self,
        x_0: Mapping[str, Tensor],
        x_1: Mapping[str, Tensor],
        t: Tensor,
        *,
        noise: Noise | None = None,
        generator: Generators = None,
        validate: bool = True,
    ) -> PathSample:
        self.check_names(x_0, "x_0")
        self.check_names(x_1, "x_1")
        if validate:
            Interval(self.t_min, self.t_max).check(t, "the path")
        if noise is None:
            noise = self.draw_noise(x_1, generator=generator)
        x_t: dict[str, Tensor] = {}
        dx_t: dict[str, Tensor] = {}
        for name, path in self._components.items():
            check_pair(
                x_0[name], x_1[name], t, path.point_ndim, pointwise=path.pointwise_times, name=name
            )
            with full_precision(x_1[name]):
                x_t[name], velocity = path.interpolate(x_0[name], x_1[name], t, noise.get(name))
            if velocity is not None:
                dx_t[name] = velocity
        return PathSample(x_0, x_1, t, x_t, dx_t, noise)

    def losses(self, prediction: Mapping[str, Tensor], sample: PathSample) -> dict[str, Tensor]:
        self.check_names(prediction, "prediction")
        return {
            name: path.point_loss(prediction[name], _component(sample, name))
            for name, path in self._components.items()
        }

    def velocity(
        self, x: Mapping[str, Tensor], t: Tensor, prediction: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        return {
            name: path.velocity(x[name], t, prediction[name])
            for name, path in self.continuous.items()
        }

    def canonical(
        self, prediction: Mapping[str, Tensor], x: Mapping[str, Tensor], t: Tensor
    ) -> dict[str, Tensor]:
        """Velocities and log-rates, by component."""
        self.check_names(prediction, "prediction")
        return {
            name: path.canonical(prediction[name], x[name], t) for name, path in self._each.items()
        }

    def as_canonical(self) -> Self:
        """The same path for a field that returns velocities and log-rates."""
        return self._with({name: path.as_canonical() for name, path in self._each.items()})

    @property
    def _each(self) -> dict[str, ContinuousPath | DiscretePath]:
        return {**self.continuous, **self.discrete}

    def draw(
        self,
        like: Mapping[str, Tensor],
        *,
        batch: int | None = None,
        generator: Generators = None,
    ) -> dict[str, Tensor]:
        self.check_names(like, "like")
        return {
            name: path.source.sample(
                like[name].shape if batch is None else (batch, *like[name].shape[1:]),
                generator=generator,
                dtype=like[name].dtype,
                device=like[name].device,
            )
            for name, path in self._components.items()
        }


def _by_kind(
    components: Mapping[str, Path],
) -> tuple[dict[str, ContinuousPath], dict[str, DiscretePath]]:
    return (
        {name: path for name, path in components.items() if isinstance(path, ContinuousPath)},
        {name: path for name, path in components.items() if isinstance(path, DiscretePath)},
    )


def _component(sample: PathSample, name: str) -> PathSample:
    def of(state: State | None) -> Any:
        assert isinstance(state, Mapping)
        return state.get(name)

    parts = (of(each) for each in (sample.x_t, sample.dx_t, sample.noise))
    return PathSample(of(sample.x_0), of(sample.x_1), sample.t, *parts)
