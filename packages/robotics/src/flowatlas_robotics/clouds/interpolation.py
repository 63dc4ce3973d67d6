"""More points from few without learning: midpoints of neighbours."""

from __future__ import annotations

import torch
from torch import Tensor

from flowatlas.errors import ConfigError, ShapeError
from flowatlas_robotics.clouds.neighbours import check_cloud, farthest_points, gather, nearest

__all__ = ["interpolate"]


def interpolate(sparse: Tensor, factor: int = 4, *, neighbours: int = 8) -> Tensor:
    """The points and midpoints of neighbours, of which an even selection is kept.

    Candidates are the points of the cloud and the midpoint of each with its nearest others;
    `farthest_points` selects `factor` times as many as there are points.

    Args:
        sparse: `(batch, n, 3)`.
        factor: how many times as many points are wanted.
        neighbours: of each point that make midpoints; at least twice the factor.

    Returns:
        `(batch, factor * n, 3)`.

    Raises:
        ConfigError: a factor below 1, or too few neighbours for it.
        ShapeError: what is given is no batch of clouds, or has too few points.

    Example:
        ```python
        from flowatlas_robotics.clouds import interpolate

        dense = interpolate(torch.randn(2, 64, 3), 4)
        ```
    """
    if factor < 1:
        raise ConfigError(f"factor: got {factor}; 1 or more.")
    # Every pair counts once: n points with k neighbours have at least n k / 2 midpoints.
    if neighbours < 2 * (factor - 1):
        raise ConfigError(
            f"neighbours: got {neighbours}; for {factor} times as many points at least "
            f"{2 * (factor - 1)} are needed."
        )
    check_cloud(sparse, "sparse", neighbours + 1)
    count = sparse.shape[1]
    index = nearest(sparse, sparse, neighbours + 1)[..., 1:]
    middles = (sparse.unsqueeze(2) + gather(sparse, index)) / 2
    # Most midpoints are found from both ends: what lies on a point that was selected comes last.
    candidates = torch.cat([sparse, middles.flatten(1, 2)], 1)
    chosen = farthest_points(candidates, factor * count)
    return gather(candidates, chosen.unsqueeze(-1)).squeeze(2)


def check_factor(sparse: Tensor, dense: Tensor) -> int:
    """How many times as many points there are in `dense`.

    Raises:
        ShapeError: no whole number of times, or other batches.
    """
    check_cloud(sparse, "sparse")
    check_cloud(dense, "dense")
    if len(sparse) != len(dense) or dense.shape[1] % sparse.shape[1]:
        raise ShapeError(
            f"sparse, dense: got shapes {tuple(sparse.shape)} and {tuple(dense.shape)}; need the "
            "same batch, and a whole number of times as many points."
        )
    return dense.shape[1] // sparse.shape[1]
