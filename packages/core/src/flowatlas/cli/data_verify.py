"""`flowatlas data verify`."""

from __future__ import annotations

import sys
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from flowatlas.cli.options import add_data_root, make_parser
from flowatlas.errors import DataError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser


def parser() -> ArgumentParser:
    """Options of the command."""
    made = make_parser(
        "data verify",
        "Find the file of each data set, download it if need be, check its sha256 and read it.",
        "flowatlas data verify 'earth/*'",
    )
    made.add_argument(
        "names",
        nargs="*",
        type=str,
        default=[],
        metavar="NAME",
        help="data sets; patterns such as 'earth/*'; all if none is given",
    )
    add_data_root(made)
    return made


def run(options: Any) -> int:
    """Print one line a set; 2 if any is missing or wrong."""
    from flowatlas.data import dataset, dataset_names, load
    from flowatlas.data.files import where

    known = dataset_names()
    chosen: dict[str, None] = {}
    for pattern in options.names or ["*"]:
        found = [name for name in known if fnmatchcase(name, pattern)]
        if not found:
            dataset(pattern)
        chosen |= dict.fromkeys(found)
    bad = 0
    for name in chosen:
        try:
            x = load(name, data_root=options.data_root)
        except DataError as error:
            bad += 1
            print(f"{name}: BAD: {error}", file=sys.stderr)
            continue
        path = where(dataset(name), options.data_root)
        print(f"{name}: good, {tuple(x.shape)}{f', {path}' if path else ''}")
    if bad:
        print(
            f"flowatlas: error: {bad} of {len(chosen)} data sets are missing or wrong",
            file=sys.stderr,
        )
    return 2 if bad else 0
