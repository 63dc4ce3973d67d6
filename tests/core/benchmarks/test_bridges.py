"""Bridges between clouds: distances by transport, and small runs from end to end."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.stats import wasserstein_distance

from flowatlas import BridgePath, Sinkhorn
from flowatlas.benchmarks import run
from flowatlas.benchmarks.arch import ARCH, arch, at_time
from flowatlas.benchmarks.bridge_method import METHODS, BridgeMethod, BridgePreset
from flowatlas.benchmarks.cells import EMT, LINEAGE, CellBenchmark
from flowatlas.benchmarks.lidar import LIDAR, HeightPenalty
from flowatlas.benchmarks.transport import Cloud, displacement, two_halves, wasserstein
from flowatlas.data import DataSet
from flowatlas.data.lidar import RAINIER
from flowatlas.data.single_cell import EMT as EMT_CELLS
from flowatlas.data.single_cell import snapshots
from flowatlas.errors import ConfigError, DataError, ShapeError
from flowatlas.metrics import FlatMetric, LandMetric, RbfMetric
from flowatlas.plots import png

SMALL = {
    "steps": 60,
    "batch": 64,
    "width": 24,
    "depth": 2,
    "bend_steps": 60,
    "bend_width": 24,
    "bend_points": 200,
    "rows": 512,
    "warmup": 5,
    "ema": 0.9,
}


def stored(output: Path) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of one of the runs that are there."""
    with np.load(next(output.rglob("arrays.npz"))) as arrays:
        return dict(arrays)


def cloud(n: int, dim: int, seed: int) -> torch.Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("order", [1, 2])
def test_wasserstein_is_the_best_assignment(order: int) -> None:
    x, y = cloud(40, 3, 0), cloud(40, 3, 1) + 0.5
    cost = np.linalg.norm(x.numpy()[:, None] - y.numpy(), axis=-1) ** order
    best = cost[linear_sum_assignment(cost)].mean() ** (1 / order)
    assert wasserstein(x, y, order=order) == pytest.approx(best, rel=1e-9)


def test_wasserstein_of_unequal_clouds_on_a_line() -> None:
    x, y = cloud(30, 1, 0), cloud(50, 1, 1)
    weights = torch.rand(50, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    weights = weights / weights.sum()
    known = wasserstein_distance(x[:, 0], y[:, 0], v_weights=weights)
    assert wasserstein(x, Cloud(y, weights)) == pytest.approx(known, rel=1e-9)
    with pytest.raises(ShapeError, match="points: got shape"):
        wasserstein(x[:0], y)


def test_displacement_interpolation_of_gaussians() -> None:
    """Between a cloud and its scaled and moved copy the best map is that affine one."""
    x = cloud(60, 2, 0)
    y = 3 * x[torch.randperm(60, generator=torch.Generator().manual_seed(1))] + 5
    made = displacement(x, y, 0.25)
    assert float(made.weights.sum()) == pytest.approx(1)
    expected = 0.75 * x + 0.25 * (3 * x + 5)
    assert wasserstein(made, expected) < 1e-9
    assert wasserstein(displacement(x, y[:31], 1.0), y[:31]) < 1e-9


@pytest.mark.parametrize("dim", [1, 3])
def test_two_halves_say_what_two_sets_have(dim: int) -> None:
    """Against fresh draws of the law, of the sizes that were asked for; 10 repeats of each."""
    found = [two_halves(cloud(400, dim, 2 * s), beside=200, seed=s) for s in range(10)]
    known = [
        wasserstein(cloud(200, dim, 100 + 2 * s), cloud(400, dim, 101 + 2 * s)) for s in range(10)
    ]
    error = (np.std(found) + np.std(known)) / 10**0.5
    # Three standard errors; in one dimension they are large, and in three the scaling shows.
    assert abs(np.mean(found) - np.mean(known)) < 3 * error + 0.03 * np.mean(known)


def test_the_arch_moves_at_constant_speed() -> None:
    for t in (0.0, 0.3, 1.0):
        x = at_time(t, 4000, seed=0)
        angle = torch.atan2(x[:, 1], x[:, 0])
        turned = torch.remainder(angle - torch.pi * (1 - t) + torch.pi, 2 * torch.pi) - torch.pi
        assert abs(float(turned.mean())) < 4 * 0.15 / 4000**0.5
        assert float(turned.std()) == pytest.approx(0.15, rel=0.06)
        radius = torch.linalg.vector_norm(x, dim=1)
        assert float(radius.std()) == pytest.approx(0.04, rel=0.06)
    assert arch(torch.zeros(3)).shape == (3, 2)


def test_what_bridges_declare() -> None:
    for declared in (ARCH, EMT, LINEAGE, LIDAR):
        assert declared.name.startswith("bridge/") and declared.default_method == "metric-rbf"
        assert declared.summary and declared.data and declared.licence and declared.protocol
        assert {"cpu", "gpu"} <= set(declared.presets)
        # A demo preset downloads nothing.
        assert ("demo" in declared.presets) == (declared is ARCH)
        assert all(name == method.name for name, method in declared.methods.items())


def test_metrics_of_methods() -> None:
    preset = replace(ARCH.presets["demo"], bend_points=50)
    x = cloud(120, 2, 0)
    land = METHODS["metric-land"].build_metric(x, preset, 0)
    assert isinstance(land, LandMetric) and len(land.points) == 50
    # A tenth of a percent of what h is on the data would be off by factors elsewhere.
    level = float(land.spread(land.points).median())
    assert land.epsilon == pytest.approx(METHODS["metric-land"].epsilon * level, rel=1e-5)
    assert isinstance(METHODS["metric-rbf"].build_metric(x, preset, 0), RbfMetric)
    assert METHODS["ot"].build_metric(x, preset, 0) is None


def test_schroedinger_bridges_have_the_coupling_of_their_noise(tmp_path: Path) -> None:
    method = METHODS["schroedinger"]
    path = method.build_path(
        cloud(5, 2, 0),
        cloud(5, 2, 1),
        None,
        ARCH.presets["demo"],
        spread=3.0,
        seed=0,
        directory=tmp_path,
        resume=False,
        progress=False,
    )
    coupling = method.build_coupling(3.0)
    assert isinstance(path, BridgePath) and isinstance(coupling, Sinkhorn)
    half = path.noise_level(torch.tensor(0.5))
    # The variance of a bridge half way is a quarter of that of its Brownian motion.
    assert coupling.epsilon == pytest.approx(2 * 4 * float(half) ** 2, rel=1e-6)


def test_settings_that_do_not_fit() -> None:
    for wrong in (
        {"path": "x"},
        {"coupling": "x"},
        {"noise": 0.0},
        {"scale": 0.0},
        {"solver_steps": 0},
    ):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            BridgeMethod(name="x", summary="x", **wrong)
    for wrong in ({"bend_steps": 0}, {"frequency": 0.1}, {"bend_lr": 0.0}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            BridgePreset(batch=1, lr=1.0, steps=1, **wrong)


def test_a_height_penalty_is_a_factor() -> None:
    x, u = torch.tensor([[0.0, 0.0, 0.5]]), torch.tensor([[1.0, 0.0, 1.0]])
    found = HeightPenalty(FlatMetric(), slope=3.0).squared_norm(x, u)
    assert float(found) == pytest.approx(2 * np.exp(3.0), rel=1e-6)


def test_the_arch_from_end_to_end(tmp_path: Path) -> None:
    """A path along the arch is far better halfway than a straight one, which is at the bottom."""
    found = {}
    settings = SMALL | {"steps": 150, "samples": 200}
    settings |= {"bend_points": 600, "bend_steps": 150, "bend_width": 48, "centres": 20}
    for name in ("metric-rbf", "ot", "schroedinger"):
        result = run(ARCH, method=name, preset="demo", seed=0, output=tmp_path, settings=settings)
        found[name] = {key: value or 0.0 for key, value in result.metrics.items()}
        assert 0 < found[name]["floor/emd_middle"] < 0.1
        assert found[name]["emd_end"] < 0.4
    assert found["ot"]["displacement/emd_middle"] > 0.9
    assert found["ot"]["emd_middle"] > 0.8 and found["schroedinger"]["emd_middle"] > 0.8
    assert found["metric-rbf"]["emd_middle"] < 0.5
    assert found["metric-rbf"]["off"] < 0.5 * found["ot"]["off"]
    figures = ARCH.figures(stored(tmp_path), "arch")
    assert set(figures) == {"trajectories over the data", "loss"}
    assert len(png(figures["trajectories over the data"])) > 10_000


def test_a_run_that_goes_on_takes_the_interpolant_that_is_there(tmp_path: Path) -> None:
    settings = SMALL | {"steps": 10, "samples": 50, "bend_steps": 20}
    first = run(ARCH, method="metric-rbf", preset="demo", output=tmp_path, settings=settings)
    saved = next(tmp_path.rglob("interpolant-0/model.safetensors"))
    before = saved.read_bytes()
    # Its line in the results is gone, its files are there.
    (tmp_path / "results.jsonl").unlink()
    stamp = saved.stat().st_mtime_ns
    second = run(
        ARCH, method="metric-rbf", preset="demo", output=tmp_path, settings=settings, resume=True
    )
    assert saved.stat().st_mtime_ns == stamp and saved.read_bytes() == before
    assert second.metrics["emd_middle"] == pytest.approx(first.metrics["emd_middle"], rel=1e-5)


def drifting(root: Path) -> DataSet:
    """Cells of four times that drift to the right, in a file."""
    sizes, parts = (60, 50, 70, 40), []
    for i, n in enumerate(sizes):
        parts.append(0.2 * cloud(n, 2, i).numpy() + [i, 0])
    path = root / "single_cell" / "drifting.npz"
    path.parent.mkdir()
    times = np.repeat(np.arange(4), sizes).astype(np.int8)
    np.savez(path, x=np.concatenate(parts).astype(np.float32), time_index=times)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    name = "single_cell/drifting"
    return replace(EMT_CELLS, name=name, file="single_cell/drifting.npz", sha256=sha256)


def test_cells_from_end_to_end(tmp_path: Path) -> None:
    """Of cells that drift at constant speed, transport says where they are in between."""
    cells = drifting(tmp_path)
    benchmark = CellBenchmark("bridge/drifting", "drift", cells, 4, EMT.presets)
    settings = SMALL | {"steps": 250, "lr": 1e-2}
    result = run(
        benchmark,
        method="ot",
        preset="cpu",
        seed=0,
        output=tmp_path / "out",
        data_root=tmp_path,
        settings=settings,
    )
    found = {key: value or 0.0 for key, value in result.metrics.items()}
    assert found["previous/emd"] == pytest.approx(1, abs=0.1)
    assert found["displacement/emd"] < 0.15
    assert found["floor/emd"] < 0.12
    assert found["emd"] == pytest.approx((found["emd_1"] + found["emd_2"]) / 2)
    assert found["emd"] < 0.35
    figures = benchmark.figures(stored(tmp_path / "out"), "drift")
    assert all(len(png(figure)) > 4000 for figure in figures.values()) and len(figures) == 3


def test_snapshots_of_real_cells(data_root: Path) -> None:
    for cells, sizes in (
        (EMT_CELLS, [577, 885, 788, 754, 129]),
        (LINEAGE.cells, [1429, 3781, 5788]),
    ):
        if not (data_root / str(cells.file)).exists():
            pytest.skip(f"{cells.file} is not in the data root")
        assert [len(x) for x in snapshots(cells, data_root)] == sizes


def test_files_that_are_no_cells(tmp_path: Path) -> None:
    path = tmp_path / "wrong.npz"
    np.savez(path, x=np.zeros((3, 2)))
    with pytest.raises(DataError, match="time_index"):
        EMT_CELLS.read(path)
    np.savez(path, x=np.zeros((3, 2)), time_index=np.zeros(4))
    with pytest.raises(DataError, match="expected cells"):
        EMT_CELLS.read(path)


def test_terrain_from_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a hill that is made up: straight lines go through it."""
    plan = 4 * torch.rand(3000, 2, generator=torch.Generator().manual_seed(0)).double() - 2
    height = 0.6 * torch.exp(-plan.square().sum(1))
    path = tmp_path / "lidar" / "hill.npz"
    path.parent.mkdir()
    xyz = 1000 * torch.cat([plan, height.unsqueeze(1)], 1).numpy()
    np.savez(path, xyz=xyz, classification=np.full(3000, 2, np.uint8))
    hill = replace(
        RAINIER, file="lidar/hill.npz", sha256=hashlib.sha256(path.read_bytes()).hexdigest()
    )
    monkeypatch.setattr("flowatlas.benchmarks.lidar.RAINIER", hill)
    settings = SMALL | {"samples": 100, "steps": 100, "lr": 1e-2}
    result = run(
        LIDAR,
        method="ot",
        preset="cpu",
        output=tmp_path / "out",
        data_root=tmp_path,
        settings=settings,
    )
    found = {key: value or 0.0 for key, value in result.metrics.items()}
    assert found["floor/height"] < 0.01 < 0.1 < found["height"] < 0.4
    assert found["distance"] <= found["height"] + 1e-6
    assert 0.7 < found["energy"] < 1.5  # a straight flow is about as straight lines are
    assert found["w2_end"] < 0.5 and found["floor/w2_end"] < 0.1
    figures = LIDAR.figures(stored(tmp_path / "out"), "hill")
    assert all(len(png(figure)) > 4000 for figure in figures.values())
