"""`flowatlas train NAME`, and `flowatlas sample` of what it leaves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from flowatlas.benchmarks.point_system import PointSystem
from flowatlas.cli import main
from flowatlas.system import load_system

FAST = ["--set", "steps=4", "width=8", "depth=1", "batch=16", "select=1", "solver_steps=3"]


def words(output: Path, *more: str) -> list[str]:
    head = ["train", "toy/two_moons", "--preset", "demo", "--quiet", "--output", str(output)]
    return [*head, *more, *FAST]


def weights(directory: Path) -> bytes:
    tensors = load_file(directory / "network" / "model.safetensors")
    return b"".join(tensors[name].numpy().tobytes() for name in sorted(tensors))


def test_a_benchmark_is_trained_and_sampled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, points = tmp_path / "moons", tmp_path / "points.npy"
    assert main(words(made, "--method", "condot-ot", "--seed", "3")) == 0
    said = capsys.readouterr().out
    assert "trained 4 steps" in said
    assert f"flowatlas sample {made}" in said
    system = load_system(made)
    assert isinstance(system, PointSystem)
    assert system.method.name == "condot-ot"
    assert system.about == {"benchmark": "toy/two_moons", "seed": 3, "steps": 4}
    assert main(["sample", str(made), "--count", "7", "--seed", "2", "--output", str(points)]) == 0
    assert "7 samples by Midpoint" in capsys.readouterr().out
    assert np.array_equal(np.load(points), system.draw(7, seed=2).numpy())
    euler = ["sample", str(made), "--count", "7", "--solver", "dopri5", "--output", str(points)]
    assert main(euler) == 0
    assert not np.array_equal(np.load(points), system.draw(7).numpy())


def test_what_is_there_is_kept_resumed_or_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = tmp_path / "moons"
    assert main(words(made)) == 0
    first = weights(made)
    assert main(words(made, "--seed", "1")) == 2
    message = capsys.readouterr().err
    assert f"{made} holds a trained system" in message and "--overwrite" in message
    assert weights(made) == first
    (made / "system.json").unlink()
    assert main(words(made)) == 2
    assert "an unfinished training" in capsys.readouterr().err
    assert main(words(made, "--resume")) == 0
    assert weights(made) == first and (made / "system.json").exists()
    assert main(words(made, "--overwrite", "--seed", "1")) == 0
    assert weights(made) != first


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (["train"], "NAME, --data: give one"),
        (["train", "toy/two_moons", "--data", "demo/cities"], "NAME, --data: give one"),
        (["train", "toy/two_mons"], "Did you mean toy/two_moons"),
        (["train", "mixed/toy"], "flowatlas bench run mixed/toy"),
        (["train", "toy/two_moons", "--manifold", "sphere"], "manifold: is for --data"),
        (["train", "toy/two_moons", "--degrees"], "degrees: is for --data"),
        (["train", "toy/two_moons", "--preset", "dmo"], "Did you mean demo"),
        (["train", "toy/two_moons", "--set", "stps=3"], "Did you mean steps"),
        (["sample", "nowhere"], "nowhere: no such directory"),
    ],
)
def test_errors_say_what_to_do(
    given: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(given) == 2
    message = capsys.readouterr().err
    assert complaint in message and message.count("\n") == 1


def test_scoring_asks_for_points(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "system.json").write_text('{"system": "backbone", "contents": {}}')
    assert main(["score", str(tmp_path), "--data", "toy/two_moons"]) == 2
    assert "'backbone'; this needs one of kind 'points'" in capsys.readouterr().err
