"""Benchmarks by name, from every installed package."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from flowatlas import plugins
from flowatlas.benchmarks.contract import Benchmark
from flowatlas.errors import ConfigError

__all__ = ["benchmark", "benchmark_names", "matching"]


def benchmark_names() -> list[str]:
    """Names of every benchmark that an installed package declares; nothing is imported."""
    return plugins.names(plugins.BENCHMARKS)


def benchmark(name: str) -> Benchmark[Any, Any]:
    """The benchmark of that name.

    Raises:
        ConfigError: there is none; the message has close names.
        PluginError: the package that declares it cannot be imported.
    """
    # Loading checks the type, for which any concrete or abstract class will do.
    return plugins.load(plugins.BENCHMARKS, name, Benchmark)  # type: ignore[type-abstract]


def matching(patterns: Sequence[str]) -> list[str]:
    """Names that match any of the patterns, such as `earth/*`, in the order of the patterns.

    Raises:
        ConfigError: a pattern that matches nothing.
    """
    known = benchmark_names()
    found: dict[str, None] = {}
    for pattern in patterns:
        names = [name for name in known if fnmatchcase(name, pattern)]
        if not names:
            if any(mark in pattern for mark in "*?["):
                raise ConfigError(
                    f"name: no benchmark matches {pattern!r}. Known: {', '.join(known)}."
                )
            benchmark(pattern)
        found |= dict.fromkeys(names)
    return list(found)
