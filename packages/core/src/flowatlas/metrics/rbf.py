"""A metric of few kernels, fitted to be short on the data."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from flowatlas._arguments import count
from flowatlas.errors import ConfigError, GeometryError, ShapeError
from flowatlas.metrics._checks import check_dimension, check_points, check_positive
from flowatlas.metrics._kmeans import kmeans
from flowatlas.metrics.base import RiemannianMetric

__all__ = ["RbfMetric"]

#: Points at most by which weights are fitted.
_FITTED = 4000


class RbfMetric(RiemannianMetric):
    r"""Flat space, stretched wherever a sum of kernels that is about one on the data falls off.

    $$G(x) = \frac{I}{h(x) + \epsilon}, \qquad
      h(x) = \sum_k w_k \exp\left(-\frac{\lambda_k}{2} |x - c_k|^2\right), \qquad w_k \ge 0.$$

    `RbfMetric.fit` puts the centres by k-means, takes widths from the clusters and weights so that
    h is as close to one on the data as it can be. The cost of a call does not grow with the data,
    and in many dimensions, where `LandMetric` needs a kernel so wide that it sees little, the
    widths adapt.

    Args:
        centres: $c_k$, `(k, dim)`.
        rates: $\lambda_k$, `(k,)`, above zero.
        weights: $w_k$, `(k,)`, zero or more.
        epsilon: the void is as long as $1/\epsilon$.

    Raises:
        ShapeError: shapes that do not fit; at a call, another dimension.
        GeometryError: numbers that are not finite, or rates and weights outside their range.
        ConfigError: `epsilon` that is not above zero.

    Reference: Metric Flow Matching, Kapusniak et al., 2024, arXiv:2405.14780, with the widths of
    Latent Space Oddity, Arvanitidis et al., 2018, arXiv:1710.11379. There every coordinate has its
    weights, by gradient descent; as kernels and aim are the same for all coordinates, so are the
    best weights, and here the convex problem is solved once (non-negative least squares).

    Example:
        ```python
        metric = RbfMetric.fit(x_1, centres=20, generator=generator)
        length = metric.squared_norm(x_0, x_1 - x_0)  # (batch,)
        ```
    """

    def __init__(
        self, centres: Tensor, rates: Tensor, weights: Tensor, *, epsilon: float = 1e-3
    ) -> None:
        check_points(centres, "centres")
        for name, value in (("rates", rates), ("weights", weights)):
            if value.shape != centres.shape[:1]:
                raise ShapeError(
                    f"{name}: got shape {tuple(value.shape)}; need ({len(centres)},), one for each "
                    "centre."
                )
        if not bool((torch.isfinite(rates) & (rates > 0)).all()):
            raise GeometryError("rates: got some that are not finite and above zero; all must be.")
        if not bool((torch.isfinite(weights) & (weights >= 0)).all()):
            raise GeometryError("weights: got some that are negative or not finite; use fit().")
        check_positive(epsilon, "epsilon")
        self.centres, self.rates, self.weights = centres, rates, weights
        self.epsilon = epsilon

    @classmethod
    def fit(
        cls,
        points: Tensor,
        *,
        centres: int = 100,
        width: float = 1.0,
        epsilon: float = 1e-3,
        generator: torch.Generator | None = None,
    ) -> Self:
        r"""The metric of a set of points.

        $\lambda_k = \frac12 (\kappa m_k)^{-2}$, with $m_k$ the mean distance of the points of
        cluster k from its centre and $\kappa$ the `width`; w minimises
        $\sum_i (1 - h(x_i))^2$ over $w \ge 0$.

        Args:
            points: of the data, `(n, dim)`.
            centres: how many, at most n.
            width: of the kernels, in units of the clusters' own.
            epsilon: as above.
            generator: of the first centres, and of the points that decide the weights.

        Raises:
            ConfigError: more centres than points, or a width or epsilon that is not above zero.
        """
        check_points(points, "points")
        check_positive(width, "width")
        if count("centres", centres) > len(points):
            raise ConfigError(
                f"centres: got {centres} for {len(points)} points; there can be one for each at "
                "most. Ask for fewer."
            )
        data = points.detach().double()
        places, member = kmeans(data, centres, generator)
        apart = torch.linalg.vector_norm(data - places[member], dim=1)
        sizes = torch.bincount(member, minlength=centres).clamp(min=1)
        spread = torch.zeros_like(sizes, dtype=apart.dtype).index_add_(0, member, apart) / sizes
        # A cluster of one point has no width of its own; it gets a small one.
        typical = spread[spread > 0].median() if bool((spread > 0).any()) else spread.new_ones(())
        rates = 0.5 / (width * spread.clamp(min=0.1 * float(typical))).square()
        order = torch.randperm(len(data), generator=generator)[:_FITTED].to(data.device)
        kernels = torch.exp(-0.5 * rates * torch.cdist(data[order], places).square())
        from scipy.optimize import nnls

        weights, _ = nnls(kernels.cpu().numpy(), torch.ones(len(order)).double().numpy())
        return cls(
            places.to(points),
            rates.to(points),
            torch.from_numpy(weights).to(points),
            epsilon=epsilon,
        )

    def height(self, x: Tensor) -> Tensor:
        """h(x), `(...)`: about one on the data, zero in the void."""
        check_dimension(x, self.centres.shape[1])
        centres, rates, weights = (a.to(x) for a in (self.centres, self.rates, self.weights))
        flat = x.reshape(-1, x.shape[-1])
        near = (flat.unsqueeze(1) - centres).square().sum(-1)
        h = torch.exp(-0.5 * rates * near) @ weights
        return h.reshape(x.shape[:-1])

    def squared_norm(self, x: Tensor, u: Tensor) -> Tensor:
        return u.square().sum(-1) / (self.height(x) + self.epsilon)

    def __repr__(self) -> str:
        return f"RbfMetric({len(self.centres)} centres, epsilon={self.epsilon})"
