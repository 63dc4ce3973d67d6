"""A trained model with all that it needs to make things, as a directory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

from flowatlas import plugins
from flowatlas.errors import ConfigError, DataError, FlowAtlasError
from flowatlas.networks._files import read_json, write_json
from flowatlas.solvers import Solver, named_solver

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["SYSTEM", "System", "load_system"]

S = TypeVar("S")

#: The file that makes a directory a system; written last.
SYSTEM = "system.json"


class System(ABC, Generic[S]):
    """A trained network with its path, its units and its solver: what draws samples as files.

    A subclass is declared in the entry-point group `flowatlas.systems` under its `name`; then
    `load_system` and `flowatlas sample` know directories of its kind.

    ```python
    class Rings(System[Tensor]):
        name = "rings"
        default_solver = ("euler", 20)

        def __init__(self, network): self.network = network

        def draw(self, count, *, seed=0, solver=None): ...  # a Tensor
        def export(self, samples, output): ...              # the files it wrote
        def save_parts(self, directory):
            self.network.save_pretrained(directory / "network")
            return {"radius": 2.0}

        @classmethod
        def load_parts(cls, directory, stored):
            return cls(from_pretrained(directory / "network"))
    ```

    Attributes:
        name: of the entry point.
        default_output: where samples go unless said otherwise, a directory or a file.
        default_count: how many are drawn unless said otherwise.
        default_solver: name of a solver of `named_solver`, and its steps.
    """

    name: ClassVar[str]
    default_output: ClassVar[str] = "samples"
    default_count: ClassVar[int] = 10

    @property
    @abstractmethod
    def default_solver(self) -> tuple[str, int]:
        """Name and steps of the solver that is used unless another is asked for."""

    @abstractmethod
    def draw(self, count: int, *, seed: int = 0, solver: Solver | None = None) -> S:
        """New samples, in the units of the data.

        Args:
            count: how many.
            seed: of everything random: the same seed gives the same samples.
            solver: `default_solver` if None.
        """

    @abstractmethod
    def export(self, samples: S, output: Path) -> tuple[Path, ...]:
        """Write samples as files that tools of the field open.

        Args:
            samples: of `draw`.
            output: a directory, which is made; or a file, for systems that write one.

        Returns:
            The files.

        Raises:
            DataError: a file cannot be written.
        """

    @abstractmethod
    def save_parts(self, directory: Path) -> Mapping[str, Any]:
        """Write networks and arrays into `directory`; return what is small, as JSON holds it.

        Raises:
            ConfigError: a part that no file can hold; nothing has been written then.
            DataError: a file cannot be written.
        """

    @classmethod
    @abstractmethod
    def load_parts(cls, directory: Path, stored: Mapping[str, Any]) -> Self:
        """The inverse of `save_parts`, with the networks on the CPU, ready to be asked.

        `KeyError`, `TypeError` and `ValueError` become an error that says the system is corrupt.
        """

    def figure(self, samples: S, title: str) -> Figure:
        """A picture of samples.

        Raises:
            ConfigError: systems of this kind draw none.
        """
        raise ConfigError(f"plot: systems of kind {self.name!r} draw no picture. Leave it out.")

    def solver(self, name: str | None = None, steps: int | None = None) -> Solver:
        """The default solver, or another, or the same with other steps.

        Args:
            name: as `named_solver` takes it.
            steps: of a solver with fixed steps; those of the default solver if None.

        Raises:
            ConfigError: an unknown name, or steps that do not fit it.
        """
        usual, count = self.default_solver
        chosen = usual if name is None else name
        return named_solver(chosen, count if steps is None and chosen != "dopri5" else steps)

    def write(
        self, output: str | Path, *, count: int, seed: int = 0, steps: int | None = None
    ) -> tuple[Path, ...]:
        """Draw, and write what was drawn.

        Args:
            output: as `export` takes it.
            count: how many samples.
            seed: of everything random.
            steps: of the default solver.

        Returns:
            The files.
        """
        if count < 1:
            raise ConfigError(f"count: got {count}; 1 or more.")
        samples = self.draw(count, seed=seed, solver=self.solver(steps=steps))
        return self.export(samples, Path(output))

    def save(self, directory: str | Path) -> Path:
        """Write the system. An older one in `directory` is no more from here on.

        Returns:
            The directory.

        Raises:
            ConfigError: a part that no file can hold.
            DataError: a file cannot be written.
        """
        directory = Path(directory)
        remove_system(directory)
        stored = self.save_parts(directory)
        write_json(
            directory / SYSTEM,
            {
                "system": self.name,
                "package": type(self).__module__.partition(".")[0],
                "version": version("flowatlas"),
                "contents": stored,
            },
        )
        return directory

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        """Read a directory that `save` wrote.

        Raises:
            ConfigError: it holds a system of another kind, or names what is not installed.
            DataError: it holds none, or a file is missing or corrupt.
        """
        directory = Path(directory)
        stored = _read(directory)
        if stored["system"] != cls.name:
            raise ConfigError(
                f"{directory}: holds a system of kind {stored['system']!r}; this needs one of kind "
                f"{cls.name!r}."
            )
        try:
            return cls.load_parts(directory, stored["contents"])
        except FlowAtlasError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{directory / SYSTEM}: is corrupt ({error!r}). Train the system again."
            ) from error


def load_system(directory: str | Path) -> System[Any]:
    """The trained system in a directory, of whichever kind it is.

    Kinds are those that installed packages declare in the entry-point group `flowatlas.systems`.

    Args:
        directory: that `System.save`, `flowatlas train` or `flowatlas bench run` wrote.

    Raises:
        ConfigError: no installed package knows its kind.
        DataError: it holds no system, or a file is missing or corrupt.
        PluginError: the package that knows its kind cannot be imported.

    After `flowatlas train molecules/backbone --output runs/backbone`, for example,
    `load_system("runs/backbone").write("samples", count=8)` writes eight PDB files.
    """
    directory = Path(directory)
    stored = _read(directory)
    kind, known = stored["system"], plugins.names(plugins.SYSTEMS)
    if kind not in known:
        owner = str(stored.get("package")).replace("_", "-")
        raise ConfigError(
            f"{directory}: holds a system of kind {kind!r}, which no installed package knows; they "
            f"know {', '.join(known) or 'none'}. Install {owner}, which wrote it."
        )
    loaded = plugins.load(plugins.SYSTEMS, kind, type)
    if not issubclass(loaded, System):
        raise plugins.PluginError(
            f"{kind}: what is declared under this name in group {plugins.SYSTEMS!r} is "
            f"{loaded.__qualname__}, which is no System. Its package is at fault."
        )
    return loaded.load(directory)


def remove_system(directory: Path) -> None:
    """Make `directory` hold no system, so that none is taken for a newer one.

    Raises:
        DataError: the file cannot be removed.
    """
    file = directory / SYSTEM
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"{file}: cannot be replaced ({error.strerror}). Correct the permissions of "
            f"{directory}, or name another directory."
        ) from error


def _read(directory: Path) -> dict[str, Any]:
    if not directory.is_dir():
        raise DataError(
            f"{directory}: no such directory. Name one that flowatlas train --output DIR has "
            "finished."
        )
    file = directory / SYSTEM
    if not file.is_file():
        raise DataError(
            f"{directory}: holds no trained system ({SYSTEM} is missing). Name a directory that "
            "flowatlas train --output DIR has finished."
        )
    stored: dict[str, Any] = dict(read_json(file, "system"))
    if not isinstance(stored.get("system"), str) or not isinstance(stored.get("contents"), dict):
        raise DataError(f"{file}: is corrupt, it names no system. Train the system again.")
    return stored
