"""Writes docs/api.md: every public name by module, with the first line of its docstring.

python docs/_generate_api.py

A test holds the page to the code: run this after adding, removing or describing a public name.
"""

from __future__ import annotations

import ast
import inspect
import re
from importlib import import_module
from pathlib import Path
from types import ModuleType

import flowatlas
from flowatlas.cli.main import COMMANDS

PAGE = Path(__file__).with_name("api.md")

#: Modules in the order of reading, with the title and the file of the page that explains them.
MODULES: dict[str, tuple[str, str] | None] = {
    "flowatlas.manifolds": ("Manifolds", "concepts/manifolds.md"),
    "flowatlas.metrics": ("Metric paths", "concepts/metric_paths.md"),
    "flowatlas.paths": ("Paths", "concepts/paths.md"),
    "flowatlas.schedulers": ("Paths", "concepts/paths.md"),
    "flowatlas.sources": ("Sources and couplings", "concepts/sources_and_couplings.md"),
    "flowatlas.couplings": ("Sources and couplings", "concepts/sources_and_couplings.md"),
    "flowatlas.objectives": ("Objectives", "concepts/objectives.md"),
    "flowatlas.time_samplers": ("Objectives", "concepts/objectives.md"),
    "flowatlas.guidance": ("Guidance", "concepts/guidance.md"),
    "flowatlas.solvers": ("Solvers", "concepts/solvers.md"),
    "flowatlas.sampling": ("Sampling and likelihood", "concepts/sampling_and_likelihood.md"),
    "flowatlas.exact": ("Exact flows", "concepts/exact_flows.md"),
    "flowatlas.networks": ("Networks and training", "concepts/networks_and_training.md"),
    "flowatlas.training": ("Networks and training", "concepts/networks_and_training.md"),
    "flowatlas.system": ("Extending", "extending.md"),
    "flowatlas.data": ("Benchmarks", "concepts/benchmarks.md"),
    "flowatlas.benchmarks": ("Benchmarks", "concepts/benchmarks.md"),
    "flowatlas.plots": ("Benchmarks", "concepts/benchmarks.md"),
    "flowatlas.testing": ("Extending", "extending.md"),
    "flowatlas.plugins": ("Extending", "extending.md"),
    "flowatlas.field": None,
    "flowatlas.state": None,
    "flowatlas.errors": None,
    "flowatlas_image": ("Images", "packages/image.md"),
    "flowatlas_image.data": ("Images", "packages/image.md"),
    "flowatlas_image.networks": ("Images", "packages/image.md"),
    "flowatlas_image.metrics": ("Images", "packages/image.md"),
    "flowatlas_image.benchmarks": ("Images", "packages/image.md"),
    "flowatlas_molecules": ("Molecules", "packages/molecules.md"),
    "flowatlas_molecules.networks": ("Molecules", "packages/molecules.md"),
    "flowatlas_molecules.graphs": ("Molecules", "packages/molecules.md"),
    "flowatlas_molecules.metrics": ("Molecules", "packages/molecules.md"),
    "flowatlas_molecules.crystal_metrics": ("Molecules", "packages/molecules.md"),
    "flowatlas_molecules.crystal_plots": ("Molecules", "packages/molecules.md"),
    "flowatlas_molecules.plots": ("Molecules", "packages/molecules.md"),
    "flowatlas_molecules.benchmarks": ("Molecules", "packages/molecules.md"),
    "flowatlas_audio": ("Audio", "packages/audio.md"),
    "flowatlas_robotics": ("Robotics", "packages/robotics.md"),
    "flowatlas_robotics.plots": ("Robotics", "packages/robotics.md"),
}

HEAD = """\
# API

Every public name, by module, with the first line of its documentation; `help(flowatlas.Sphere)` has
the rest: formulae, arguments with their shapes, errors, references, examples. **Bold** names can be
imported from `flowatlas` itself. Names that are not here are private.

This page is written by `docs/_generate_api.py`.
"""


def public_names(module: ModuleType) -> list[str]:
    """What a package imports as `X as X`, or what a module has in `__all__`."""
    tree = ast.parse(inspect.getsource(module))
    names = [
        alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name
    ]
    declared: list[str] = list(getattr(module, "__all__", []))
    return names or [name for name in declared if not name.startswith("_")]


def first_line(text: str | None) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join(inspect.cleandoc(text or "").split("\n\n")[0].split())


def comment_above(module: ModuleType, name: str) -> str:
    """The `#:` comment of a constant, in the module or in one that it is imported from."""
    pattern = re.compile(rf"((?:^#:.*\n)+)^{name}\b[^\n]*=", re.MULTILINE)
    own = Path(inspect.getfile(module))
    files = own.parent.glob("*.py") if own.name == "__init__.py" else [own]
    for file in sorted(files):
        found = pattern.search(file.read_text(encoding="utf-8"))
        if found:
            return " ".join(found[1].replace("#:", " ").split()).split(". ")[0].rstrip(".") + "."
    return ""


def summary(module: ModuleType, name: str) -> str:
    """What a name is, in a line."""
    value = getattr(module, name)
    documented = inspect.isclass(value) or inspect.isroutine(value) or inspect.ismodule(value)
    text = first_line(value.__doc__) if documented else comment_above(module, name)
    if not text or text.startswith(f"{name}("):
        raise SystemExit(f"{module.__name__}.{name} has no documentation: write its first line")
    return text


def section(name: str) -> str:
    """A module: what it is, where it is explained, and its names."""
    module = import_module(name)
    about = first_line(module.__doc__)
    page = MODULES[name]
    more = f" See [{page[0]}]({page[1]})." if page else ""
    lines = [f"## {name}", "", about + more, ""]
    for each in public_names(module):
        shown = f"**`{each}`**" if name in top_modules(each) else f"`{each}`"
        lines.append(f"- {shown}: {summary(module, each)}")
    return "\n".join(lines) + "\n"


def top_modules(name: str) -> set[str]:
    """The module whose name this is in `flowatlas` itself, if it is there."""
    return {module for module, names in flowatlas._NAMES.items() if name in names}


def commands() -> str:
    """The command line."""
    more = "`flowatlas COMMAND --help` has the options and an example."
    lines = ["## Command line", "", more, ""]
    lines += [f"- `flowatlas {' '.join(words)}`: {what}" for words, (_, what) in COMMANDS.items()]
    return "\n".join(lines) + "\n"


def render() -> str:
    """The page."""
    known = {name.split(".")[1] for name in MODULES if name.startswith("flowatlas.")}
    if known != set(flowatlas._MODULES):
        raise SystemExit(f"MODULES: {sorted(known ^ set(flowatlas._MODULES))} in one list only")
    return "\n".join([HEAD, *(section(name) for name in MODULES), commands()])


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
