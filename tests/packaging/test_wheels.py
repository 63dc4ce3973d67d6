"""Wheels and source archives build, hold what they should, and import beside the core alone."""

from __future__ import annotations

import email
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.packaging.conftest import Package

Wheels = Callable[[str], Path]


def install(target: Path, *wheels: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*command, "--target", str(target), *map(str, wheels)], check=True)


def run(code: str, *layers: Path) -> str:
    """Output of `code` where `layers` and what lies in site-packages can be imported.

    Without `site` (-S), the .pth files of editable installs are not read.
    """
    paths = [*map(str, layers), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_wheel_holds_what_it_should(root: Path, package: Package, wheels: Wheels) -> None:
    with zipfile.ZipFile(wheels(package.folder)) as archive:
        names = set(archive.namelist())
        source = package.directory / "src"
        expected = {path.relative_to(source).as_posix() for path in package.sources}
        information = {name for name in names if ".dist-info/" in name}
        assert names - information == expected | {f"{package.module}/py.typed"}
        (metadata,) = (name for name in information if name.endswith("/METADATA"))
        about = email.message_from_bytes(archive.read(metadata))
    assert any(name.endswith("licenses/LICENSE") for name in information)
    assert about["Name"] == package.name
    assert about["Version"] == (root / "VERSION").read_text().strip()
    assert about["License-Expression"] == "Apache-2.0"
    assert f"# {package.name}" in str(about.get_payload())
    # No path of the machine that built it: such a wheel installs nowhere else.
    assert not any("file:" in one for one in about.get_all("Requires-Dist", []))


def test_wheel_imports_beside_the_core(package: Package, wheels: Wheels, tmp_path: Path) -> None:
    install(tmp_path, *(wheels(folder) for folder in {"core", package.folder}))
    code = (
        f"import flowatlas, {package.module} as package\n"
        "from flowatlas import Sphere\n"
        "print(package.__file__, package.__version__, flowatlas.__version__)"
    )
    file, own, core = run(code, tmp_path).split()
    assert Path(file).is_relative_to(tmp_path)
    assert own == core


def test_modality_does_not_hold_the_core(packages: list[Package], wheels: Wheels) -> None:
    for package in packages[1:]:
        with zipfile.ZipFile(wheels(package.folder)) as archive:
            assert not any(name.startswith("flowatlas/") for name in archive.namelist())


def test_layers_hide_editable_installs() -> None:
    with pytest.raises(AssertionError, match="No module named 'flowatlas'"):
        run("import flowatlas")


def test_source_archive_builds_the_same_wheel(
    package: Package, wheels: Wheels, tmp_path: Path
) -> None:
    """Away from the repository, where VERSION is out of reach."""

    def build(kind: str, directory: Path) -> Path:
        command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(tmp_path)]
        subprocess.run(command, cwd=directory, check=True, capture_output=True)
        (built,) = tmp_path.glob("*.tar.gz" if kind == "sdist" else "*.whl")
        return built

    with tarfile.open(build("sdist", package.directory)) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    again = build("wheel", unpacked)
    assert again.name == wheels(package.folder).name
    with zipfile.ZipFile(again) as one, zipfile.ZipFile(wheels(package.folder)) as other:
        assert sorted(one.namelist()) == sorted(other.namelist())
        metadata = next(name for name in one.namelist() if name.endswith("/METADATA"))
        assert one.read(metadata) == other.read(metadata)
