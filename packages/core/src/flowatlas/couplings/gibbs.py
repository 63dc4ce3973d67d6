"""Pairs drawn with Gibbs weights."""

from __future__ import annotations

import torch
from torch import Tensor

from flowatlas._random import Generators, rand
from flowatlas.couplings._space import Space
from flowatlas.couplings.base import Pairing
from flowatlas.errors import ConfigError
from flowatlas.manifolds.base import Manifold
from flowatlas.manifolds.product import ProductManifold
from flowatlas.paths.base import StatePath
from flowatlas.state import State, batch_size, leading

__all__ = ["GibbsWeighted"]


class GibbsWeighted(Pairing):
    r"""Each data sample draws a source sample of its batch, a near one more often than a far one.

    $$P(i | j) = \frac{\exp(-d(x_0^i, x_1^j)^2 / 2 \tau^2)}
      {\sum_k \exp(-d(x_0^k, x_1^j)^2 / 2 \tau^2)}$$

    with replacement. It costs one matrix of distances: no assignment, no iteration.

    The data keep their law; **the source does not**. In the limit of large batches the pairs have

    $$p(x_0 | x_1) = \frac{p_0(x_0)\, e^{-d^2 / 2 \tau^2}}{Z(x_1)}, \quad
      Z(x_1) = \int p_0(x)\, e^{-d(x, x_1)^2 / 2 \tau^2} dx, \qquad
      p(x_0) = p_0(x_0) \int \frac{p_1(y)}{Z(y)}\, e^{-d(x_0, y)^2 / 2 \tau^2} dy,$$

    and a flow that is trained on them starts from this last law, whereas a sampler starts from
    $p_0$. For $N(0, s^2)$ and $N(m, v)$ in one dimension, with $k = s^2 / (s^2 + \tau^2)$, it is
    $N(k m,\; k \tau^2 + k^2 v)$ in place of $N(0, s^2)$: the error is of order
    $(\text{distance of the data} / \tau)^2$, so that tau belongs above the extent of the data, not
    below that of the noise. Couplings that keep both laws are `MinibatchOT` and entropic transport,
    which normalises columns too.

    Weights of the data (importances) are no matter of the coupling, which never reorders x_1:
    `weight=` of the objective multiplies the loss of each sample.

    Args:
        space: as for `MinibatchOT`: a `Manifold`, a `ProductManifold` or a path.
        tau: width of the weights, in units of the distance.

    Raises:
        ConfigError: `space` is none of these, or tau is not finite and positive.

    Reference: the weights are those of Weighted Conditional Flow Matching, Calvo-Ordonez et al.,
    2025, arXiv:2507.22270, who multiply the loss of independent pairs by the same kernel, not
    normalised, which changes the law of the data as well. From memory, without equation numbers.

    Example:
        ```python
        objective = FlowMatching(AffinePath(), coupling=GibbsWeighted(Euclidean(), tau=3.0))
        ```
    """

    def __init__(self, space: Manifold | ProductManifold | StatePath, tau: float) -> None:
        self._space = Space(space, "GibbsWeighted")
        self.space = self._space.manifold
        if not 0 < tau < float("inf"):
            raise ConfigError(
                f"tau: got {tau}; a width is finite and positive. Independent() is tau at infinity."
            )
        self.tau = float(tau)

    @torch.no_grad()
    def pair(self, x_0: State, x_1: State, *, generator: Generators = None) -> Tensor:
        """Indices of the `x_0` that go with each `x_1`, drawn with replacement.

        Args:
            x_0: source samples, `(batch, *event)` or a mapping of such.
            x_1: data of the same shapes.
            generator: one, or one per sample.

        Returns:
            `(batch,)`, int64 on the device of `x_0`.

        Raises:
            ShapeError: the two differ in shape, or are no states of the space.
            GeometryError: a distance is NaN or infinite.
        """
        count, device = batch_size(x_1), leading(x_0).device
        cost = self._space.squared_dist(x_1, x_0).double()
        u = rand((count,), generator=generator, dtype=torch.float64, device=device)
        if count == 0:
            return torch.zeros(0, dtype=torch.int64, device=device)
        level = torch.softmax(cost / (-2 * self.tau**2), 1).cumsum(1)
        # In units of the whole, which rounding leaves beside one.
        index = torch.searchsorted(level, u.unsqueeze(1) * level[:, -1:], right=True).squeeze(1)
        return index.clamp(max=count - 1)

    def __repr__(self) -> str:
        return f"GibbsWeighted({self.space!r}, tau={self.tau:g})"
