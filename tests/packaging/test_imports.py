"""What each package imports is what it declares, and what it declares it imports."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from tests.packaging.conftest import Package


@dataclass(frozen=True)
class Import:
    """One imported module.

    Attributes:
        module: its dotted name.
        always: whether it is imported together with the module that imports it, rather than in a
            function or for type checkers alone.
        where: file and line, for people.
    """

    module: str
    always: bool
    where: str

    @property
    def top(self) -> str:
        return self.module.split(".")[0]


def imports(file: Path) -> list[Import]:
    """All imports of a file."""
    return list(_imports(ast.parse(file.read_text()), str(file), always=True))


def _imports(node: ast.AST, file: str, *, always: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        where = f"{file}:{getattr(child, 'lineno', 0)}"
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, always, where) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0 and child.module, f"{where}: imports are absolute here"
            yield Import(child.module, always, where)
        elif isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            for one in child.body:
                yield from _imports(ast.Module([one], []), file, always=False)
            for one in child.orelse:
                yield from _imports(ast.Module([one], []), file, always=always)
        else:
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _imports(child, file, always=always and not inside)


def foreign(package: Package) -> list[Import]:
    """Imports of neither the package itself nor the standard library."""
    own = {package.module, "__future__", *sys.stdlib_module_names}
    found = [one for file in package.sources for one in imports(file)]
    return [one for one in found if one.top not in own]


@pytest.fixture(scope="session")
def distributions(packages: list[Package]) -> dict[str, set[str]]:
    """Module -> canonical names of the distributions that have it."""
    known: dict[str, set[str]] = {
        module: {canonicalize_name(name) for name in names}
        for module, names in packages_distributions().items()
    }
    # Editable installs list no modules.
    return known | {package.module: {package.name} for package in packages}


def test_reader_of_imports(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text(
        "import a.b, c\n"
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from d import e\nelse:\n    import f\n"
        "class C:\n    import g\n    def m(self):\n        from h.i import j\n"
        "try:\n    import k\nexcept ImportError:\n    pass\n"
    )
    found = {one.module: one.always for one in imports(file)}
    always = dict.fromkeys(["a.b", "c", "typing", "f", "g", "k"], True)
    assert found == always | {"d": False, "h.i": False}


def test_imports_are_declared(package: Package, distributions: dict[str, set[str]]) -> None:
    """At the top of a module only what is required; extras where they are used."""
    required = {canonicalize_name(one.name) for one in package.required}
    optional = {canonicalize_name(one.name) for one in package.optional}
    undeclared, early = [], []
    for one in foreign(package):
        assert one.top in distributions, f"{one.where}: nothing installed has module {one.top}"
        owners = distributions[one.top]
        if not owners & (required | optional):
            undeclared.append(f"{one.where}: {one.module}")
        elif one.always and not owners & required:
            early.append(f"{one.where}: {one.module}")
    assert not undeclared, "add to dependencies or extras"
    assert not early, "an extra is imported in the function that needs it"


def test_declarations_are_imported(package: Package, distributions: dict[str, set[str]]) -> None:
    used = {name for one in foreign(package) for name in distributions[one.top]}
    for requirement in package.required + package.optional:
        assert canonicalize_name(requirement.name) in used, f"{requirement} is imported nowhere"


def test_packages_import_no_other_modality(package: Package, packages: list[Package]) -> None:
    others = {one.module for one in packages[1:]} - {package.module}
    wrong = [one.where for one in foreign(package) if one.top in others]
    assert not wrong


def test_modalities_import_public_modules_of_the_core(package: Package) -> None:
    wrong = [
        f"{one.where}: {one.module}"
        for one in foreign(package)
        if one.top == "flowatlas" and any(part.startswith("_") for part in one.module.split("."))
    ]
    assert not wrong
