"""Settings as dataclasses: unknown keys and unfit values are errors that say what is allowed."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from flowatlas.errors import ConfigError
from flowatlas.plugins import close_matches

C = TypeVar("C")

__all__ = ["changed", "require", "settings"]


def changed(config: C, values: Mapping[str, Any]) -> C:
    """A copy of a config dataclass with some settings replaced, and checked again.

    Args:
        config: a frozen dataclass.
        values: by name; strings, as a command line gives them, are converted to the field's type.

    Raises:
        ConfigError: a name that is no setting (the message lists those that are), or a value of
            another type.
    """
    kinds = get_type_hints(type(config))
    fields = {field.name for field in dataclasses.fields(config) if field.init}  # type: ignore[arg-type]
    for name in values:
        if name not in fields:
            raise ConfigError(
                f"{name}: no setting of {type(config).__name__} is called that."
                f"{close_matches(name, fields)} Allowed: {', '.join(sorted(fields))}."
            )
    converted = {name: _convert(name, value, kinds[name]) for name, value in values.items()}
    return dataclasses.replace(config, **converted)  # type: ignore[type-var]


def settings(config: Any) -> dict[str, Any]:
    """The settings as a dictionary that JSON can hold."""
    return dataclasses.asdict(config)


def require(condition: bool, name: str, value: object, allowed: str) -> None:
    """Raise `ConfigError` unless `condition`; for `__post_init__`."""
    if not condition:
        raise ConfigError(f"{name}: got {value!r}; it must be {allowed}.")


def _convert(name: str, value: Any, kind: Any) -> Any:
    options = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    empty = value is None or (isinstance(value, str) and value.lower() in ("none", "null"))
    if empty and type(None) in options:
        return None
    for option in options:
        if option is bool and isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        if option is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if option in (int, float) and isinstance(value, str):
            try:
                return option(value)
            except ValueError:
                continue
        if get_origin(option) is tuple:
            return _numbers(name, value)
        if isinstance(option, type) and type(value) is option:
            return value
    names = " or ".join(
        "none" if o is type(None) else getattr(o, "__name__", str(o)) for o in options
    )
    raise ConfigError(f"{name}: got {value!r}; it must be of type {names}.")


def _numbers(name: str, value: Any) -> tuple[float, ...]:
    """A tuple of numbers, from a sequence or from text such as `1,0.3,0.1` (empty for none)."""
    parts = value.split(",") if isinstance(value, str) else value
    try:
        return tuple(float(part) for part in parts if part != "")
    except (TypeError, ValueError):
        raise ConfigError(
            f"{name}: got {value!r}; it must be numbers separated by commas."
        ) from None
