"""The distance that couplings measure by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from flowatlas.errors import ConfigError, GeometryError, ShapeError
from flowatlas.manifolds.base import Manifold
from flowatlas.manifolds.product import ProductManifold
from flowatlas.paths.base import StatePath
from flowatlas.state import State, batch_size

__all__ = ["Space"]


class Space:
    """Squared distances between the samples of two states, with what can be wrong about them.

    Args:
        space: a `Manifold`, a `ProductManifold` for states that are mappings, or a path, which
            stands for its manifold (components that live on none, such as tokens, do not count).
        user: the coupling's name, for messages.

    Raises:
        ConfigError: `space` is none of these.
    """

    def __init__(self, space: Manifold | ProductManifold | StatePath, user: str) -> None:
        if not isinstance(space, Manifold | ProductManifold | StatePath):
            raise ConfigError(
                f"space: got {type(space).__name__}; a distance comes from a Manifold, a "
                "ProductManifold or a path."
            )
        self.manifold = space.manifold if isinstance(space, StatePath) else space
        self._user = user
        # The state of a path may hold more than its manifold measures.
        self._partial = isinstance(space, StatePath)
        if isinstance(self.manifold, ProductManifold) and not self.manifold.factors:
            raise ConfigError("space: a product without continuous components has no distance.")

    def squared_dist(self, x_1: State, x_0: State) -> Tensor:
        """`(batch, batch)`, data in rows and source samples in columns.

        Raises:
            ShapeError: the two differ in shape, or are no states of the space.
            GeometryError: a distance is NaN or infinite.
        """
        x_0, x_1 = self._compared(x_0, "x_0"), self._compared(x_1, "x_1")
        _check_same(x_0, x_1)
        space: Any = self.manifold
        cost: Tensor = space.pairwise_squared_dist(x_1, x_0)
        if not bool(torch.isfinite(cost).all()):
            bad = (~torch.isfinite(cost)).any(1).nonzero().flatten()[:5].tolist()
            raise GeometryError(
                "x_0, x_1: the distance between some of them is NaN or infinite (data in rows "
                f"{bad}, ...). Check both with manifold.check_point(x)."
            )
        return cost

    def dimension(self, x: State) -> int:
        """How many numbers of a sample are measured."""
        return sum(value[0].numel() for value in _tensors(self._compared(x, "x")))

    def _compared(self, x: State, name: str) -> State:
        """The part of the state that the space has a distance for."""
        if isinstance(self.manifold, Manifold):
            if isinstance(x, Mapping):
                raise ShapeError(
                    f"{name}: got a mapping with the names {sorted(x)}, but {self.manifold!r} "
                    f"measures tensors. Pass {self._user} the path, or a ProductManifold with "
                    "these names."
                )
            self.manifold.check_shape(x, name)
            return x
        if not isinstance(x, Mapping):
            raise ShapeError(
                f"{name}: got a tensor; a product takes a mapping with the names "
                f"{sorted(self.manifold.factors)}. Pass {self._user} the path of the state, or its "
                "manifold."
            )
        missing = sorted(set(self.manifold.factors) - set(x))
        extra = [] if self._partial else sorted(set(x) - set(self.manifold.factors))
        if missing or extra:
            raise ShapeError(
                f"{name}: components missing: {missing}; without a distance: {extra}. Pass "
                f"{self._user} the path, or a ProductManifold with the names of the state."
            )
        return {key: x[key] for key in self.manifold.factors}


def _tensors(x: State) -> list[Tensor]:
    return [x] if isinstance(x, Tensor) else list(x.values())


def _check_same(x_0: State, x_1: State) -> None:
    for a, b in zip(_tensors(x_0), _tensors(x_1), strict=True):
        if a.shape != b.shape:
            raise ShapeError(
                f"x_0: got shape {tuple(a.shape)} beside x_1 of shape {tuple(b.shape)}; an "
                "assignment needs as many source samples as data, of the same shape."
            )
    batch_size(x_0)
