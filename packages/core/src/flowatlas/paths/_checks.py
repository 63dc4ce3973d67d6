"""Shapes that a path takes."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from flowatlas.errors import ShapeError

__all__ = ["check_pair", "check_tensor"]


def check_pair(x_0: Tensor, x_1: Tensor, t: Tensor, point_ndim: int) -> None:
    """Raise `ShapeError` unless `x_0`, `x_1` and `t` fit; nothing is ever broadcast silently."""
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
    if not isinstance(t, Tensor) or t.ndim != 1 or t.shape[0] != x_1.shape[0]:
        got = f"shape {tuple(t.shape)}" if isinstance(t, Tensor) else type(t).__name__
        raise ShapeError(
            f"t: got {got}; need ({x_1.shape[0]},), one time per sample. "
            "For a single time use torch.full((batch,), t)."
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
