"""`flowatlas`: finds the command, runs it, and turns errors into one line.

Nothing heavy is imported before the command line has been read.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

from flowatlas import plugins
from flowatlas.errors import ConfigError, FlowAtlasError
from flowatlas.plugins import close_matches

__all__ = ["commands", "load_command", "main"]

#: Words of our commands, the module that has `parser()` and `run(options)`, and what each does.
COMMANDS: dict[tuple[str, ...], tuple[str, str]] = {
    ("bench", "list"): ("bench_list", "show the benchmarks that are installed"),
    ("bench", "run"): ("bench_run", "train, sample and score on benchmarks"),
    ("bench", "compare"): ("bench_compare", "solvers and couplings side by side on benchmarks"),
    ("bench", "report"): ("bench_report", "write report.md and report.html from results"),
    ("train",): ("train", "train the system of a benchmark, or a flow on your points"),
    ("sample",): ("sample", "draw from a trained system, into files"),
    ("score",): ("score", "log-likelihood of points under a trained flow"),
    ("data", "list"): ("data_list", "show the named data sets"),
    ("data", "verify"): ("data_verify", "find, download if need be, and check data sets"),
    ("info",): ("info", "versions, installed packages and plugins"),
}

_HEAD = """usage: flowatlas COMMAND [options]

Flow matching on any manifold: train, sample, score, and compare methods.

commands:
"""
_TAIL = """
options:
  -h, --help   show this, or after a command what it takes
  --version    show the version
  --debug      show the whole traceback of an error

example:
  flowatlas bench run demo/cities --preset demo --output runs/cities
  flowatlas bench report runs/cities
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: words after `flowatlas`; those of the process if None.

    Returns:
        0 if all went well, 2 after an error, 130 after an interruption.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        return _dispatch(words)
    except KeyboardInterrupt:
        print("flowatlas: interrupted", file=sys.stderr)
        _say_how_to_resume(words)
        return 130
    except BrokenPipeError:
        # The reader of our output has left, as `| head` does; leave as quietly.
        sys.stderr.close()
        return 0
    except FlowAtlasError as error:
        if debug:
            raise
        print(f"flowatlas: error: {_one_line(error)}", file=sys.stderr)
        return 2
    except OSError as error:
        if debug:
            raise
        place = "" if error.filename is None else f"{error.filename}: "
        print(
            f"flowatlas: error: {place}{error.strerror or _one_line(error)}. Check the path, its "
            "permissions and the space left; --debug shows where it happened.",
            file=sys.stderr,
        )
        return 2


def commands() -> dict[tuple[str, ...], str]:
    """Words of every command, and what it does; plugins' commands follow ours.

    A package adds `flowatlas GROUP NAME` by an entry point "GROUP NAME" in `flowatlas.commands`: a
    module that has `parser()` and `run(options)`. It is imported when the command is run.
    """
    found = {command: summary for command, (_, summary) in COMMANDS.items()}
    for distribution, names in plugins.by_distribution(plugins.COMMANDS).items():
        for name in names:
            found.setdefault(tuple(name.split()), f"(of {distribution})")
    return found


def load_command(command: tuple[str, ...]) -> ModuleType:
    """The module of a command.

    Raises:
        ConfigError: there is no such command.
        PluginError: the package that declares it cannot be imported.
    """
    if command in COMMANDS:
        return import_module(f"flowatlas.cli.{COMMANDS[command][0]}")
    return plugins.load(plugins.COMMANDS, " ".join(command), ModuleType)


def _dispatch(words: list[str]) -> int:
    if words and words[0] == "--version":
        from importlib.metadata import version

        print(version("flowatlas"))
        return 0
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview(()), end="")
        return 0
    every = commands()
    for length in (2, 1):
        command = tuple(words[:length])
        if command in every:
            return _run(command, words[length:])
    group = words[0]
    if any(command[0] == group for command in every):
        rest = words[1:]
        if not rest or rest[0] in ("-h", "--help"):
            print(_overview((group,)), end="")
            return 0
        known = [command[1] for command in every if command[0] == group]
        raise ConfigError(
            f"command: flowatlas {group} has no {rest[0]!r}.{close_matches(rest[0], known)} "
            f"See flowatlas {group} --help."
        )
    known = sorted({command[0] for command in every})
    raise ConfigError(f"command: got {group!r}.{close_matches(group, known)} See flowatlas --help.")


def _run(command: tuple[str, ...], words: list[str]) -> int:
    module = load_command(command)
    parser = module.parser()
    try:
        options = parser.parse_args(words)
    except SystemExit as stop:  # --help
        return int(stop.code or 0)
    except argparse.ArgumentError as error:
        known = [text for action in parser._actions for text in action.option_strings]
        raise ConfigError(_explain(error, known, " ".join(command))) from error
    except (KeyError, TypeError, RuntimeError, ValueError) as error:
        # A configuration file whose values have the wrong shape trips the parser itself.
        raise ConfigError(
            f"options: could not be read ({error}). See flowatlas {' '.join(command)} --help."
        ) from error
    result: int = module.run(options)
    return result


def _explain(error: argparse.ArgumentError, known: list[str], command: str) -> str:
    """The parser's complaint, with the options that may have been meant."""
    text = " ".join(str(error).split())
    near = ""
    for word in text.replace("'", " ").split():
        plain = "--" + word.lstrip("-").split("=")[0].replace("_", "-")
        unknown = word.startswith("--") or f"Option '{word}' is not accepted" in text
        if unknown and plain not in known:
            match = close_matches(plain, known)
            near = match if match.startswith(" Did") else ""
            break
    return f"options: {text.rstrip('.')}.{near} See flowatlas {command} --help."


def _overview(group: tuple[str, ...]) -> str:
    lines = []
    for command, summary in commands().items():
        if command[: len(group)] == group:
            lines.append(f"  {' '.join(command):<14} {summary}\n")
    return _HEAD + "".join(lines) + _TAIL


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _say_how_to_resume(words: list[str]) -> None:
    """Training leaves checkpoints; say how to go on from them."""
    import shlex

    if words[:2] in (["bench", "run"], ["bench", "compare"]) or words[:1] == ["train"]:
        again = [word for word in words if word not in ("--resume", "--overwrite")] + ["--resume"]
        print(f"To go on where it stopped: flowatlas {shlex.join(again)}", file=sys.stderr)
