"""Clouds of points on surfaces."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flowatlas_robotics.clouds.meshes import Surface
from flowatlas_robotics.clouds.neighbours import farthest_points, gather

__all__ = ["even_clouds", "uniform_clouds"]

#: Uniform draws for each point of an even selection.
_DRAWS = 4
#: Clouds that are thinned out together.
_CHUNK = 50


def uniform_clouds(
    chosen: Sequence[Surface],
    turns: Tensor,
    points: int,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Uniform draws from turned surfaces, `(n, points, 3)`."""
    x = torch.stack([surface.sample(points, generator=generator) for surface in chosen])
    return x @ turns.mT


def even_clouds(
    chosen: Sequence[Surface],
    turns: Tensor,
    points: int,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Even selections of four times as many uniform draws, `(n, points, 3)`."""
    made = []
    for first in range(0, len(chosen), _CHUNK):
        rows = slice(first, first + _CHUNK)
        x = uniform_clouds(chosen[rows], turns[rows], _DRAWS * points, generator=generator)
        made.append(gather(x, farthest_points(x, points).unsqueeze(-1)).squeeze(2))
    return torch.cat(made)
