"""Features of points from their neighbours."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from flowatlas.errors import ConfigError
from flowatlas_robotics.clouds.neighbours import gather, nearest

__all__ = ["EdgeConvolution", "PointEncoder"]


class EdgeConvolution(nn.Module):
    r"""What a point hears from its neighbours: $W [\max_j e_{ij}, \operatorname{mean}_j e_{ij}]$
    with $e_{ij} = \operatorname{silu}(A h_i + B g_j + C [p_j - p_i, |p_j - p_i|])$.

    Only differences of places enter, so that nothing changes when all points are moved, and neither
    the maximum nor the mean knows the order of the neighbours: one tells what is there, the other
    where more of it is. The matrix W acts on points instead of pairs.

    Args:
        width: of the features of points and of neighbours.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.own = nn.Linear(width, width)
        self.other = nn.Linear(width, width, bias=False)
        self.place = nn.Linear(4, width, bias=False)
        self.out = nn.Linear(2 * width, width)

    def forward(self, h: Tensor, x: Tensor, g: Tensor, y: Tensor, index: Tensor) -> Tensor:
        """New features of the points, `(batch, n, width)`.

        Args:
            h: of the points, `(batch, n, width)`.
            x: their places `(batch, n, 3)`.
            g: features of those who may be neighbours, `(batch, m, width)`.
            y: their places `(batch, m, 3)`.
            index: of the neighbours, `(batch, n, k)`.
        """
        apart = gather(y, index) - x.unsqueeze(2)
        edges = self.place(torch.cat([apart, apart.norm(dim=-1, keepdim=True)], -1))
        edges = edges + gather(self.other(g), index) + self.own(h).unsqueeze(2)
        heard = silu(edges)
        found: Tensor = self.out(torch.cat([heard.amax(2), heard.mean(2)], -1))
        return found


class PointEncoder(nn.Module):
    """Edge convolutions among the nearest points: features that see some way around each point.

    Equivariant to the order of the points and invariant to moving all of them; not to turning
    them. For one vector of a whole cloud take the maximum over its points.

    Args:
        width: of the features.
        depth: convolutions.
        neighbours: of each point, itself among them.

    Raises:
        ConfigError: a setting below 1.
        ShapeError: at a call, clouds of fewer points than neighbours.

    Reference: Dynamic Graph CNN for Learning on Point Clouds, Wang et al., 2018, arXiv:1801.07829;
    here neighbours are near in space in all layers, the perceptron of an edge has one layer, and
    means stand beside the maxima.

    Example:
        ```python
        from flowatlas_robotics.clouds import PointEncoder

        features = PointEncoder(width=16, depth=2)(torch.randn(4, 64, 3))
        of_the_cloud = features.amax(1)
        ```
    """

    def __init__(self, width: int = 64, depth: int = 3, neighbours: int = 8) -> None:
        super().__init__()
        for name, value in (("width", width), ("depth", depth), ("neighbours", neighbours)):
            if value < 1:
                raise ConfigError(f"{name}: got {value}; 1 or more.")
        self.width, self.neighbours = width, neighbours
        self.layers = nn.ModuleList(EdgeConvolution(width) for _ in range(depth))

    def forward(self, points: Tensor) -> Tensor:
        """Features `(batch, n, width)` of points `(batch, n, 3)`."""
        index = nearest(points, points, self.neighbours)
        h = points.new_zeros(*points.shape[:2], self.width)
        for layer in self.layers:
            h = h + layer(h, points, h, points, index)
        return h
