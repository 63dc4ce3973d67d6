"""`flowatlas data list`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowatlas.cli.options import add_data_root, make_parser, out

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser


def parser() -> ArgumentParser:
    """Options of the command."""
    made = make_parser(
        "data list",
        "Show the named data sets, and whether their files are here.",
        "flowatlas data list --data-root /data",
    )
    add_data_root(made)
    return made


def run(options: Any) -> int:
    """Print a table."""
    from rich.table import Table

    from flowatlas.data import dataset, dataset_names
    from flowatlas.data.files import where

    table = Table("name", "what it is", "licence", "origin", "file")
    for name in dataset_names():
        data = dataset(name)
        if data.file is None:
            place = "needs none"
        else:
            path = where(data, options.data_root)
            place = str(path) if path else ("to be downloaded" if data.url else "absent")
        table.add_row(name, data.summary, data.licence, data.origin, place)
    out().print(table)
    return 0
