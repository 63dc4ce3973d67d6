"""`flowatlas bench report`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowatlas.cli.options import make_parser, out

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser


def parser() -> ArgumentParser:
    """Options of the command."""
    made = make_parser(
        "bench report",
        "Write report.md and one self-contained report.html into a directory of results.",
        "flowatlas bench report runs/earth",
    )
    made.add_argument(
        "directory",
        nargs="?",
        type=str,
        default="runs/bench",
        metavar="DIR",
        help="that `flowatlas bench run --output DIR` has written to",
    )
    made.add_argument(
        "--output", type=str | None, default=None, metavar="DIR", help="the same, by option"
    )
    return made


def run(options: Any) -> int:
    """Write the report, print its summary and its path."""
    from rich.table import Table

    from flowatlas.benchmarks import report
    from flowatlas.benchmarks.markdown import SUMMARY_HEAD, summary_rows

    written = report(options.output or options.directory)
    table = Table(*SUMMARY_HEAD)
    for row in summary_rows(written.sections):
        table.add_row(*row)
    console = out()
    console.print(table)
    console.print(f"report: {written.html}")
    return 0
