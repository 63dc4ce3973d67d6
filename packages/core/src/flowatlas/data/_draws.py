"""Draws of whole points, for laws that make them row by row."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from flowatlas._random import Generators, draw
from flowatlas.errors import ShapeError

__all__ = ["draw_points"]


def draw_points(
    rows: Callable[[int, torch.Generator | None], Tensor],
    shape: Sequence[int],
    point_shape: tuple[int, ...],
    *,
    generator: Generators,
    dtype: torch.dtype | None,
    device: torch.device | str | None,
) -> Tensor:
    """Points of the given shape, made by `rows` of a count and a generator.

    Raises:
        ShapeError: a shape that does not end as points of the law do.
    """
    shape, axes = tuple(shape), len(point_shape)
    if shape[len(shape) - axes :] != point_shape:
        raise ShapeError(f"shape: got {shape}; points of this mixture have shape {point_shape}.")
    x = draw(lambda s, g: rows(math.prod(s[: len(s) - axes]), g).view(s), shape, generator)
    return x.to(dtype=dtype or torch.get_default_dtype(), device=device)
