"""`flowatlas bench compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowatlas.cli.options import (
    add_presets,
    add_runs,
    make_parser,
    out,
    seeds,
    settings,
)

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser


def parser() -> ArgumentParser:
    """Options of the command."""
    made = make_parser(
        "bench compare",
        "Train a system for each coupling of each benchmark, and draw from it with Euler, midpoint "
        "and Dopri5 at 1 to 64 evaluations. `flowatlas bench report DIR` makes a page of it.",
        "flowatlas bench compare toy/two_moons so3/toy image/digits --output runs/compared",
    )
    made.add_argument(
        "names",
        nargs="+",
        type=str,
        metavar="NAME",
        help="benchmarks that take part, or patterns such as 'toy/*'",
    )
    add_presets(made, preset="demo")
    add_runs(made, output="runs/compared")
    return made


def run(options: Any) -> int:
    """Compare, and print the table."""
    from rich.table import Table

    from flowatlas.benchmarks import compare, matching
    from flowatlas.benchmarks.comparison_page import comparison_table

    directory = Path(options.output)
    cells = [
        cell
        for name in matching(options.names)
        for seed in seeds(options.seed)
        for cell in compare(
            name,
            preset=options.preset,
            seed=seed,
            output=directory,
            resume=options.resume,
            data_root=options.data_root,
            settings=settings(options.set),
            progress=not options.quiet,
        )
    ]
    compared = comparison_table(cells)
    table = Table(*compared.head)
    for row in compared.body():
        table.add_row(*row)
    console = out()
    console.print(table)
    console.print(f"report:  flowatlas bench report {directory}")
    return 0
