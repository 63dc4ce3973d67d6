"""Checks that all comparisons of two sets of features share."""

from __future__ import annotations

from torch import Tensor

from flowatlas.errors import ShapeError

__all__ = ["as_features"]


def as_features(x: Tensor, y: Tensor, least: int) -> tuple[Tensor, Tensor]:
    """Both sets in float64.

    Raises:
        ShapeError: they are no `(n, k)` and `(m, k)`, have fewer than `least` rows, or hold NaN.
    """
    for name, value in (("x", x), ("y", y)):
        if value.ndim != 2 or not value.is_floating_point():
            raise ShapeError(
                f"{name}: got shape {tuple(value.shape)}, {value.dtype}; need features (n, k), "
                "floating-point. Flatten images, or call a feature network on them."
            )
        if len(value) < least:
            raise ShapeError(
                f"{name}: got {len(value)} rows; this number needs {least} or more. Draw more "
                "samples."
            )
        if not bool(value.isfinite().all()):
            raise ShapeError(f"{name}: holds NaN or infinity. Look at the samples it is made from.")
    if x.shape[1] != y.shape[1]:
        raise ShapeError(
            f"y: got {y.shape[1]} features beside {x.shape[1]} of x; both must come from one "
            "network."
        )
    return x.double(), y.double()
