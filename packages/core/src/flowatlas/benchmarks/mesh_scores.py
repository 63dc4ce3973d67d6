"""How flows on meshes are scored, where the law is known."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowatlas.benchmarks.contract import Task
from flowatlas.benchmarks.mesh_settings import MeshMethod, MeshPreset
from flowatlas.benchmarks.metrics import log_density
from flowatlas.paths import SpectralPath
from flowatlas.solvers import RK4
from flowatlas.sources import VertexDensity

__all__ = ["likelihood", "share_outside"]


def likelihood(
    model: torch.nn.Module,
    path: SpectralPath,
    law: VertexDensity,
    test: Tensor,
    task: Task[MeshMethod, MeshPreset],
) -> dict[str, float]:
    """NLL of the flow and of the law itself, and the integral of the flow's density."""
    preset = task.preset
    generator = torch.Generator().manual_seed(10 * task.seed + 4)
    uniform = path.mesh.random_uniform(
        (preset.score_points, 3), generator=generator, dtype=torch.float64
    )
    x = torch.cat([test, uniform]).float().to(preset.torch_device)
    value = log_density(model, path, x, solver=RK4(steps=preset.score_steps)).cpu()
    scored, other = value[: len(test)], value[len(test) :]
    mass = other.exp() * path.mesh.area
    exact = law.log_prob(test)
    return {
        "nll": -float(scored.mean()),
        "nll_standard_error": float(scored.std() / len(test) ** 0.5),
        "kl_standard_error": float((exact - scored).std() / len(test) ** 0.5),
        "mass": float(mass.mean()),
        "mass_standard_error": float(mass.std() / len(mass) ** 0.5),
        "points_scored": float(len(test)),
    }


def share_outside(
    law: VertexDensity, samples: Tensor, estimate: VertexDensity, count: int
) -> dict[str, float]:
    """Share of points where the law has no density: of the flow, and of the baselines."""

    def share(x: Tensor) -> float:
        # Points of float32 on the edge of the support are inside.
        return float((law.log_prob(x) < math.log(1e-4 / law.mesh.area)).double().mean())

    def drawn(source: VertexDensity | None) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        draw = law.mesh.random_uniform if source is None else source.sample
        return draw((count, 3), generator=generator, dtype=torch.float64)

    return {
        "outside": share(samples),
        "exact/outside": share(drawn(law)),
        "heat/outside": share(drawn(estimate)),
        "uniform/outside": share(drawn(None)),
    }
