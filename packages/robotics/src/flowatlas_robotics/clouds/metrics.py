"""How far apart clouds of points are."""

from __future__ import annotations

import torch
from torch import Tensor

from flowatlas.errors import ShapeError
from flowatlas_robotics.clouds.neighbours import check_cloud, distances

__all__ = ["assignment", "chamfer_distance", "earth_movers_distance", "surface_distance"]


def chamfer_distance(x: Tensor, y: Tensor) -> Tensor:
    r"""$\frac1n \sum_i \min_j |x_i - y_j|^2 + \frac1m \sum_j \min_i |x_i - y_j|^2$.

    Args:
        x: `(batch, n, 3)`.
        y: `(batch, m, 3)`.

    Returns:
        `(batch,)`.

    Reference: A Point Set Generation Network for 3D Object Reconstruction from a Single Image, Fan
    et al., 2016, arXiv:1612.00603; there sums, here means.
    """
    squared = distances(check_cloud(x, "x"), check_cloud(y, "y")).square()
    return squared.amin(2).mean(1) + squared.amin(1).mean(1)


def earth_movers_distance(x: Tensor, y: Tensor) -> Tensor:
    r"""$\min_\phi \frac1n \sum_i |x_i - y_{\phi(i)}|$ over all bijections, exactly.

    Args:
        x: `(batch, n, 3)`.
        y: `(batch, n, 3)`.

    Returns:
        `(batch,)`.

    Reference: as for `chamfer_distance`.
    """
    moved = y.gather(1, assignment(x, y, power=1).unsqueeze(-1).expand_as(y))
    found: Tensor = (x - moved).norm(dim=-1).mean(1)
    return found


def surface_distance(x: Tensor, surface: Tensor) -> Tensor:
    """Mean distance from each point to the nearest of many points of the surface, `(batch,)`.

    Args:
        x: `(batch, n, 3)`.
        surface: `(batch, m, 3)`, so many that their spacing is small beside what is measured.
    """
    check_cloud(x, "x")
    check_cloud(surface, "surface")
    # A cloud at a time: many points times many points of all clouds are gigabytes.
    found = [distances(a, b).amin(2) for a, b in zip(x.split(1), surface.split(1), strict=True)]
    return torch.cat(found).mean(1)


def assignment(x: Tensor, y: Tensor, *, power: int = 2) -> Tensor:
    r"""For each point of x its own point of y, so that the sum of $|x_i - y_{\phi(i)}|^p$ is least.

    Args:
        x: `(batch, n, 3)`.
        y: `(batch, n, 3)`.
        power: p.

    Returns:
        Indices into y, `(batch, n)`.

    Raises:
        ShapeError: clouds of different sizes.
    """
    from scipy.optimize import linear_sum_assignment

    if check_cloud(x, "x").shape != check_cloud(y, "y").shape:
        raise ShapeError(
            f"x, y: got shapes {tuple(x.shape)} and {tuple(y.shape)}; a bijection needs as many "
            "points in both. Thin out the larger one with farthest_points."
        )
    costs = distances(x.double(), y.double()).pow(power).detach().cpu().numpy()
    found = [torch.from_numpy(linear_sum_assignment(cost)[1]) for cost in costs]
    return torch.stack(found).to(x.device)
