"""Products of manifolds, over mappings."""

from __future__ import annotations

from collections.abc import ItemsView, Mapping
from typing import Any

from torch import Tensor

from flowatlas.errors import ConfigError, ShapeError
from flowatlas.manifolds.base import Manifold

__all__ = ["ProductManifold"]


class ProductManifold:
    """Manifolds side by side: points and tangents are mappings with the factors' names.

    It has the distances that couplings need and the maps that solvers step with; densities,
    sources and losses belong to the components of a `ProductPath`.

    Args:
        weights: factors of the squared distances, 1 where a name is missing. The unit of length of
            one factor against another's is a modelling choice; here it is explicit.
        factors: manifolds by name; none make a single point, the continuous part of tokens alone.

    Raises:
        ConfigError: a weight for none of the factors.

    Example:
        ```python
        space = ProductManifold(rotation=SO3(), translation=Euclidean())
        cost = space.pairwise_squared_dist(x_0, x_1)           # (n, m)
        ```
    """

    def __init__(self, weights: Mapping[str, float] | None = None, /, **factors: Manifold) -> None:
        self.factors = factors
        self.weights = {name: 1.0 for name in factors} | dict(weights or {})
        unknown = sorted(set(self.weights) - set(factors))
        if unknown:
            raise ConfigError(f"weights: no factor {unknown}; there are {sorted(factors)}.")

    def expmap(self, x: Any, u: Any) -> dict[str, Tensor]:
        return {name: m.expmap(x[name], u[name]) for name, m in self._of(x, u=u)}

    def logmap(self, x: Any, y: Any) -> dict[str, Tensor]:
        return {name: m.logmap(x[name], y[name]) for name, m in self._of(x, y=y)}

    def projx(self, x: Any) -> dict[str, Tensor]:
        return {name: m.projx(x[name]) for name, m in self._of(x)}

    def proju(self, x: Any, u: Any) -> dict[str, Tensor]:
        return {name: m.proju(x[name], u[name]) for name, m in self._of(x, u=u)}

    def retract(self, x: Any, u: Any) -> dict[str, Tensor]:
        return {name: m.retract(x[name], u[name]) for name, m in self._of(x, u=u)}

    def pullback(self, x: Any, u: Any, v: Any) -> dict[str, Tensor]:
        return {name: m.pullback(x[name], u[name], v[name]) for name, m in self._of(x, u=u, v=v)}

    def pushforward(self, x: Any, u: Any) -> dict[str, Tensor]:
        return {name: m.pushforward(x[name], u[name]) for name, m in self._of(x, u=u)}

    def squared_dist(self, x: Any, y: Any) -> Tensor:
        """Weighted squared distance, `(batch,)`: summed over the points of a sample."""
        total: Any = 0.0
        for name, manifold in self._of(x, y=y):
            square = manifold.squared_dist(x[name], y[name])
            square = square.flatten(1).sum(1) if square.ndim > 1 else square
            total = total + self.weights[name] * square
        distance: Tensor = total
        return distance

    def pairwise_squared_dist(self, x: Any, y: Any) -> Tensor:
        """Weighted squared distances between every two samples, `(n, m)`."""
        total: Any = 0.0
        for name, manifold in self._of(x, y=y):
            part = manifold.pairwise_squared_dist(x[name], y[name])
            total = total + self.weights[name] * part
        distance: Tensor = total
        return distance

    def check_point(self, x: Any, name: str = "x") -> None:
        """Raise unless `x` has exactly the factors' names, and points of each."""
        for key, manifold in self._of(**{name: x}):
            manifold.check_point(x[key], f"{name}[{key!r}]")

    def _of(self, x: Any = None, /, **others: Any) -> ItemsView[str, Manifold]:
        """The factors, once each of the arguments is found to be a mapping with their names."""
        named = others if x is None else {"x": x, **others}
        for name, value in named.items():
            if not isinstance(value, Mapping) or value.keys() != self.factors.keys():
                got = sorted(value) if isinstance(value, Mapping) else type(value).__name__
                raise ShapeError(
                    f"{name}: got {got}; points and tangents of {self!r} are mappings with exactly "
                    f"the names {sorted(self.factors)}."
                )
        return self.factors.items()

    def __repr__(self) -> str:
        inside = ", ".join(f"{name}={m!r}" for name, m in self.factors.items())
        return f"ProductManifold({inside})"
