"""Meshes that need no file."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowatlas._arguments import count

__all__ = ["icosphere", "square"]

Array = NDArray[Any]


def icosphere(subdivisions: int) -> tuple[Array, Array]:
    """Vertices on the unit sphere, and faces: 20 times four to the number of subdivisions."""
    count("subdivisions", subdivisions, least=0)
    golden = (1 + 5**0.5) / 2
    plane = np.array([[-1, golden], [1, golden], [-1, -golden], [1, -golden]])
    zero = np.zeros((4, 1))
    x = np.concatenate(
        [np.hstack([plane, zero]), np.hstack([zero, plane]), np.hstack([plane, zero])[:, [1, 2, 0]]]
    )
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    # Faces are the triples of vertices at the least distance from each other.
    near = np.triu(x @ x.T > 0.4, 1)
    faces = np.array(
        [
            (i, j, k)
            for i in range(12)
            for j in range(i + 1, 12)
            for k in range(j + 1, 12)
            if near[i, j] and near[j, k] and near[i, k]
        ]
    )
    outward = np.linalg.det(x[faces]) > 0
    faces = np.where(outward[:, None], faces, faces[:, [0, 2, 1]])
    for _ in range(subdivisions):
        x, faces = _cut_in_four(x, faces)
        x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x, faces


def _cut_in_four(x: Array, faces: Array) -> tuple[Array, Array]:
    """Every face cut at the middles of its edges."""
    ends = np.stack([np.roll(faces, -1, 1), np.roll(faces, -2, 1)], -1).reshape(-1, 2)
    edges, which = np.unique(np.sort(ends, 1), axis=0, return_inverse=True)
    a, b, c = (which.reshape(-1, 3) + len(x)).T
    i, j, k = faces.T
    parts = [(i, c, b), (j, a, c), (k, b, a), (a, b, c)]
    cut = np.stack([np.stack(part, 1) for part in parts], 1).reshape(-1, 3)
    return np.concatenate([x, x[edges].mean(1)]), cut


def square(cells: int) -> tuple[Array, Array]:
    """Vertices on a grid of the unit square in the plane z = 0, and faces that face upward.

    Diagonals alternate, so that no direction is preferred.
    """
    count("cells", cells)
    side = np.linspace(0, 1, cells + 1)
    x, y = (grid.ravel() for grid in np.meshgrid(side, side, indexing="ij"))
    row, column = (grid.ravel() for grid in np.indices((cells, cells)))
    a = row * (cells + 1) + column
    b, c, d = a + cells + 1, a + cells + 2, a + 1
    even = ((row + column) % 2 == 0)[:, None, None]
    one = np.stack([np.stack([a, b, c], 1), np.stack([a, c, d], 1)], 1)
    other = np.stack([np.stack([a, b, d], 1), np.stack([b, c, d], 1)], 1)
    return np.stack([x, y, 0 * x], 1), np.where(even, one, other).reshape(-1, 3)
