"""A flow with the change of its log density beside it."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from flowatlas._points import by_name
from flowatlas._random import Generators
from flowatlas.field import Condition, Field, Mask
from flowatlas.manifolds.base import Manifold
from flowatlas.manifolds.euclidean import Euclidean
from flowatlas.manifolds.product import ProductManifold
from flowatlas.paths.base import StatePath
from flowatlas.paths.continuous import ContinuousPath
from flowatlas.sampling._dynamics import PathDynamics
from flowatlas.sampling.divergence import Divergence
from flowatlas.solvers.base import Dynamics
from flowatlas.state import State, leading

__all__ = ["LOG_DENSITY", "DensityDynamics"]

#: Name of the accumulated divergence among the components.
LOG_DENSITY = "log_density"


class DensityDynamics(Dynamics):
    """A flow whose state has the accumulated divergence beside it."""

    def __init__(
        self,
        field: Field,
        path: StatePath,
        x: State,
        divergence: Divergence,
        generator: Generators,
        *,
        name: str,
        condition: Condition | None,
        mask: Mask | None,
    ) -> None:
        self.flow = PathDynamics(field, path, x, name=name, condition=condition, mask=mask)
        self.moving = self.flow.moving
        self._manifolds: dict[str, Manifold] = {
            name: component.manifold
            for name, component in path.components.items()
            if isinstance(component, ContinuousPath)
        }
        self.manifold = ProductManifold(**self._manifolds, **{LOG_DENSITY: Euclidean(point_ndim=0)})
        self._single = isinstance(x, Tensor)
        self._divergence = divergence
        self._probe = divergence.probe(x, self._manifolds, generator)

    def augmented(self, x: State) -> dict[str, Tensor]:
        """`x` with a zero log density."""
        like = leading(x)
        return {**by_name(x), LOG_DENSITY: like.new_zeros(like.shape[0])}

    def split(self, state: dict[str, Tensor]) -> tuple[Any, Tensor]:
        """The state of the flow, and what has been accumulated."""
        x = {name: value for name, value in state.items() if name != LOG_DENSITY}
        return (x["x"] if self._single else x), state[LOG_DENSITY]

    def velocity(self, x: Any, t: Tensor) -> Any:
        point, _ = self.split(x)
        value, rate = self._divergence(
            lambda y: self.flow.velocity(y, t), point, self._manifolds, self._probe
        )
        return {**by_name(value), LOG_DENSITY: rate}

    def begin(self, x: Any, t: Tensor) -> Any:
        return self.velocity(x, t)

    def commit(self, x: Any, t: Tensor, s: Tensor) -> Any:
        return x

    def time(self, t: float) -> Tensor:
        return self.flow.time(t)

    def record(self, x: Any) -> Any:
        return x
