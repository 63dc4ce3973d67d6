"""Constructor arguments as JSON, and back, through names that are allowed."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import flowatlas.manifolds
from flowatlas import plugins
from flowatlas.errors import ConfigError
from flowatlas.manifolds.base import Manifold
from flowatlas.networks import condition, features, time_embedding

__all__ = ["decode", "encode"]

_OURS: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        condition.Classes,
        condition.Vector,
        features.Identity,
        features.Logs,
        features.MultiScale,
        features.Periodic,
        time_embedding.FourierTimeEmbedding,
    )
}
_DESCRIBED = (
    Manifold,
    condition.Classes,
    condition.Vector,
    features.Features,
    time_embedding.TimeEmbedding,
)


def encode(value: Any, name: str) -> Any:
    """`value` fit for JSON: plain values as they are, objects as `{"name": ..., "args": ...}`.

    Objects are described by the attributes that bear the names of their constructor's arguments.
    Manifolds of other packages have the name of their entry point, which is what loading finds.
    Where that cannot be done, "args" is null, and the object has to be given again at load.

    Raises:
        ConfigError: a value of a kind that no file can hold.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, list | tuple):
        return [encode(item, f"{name}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        wrong = [key for key in value if not isinstance(key, str)]
        if wrong or set(value) == {"name", "args"}:
            raise ConfigError(f"{name}: got keys {list(value)}; a saved mapping needs other names.")
        return {key: encode(item, f"{name}[{key!r}]") for key, item in value.items()}
    if isinstance(value, _DESCRIBED):
        return _description(value)
    raise ConfigError(
        f"{name}: a {type(value).__name__} cannot be written to config.json. Arguments of a "
        "network that is to be saved are plain values, manifolds, features, time embeddings and "
        "conditions."
    )


def _description(value: Any) -> dict[str, Any]:
    kind = type(value)
    name = kind.__name__
    allowed = _allowed()
    if allowed.get(name) is kind:
        return {"name": name, "args": _arguments(value)}
    declared = plugins.name_of(plugins.MANIFOLDS, kind) if isinstance(value, Manifold) else None
    if declared is not None and declared not in allowed:
        return {"name": declared, "args": _arguments(value)}
    # A namesake of one of ours must not be loaded as ours.
    return {"name": name, "args": None if name in allowed else _arguments(value)}


def _arguments(value: Any) -> dict[str, Any] | None:
    arguments = {}
    for name, parameter in inspect.signature(type(value)).parameters.items():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            return None
        try:
            arguments[name] = encode(getattr(value, name), name)
        except (AttributeError, ConfigError):
            return None
    return arguments


def decode(value: Any, where: str) -> Any:
    """The inverse of `encode`.

    Raises:
        ConfigError: a name that is not allowed, or arguments its class refuses.
    """
    if isinstance(value, list):
        return [decode(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if not isinstance(value, Mapping):
        return value
    if set(value) != {"name", "args"}:
        return {key: decode(item, f"{where}[{key!r}]") for key, item in value.items()}
    name, arguments = value["name"], value["args"]
    argument = where.rsplit(" ", 1)[-1].split("[")[0]
    if arguments is None:
        raise ConfigError(
            f"{where}: how the {name} was made is not in the file. Make one and pass "
            f"{argument}= to from_pretrained."
        )
    kind = _find(name, where, argument)
    try:
        return kind(**{key: decode(item, f"{where}.{key}") for key, item in arguments.items()})
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{where}: {name} cannot be made from {arguments} ({error}). Correct the file, or pass "
            f"{argument}= to from_pretrained."
        ) from error


def _allowed() -> dict[str, type]:
    manifolds = {
        key: kind
        for key, kind in vars(flowatlas.manifolds).items()
        if isinstance(kind, type) and issubclass(kind, Manifold) and kind is not Manifold
    }
    return {**_OURS, **manifolds}


def _find(name: Any, where: str, argument: str) -> type:
    allowed = _allowed()
    if name in allowed:
        return allowed[name]
    others = plugins.names(plugins.MANIFOLDS)
    if name in others:
        kind = plugins.load(plugins.MANIFOLDS, name, type)
        if issubclass(kind, Manifold):
            return kind
    raise ConfigError(
        f"{where}: nothing is called {name!r} that a saved network may be made of; allowed are "
        f"{', '.join(sorted({*allowed, *others}))}. Pass {argument}= to from_pretrained, or "
        f"install the package that declares {name!r} in entry-point group {plugins.MANIFOLDS!r}."
    )
