"""States: a tensor `(batch, *event)`, or a flat mapping from names to such tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from flowatlas.errors import ShapeError

__all__ = ["State", "batch_size", "broadcast_time", "leading", "map_state", "time_dtype"]

#: What a flow moves: a tensor `(batch, *event)`, or a flat mapping from names to such tensors.
State = Tensor | Mapping[str, Tensor]


def leading(x: State) -> Tensor:
    """Any one tensor of the state: the one that tells batch size, dtype and device."""
    if isinstance(x, Tensor):
        return x
    if not x:
        raise ShapeError("state: got an empty mapping; a state needs at least one component.")
    floating = [value for value in x.values() if value.is_floating_point()]
    return floating[0] if floating else next(iter(x.values()))


def batch_size(x: State) -> int:
    """Length of the first axis, which every component must share.

    Raises:
        ShapeError: if the components disagree, or one has no batch axis.
    """
    if isinstance(x, Tensor):
        if x.ndim == 0:
            raise ShapeError("state: got a 0-d tensor; a state has shape (batch, *event).")
        return x.shape[0]
    sizes = {name: (value.shape[0] if value.ndim else None) for name, value in x.items()}
    if len(set(sizes.values())) != 1 or None in sizes.values():
        raise ShapeError(f"state: components must share their batch size, got {sizes}.")
    return leading(x).shape[0]


def map_state(fn: Callable[..., Tensor], *states: State) -> State:
    """Apply `fn` to each component of states that have the same names."""
    first = states[0]
    if isinstance(first, Tensor):
        return fn(*states)
    return {name: fn(*(state[name] for state in states)) for name in first}  # type: ignore[index]


def time_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype of t beside a state of `dtype`: at least float32 (bfloat16 has 8 bits of time)."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def broadcast_time(t: Tensor, x: Tensor) -> Tensor:
    """View `t` so that it multiplies `x`: the one place where time meets event axes.

    Args:
        t: `(batch,)`, or `(batch, N)` where a path accepts per-token times.
        x: `(batch, *event)`; its first axes must be those of `t`.

    Returns:
        `t` with trailing axes of length one: `(batch, 1, ..., 1)`.

    Raises:
        ShapeError: if the leading axes of `x` are not the shape of `t`.
    """
    if t.ndim == 0 or x.shape[: t.ndim] != t.shape:
        raise ShapeError(
            f"t: got shape {tuple(t.shape)} beside a state of shape {tuple(x.shape)}; t must have "
            f"shape ({x.shape[0] if x.ndim else 'batch'},), one time per sample. For a single "
            "time use torch.full((batch,), t)."
        )
    return t.view(*t.shape, *(1,) * (x.ndim - t.ndim))
