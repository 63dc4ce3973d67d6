"""Every entry point that a package declares is real."""

from __future__ import annotations

from importlib.metadata import EntryPoint, distribution
from types import ModuleType
from typing import TYPE_CHECKING

from flowatlas import Manifold, plugins
from flowatlas.benchmarks import Benchmark
from flowatlas.data import DataSet
from flowatlas.networks import Pretrained
from flowatlas.system import System

if TYPE_CHECKING:
    from tests.packaging.conftest import Package

KINDS: dict[str, type] = {
    plugins.BENCHMARKS: Benchmark,
    plugins.COMMANDS: ModuleType,
    plugins.DATASETS: DataSet,
    plugins.MANIFOLDS: type,
    plugins.NETWORKS: type,
    plugins.SYSTEMS: type,
}
CLASSES: dict[str, type] = {
    plugins.MANIFOLDS: Manifold,
    plugins.NETWORKS: Pretrained,
    plugins.SYSTEMS: System,
}


def declared(package: Package) -> dict[tuple[str, str], str]:
    """(group, name) -> object, of the pyproject.toml."""
    groups = package.project.get("entry-points", {})
    return {(group, name): value for group in groups for name, value in groups[group].items()}


def installed(package: Package) -> list[EntryPoint]:
    points = distribution(package.name).entry_points
    return [point for point in points if point.group in KINDS]


def test_declared_is_installed(package: Package) -> None:
    found = {(point.group, point.name): point.value for point in installed(package)}
    assert found == declared(package), "install the package again: its pyproject.toml has changed"
    assert {group for group, _ in declared(package)} <= set(KINDS)


def test_entry_points_load(package: Package) -> None:
    for group, name in declared(package):
        value: object = plugins.load(group, name, KINDS[group])
        if isinstance(value, Benchmark | DataSet):
            assert value.name == name
        elif isinstance(value, ModuleType):
            assert len(name.split()) in (1, 2)
            assert callable(value.parser) and callable(value.run)
        else:
            assert isinstance(value, type) and issubclass(value, CLASSES[group])
            # What is saved holds the name of its class.
            assert group != plugins.NETWORKS or value.__name__ == name
            assert not issubclass(value, System) or value.name == name


def test_every_group_is_used_by_the_core(packages: list[Package]) -> None:
    # The core lists its own commands without entry points.
    assert {group for group, _ in declared(packages[0])} == set(KINDS) - {plugins.COMMANDS}


def test_no_name_is_declared_twice(packages: list[Package]) -> None:
    names = [key for package in packages for key in declared(package)]
    assert len(names) == len(set(names))


def test_the_command_is_there(packages: list[Package]) -> None:
    (command,) = distribution("flowatlas").entry_points.select(group="console_scripts")
    assert command.name == "flowatlas"
    assert packages[0].project["scripts"] == {command.name: command.value}
    assert callable(command.load())
