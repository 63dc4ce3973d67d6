"""Options that several commands share."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from flowatlas.errors import ConfigError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser
    from rich.console import Console

__all__ = [
    "add_config",
    "add_data_root",
    "add_presets",
    "add_runs",
    "add_training",
    "make_parser",
    "out",
    "seeds",
    "settings",
]


def make_parser(command: str, description: str, example: str) -> ArgumentParser:
    """A parser that raises instead of leaving, with an example at its end."""
    import argparse
    import textwrap

    import jsonargparse

    class Format(argparse.RawDescriptionHelpFormatter, jsonargparse.DefaultHelpFormatter):
        """Keeps the line breaks of the example."""

    return jsonargparse.ArgumentParser(
        prog=f"flowatlas {command}",
        description=textwrap.fill(description, 88),
        epilog=f"example:\n  {example}",
        exit_on_error=False,
        formatter_class=Format,
    )


def add_data_root(parser: ArgumentParser) -> None:
    """Where data files are looked for."""
    parser.add_argument(
        "--data-root",
        type=str | None,
        default=None,
        metavar="DIR",
        help="directory with data files (else: the variable FLOWATLAS_DATA, the cache, the web)",
    )


def add_config(parser: ArgumentParser) -> None:
    """Options from a file."""
    parser.add_argument(
        "--config", action="config", metavar="FILE", help="YAML file with any of these options"
    )


def add_training(parser: ArgumentParser, *, preset: str) -> None:
    """What commands that train by one method take."""
    parser.add_argument(
        "--method", type=str | None, default=None, metavar="M", help="how to train and sample"
    )
    add_presets(parser, preset=preset)


def add_presets(parser: ArgumentParser, *, preset: str) -> None:
    """What every command that trains takes."""
    parser.add_argument(
        "--preset",
        type=str,
        default=preset,
        metavar="P",
        help="demo (seconds), cpu (about five minutes on a core) or gpu (up to half an hour)",
    )
    parser.add_argument(
        "--set",
        type=str,
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="change settings of the preset or the method, such as steps=2000 lr=3e-4",
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on from the last checkpoint, skip what is done"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


def add_runs(parser: ArgumentParser, *, output: str) -> None:
    """What commands that run benchmarks for several seeds take."""
    parser.add_argument(
        "--seed", type=str | int, default="0", metavar="S", help="one, or several as 0-2 or 0,1,2"
    )
    parser.add_argument(
        "--output", type=str, default=output, metavar="DIR", help="where results go"
    )
    add_data_root(parser)
    add_config(parser)


def settings(pairs: Any) -> dict[str, str]:
    """KEY=VALUE words as a dictionary.

    Raises:
        ConfigError: a word without an equals sign.
    """
    found = {}
    for pair in [pairs] if isinstance(pairs, str) else pairs:
        name, equals, value = str(pair).partition("=")
        if not equals or not name:
            raise ConfigError(f"set: got {pair!r}; write KEY=VALUE, such as steps=2000.")
        found[name.strip()] = value.strip()
    return found


def seeds(text: Any) -> list[int]:
    """Seeds from `3`, `0,1,2` or `0-2`.

    Raises:
        ConfigError: anything else.
    """
    words = [str(word) for word in text] if isinstance(text, list) else str(text).split(",")
    found: list[int] = []
    for word in words:
        first, dash, last = word.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise ConfigError(f"seed: got {text!r}; write 3, or 0,1,2, or 0-2.")
        found.extend(range(int(first), int(last if dash else first) + 1))
    if not found:
        raise ConfigError(f"seed: got {text!r}; the range is empty.")
    return list(dict.fromkeys(found))


def out() -> Console:
    """The console for results; progress goes to standard error."""
    from rich.console import Console

    # Without a terminal there is no width to fit: tables are written whole.
    width = None if sys.stdout.isatty() else 200
    return Console(width=width, soft_wrap=not sys.stdout.isatty(), highlight=False)
