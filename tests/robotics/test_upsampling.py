"""The benchmark of upsampling, and the system that it trains."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from flowatlas import load_system
from flowatlas.benchmarks import Task, run
from flowatlas.benchmarks.runner import apply_settings
from flowatlas.cli import main
from flowatlas.errors import ConfigError, DataError
from flowatlas.plots import png
from flowatlas.solvers import Euler, Solver
from flowatlas_robotics.benchmarks.cloud_settings import CloudMethod, CloudPreset
from flowatlas_robotics.benchmarks.clouds import HELD_OUT, CloudSet, surfaces
from flowatlas_robotics.benchmarks.upsampling import UPSAMPLING, _measured, scores
from flowatlas_robotics.clouds import (
    PointUpsampler,
    Surface,
    UpsamplingSystem,
    chamfer_distance,
    even_clouds,
    random_surface,
    read_points,
    spacing,
    uniform_clouds,
)
from flowatlas_robotics.clouds.shapes import FIRST_HELD_OUT

TINY = {
    "steps": 60,
    "clouds": 40,
    "shapes": 10,
    "samples": 6,
    "sparse": 24,
    "width": 16,
    "channels": 8,
    "depth": 1,
    "warmup": 5,
    "ema": 0.9,
}


def system(**changes: object) -> UpsamplingSystem:
    """An untrained one, of random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = PointUpsampler(8, 1, 1, 4)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    made = UpsamplingSystem(network=network.eval(), sparse=20, factor=3, steps=2)
    return replace(made, **changes)  # type: ignore[arg-type]


def test_it_comes_back_and_draws_the_same(tmp_path: Path) -> None:
    made = system(jitter=0.3)
    again = load_system(made.save(tmp_path / "made"))
    assert isinstance(again, UpsamplingSystem)
    drawn = made.draw(9, seed=2)
    assert drawn.sparse.shape == (9, 20, 3) and drawn.dense.shape == (9, 60, 3)
    assert torch.equal(again.draw(9, seed=2).dense, drawn.dense)
    for other in (
        replace(made, jitter=0.1).draw(9, seed=2),
        replace(made, steps=3).draw(9, seed=2),
        made.draw(9, seed=2, solver=Euler(1)),
    ):
        assert torch.equal(other.sparse, drawn.sparse)
        assert not torch.allclose(other.dense, drawn.dense, atol=1e-3)
    assert not torch.equal(made.draw(9, seed=3).sparse, drawn.sparse)
    first, second = made.draw(2, seed=0).sparse, made.draw(2, seed=1).sparse
    assert float(chamfer_distance(first, second).min()) > 1e-3
    files = again.write(tmp_path / "clouds", count=2, seed=2)
    assert [file.name for file in files] == [
        "000_sparse.ply", "000_dense.ply", "001_sparse.ply", "001_dense.ply",
    ]  # fmt: skip
    assert torch.allclose(read_points(files[3]), made.draw(2, seed=2).dense[1], atol=1e-5)
    assert replace(made, sparse=30).draw(1).sparse.shape == (1, 30, 3)
    with pytest.raises(ConfigError, match="factor: got 0"):
        system(factor=0)


def test_no_shape_is_drawn_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither from one seed nor from another, and none that may be learned from."""
    shapes: list[int] = []

    def watched(seed: int) -> Surface:
        shapes.append(seed)
        return random_surface(seed)

    monkeypatch.setattr("flowatlas_robotics.clouds.system.random_surface", watched)
    for seed in range(3):
        system().draw(3, seed=seed)
    assert len(set(shapes)) == 9
    assert min(shapes) >= FIRST_HELD_OUT


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="jitter: got -1"):
        CloudMethod(name="a", summary="b", jitter=-1.0)
    with pytest.raises(ConfigError, match="factor: got 9"):
        CloudPreset(batch=1, lr=1.0, steps=1, factor=9)
    with pytest.raises(ConfigError, match="sparse: got 4"):
        CloudPreset(batch=1, lr=1.0, steps=1, sparse=4)


def test_no_shape_is_in_both_parts() -> None:
    pytest.importorskip("metaworld", reason="the extra metaworld")
    train = surfaces("train", 5, files=True)
    assert len(train) > 40
    assert not {name.split("/")[0] for name in train} & set(HELD_OUT)
    generated = surfaces("train", 5, files=False), surfaces("test", 5, files=False)
    for one in generated[0].values():
        for other in generated[1].values():
            assert not torch.equal(one.corners, other.corners)


def test_clouds_of_one_row_are_of_one_turned_surface() -> None:
    known = {str(i): random_surface(i) for i in range(3)}
    generator = torch.Generator().manual_seed(0)
    found = CloudSet.of(known, 7, 32, 4, generator=generator)
    assert found.names == ["0", "1", "2", "0", "1", "2", "0"]
    surface = uniform_clouds(found.surfaces, found.turns, 6000, generator=generator)
    near = scores(found.dense, found.dense, surface)
    assert near["chamfer"] == near["emd"] == 0
    # Within the spacing of 6000 points; without the same turn it would be tens.
    assert near["off"] < 3
    assert scores(found.dense, found.dense, surface.flip(0))["off"] > 6
    # Even: farther apart than as many uniform draws.
    uniform = uniform_clouds(found.surfaces, found.turns, 128, generator=generator)
    assert bool((spacing(found.dense) > 1.3 * spacing(uniform)).all())


def test_clouds_are_turned(monkeypatch: pytest.MonkeyPatch) -> None:
    """A triangle in the first octant goes where the matrix takes its corners, one by one."""
    triangle = Surface(torch.eye(3).unsqueeze(0))
    turn = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    turns = torch.stack([turn, turn.mT, torch.eye(3)])
    monkeypatch.setattr("flowatlas_robotics.clouds.draws._CHUNK", 2)
    for draw in (uniform_clouds, even_clouds):
        x = draw([triangle] * 3, turns, 20, generator=torch.Generator().manual_seed(0))
        # (x, y, z) goes to (-y, x, z), by the inverse to (y, -x, z).
        signs = torch.tensor([[-1.0, 1, 1], [1, -1, 1], [1, 1, 1]])
        assert bool((x * signs[:, None] >= 0).all())
        assert torch.allclose((x * signs[:, None]).sum(2), torch.ones(3, 20))


def test_a_run_from_end_to_end(tmp_path: Path) -> None:
    result = run(UPSAMPLING, preset="demo", seed=0, output=tmp_path, settings=TINY)
    found = {key: value or 0.0 for key, value in result.metrics.items()}
    assert found["exact/emd"] < found["emd"] < 1.1 * found["interpolation/emd"]
    assert found["exact/chamfer"] < min(found["chamfer"], found["interpolation/chamfer"])
    again = run(UPSAMPLING, preset="demo", seed=0, output=tmp_path, settings=TINY, resume=True)
    assert again.metrics == result.metrics
    assert result.arrays is not None
    with np.load(tmp_path / result.arrays) as arrays:
        figures = UPSAMPLING.figures(dict(arrays), "pointcloud/upsampling")
    assert len(figures) == 3
    assert all(png(one)[:4] == b"\x89PNG" for one in figures.values())
    kept = load_system((tmp_path / result.arrays).parent / "system")
    assert isinstance(kept, UpsamplingSystem)
    assert (kept.sparse, kept.factor, kept.steps) == (24, 4, 2)
    # In comparisons a system has the floor over its own distance, with the solver that is asked.
    preset, method = apply_settings(UPSAMPLING.preset("demo"), UPSAMPLING.method(None), TINY)
    task = Task(method=method, preset=preset, seed=0, directory=tmp_path)
    judge = UPSAMPLING.judge(task)
    assert judge(kept, Euler(4)) == pytest.approx(found["exact/emd"] / found["emd_4"], rel=1e-4)
    assert judge(kept, Euler(2)) == pytest.approx(found["exact/emd"] / found["emd"], rel=1e-4)
    test, other = _measured(task)
    assert judge(_Given(test.dense), Euler(1)) == judge(_Given(other), Euler(1)) == 1.0
    assert judge(_Given(other + 3), Euler(1)) < 0.1


class _Given(UpsamplingSystem):
    """Makes clouds that are given."""

    def __init__(self, clouds: Tensor) -> None:
        object.__setattr__(self, "clouds", clouds)

    def upsample(self, sparse: Tensor, *, seed: int = 0, solver: Solver | None = None) -> Tensor:
        return self.clouds  # type: ignore[attr-defined, no-any-return]


def test_absent_files_are_told_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowatlas.data.files.cache_directory", lambda: tmp_path / "cache")
    with pytest.raises(DataError, match=r"mesh/bunny: the file .* was not found"):
        run(UPSAMPLING, preset="cpu", output=tmp_path, data_root=tmp_path)


def test_sampled_by_the_command_line(tmp_path: Path) -> None:
    made = system().save(tmp_path / "made")
    clouds, picture = tmp_path / "clouds", tmp_path / "clouds.png"
    words = ["sample", str(made), "--count", "3", "--output", str(clouds)]
    assert main([*words, "--plot", str(picture)]) == 0
    assert read_points(clouds / "002_dense.ply").shape == (60, 3)
    assert picture.stat().st_size > 5000
