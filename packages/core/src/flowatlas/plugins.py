"""Things of any package by name, from entry points: benchmarks, manifolds, networks, commands.

A distribution that declares

```toml
[project.entry-points."flowatlas.benchmarks"]
"mine/first" = "my_package.benchmarks:FIRST"
```

shows up in `flowatlas bench list` beside those that ship with FlowAtlas, which are declared in the
same way. Names are listed without importing anything; the object behind one is imported when asked
for.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar

from flowatlas.errors import ConfigError, FlowAtlasError

__all__ = [
    "PluginError",
    "by_distribution",
    "close_matches",
    "distribution",
    "load",
    "name_of",
    "names",
]

T = TypeVar("T")

BENCHMARKS = "flowatlas.benchmarks"
COMMANDS = "flowatlas.commands"
DATASETS = "flowatlas.datasets"
MANIFOLDS = "flowatlas.manifolds"
NETWORKS = "flowatlas.networks"
SYSTEMS = "flowatlas.systems"


class PluginError(FlowAtlasError, ImportError):
    """A plugin cannot be imported, or two of them claim one name."""


def names(group: str) -> list[str]:
    """Every name that an installed distribution declares in `group`, sorted."""
    return sorted({point.name for point in entry_points(group=group)})


def by_distribution(group: str) -> dict[str, list[str]]:
    """Names in `group` for each distribution that declares some."""
    found: dict[str, list[str]] = {}
    for point in sorted(entry_points(group=group), key=lambda point: point.name):
        names_of = found.setdefault(distribution(point), [])
        if point.name not in names_of:
            names_of.append(point.name)
    return found


def load(group: str, name: str, kind: type[T]) -> T:
    """The object that `name` stands for in `group`.

    Args:
        group: `flowatlas.benchmarks`, `flowatlas.commands`, `flowatlas.datasets`,
            `flowatlas.manifolds`, `flowatlas.networks` or `flowatlas.systems`.
        name: as listed by `names`.
        kind: what the object must be an instance of.

    Raises:
        ConfigError: no distribution declares the name; the message has close ones.
        PluginError: its import fails, it is not a `kind`, or two distributions declare it. The
            message names the distribution.
    """
    point = _find(group, name)
    try:
        value = point.load()
    except Exception as error:
        raise PluginError(
            f"{name}: the plugin of distribution {distribution(point)!r} ({point.value}) fails to "
            f"import: {type(error).__name__}: {error}. Repair or uninstall that distribution."
        ) from error
    if not isinstance(value, kind):
        raise PluginError(
            f"{name}: the plugin of distribution {distribution(point)!r} ({point.value}) is a "
            f"{type(value).__name__}; group {group!r} holds {kind.__name__} objects."
        )
    return value


def name_of(group: str, value: object) -> str | None:
    """The name that stands for `value` itself in `group`; None if there is none.

    Plugins that `load` refuses are passed over: they are not what `value` came from.
    """
    for name in names(group):
        try:
            if load(group, name, object) is value:
                return name
        except PluginError:
            continue
    return None


def distribution(point: EntryPoint) -> str:
    """Name of the distribution that declares an entry point."""
    return point.dist.name if point.dist is not None else "unknown"


def _find(group: str, name: str) -> EntryPoint:
    found = {point.value: point for point in entry_points(group=group) if point.name == name}
    if not found:
        raise ConfigError(
            f"name: no {group.removeprefix('flowatlas.').removesuffix('s')} is called {name!r}."
            f"{close_matches(name, names(group))}"
        )
    if len(found) > 1:
        owners = ", ".join(sorted(f"{distribution(p)} ({p.value})" for p in found.values()))
        raise PluginError(
            f"{name}: declared by more than one distribution in group {group!r}: {owners}. "
            "Uninstall one of them."
        )
    return next(iter(found.values()))


def close_matches(name: str, known: Iterable[str]) -> str:
    """A sentence with the names that `name` may have meant, or with all of them."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    if near:
        return f" Did you mean {' or '.join(near)}?"
    return f" Known: {', '.join(known)}." if known else " None is installed."
