"""The five packages, read from their files."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("core", "image", "audio", "molecules", "robotics")


@dataclass(frozen=True)
class Package:
    """One folder of packages/.

    Attributes:
        folder: its name there.
        directory: its path.
        project: table [project] of its pyproject.toml.
    """

    folder: str
    directory: Path
    project: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Of the distribution."""
        return str(self.project["name"])

    @property
    def module(self) -> str:
        """What is imported."""
        return self.name.replace("-", "_")

    @property
    def sources(self) -> list[Path]:
        return sorted((self.directory / "src").rglob("*.py"))

    @property
    def required(self) -> list[Requirement]:
        return [Requirement(text) for text in self.project["dependencies"]]

    @property
    def optional(self) -> list[Requirement]:
        """Of all extras, without those that only name other extras."""
        extras = self.project.get("optional-dependencies", {}).values()
        named = [Requirement(text) for texts in extras for text in texts]
        return [one for one in named if canonicalize_name(one.name) != self.name]


def _read(folder: str) -> Package:
    directory = ROOT / "packages" / folder
    text = (directory / "pyproject.toml").read_text()
    return Package(folder, directory, tomllib.loads(text)["project"])


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def packages() -> list[Package]:
    """All of them, the core first."""
    return [_read(folder) for folder in FOLDERS]


@pytest.fixture(scope="session", params=FOLDERS)
def package(request: pytest.FixtureRequest) -> Package:
    """Each of them."""
    return _read(request.param)


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`wheels(folder)`: the wheel of a package, built once."""
    directory = tmp_path_factory.mktemp("wheels")
    built: dict[str, Path] = {}

    def build(folder: str) -> Path:
        if folder not in built:
            output = directory / folder
            # What pip calls, without the seconds that pip itself takes.
            command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(output)]
            done = subprocess.run(
                command,
                cwd=ROOT / "packages" / folder,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            (built[folder],) = output.glob("*.whl")
        return built[folder]

    return build
