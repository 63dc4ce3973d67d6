"""Differentiation with a single return type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

__all__ = ["jvp", "vjp"]


def jvp(
    fn: Callable[..., Any], primals: tuple[Any, ...], tangents: tuple[Any, ...]
) -> tuple[Any, Any]:
    """`fn(*primals)` and its derivative along `tangents`."""
    value, derivative = torch.func.jvp(fn, primals, tangents)[:2]
    return value, derivative


def vjp(fn: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[[Any], tuple[Any, ...]]]:
    """`fn(*primals)` and the map from covectors of the value to those of the primals."""
    value, pull = torch.func.vjp(fn, *primals)[:2]
    return value, pull
