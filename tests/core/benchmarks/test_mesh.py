"""`mesh/*`: targets, the kernel estimate, the files, and a run of every part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from flowatlas.benchmarks import run
from flowatlas.benchmarks.mesh import (
    BUNNY,
    ICOSPHERE,
    MAZE3,
    MAZE4,
    SPOT,
    MeshBenchmark,
)
from flowatlas.benchmarks.mesh_targets import eigenfunction_target, heat_estimate, spots_target
from flowatlas.errors import DataError
from flowatlas.manifolds import Mesh


def test_the_target_is_the_positive_part_of_an_eigenfunction() -> None:
    mesh, preset = Mesh.icosphere(2), ICOSPHERE.presets["demo"]
    law = eigenfunction_target(mesh, preset)
    function = mesh.spectrum(preset.target).functions[:, preset.target - 1]
    density = law.log_prob(mesh.vertices).exp()
    assert density[function < 0].max() < 1e-12
    ratio = density[function > 0.01] / function[function > 0.01]
    torch.testing.assert_close(ratio, ratio.mean().expand_as(ratio))


def test_spots_lie_in_opposite_corners() -> None:
    law = spots_target(Mesh.square(12), MAZE3.presets["cpu"])
    x = law.sample((2000, 3), generator=torch.Generator().manual_seed(0))
    along = x[:, 0] + x[:, 1]
    assert ((along < 0.4) | (along > 1.6)).all()
    assert 0.4 < float((along > 1).double().mean()) < 0.6


def test_the_kernel_estimate_finds_a_density_that_it_can_hold() -> None:
    mesh = Mesh.icosphere(2)
    law = eigenfunction_target(mesh, ICOSPHERE.presets["demo"])
    draws = [
        law.sample((n, 3), generator=torch.Generator().manual_seed(n), dtype=torch.float64)
        for n in (20_000, 2_000, 4_000)
    ]
    estimate, tau = heat_estimate(mesh, *draws[:2])
    assert 1e-4 < tau < 1
    kl = (law.log_prob(draws[2]) - estimate.log_prob(draws[2])).mean()
    assert 0 < float(kl) < 0.02


@pytest.mark.parametrize(
    ("benchmark", "vertices", "boundary"),
    [(BUNNY, 2502, False), (SPOT, 2930, False), (MAZE3, 801, True), (MAZE4, 1431, True)],
)
def test_the_files_are_surfaces(benchmark: MeshBenchmark, vertices: int, boundary: bool) -> None:
    try:
        mesh = benchmark.load(None)
    except DataError as error:
        pytest.skip(f"no mesh file: {error}")
    assert len(mesh.vertices) == vertices
    assert mesh.has_boundary == boundary
    x = mesh.random_uniform((2000, 3), generator=torch.Generator().manual_seed(0))
    assert float(x.square().sum(1).mean()) == pytest.approx(1, abs=0.1)
    law = benchmark.target(mesh, benchmark.presets["cpu"])
    assert torch.isfinite(law.log_prob(law.sample((100, 3)))).all()


@pytest.mark.slow
def test_a_short_run_learns_and_makes_pictures(tmp_path: Path) -> None:
    settings = {"steps": 60, "score_points": 50, "score_steps": 4, "samples": 300, "points": 5000}
    result = run(ICOSPHERE, preset="demo", seed=0, output=tmp_path, settings=settings)
    found = {k: v or 0.0 for k, v in result.metrics.items()}
    assert found["uniform/kl"] > 0.7
    assert -0.1 < found["kl"] < 0.5
    assert found["mass"] == pytest.approx(1, abs=5 * found["mass_standard_error"] + 0.05)
    assert found["outside"] < 0.5 * found["uniform/outside"]
    assert found["exact/outside"] == 0
    assert 0 < found["exact/sample_kl"] < 0.3
    assert found["sample_kl"] < 0.5
    assert result.arrays is not None
    with np.load(tmp_path / result.arrays) as arrays:
        pictures = ICOSPHERE.figures(dict(arrays), "a title")
    assert list(pictures) == ["density of the data, and samples", "loss"]
