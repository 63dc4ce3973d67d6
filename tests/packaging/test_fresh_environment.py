"""A fresh environment with a package, its required dependencies, and nothing else."""

from __future__ import annotations

import os
import subprocess
import venv
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.packaging.conftest import Package

pytestmark = pytest.mark.slow

IMPORT_ALL = """
import importlib, pkgutil, sys
for name in sys.argv[1:]:
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, f"{name}."):
        importlib.import_module(module.name)
"""

FIRST_FLOW = """
import torch
from flowatlas import FlowMatching, GeodesicPath, Midpoint, MinibatchOT, Sphere, Uniform, sample
from flowatlas.networks import MLP

sphere = Sphere()
path = GeodesicPath(sphere, source=Uniform(sphere))
model = MLP((3,), manifold=sphere)
x_1 = sphere.projx(torch.randn(16, 3))
FlowMatching(path, coupling=MinibatchOT(sphere))(model, x_1).loss.backward()
x = sample(model, path, shape=(4, 3), solver=Midpoint(steps=2))
assert x.shape == (4, 3)
"""


def test_every_module_imports_with_required_dependencies_alone(
    root: Path, packages: list[Package], wheels: Callable[[str], Path], tmp_path: Path
) -> None:
    venv.create(tmp_path, with_pip=True)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def run(*words: str, program: str = "python") -> str:
        done = subprocess.run(
            [str(tmp_path / "bin" / program), *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    files = [str(wheels(package.folder)) for package in packages]
    run("-m", "pip", "install", "--quiet", "-c", str(root / "constraints.txt"), *files)
    run("-m", "pip", "check")
    for absent in ("matplotlib", "geoopt", "sklearn"):
        run("-c", f"import importlib.util as u; assert u.find_spec({absent!r}) is None")
    run("-c", IMPORT_ALL, *(package.module for package in packages))
    run("-c", FIRST_FLOW)
    assert "flowatlas-robotics: joint-torus" in run("info", program="flowatlas")
