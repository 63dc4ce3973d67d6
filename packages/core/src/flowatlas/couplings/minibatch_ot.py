"""Optimal transport within a batch."""

from __future__ import annotations

import torch
from torch import Tensor

from flowatlas._random import Generators
from flowatlas.couplings._assignment import optimal_assignment
from flowatlas.couplings._space import Space
from flowatlas.couplings.base import Pairing
from flowatlas.manifolds.base import Manifold
from flowatlas.manifolds.product import ProductManifold
from flowatlas.paths.base import StatePath
from flowatlas.state import State, leading

__all__ = ["MinibatchOT"]


class MinibatchOT(Pairing):
    r"""The permutation of the source samples that is closest to the data.

    $$\pi^* = \arg\min_\pi \sum_j d(x_0^{\pi(j)}, x_1^j)^2$$

    over the batch, d being the geodesic distance (its square is summed over the points of a sample
    and the factors of a product). Conditional paths then cross less, and the flow is straighter: in
    the limit of large batches, which comes the later the higher the dimension, it is that of
    optimal transport.

    The assignment is exact and keeps every sample: the marginals do not change. It is found on the
    CPU in float64, in about 5 ms for a batch of 256, 0.1 s for 1024, 3 s for 4096.

    With conditions, this coupling makes x_0 depend on the condition unless all samples of the batch
    share it, which is not what a conditional sampler draws from; couple `WithinCondition`, or not
    at all. For pairs over more than a batch see `flowatlas.training.PairedPools`.

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
        self._space = Space(space, "MinibatchOT")
        self.space = self._space.manifold

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
        cost = self._space.squared_dist(x_1, x_0)
        device = leading(x_0).device
        if len(cost) <= 1:
            return torch.arange(len(cost), device=device)
        dimension = self._space.dimension(x_1)
        index = optimal_assignment(cost.to("cpu", torch.float64).numpy(), dimension)
        return torch.from_numpy(index).to(device)

    def __repr__(self) -> str:
        return f"MinibatchOT({self.space!r})"
