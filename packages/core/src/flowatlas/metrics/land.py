"""The locally adaptive metric of a set of points."""

from __future__ import annotations

import torch
from torch import Tensor

from flowatlas.metrics._checks import check_dimension, check_points, check_positive
from flowatlas.metrics.base import DiagonalMetric

__all__ = ["LandMetric"]


class LandMetric(DiagonalMetric):
    r"""Short where data are, and long away from them: the inverse of a local diagonal covariance.

    $$G(x) = (\operatorname{diag} h(x) + \epsilon)^{-1}, \qquad
      h_a(x) = \sum_i (x_{i, a} - x_a)^2 \exp\left(-\frac{|x_i - x|^2}{2 \sigma^2}\right).$$

    Beyond a few sigma from all points h vanishes, and the metric is that of flat space over
    epsilon: long, but with no slope that would lead back. Choose sigma so that a straight line
    between the ends still sees the data. Nothing is fitted; a call costs n kernels per point.

    Args:
        points: of the data, `(n, dim)`.
        sigma: width of the kernel, in the units of the data.
        epsilon: smallest value of the inverse metric; the void is as long as $1/\epsilon$.

    Raises:
        ShapeError: points that are not `(n, dim)`; at a call, another dimension.
        GeometryError: points that are not finite.
        ConfigError: `sigma` or `epsilon` that is not above zero.

    Reference: A Locally Adaptive Normal Distribution, Arvanitidis et al., 2016, arXiv:1606.02518;
    with this sum as the metric of flows, Metric Flow Matching, Kapusniak et al., 2024,
    arXiv:2405.14780.

    Example:
        ```python
        metric = LandMetric(x_1, sigma=0.2)
        length = metric.squared_norm(x_0, x_1 - x_0)  # (batch,)
        ```
    """

    def __init__(self, points: Tensor, *, sigma: float, epsilon: float = 1e-3) -> None:
        check_points(points, "points")
        check_positive(sigma, "sigma")
        check_positive(epsilon, "epsilon")
        self.points = points.detach()
        self.sigma = sigma
        self.epsilon = epsilon
        self._middle = self.points.mean(0)
        centred = self.points - self._middle
        # Three moments of the kernel make h, so that no (batch, n, dim) tensor is ever made.
        self._moments = torch.cat([centred.square(), centred, torch.ones_like(centred[:, :1])], 1)

    def spread(self, x: Tensor) -> Tensor:
        """h(x), `(..., dim)`."""
        check_dimension(x, self.points.shape[1])
        dim = self.points.shape[1]
        moments = self._moments.to(x)
        centred = x - self._middle.to(x)
        flat = centred.reshape(-1, dim)
        near = _squared_distances(flat, moments[:, dim:-1], moments[:, :dim].sum(1))
        second, first, zeroth = (
            (torch.exp(-0.5 * near / self.sigma**2) @ moments)
            .reshape(*x.shape[:-1], -1)
            .split([dim, dim, 1], -1)
        )
        # Rounding may leave a tiny negative number where all the mass is on one point.
        h: Tensor = second - 2 * centred * first + centred.square() * zeroth
        return h.clamp(min=0)

    def diagonal(self, x: Tensor) -> Tensor:
        return 1 / (self.spread(x) + self.epsilon)

    def __repr__(self) -> str:
        return f"LandMetric({len(self.points)} points, sigma={self.sigma}, epsilon={self.epsilon})"


def _squared_distances(x: Tensor, y: Tensor, y_squares: Tensor) -> Tensor:
    """Of all pairs, `(batch, n)`, by one matrix product."""
    squares = x.square().sum(1, keepdim=True) + y_squares
    return torch.addmm(squares, x, y.T, alpha=-2).clamp(min=0)
