"""A trained policy with its arena: kept, found again, and filmed by the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from flowatlas import load_system
from flowatlas.cli import main
from flowatlas.errors import ConfigError, DataError
from flowatlas.solvers import Euler, Midpoint
from flowatlas_robotics import FlowPolicy, PolicySystem, demonstrate_routes


def system(arena: str = "avoidance", evaluations: int = 3) -> PolicySystem:
    """An untrained one, of random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        policy = FlowPolicy({"state": 3}, 2, width=16, depth=2, evaluations=evaluations)
        for parameter in policy.network.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    policy.fit_normalizer(demonstrate_routes(2)[0])
    return PolicySystem(policy=policy.eval().requires_grad_(False), arena=arena)


def test_it_comes_back_and_acts_the_same(tmp_path: Path) -> None:
    made = system()
    again = load_system(made.save(tmp_path / "made"))
    assert isinstance(again, PolicySystem)
    drawn = made.draw(2, seed=2, frames=False)
    for one, other in zip(drawn, again.draw(2, seed=2), strict=True):
        assert np.array_equal(one.observations["state"], other.observations["state"])
    # Steps are stored, and solvers obeyed; the seed chooses starts and noise.
    expected = made.draw(1, seed=2)[0].observations["state"]
    for same in (made.draw(1, seed=2, solver=Euler(3)), system(evaluations=3).draw(1, seed=2)):
        assert np.array_equal(same[0].observations["state"], expected)
    for different in (
        made.draw(1, seed=1),
        made.draw(1, seed=2, solver=Midpoint(3)),
        system(evaluations=1).draw(1, seed=2),
    ):
        assert not np.array_equal(different[0].observations["state"], expected)
    films = again.write(tmp_path / "films", count=2, seed=2)
    assert [film.name for film in films] == ["000.gif", "001.gif"]
    with Image.open(films[0]) as film:
        assert film.size == (276, 184)
        # Times are 1 s of the last picture and 50 ms of those before, equal ones joined.
        total = 0
        for i in range(film.n_frames):  # type: ignore[attr-defined]
            film.seek(i)
            total += film.info["duration"]
    assert total == 1000 + 50 * (len(drawn[0].observations["state"]) - 1)


def test_what_is_damaged_or_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="arena: got 'maze'"):
        system("maze")
    made = system()
    with pytest.raises(ConfigError, match="Draw them with frames=True"):
        made.export(made.draw(1, frames=False), tmp_path / "films")
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(DataError, match="taken: cannot be made"):
        made.export(made.draw(1), tmp_path / "taken")
    folder = made.save(tmp_path / "made")
    stored = json.loads((folder / "system.json").read_text())
    del stored["contents"]["arena"]
    (folder / "system.json").write_text(json.dumps(stored))
    with pytest.raises(DataError, match="is corrupt"):
        load_system(folder)
    (folder / "policy" / "model.safetensors").unlink()
    with pytest.raises(DataError, match=r"model.safetensors"):
        load_system(folder)


def test_trained_resumed_and_filmed_by_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, films = tmp_path / "made", tmp_path / "films"
    train = ["train", "robotics/avoidance", "--preset", "demo", "--quiet", "--output", str(made)]
    tiny = ["--set", "steps=2", "demonstrations=4", "width=16", "depth=1", "evaluations=2"]
    assert main([*train, *tiny]) == 0
    assert main([*train, *tiny]) == 2
    assert "holds a trained system" in capsys.readouterr().err
    assert main([*train, "--resume", *tiny]) == 0
    loaded = load_system(made)
    assert isinstance(loaded, PolicySystem)
    assert (loaded.arena, loaded.policy.evaluations) == ("avoidance", 2)
    words = ["sample", str(made), "--count", "1", "--output", str(films)]
    assert main([*words, "--plot", str(tmp_path / "strip.png")]) == 0
    assert "1 samples by Euler" in capsys.readouterr().out
    assert [film.name for film in sorted(films.iterdir())] == ["000.gif"]
    with Image.open(tmp_path / "strip.png") as strip:
        assert strip.width > strip.height > 50
