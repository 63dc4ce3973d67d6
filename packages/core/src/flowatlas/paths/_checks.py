"""Shapes that a path takes."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from flowatlas.errors import ShapeError

__all__ = ["check_pair", "check_tensor"]


def check_pair(
    x_0: Tensor,
    x_1: Tensor,
    t: Tensor,
    point_ndim: int,
    *,
    pointwise: bool = False,
    name: str | None = None,
) -> None:
    """Raise `ShapeError` unless `x_0`, `x_1` and `t` fit; nothing is ever broadcast silently.

    Args:
        x_0: `(batch, *event)`.
        x_1: the same shape.
        t: `(batch,)`, or `(batch, *points)` with `pointwise`.
        point_ndim: trailing axes that make one point.
        pointwise: whether each point may have a time of its own.
        name: of the component, in a product.
    """
    if x_0.shape != x_1.shape:
        raise ShapeError(
            f"x_0: got shape {tuple(x_0.shape)} beside x_1 of shape {tuple(x_1.shape)}; they must "
            "be equal. Draw x_0 with path.draw(x_1)."
        )
    if x_1.ndim < 1 + point_ndim:
        raise ShapeError(
            f"x_1: got shape {tuple(x_1.shape)}; a state has a batch axis and then at least "
            f"{point_ndim} axes for its points. Use x_1.unsqueeze(-1) for scalar data."
        )
    points = tuple(x_1.shape[: x_1.ndim - point_ndim])
    shape = tuple(t.shape) if isinstance(t, Tensor) else None
    if shape == points[:1] or (pointwise and shape == points):
        return
    got = type(t).__name__ if shape is None else f"shape {shape}"
    own = ""
    if len(points) > 1:
        own = f", or {points}, one per point" if pointwise else "; this path has no times by point"
    of = "" if name is None else f"component {name!r}: "
    raise ShapeError(
        f"t: got {got}; {of}need {points[:1]}, one time per sample{own}. For a single time use "
        "torch.full((batch,), t)."
    )


def check_tensor(x: Any, name: str) -> None:
    """Raise `ShapeError` unless `x` is a tensor of real numbers, as a lone path's state is."""
    if not isinstance(x, Tensor):
        raise ShapeError(
            f"{name}: got {type(x).__name__}; a lone path takes a tensor (batch, *event). For a "
            "mapping use ProductPath(name=path)."
        )
    if not x.is_floating_point():
        raise ShapeError(
            f"{name}: got dtype {x.dtype}; points of a continuous path are floating-point. Use "
            f"{name}.float()."
        )
