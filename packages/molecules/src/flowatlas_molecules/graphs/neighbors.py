"""Which points of a batch of clouds see each other, by distance, in plain torch."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from flowatlas.errors import ConfigError, ShapeError

__all__ = ["complete_graph", "dense", "knn_graph", "radius_graph"]

#: Distances held at once; rows of a batch are cut into chunks of about so many.
_AT_ONCE = 1 << 22


def complete_graph(batch: Tensor) -> Tensor:
    """Every ordered pair of different points of one cloud, `(2, edges)`.

    Args:
        batch: cloud of each point, `(points,)`, in ascending order.

    Returns:
        Sources above, targets below, as PyG has it; ordered by target, then by source.

    Raises:
        ShapeError: `batch` is no ascending list of integers.

    Example:
        ```python
        from flowatlas_molecules.graphs import complete_graph

        complete_graph(torch.tensor([0, 0, 1, 1, 1])).shape  # (2, 2 + 6)
        ```
    """
    index, exists = dense(batch)
    order = torch.arange(exists.shape[1], device=batch.device)
    apart = order.unsqueeze(1) != order
    return _edges(index, order, apart & exists.unsqueeze(1) & exists.unsqueeze(2))


def radius_graph(x: Tensor, batch: Tensor, radius: float, *, at_once: int = _AT_ONCE) -> Tensor:
    r"""Every ordered pair of different points of one cloud with $|x_i - x_j| \le r$, `(2, edges)`.

    Args:
        x: points `(points, dim)`.
        batch: cloud of each, `(points,)`, in ascending order.
        radius: r, in the unit of the points.
        at_once: how many distances are held in memory at one time, roughly.

    Returns:
        As `complete_graph`.

    Raises:
        ShapeError: shapes that do not fit.
        ConfigError: a radius that is not positive.

    Example:
        ```python
        from flowatlas_molecules.graphs import radius_graph

        radius_graph(torch.randn(50, 3), torch.zeros(50, dtype=torch.int64), 1.5)
        ```
    """
    if not radius > 0:
        raise ConfigError(f"radius: got {radius}; it must be positive, in the unit of the points.")
    return _chunked(x, batch, lambda square: square <= radius**2, at_once)


def knn_graph(x: Tensor, batch: Tensor, k: int, *, at_once: int = _AT_ONCE) -> Tensor:
    """The k nearest others of every point, as edges from them to it, `(2, edges)`.

    Points of a cloud with k others or fewer see all of them.

    Args:
        x: points `(points, dim)`.
        batch: cloud of each, `(points,)`, in ascending order.
        k: neighbours of each.
        at_once: how many distances are held in memory at one time, roughly.

    Returns:
        As `complete_graph`.

    Raises:
        ShapeError: shapes that do not fit.
        ConfigError: fewer than one neighbour.

    Example:
        ```python
        from flowatlas_molecules.graphs import knn_graph

        knn_graph(torch.randn(50, 3), torch.zeros(50, dtype=torch.int64), k=8).shape  # (2, 400)
        ```
    """
    if k < 1:
        raise ConfigError(f"k: got {k}; at least one neighbour.")

    def nearest(square: Tensor) -> Tensor:
        count = min(k, square.shape[-1])
        chosen = square.topk(count, dim=-1, largest=False).indices
        return torch.zeros_like(square, dtype=torch.bool).scatter_(-1, chosen, True)

    return _chunked(x, batch, nearest, at_once)


def dense(batch: Tensor) -> tuple[Tensor, Tensor]:
    """Where each cloud's points are: indices `(clouds, longest)`, and which of them exist."""
    if batch.ndim != 1 or batch.is_floating_point() or bool((batch.diff() < 0).any()):
        raise ShapeError(
            f"batch: got shape {tuple(batch.shape)} of {batch.dtype}; it is the cloud of each "
            "point, integers (points,) in ascending order. Sort the points by cloud."
        )
    counts = torch.bincount(batch)
    longest = int(counts.max()) if len(counts) else 0
    place = torch.arange(longest, device=batch.device)
    exists = place < counts.unsqueeze(1)
    starts = (counts.cumsum(0) - counts).unsqueeze(1)
    return torch.where(exists, starts + place, 0), exists


def _chunked(x: Tensor, batch: Tensor, choose: Callable[[Tensor], Tensor], at_once: int) -> Tensor:
    """Edges where `choose`, given squared distances with infinity for nobody, is True."""
    if x.ndim != 2 or batch.shape != x.shape[:1]:
        raise ShapeError(
            f"x, batch: got shapes {tuple(x.shape)} and {tuple(batch.shape)}; they are "
            "(points, dim) and (points,)."
        )
    index, exists = dense(batch)
    clouds, n = exists.shape
    points = x.detach()[index]
    order = torch.arange(n, device=x.device)
    found = [batch.new_zeros(2, 0)]
    for some in order.split(max(1, at_once // max(1, clouds * n))):
        square = x.new_zeros(clouds, len(some), n)
        # Axis by axis: products of matrices lose the distances of near points far from the origin.
        for axis in points.unbind(-1):
            square += (axis[:, some].unsqueeze(2) - axis.unsqueeze(1)).square()
        here = exists[:, some].unsqueeze(2) & exists.unsqueeze(1) & (some.unsqueeze(1) != order)
        found.append(_edges(index, some, choose(square.masked_fill(~here, math.inf)) & here))
    edges = torch.cat(found, 1)
    return edges[:, edges[1].argsort(stable=True)]


def _edges(index: Tensor, rows: Tensor, seen: Tensor) -> Tensor:
    """Pairs `(2, edges)` of `seen` `(clouds, rows, n)`: those whom, above those who, see."""
    cloud, target, source = seen.nonzero(as_tuple=True)
    return torch.stack([index[cloud, source], index[cloud, rows[target]]])
