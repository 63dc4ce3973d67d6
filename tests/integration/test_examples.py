"""The examples run, at a size that says whether they work and not how good their flows are."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

EXAMPLES = Path(__file__).parents[2] / "examples"

#: For each script that takes `--steps` and `--output`: what it prints, and the pictures it makes.
SCRIPTS: dict[str, tuple[str, list[str]]] = {
    "two_moons": (r"log density: -\d\.\d{3} nats of the flow, -\d\.\d{3} at best", ["two_moons"]),
    "sphere_density": (r"integral of the density over the sphere: (0\.9\d|1\.0\d)\n", ["cities"]),
    "rotations_and_translations": (
        r"free: gaps .*degrees off(.|\n)*completed: gaps .*degrees off",
        ["rows_free", "rows_completed"],
    ),
    "optimal_transport": (
        r"independent: .*longer than straight(.|\n)*optimal: .*longer than straight",
        ["few_steps", "trajectories"],
    ),
    "schroedinger_bridge": (
        r"energy distance .* to others: -?0\.0\d+\nwithout noise: .*\nwith the noise .*: -?\d",
        ["bridge"],
    ),
    "tokens": (
        r"free: \d+% of the words are Zen\ncompleted: \d+% .* are Zen\nlines: .*lines\.txt",
        [],
    ),
    "dirichlet_distillation": (
        r"student at once: 1 evaluations, .* \d\.\d{4}\nstudent and teacher agree on .*%",
        ["pairs"],
    ),
    # Forward and backward are inverse whatever the field is.
    "latent_interpolation": (r"encoded and decoded differs by 0\.00\d\d", ["between_digits"]),
    "metric_path": (
        r"straight: trajectories are 0\.\d+ off .*\nmetric: trajectories are \d\.\d+ off",
        ["metric_path"],
    ),
    "palindromes": (
        r"palindromes: .*% of samples, 0\.06% by chance\ncompleted .*% right\n",
        [],
    ),
    "guidance": (r"w = 4    nearest to their own centre: \d+%", ["guidance"]),
    "lightning_training": (
        r"stopped at step 2: step-2\.safetensors\n(.|\n)*went on to step 4: validation loss \d",
        [],
    ),
}


def test_every_example_is_here() -> None:
    named = {f"{name}.py" for name in SCRIPTS} | {"own_dataset_cli.sh", "cylinder.py"}
    assert {path.name for path in EXAMPLES.iterdir() if path.is_file()} == named


@pytest.mark.parametrize("name", SCRIPTS)
def test_example_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    printed, pictures = SCRIPTS[name]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--steps", "4", "--output", "made"])
    with torch.random.fork_rng():
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    assert re.search(printed, capsys.readouterr().out)
    for picture in pictures:
        assert_is_a_picture(tmp_path / "made" / f"{picture}.png")
    # Nothing is left beside what was asked for.
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_a_data_set_of_ones_own_from_the_command_line(tmp_path: Path) -> None:
    here = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["sh", str(EXAMPLES / "own_dataset_cli.sh"), "made", "4"],
        cwd=tmp_path,
        env={**os.environ, "PATH": here, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "trained 4 steps" in done.stdout
    assert "1500 points: mean log-likelihood" in done.stdout
    samples = np.loadtxt(tmp_path / "made" / "samples.csv", delimiter=",", skiprows=1)
    np.testing.assert_allclose(np.linalg.norm(samples, axis=1), 1, atol=1e-5)
    assert len(np.loadtxt(tmp_path / "made" / "scores.csv", skiprows=1)) == 1500
    assert_is_a_picture(tmp_path / "made" / "samples.png")


def assert_is_a_picture(path: Path) -> None:
    """It opens, and is more than one colour."""
    with Image.open(path) as image:
        assert min(image.size) > 200
        assert len(set(image.convert("L").resize((64, 64)).tobytes())) > 5
