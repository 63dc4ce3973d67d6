"""The manifold of the documentation: three lines of tests, and a flow on it."""

import importlib.util
import math
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from flowatlas.manifolds import FlatTorus
from flowatlas.testing import ManifoldConformance

SCRIPT = Path(__file__).parents[2] / "examples" / "cylinder.py"


def load() -> Any:
    """The example as a module."""
    spec = importlib.util.spec_from_file_location("cylinder_example", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # torch.compile looks functions up by the name of their module.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


cylinder = load()


class TestCylinder(ManifoldConformance):
    manifold, point_shape = cylinder.Cylinder(), (3,)
    wrong_shapes = ((), (4, 2), (3, 4))


def test_the_documentation_shows_this_class() -> None:
    page = (SCRIPT.parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")
    script = SCRIPT.read_text(encoding="utf-8")
    for start, end in (("class Cylinder", "class Ring"), ("class Ring", "def helix")):
        code = script[script.index(start) : script.index(end)].strip()
        assert code in page


def test_it_is_a_circle_beside_a_line() -> None:
    generator = torch.Generator().manual_seed(0)
    angle, height = torch.rand(2, 2, 100, generator=generator, dtype=torch.float64) * 6
    x, y = torch.stack([angle.cos(), angle.sin(), height], -1)
    turn = FlatTorus().logmap(*angle.unsqueeze(-1))[..., 0]
    expected = (turn.square() + (height[1] - height[0]).square()).sqrt()
    torch.testing.assert_close(cylinder.Cylinder().dist(x, y), expected, atol=1e-12, rtol=0)


def test_the_density_of_its_source_integrates_to_one() -> None:
    height = torch.linspace(-9, 9, 2001, dtype=torch.float64)
    x = torch.stack([torch.ones_like(height), torch.zeros_like(height), height], -1)
    mass = 2 * math.pi * torch.trapezoid(cylinder.Ring().log_prob(x).exp(), height)
    assert mass.item() == pytest.approx(1.0, abs=1e-9)


def test_the_density_of_its_data_is_what_the_script_says() -> None:
    entropy = math.log(3 * math.pi) + 0.5 * math.log(2 * math.pi * math.e * 0.05**2)
    assert entropy == pytest.approx(0.667, abs=1e-3)
    angle = cylinder.angle_to_helix(cylinder.helix(50000, torch.Generator().manual_seed(0)))
    assert angle.mean().item() == pytest.approx(0.15 * math.sqrt(2 / math.pi), abs=0.003)


def test_the_script_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--steps", "200", "--samples", "300"])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    output = capsys.readouterr().out
    found = re.search(r"source ([\d.]+), samples ([\d.]+)", output)
    assert found is not None, output
    source, samples = float(found[1]), float(found[2])
    # The source does not know the helix: its angle is uniform on (0, pi).
    assert source == pytest.approx(math.pi / 2, abs=5 * math.pi / math.sqrt(12 * 300))
    assert samples < 0.6 * source
    assert re.search(r"likelihood of the data: -?[\d.]+ nats", output)
