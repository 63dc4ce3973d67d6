"""Optimal transport within a batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from flowatlas._random import Generators
from flowatlas.couplings._assignment import optimal_assignment
from flowatlas.couplings.base import Coupling
from flowatlas.errors import ConfigError, GeometryError, ShapeError
from flowatlas.manifolds.base import Manifold
from flowatlas.manifolds.product import ProductManifold
from flowatlas.paths.base import StatePath
from flowatlas.state import State, batch_size, leading

__all__ = ["MinibatchOT"]


class MinibatchOT(Coupling):
    r"""The permutation of the source samples that is closest to the data.

    $$\pi^* = \arg\min_\pi \sum_j d(x_0^{\pi(j)}, x_1^j)^2$$

    over the batch, d being the geodesic distance (its square is summed over the points of a sample
    and the factors of a product). Conditional paths then cross less, and the flow is straighter: in
    the limit of large batches, which comes the later the higher the dimension, it is that of
    optimal transport.

    The assignment is exact and keeps every sample: the marginals do not change. It is found on the
    CPU in float64, in about 5 ms for a batch of 256, 0.1 s for 1024, 3 s for 4096.

    With conditions, this coupling makes x_0 depend on the condition unless all samples of the batch
    share it, which is not what a conditional sampler draws from; couple within a condition, or not
    at all.

    Args:
        space: a `Manifold`, a `ProductManifold` for states that are mappings, or a path, which
            stands for its manifold (components that live on none, such as tokens, do not count).

    Raises:
        ConfigError: `space` is none of these.

    Reference: Improving and Generalizing Flow-Based Generative Models with Minibatch Optimal
    Transport, Tong et al., 2023, arXiv:2302.00482; their code draws pairs from the plan with
    replacement. Here the plan, which is a permutation, is used as it is, as in Multisample Flow
    Matching, Pooladian et al., 2023, arXiv:2304.14772.

    Example:
        ```python
        objective = FlowMatching(GeodesicPath(Sphere()), coupling=MinibatchOT(Sphere()))
        ```
    """

    def __init__(self, space: Manifold | ProductManifold | StatePath) -> None:
        if not isinstance(space, Manifold | ProductManifold | StatePath):
            raise ConfigError(
                f"space: got {type(space).__name__}; a distance comes from a Manifold, a "
                "ProductManifold or a path."
            )
        self.space = space.manifold if isinstance(space, StatePath) else space
        # The state of a path may hold more than its manifold measures.
        self._partial = isinstance(space, StatePath)
        if isinstance(self.space, ProductManifold) and not self.space.factors:
            raise ConfigError("space: a product without continuous components has no distance.")

    @torch.no_grad()
    def pair(self, x_0: State, x_1: State, *, generator: Generators = None) -> Tensor:
        """Indices of the `x_0` that go with each `x_1`.

        Args:
            x_0: source samples, `(batch, *event)` or a mapping of such.
            x_1: data of the same shapes.
            generator: not used; nothing is drawn.

        Returns:
            `(batch,)`, a permutation, int64 on the device of `x_0`.

        Raises:
            ShapeError: the two differ in shape, or are no states of the space.
            GeometryError: a distance is NaN or infinite.
        """
        x_0, x_1 = self._compared(x_0, "x_0"), self._compared(x_1, "x_1")
        _check_same(x_0, x_1)
        device = leading(x_0).device
        if batch_size(x_0) <= 1:
            return torch.arange(batch_size(x_0), device=device)
        space: Any = self.space
        cost = space.pairwise_squared_dist(x_1, x_0)
        if not bool(torch.isfinite(cost).all()):
            bad = (~torch.isfinite(cost)).any(1).nonzero().flatten()[:5].tolist()
            raise GeometryError(
                "x_0, x_1: the distance between some of them is NaN or infinite (data in rows "
                f"{bad}, ...). Check both with manifold.check_point(x)."
            )
        dimension = sum(value[0].numel() for value in _tensors(x_1))
        index = optimal_assignment(cost.to("cpu", torch.float64).numpy(), dimension)
        return torch.from_numpy(index).to(device)

    def _compared(self, x: State, name: str) -> State:
        """The part of the state that the space has a distance for."""
        if isinstance(self.space, Manifold):
            if isinstance(x, Mapping):
                raise ShapeError(
                    f"{name}: got a mapping with the names {sorted(x)}, but {self.space!r} "
                    "measures tensors. Pass MinibatchOT the path, or a ProductManifold with these "
                    "names."
                )
            self.space.check_shape(x, name)
            return x
        if not isinstance(x, Mapping):
            raise ShapeError(
                f"{name}: got a tensor; a product takes a mapping with the names "
                f"{sorted(self.space.factors)}. Pass MinibatchOT the path of the state, or its "
                "manifold."
            )
        missing = sorted(set(self.space.factors) - set(x))
        extra = [] if self._partial else sorted(set(x) - set(self.space.factors))
        if missing or extra:
            raise ShapeError(
                f"{name}: components missing: {missing}; without a distance: {extra}. Pass "
                "MinibatchOT the path, or a ProductManifold with the names of the state."
            )
        return {key: x[key] for key in self.space.factors}

    def __repr__(self) -> str:
        return f"MinibatchOT({self.space!r})"


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
