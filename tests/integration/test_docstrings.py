"""The examples of docstrings run.

An example shows one call, so it may use names that it does not define: everything public of
FlowAtlas, and the stand-ins of `stand_ins`, which are small objects of the kind the name says (a
model, points, a generator, a mask). `fit` is the real one, cut to a few steps, and `load` never
leaves the sets that need no file.
"""

from __future__ import annotations

import ast
import math
import re
import sys
import textwrap
import types
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^([ \t]*)```python\n(.*?)^\1```[ \t]*$", re.DOTALL | re.MULTILINE)
#: Modules whose public names examples may use; in case of two of one name the first has it.
MODULES = (
    *("sampling", "networks", "training", "manifolds", "paths", "sources", "couplings"),
    *("objectives", "solvers", "schedulers", "time_samplers", "data", "benchmarks", "testing"),
    *(
        "exact",
        "metrics",
        "guidance",
        "paths.canonical",
        "state",
        "errors",
        "field",
        "plots",
        "benchmarks.pictures",
        "system",
    ),
)


@dataclass(frozen=True)
class Example:
    """Code in a docstring: where it is, and what it says."""

    place: str
    path: Path
    line: int
    code: str


def examples() -> Iterator[Example]:
    """All of the packages', in the order of their files."""
    for path in sorted(ROOT.glob("packages/*/src/**/*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                continue
            text = ast.get_docstring(node, clean=False)
            if text is None:
                continue
            first = node.body[0].lineno
            module = path.relative_to(ROOT).as_posix().split("/src/")[1]
            of = "" if isinstance(node, ast.Module) else f":{node.name}"
            for found in FENCE.finditer(text):
                line = first + text[: found.start(2)].count("\n")
                yield Example(f"{module}{of}", path, line, textwrap.dedent(found[2]))


EXAMPLES = list(examples())


class AnyShape(nn.Module):
    """A field with one weight, for states of any shape."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: torch.Tensor, t: torch.Tensor, condition: Any = None) -> torch.Tensor:
        return self.scale * x

    def null_condition(self, condition: Any) -> Any:
        return {name: torch.full_like(value, -1) for name, value in condition.items()}


def stand_ins() -> dict[str, Any]:
    """Small things of the kinds that examples speak of."""
    import geoopt
    import lightning.pytorch as pl
    import numpy as np
    from torch.utils.data import DataLoader, TensorDataset

    from flowatlas import SO3, AffinePath, Euclidean, Sphere
    from flowatlas._random import rand, randn
    from flowatlas.schedulers import Coefficients
    from flowatlas.training import fit

    x_1 = torch.randn(64, 2)
    batch = 8
    found: dict[str, Any] = {
        **{"math": math, "torch": torch, "nn": nn, "np": np, "Tensor": torch.Tensor},
        **{"Trainer": quiet_trainer(pl), "pl": pl, "DataLoader": DataLoader},
        **{"rand": rand, "randn": randn, "Coefficients": Coefficients},
        **{"geoopt": geoopt, "poincare_log_volume": lambda x: torch.zeros(x.shape[:-1])},
        "model": AnyShape(),
        "path": AffinePath(),
        "manifold": Euclidean(),
        "Cylinder": Sphere,
        "x_0": torch.randn(64, 2),
        "x_1": x_1,
        "x": torch.nn.functional.normalize(torch.randn(batch, 3), dim=-1),
        "t": torch.rand(batch),
        "era": torch.randint(4, (batch,)),
        "rotation": SO3().random_uniform((batch, 3, 3)),
        "translation": torch.randn(batch, 3),
        "residue": torch.randint(20, (batch, 5)),
        "label": torch.randint(10, (64,)),
        "mask": torch.ones(64, dtype=torch.bool),
        "generator": torch.Generator().manual_seed(0),
        "data": TensorDataset(torch.randn(300, 2)),
        "loader": [x_1[:8], x_1[8:16]],
        "step": lambda model, batch: None,
        "fit": lambda *args, steps, **rest: fit(
            *args, **{"steps": min(steps, 3), "progress": False, "accelerator": "cpu", **rest}
        ),
    }
    for module in MODULES:
        for name, value in vars(import_module(f"flowatlas.{module}")).items():
            if not name.startswith("_") and not isinstance(value, types.ModuleType):
                found.setdefault(name, value)
    return found


def frames() -> dict[str, torch.Tensor]:
    """States of a product."""
    from flowatlas import SO3

    return {"rotation": SO3().random_uniform((8, 3, 3)), "translation": torch.randn(8, 3)}


#: Where a name stands for something else than `stand_ins` says.
OTHERWISE: dict[str, Any] = {
    "flowatlas/manifolds/product.py:ProductManifold": lambda: {"x_0": frames(), "x_1": frames()},
}


def quiet_trainer(pl: Any) -> Any:
    """Lightning's Trainer, without its announcements and its log directory."""
    quiet = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "accelerator": "cpu",
    }
    return lambda **settings: pl.Trainer(**{**quiet, **settings})


def test_there_are_examples() -> None:
    """The search finds what it is meant to find."""
    places = [example.place for example in EXAMPLES]
    assert len(places) > 30
    assert "flowatlas/sampling/sample.py:sample" in places


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.place)
def test_example_runs(example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    module = types.ModuleType("docstring_example")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    module.__dict__.update(stand_ins() | OTHERWISE.get(example.place, dict)())
    source = "\n" * (example.line - 1) + example.code
    exec(compile(source, str(example.path), "exec", dont_inherit=True), module.__dict__)
