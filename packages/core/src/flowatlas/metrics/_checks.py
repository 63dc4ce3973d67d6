"""Checks of what metrics are made of."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowatlas.errors import ConfigError, GeometryError, ShapeError

__all__ = ["check_dimension", "check_points", "check_positive"]


def check_points(points: Tensor, name: str) -> None:
    """Raise unless `points` is a tensor `(n, dim)` of finite numbers, with n of 1 or more."""
    if not isinstance(points, Tensor) or points.ndim != 2 or 0 in points.shape:
        got = tuple(points.shape) if isinstance(points, Tensor) else type(points).__name__
        raise ShapeError(
            f"{name}: got {got}; need a tensor (n, dim) of one point or more. Use "
            f"{name}.flatten(1) for points with several axes."
        )
    if not points.is_floating_point() or not bool(torch.isfinite(points).all()):
        raise GeometryError(
            f"{name}: got {points.dtype} with NaN or infinity, or no floating-point numbers; "
            f"all must be finite. Use {name}.float() and remove the rows that are not."
        )


def check_positive(value: float, name: str) -> None:
    """Raise `ConfigError` unless `value` is a finite number above zero."""
    if not (math.isfinite(value) and value > 0):
        raise ConfigError(f"{name}: got {value}; it must be finite and above zero, such as 0.1.")


def check_dimension(x: Tensor, dimension: int) -> None:
    """Raise `ShapeError` unless the last axis of `x` has that many coordinates."""
    if x.ndim == 0 or x.shape[-1] != dimension:
        raise ShapeError(
            f"x: got shape {tuple(x.shape)}; the metric was made of points of {dimension} "
            f"coordinates, so its last axis must be {dimension}. Use x.flatten(1)?"
        )
