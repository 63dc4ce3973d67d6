"""Geometry is done in float32 at least."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from flowatlas.state import State, map_state

__all__ = ["at_least_float32", "full_precision"]

_AS_IT_IS = nullcontext()


def full_precision(x: Tensor) -> Any:
    """Context without autocast: geometry in half precision is wrong, not fast."""
    kind = x.device.type
    if torch.is_autocast_enabled(kind):
        return torch.autocast(kind, enabled=False)
    return _AS_IT_IS


def at_least_float32(x: State) -> State:
    """Raise the dtype of floating-point states to float32 where it is less."""
    return map_state(
        lambda a: a.float() if a.is_floating_point() and a.element_size() < 4 else a, x
    )
