"""Plugins by entry point: listed lazily, and errors that name the distribution."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flowatlas import plugins
from flowatlas.benchmarks import Benchmark, benchmark, benchmark_names
from flowatlas.cli import main
from flowatlas.errors import ConfigError
from flowatlas.manifolds import Manifold, Sphere
from flowatlas.plugins import PluginError

THIRD_PARTY = """
from flowatlas.benchmarks import METHODS, Benchmark, Metric

class Mine(Benchmark):
    name, summary, data, licence = "mine/first", "theirs", "none", "MIT"
    methods = {"condot": METHODS["condot"]}
    presets = {}
    metrics = (Metric("nll", "NLL"),)
    def run(self, task): ...
    def figures(self, arrays, title): return {}

FIRST = Mine()
WRONG = 3
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two third-party distributions, one of them broken."""
    (tmp_path / "their_module.py").write_text(THIRD_PARTY)
    (tmp_path / "broken_module.py").write_text("import a_module_that_is_not_there\n")
    declare(
        tmp_path,
        "their-package",
        {"mine/first": "their_module:FIRST", "mine/wrong": "their_module:WRONG"},
    )
    declare(tmp_path, "broken-package", {"mine/broken": "broken_module:X"})
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def declare(root: Path, name: str, points: dict[str, str], group: str = plugins.BENCHMARKS) -> None:
    info = root / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = "\n".join(f"{key} = {value}" for key, value in points.items())
    (info / "entry_points.txt").write_text(f"[{group}]\n{lines}\n")


def test_a_third_party_shows_up_without_an_edit(installed: Path) -> None:
    assert {"mine/first", "mine/broken", "earth/volcano"} <= set(benchmark_names())
    assert isinstance(benchmark("mine/first"), Benchmark)
    assert plugins.by_distribution(plugins.BENCHMARKS)["their-package"] == [
        "mine/first",
        "mine/wrong",
    ]


def test_a_broken_one_is_an_error_that_names_its_distribution(installed: Path) -> None:
    with pytest.raises(PluginError, match=r"broken-package.*a_module_that_is_not_there"):
        benchmark("mine/broken")
    with pytest.raises(PluginError, match=r"their-package.*is a int"):
        benchmark("mine/wrong")


def test_two_that_claim_one_name_are_an_error(installed: Path) -> None:
    declare(installed, "rival-package", {"mine/first": "broken_module:Y"})
    with pytest.raises(PluginError, match=r"rival-package.*their-package"):
        benchmark("mine/first")


def test_an_object_has_the_name_it_is_declared_under(installed: Path) -> None:
    declare(installed, "odd-package", {"a-broken": "broken_module:X"}, plugins.MANIFOLDS)
    assert plugins.name_of(plugins.MANIFOLDS, Sphere) == "sphere"
    assert plugins.name_of(plugins.MANIFOLDS, Manifold) is None
    assert plugins.name_of(plugins.BENCHMARKS, benchmark("mine/first")) == "mine/first"


def test_training_on_a_named_set_makes_no_manifold_but_its_own(
    installed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (installed / "needy_module.py").write_text(
        "from flowatlas.manifolds import Sphere\n"
        "class Needy(Sphere):\n"
        "    def __init__(self, radius): ...\n"
    )
    declare(
        installed,
        "needy-package",
        {"a-broken": "broken_module:X", "a-needy": "needy_module:Needy"},
        plugins.MANIFOLDS,
    )
    assert main(["train", "--data", "demo/cities", "--manifold", "torus"]) == 2
    assert "lies on 'sphere', got 'torus'" in capsys.readouterr().err
    flow = tmp_path / "flow"
    words = ["train", "--data", "demo/cities", "--preset", "demo", "--quiet", "--output", str(flow)]
    assert main([*words, "--set", "steps=2", "width=8", "depth=1", "batch=16"]) == 0
    saved = json.loads((flow / "system.json").read_text())["contents"]["manifold"]
    assert saved == {"name": "Sphere", "args": {}}


def test_unknown_names_suggest_close_ones() -> None:
    with pytest.raises(ConfigError, match="Did you mean earth/volcano"):
        benchmark("earth/vulcano")
    with pytest.raises(ConfigError, match="no manifold is called"):
        plugins.load(plugins.MANIFOLDS, "klein-bottle", type)
