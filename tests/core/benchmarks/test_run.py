"""One small run from end to end, and what can go wrong on the way."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flowatlas.benchmarks import Benchmark, benchmark, benchmark_names, matching, report, run
from flowatlas.benchmarks.demo import PrincipalComponents
from flowatlas.benchmarks.problem import named_problem
from flowatlas.benchmarks.results import FILE_NAME, read
from flowatlas.errors import ConfigError, DataError, FlowAtlasError

TINY = {
    "width": 16,
    "depth": 1,
    "batch": 64,
    "steps": 30,
    "score_points": 50,
    "samples": 60,
    "select_points": 40,
    "scales": (),
    "rtol": 1e-2,
    "atol": 1e-2,
}


def test_all_benchmarks_of_the_package_are_declared() -> None:
    expected = {
        *(f"toy/{name}" for name in ("two_moons", "eight_gaussians", "checkerboard")),
        *(f"earth/{name}" for name in ("volcano", "earthquake", "flood", "fire")),
        *(f"torsion/{name}" for name in ("general", "glycine", "proline", "prepro")),
        *(f"torsion/{name}" for name in ("rna", "sidechain", "sidechain-lysine")),
        *("hyperbolic/lorentz", "hyperbolic/poincare", "spd/two", "spd/three"),
        *("so3/toy", "demo/digits", "demo/cities"),
    }
    shipped = ("toy", "so3", "demo", "hyperbolic")
    assert expected <= set(benchmark_names())
    for name in expected:
        declared = benchmark(name)
        assert declared.name == name
        assert declared.summary and declared.data and declared.licence and declared.protocol
        assert "cpu" in declared.presets and "gpu" in declared.presets
        assert declared.metrics[0].key == "nll"
        # A demo preset downloads nothing.
        assert ("demo" in declared.presets) == (name.split("/")[0] in shipped)


def test_published_numbers_have_references_and_stand_ins_say_so() -> None:
    for name in matching(["earth/*"]):
        assert all(p.comparable and "arXiv" in p.reference for p in benchmark(name).published)
    assert all(p.comparable for p in benchmark("torsion/rna").published)
    assert not benchmark("torsion/sidechain").published
    for name in ("general", "glycine", "proline", "prepro"):
        declared = benchmark(f"torsion/{name}")
        assert "stand-in" in declared.data
        assert declared.published and not any(p.comparable for p in declared.published)


def test_patterns_and_unknown_names() -> None:
    assert matching(["torsion/g*", "toy/two_moons"]) == [
        "torsion/general",
        "torsion/glycine",
        "toy/two_moons",
    ]
    with pytest.raises(ConfigError, match="no benchmark matches 'sea/"):
        matching(["sea/*"])
    with pytest.raises(ConfigError, match="Did you mean earth/flood"):
        matching(["earth/floods"])


def test_a_run_from_end_to_end(tmp_path: Path) -> None:
    result = run(
        "toy/two_moons", preset="demo", method="condot-ot", seed=1, output=tmp_path, settings=TINY
    )
    lines = (tmp_path / FILE_NAME).read_text().splitlines()
    assert len(lines) == 1
    stored = json.loads(lines[0])
    assert stored["benchmark"] == "toy/two_moons" and stored["method"] == "condot-ot"
    assert stored["config"]["width"] == 16 and stored["config"]["coupling"] == "ot"
    assert stored["seed"] == 1 and stored["nfe"] == 100 and stored["wall_time"] > 0
    assert {"python", "torch", "flowatlas"} <= set(stored["versions"])
    assert {"processor", "cores", "threads"} <= set(stored["machine"])
    metrics = stored["metrics"]
    for key in ("nll", "nll_source", "energy", "sliced_wasserstein", "exact/nll", "exact/energy"):
        assert np.isfinite(metrics[key]), key
    # Thirty steps of a tiny network: worse than the law, no worse than the untrained source.
    assert metrics["exact/nll"] < metrics["nll"] < metrics["nll_source"] + 0.3
    assert result.metrics["nll"] == metrics["nll"]
    with np.load(tmp_path / stored["arrays"]) as arrays:
        assert arrays["trajectories"].shape == (25, 150, 2)
        assert list(arrays["curve_nfe"]) == [2, 4, 8, 16, 32, 64]
    html = report(tmp_path).html.read_text()
    assert html.count("data:image/png;base64,") == 3

    # What is done is not done again; another setting is another run.
    before = os.stat(tmp_path / stored["arrays"]).st_mtime_ns
    again = run(
        "toy/two_moons",
        preset="demo",
        method="condot-ot",
        seed=1,
        output=tmp_path,
        settings=TINY,
        resume=True,
    )
    assert again == result
    assert os.stat(tmp_path / stored["arrays"]).st_mtime_ns == before
    assert len(read(tmp_path)) == 1


def test_the_optimizer_of_a_preset_trains(tmp_path: Path) -> None:
    for optimizer in ("adamw", "muon"):
        settings = {**TINY, "width": 32, "depth": 2, "steps": 4, "optimizer": optimizer}
        run("toy/two_moons", preset="demo", output=tmp_path / optimizer, settings=settings)
        (checkpoint,) = (tmp_path / optimizer).rglob("checkpoint.safetensors")
        assert (b"momentum_buffer" in checkpoint.read_bytes()) == (optimizer == "muon")


@pytest.mark.parametrize(
    ("name", "method"),
    [("demo/cities", "geodesic-fitted"), ("demo/digits", "condot"), ("so3/toy", "geodesic-ot")],
)
def test_other_spaces_run(name: str, method: str, tmp_path: Path) -> None:
    result = run(name, preset="demo", method=method, output=tmp_path, settings=TINY)
    assert np.isfinite(result.metrics["nll"] or np.nan)
    if method.endswith("fitted"):
        assert "kernel mixture" in result.notes["source"]
        assert (result.metrics["nll_source"] or 9.0) < 2.0
    if name.startswith("demo"):
        assert np.isfinite(result.metrics["kde_fixed/nll"] or np.nan)
    assert report(tmp_path).html.is_file()


def test_torsions_run_where_the_data_are(data_root: Path, tmp_path: Path) -> None:
    result = run(
        "torsion/prepro", preset="cpu", output=tmp_path, data_root=data_root, settings=TINY
    )
    # The uniform law of the torus has 2 log 2 pi nats.
    assert result.metrics["nll_source"] == pytest.approx(2 * np.log(2 * np.pi), abs=1e-4)
    assert (result.metrics["kde_fixed/nll"] or 9.0) < 2.0
    assert report(tmp_path).html.is_file()


def test_earth_reports_all_test_points_and_those_that_are_no_copies(
    data_root: Path, tmp_path: Path
) -> None:
    result = run("earth/volcano", preset="cpu", output=tmp_path, data_root=data_root, settings=TINY)
    metrics = result.metrics
    assert 0.6 < (metrics["copies"] or 0) < 1
    assert (metrics["kde_neighbour/nll"] or 0) < (metrics["kde_neighbour/nll_distinct"] or 0)
    assert metrics["nll_distinct"] is not None


def test_checkpoints_are_chosen_by_validation(tmp_path: Path) -> None:
    settings = {**TINY, "select": 3}
    result = run("toy/eight_gaussians", preset="demo", output=tmp_path, settings=settings)
    note = result.notes["checkpoint"]
    assert "lowest validation NLL" in note
    assert all(f"{step}: " in note for step in (10, 20, 30))


def test_missing_data_are_an_error_that_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flowatlas.data import files

    def offline(url: str, path: Path) -> None:
        raise OSError("offline")

    monkeypatch.setattr(files, "cache_directory", lambda: tmp_path / "cache")
    monkeypatch.setattr(files, "_retrieve", offline)
    with pytest.raises(DataError, match="put it at"):
        run("earth/flood", output=tmp_path / "out", data_root=tmp_path)


def test_unknown_method_preset_and_setting_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Did you mean condot"):
        run("toy/two_moons", method="condo", output=tmp_path)
    with pytest.raises(ConfigError, match="Allowed: cpu, gpu"):
        run("earth/flood", preset="demo", output=tmp_path)
    with pytest.raises(ConfigError, match="Did you mean width"):
        run("toy/two_moons", settings={"widht": 3}, output=tmp_path)


def test_an_output_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FlowAtlasError, match="--output"):
        run("toy/two_moons", preset="demo", output=tmp_path / "file", settings=TINY)


def test_threads_are_put_back(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    with pytest.raises(RuntimeError, match="stop"):
        run(_Stops(), preset="demo", output=tmp_path, settings={"threads": 1})
    assert torch.get_num_threads() == before


class _Stops(Benchmark[Any, Any]):
    """A benchmark that fails when it runs."""

    name = "test/stops"
    summary = data = licence = "nothing"
    methods = benchmark("toy/two_moons").methods
    presets = benchmark("toy/two_moons").presets
    metrics = ()

    def run(self, task: Any) -> Any:
        assert torch.get_num_threads() == 1
        raise RuntimeError("stop")

    def figures(self, arrays: Mapping[str, Any], title: str) -> dict[str, Any]:
        return {}


def test_components_are_whitened_and_come_back() -> None:
    problem = named_problem("demo/digits", 0, copies=False)
    x = problem.split.train
    components = PrincipalComponents(x, 16)
    z = components.encode(x)
    torch.testing.assert_close(z.T.cov(), torch.eye(16, dtype=torch.float64))
    lost = (components.decode(z) - x).square().sum() / (x - x.mean(0)).square().sum()
    assert float(lost) < 0.17
    torch.testing.assert_close(components.encode(components.decode(z)), z)


def test_results_are_frozen(tmp_path: Path) -> None:
    declared = benchmark("earth/flood")
    with pytest.raises(dataclasses.FrozenInstanceError):
        declared.name = "other"
