"""Whether numbers are points of a manifold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flowatlas.errors import GeometryError

if TYPE_CHECKING:
    from flowatlas.manifolds.base import Manifold

__all__ = ["check_on_manifold"]


def check_on_manifold(manifold: Manifold, x: Tensor, name: str) -> None:
    """Raise `GeometryError` unless `x`, of a shape that fits, is finite and on the manifold."""
    if not x.is_floating_point():
        raise GeometryError(
            f"{name}: got dtype {x.dtype}; points of {manifold!r} are floating-point. "
            f"Call {name}.float() first."
        )
    # A finite sum has finite terms, and takes one pass over them.
    if not torch.isfinite(x.sum()) and not (finite := torch.isfinite(x)).all():
        bad = int((~finite.flatten(1).all(1)).sum()) if x.ndim > 1 else int((~finite).sum())
        raise GeometryError(
            f"{name}: {bad} of {x.shape[0]} samples contain NaN or infinity; remove or impute "
            "them before they reach the flow."
        )
    residual = manifold.residual(x)
    if not residual.any():
        return
    size = x.abs().clamp(min=1.0)
    if manifold.point_ndim:
        size = size.flatten(x.ndim - manifold.point_ndim).amax(-1)
    residual = (residual / size).max()
    allowed = manifold.tolerance.get(x.dtype, 1e-2)
    # Written so that NaN, the projection of a zero vector, fails.
    if not residual <= allowed:
        raise GeometryError(
            f"{name}: points lie off {manifold!r} with relative residual {residual.item():.2e}, "
            f"above the {allowed:.0e} allowed in {x.dtype}. If that is rounding, "
            "project them with manifold.projx; else check units and conventions."
        )
