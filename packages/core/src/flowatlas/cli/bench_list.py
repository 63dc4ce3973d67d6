"""`flowatlas bench list`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowatlas.cli.options import make_parser, out

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser


def parser() -> ArgumentParser:
    """Options of the command."""
    made = make_parser(
        "bench list",
        "Show the benchmarks of every installed package.",
        "flowatlas bench list --preset demo",
    )
    made.add_argument(
        "--preset",
        type=str | None,
        default=None,
        metavar="P",
        help="only names, one a line, of benchmarks that have this preset (demo, cpu or gpu)",
    )
    return made


def run(options: Any) -> int:
    """Print a table, or names."""
    from rich.table import Table

    from flowatlas.benchmarks import benchmark, benchmark_names
    from flowatlas.benchmarks.config import require
    from flowatlas.benchmarks.preset import PRESET_NAMES

    found = [benchmark(name) for name in benchmark_names()]
    if options.preset is not None:
        allowed = f"one of {', '.join(PRESET_NAMES)}"
        require(options.preset in PRESET_NAMES, "preset", options.preset, allowed)
        for one in found:
            if options.preset in one.presets:
                print(one.name)
        return 0
    table = Table("name", "what it is", "methods (the first is the default)", "presets")
    for one in found:
        table.add_row(one.name, one.summary, ", ".join(one.methods), ", ".join(one.presets))
    out().print(table)
    return 0
