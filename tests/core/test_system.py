"""Systems as directories: saved whole, loaded by kind, and errors that say what is wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from flowatlas import plugins
from flowatlas.errors import ConfigError, DataError
from flowatlas.plugins import PluginError
from flowatlas.solvers import Dopri5, Euler, Midpoint, Solver
from flowatlas.system import System, load_system


class Rings(System[Tensor]):
    """Points of a circle of some radius, one file each."""

    name = "rings"
    default_solver = ("euler", 20)

    def __init__(self, radius: float) -> None:
        self.radius = radius

    def draw(self, count: int, *, seed: int = 0, solver: Solver | None = None) -> Tensor:
        angle = torch.rand(count, generator=torch.Generator().manual_seed(seed)) * 6.28
        self.solved_by = solver
        return self.radius * torch.stack([angle.cos(), angle.sin()], -1)

    def export(self, samples: Tensor, output: Path) -> tuple[Path, ...]:
        output.mkdir(parents=True, exist_ok=True)
        files = tuple(output / f"{i}.txt" for i in range(len(samples)))
        for file, x in zip(files, samples, strict=True):
            file.write_text(str(x.tolist()))
        return files

    def save_parts(self, directory: Path) -> dict[str, Any]:
        if self.radius < 0:
            raise ConfigError("radius: got a negative one; a file holds positive ones.")
        return {"radius": self.radius}

    @classmethod
    def load_parts(cls, directory: Path, stored: Mapping[str, Any]) -> Rings:
        return cls(float(stored["radius"]))


class Squares(Rings):
    name = "squares"


@pytest.fixture(autouse=True)
def _declared(monkeypatch: pytest.MonkeyPatch) -> None:
    here = __name__
    points = EntryPoints(
        EntryPoint(name, value, plugins.SYSTEMS)
        for name, value in (
            ("rings", f"{here}:Rings"),
            ("broken", "a_module_that_is_not_there:X"),
            ("wrong", f"{here}:pytest.ExitCode"),
        )
    )
    monkeypatch.setattr(plugins, "entry_points", lambda group: points.select(group=group))
    monkeypatch.setattr(plugins, "distribution", lambda point: "rings-package")


def test_a_directory_comes_back_as_what_it_was(tmp_path: Path) -> None:
    again = load_system(Rings(2.0).save(tmp_path / "new" / "rings"))
    assert isinstance(again, Rings) and again.radius == 2.0
    stored = json.loads((tmp_path / "new" / "rings" / "system.json").read_text())
    assert stored["system"] == "rings" and stored["contents"] == {"radius": 2.0}
    assert stored["package"] == __name__.partition(".")[0]


def test_writing_is_drawing_and_exporting(tmp_path: Path) -> None:
    system = Rings(2.0)
    files = system.write(tmp_path / "a", count=3, seed=5)
    assert [file.name for file in files] == ["0.txt", "1.txt", "2.txt"]
    assert files[1].read_text() == str(system.draw(3, seed=5)[1].tolist())
    with pytest.raises(ConfigError, match="count: got 0"):
        system.write(tmp_path / "b", count=0)


def test_the_default_solver_and_others() -> None:
    system = Rings(1.0)
    assert repr(system.solver()) == repr(Euler(steps=20))
    assert repr(system.solver(steps=3)) == repr(Euler(steps=3))
    assert repr(system.solver("midpoint")) == repr(Midpoint(steps=20))
    assert repr(system.solver("dopri5")) == repr(Dopri5())
    with pytest.raises(ConfigError, match="dopri5 chooses its own"):
        system.solver("dopri5", 4)
    with pytest.raises(ConfigError, match="Did you mean midpoint"):
        system.solver("midpint")
    with pytest.raises(ConfigError, match="steps: got 0"):
        system.solver(steps=0)


def test_a_save_that_fails_leaves_no_old_system(tmp_path: Path) -> None:
    Rings(1.0).save(tmp_path)
    with pytest.raises(ConfigError, match="radius"):
        Rings(-1.0).save(tmp_path)
    with pytest.raises(DataError, match="holds no trained system"):
        load_system(tmp_path)


def test_places_without_a_system(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent: no such directory.*flowatlas train"):
        load_system(tmp_path / "absent")
    with pytest.raises(DataError, match=r"system.json is missing.*flowatlas train"):
        load_system(tmp_path)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "not valid JSON"),
        ("[]", "must be a JSON object"),
        ("{}", "names no system"),
        ('{"system": 3, "contents": {}}', "names no system"),
        ('{"system": "rings", "contents": []}', "names no system"),
        ('{"system": "rings", "contents": {}}', r"is corrupt \(KeyError\('radius'\)\)"),
        ('{"system": "rings", "contents": {"radius": "wide"}}', r"is corrupt \(ValueError"),
        ('{"system": "rings", "contents": {"radius": null}}', r"is corrupt \(TypeError"),
    ],
)
def test_damaged_descriptions(content: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "system.json").write_text(content)
    with pytest.raises(DataError, match=f"system.json: .*{complaint}"):
        load_system(tmp_path)


def test_kinds_that_are_not_installed_or_not_these(tmp_path: Path) -> None:
    Squares(1.0).save(tmp_path)
    stored = json.loads((tmp_path / "system.json").read_text())
    for package, wanted in (("flowatlas_squares", "flowatlas-squares"), ("shapes", "shapes")):
        (tmp_path / "system.json").write_text(json.dumps({**stored, "package": package}))
        with pytest.raises(ConfigError, match=f"kind 'squares'.*know broken.*Install {wanted},"):
            load_system(tmp_path)
    with pytest.raises(ConfigError, match="of kind 'squares'; this needs one of kind 'rings'"):
        Rings.load(tmp_path)
    (tmp_path / "system.json").write_text(json.dumps({**stored, "system": "broken"}))
    with pytest.raises(PluginError, match=r"rings-package.*a_module_that_is_not_there"):
        load_system(tmp_path)
    (tmp_path / "system.json").write_text(json.dumps({**stored, "system": "wrong"}))
    with pytest.raises(PluginError, match="is ExitCode, which is no System"):
        load_system(tmp_path)


def test_systems_without_a_picture_say_so() -> None:
    with pytest.raises(ConfigError, match="plot: systems of kind 'rings' draw no picture"):
        Rings(1.0).figure(torch.zeros(1, 2), "title")
