"""Checks of arguments that are no tensors: their kind, and counts."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

from flowatlas.errors import ConfigError

__all__ = ["check_kind", "count"]


def check_kind(name: str, value: Any, kind: type, example: str) -> None:
    """Raise `ConfigError` unless `value` is an instance of `kind`, such as `example`."""
    if not isinstance(value, kind):
        got = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
        raise ConfigError(f"{name}: got {got}; it must be a {kind.__name__}, such as {example}.")


def count(name: str, value: Any, *, least: int = 1) -> int:
    """`value` as an integer of `least` or more; whole floats such as 2.0 do.

    Raises:
        ConfigError: anything else.
    """
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not (number and math.isfinite(value) and int(value) == value and value >= least):
        raise ConfigError(f"{name}: got {value!r}; it must be an integer of {least} or more.")
    return int(value)
