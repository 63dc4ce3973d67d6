"""`mesh/*`: known densities on triangle meshes, by flows along spectral distances.

On closed meshes the target is the positive part of an eigenfunction of the Laplacian, on mazes two
spots in opposite corners. Its density is linear on faces, so that draws, likelihood and the
integral are exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flowatlas.benchmarks.contract import Array, Benchmark, Metric, Outcome, Task
from flowatlas.benchmarks.mesh_scores import likelihood, share_outside
from flowatlas.benchmarks.mesh_settings import CPU, DEMO, GPU, METHODS, MeshMethod, MeshPreset
from flowatlas.benchmarks.mesh_targets import eigenfunction_target, heat_estimate, spots_target
from flowatlas.data import meshes
from flowatlas.data.dataset import DataSet
from flowatlas.manifolds import Mesh
from flowatlas.objectives import FlowMatching
from flowatlas.sampling import sample
from flowatlas.solvers.named import STAGES, fixed_step_solver
from flowatlas.sources import VertexDensity

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["BUNNY", "ICOSPHERE", "MAZE3", "MAZE4", "SPOT", "MeshBenchmark"]

MeshTask = Task[MeshMethod, MeshPreset]
Target = Callable[[Mesh, MeshPreset], VertexDensity]


@dataclass(frozen=True)
class MeshBenchmark(Benchmark[MeshMethod, MeshPreset]):
    """Train a flow on draws of a known law on a mesh, and measure how far it is from it.

    Attributes:
        load: from a data root to the mesh.
        target: from the mesh and the preset to the law.
        up: the axis that points upward in pictures.
        The others are those of `Benchmark`.
    """

    name: str
    summary: str
    data: str
    licence: str
    load: Callable[[Path | None], Mesh]
    target: Target = eigenfunction_target
    presets: Mapping[str, MeshPreset] = field(default_factory=lambda: {"cpu": CPU, "gpu": GPU})
    up: str = "z"
    methods: Mapping[str, MeshMethod] = field(default_factory=lambda: METHODS)
    metrics: tuple[Metric, ...] = (
        Metric("nll", "test NLL"),
        Metric("kl", "KL from the data's law"),
        Metric("sample_kl", "KL of an estimate from samples"),
        Metric("outside", "samples where the density is 0", "lower", 3),
        Metric("mass", "integral of the flow's density", "", 3),
        Metric("stuck", "pairs that do not arrive", "", 4),
        Metric("seconds_training", "training, s", "", 0),
    )
    baselines: Mapping[str, str] = field(
        default_factory=lambda: {
            "exact": "the law itself",
            "heat": "heat kernel estimate",
            "uniform": "uniform law",
        }
    )
    protocol: str = (
        "NLL is minus the mean log density of test points, by RK4 with the exact divergence, in "
        "nats with respect to the area of the mesh, whose root mean square radius is one; KL is "
        "what it has above the law itself. The integral is estimated from uniform points. The KL "
        "of an estimate is that of the heat kernel estimate from samples, beside that from as many "
        "draws of the law; its time is chosen on validation points."
    )

    def run(self, task: MeshTask) -> Outcome:
        from flowatlas.benchmarks.fitting import fit_network, load_fitted, loss_arrays
        from flowatlas.networks import SurfaceMLP
        from flowatlas.training import TensorData

        preset = task.preset
        mesh = self.load(task.data_root)
        law, path = self.target(mesh, preset), task.method.build_path(mesh)

        def draw(stream: int, count: int) -> Tensor:
            generator = torch.Generator().manual_seed(10 * task.seed + stream)
            return law.sample((count, 3), generator=generator, dtype=torch.float64)

        train, validation = draw(0, preset.points), draw(1, max(100, preset.points // 10))
        test = draw(2, preset.score_points)

        def network() -> SurfaceMLP:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(task.seed)
                return SurfaceMLP(
                    mesh,
                    width=preset.width,
                    depth=preset.depth,
                    scales=preset.scales,
                    eigenfunctions=preset.eigenfunctions,
                )

        data = TensorData(
            train.float(),
            validation[: 2 * preset.batch].float(),
            batch_size=preset.batch,
            val_batch_size=preset.batch,
            seed=task.seed,
        )
        result = fit_network(network(), FlowMatching(path), data, task)
        model = load_fitted(result.checkpoint, preset, network())
        metrics = {"exact/nll": -float(law.log_prob(test).mean())}
        metrics |= likelihood(model, path, law, test, task)
        estimate, tau = heat_estimate(mesh, train, validation)
        metrics["heat/nll"] = -float(estimate.log_prob(test).mean())
        metrics["uniform/nll"] = math.log(mesh.area)
        for name in ("", "heat/", "uniform/"):
            metrics[f"{name}kl"] = metrics[f"{name}nll"] - metrics["exact/nll"]
        samples = sample(
            model,
            path,
            shape=(preset.samples, 3),
            solver=fixed_step_solver(task.method.solver, task.method.solver_steps),
            device=preset.torch_device,
            generator=torch.Generator().manual_seed(10 * task.seed + 3),
        )
        samples = samples.double().cpu()
        for name, points in (("", samples), ("exact/", train[: preset.samples])):
            found, _ = heat_estimate(mesh, points, validation)
            nll = -float(found.log_prob(test).mean())
            metrics[f"{name}sample_kl"] = nll - metrics["exact/nll"]
        metrics |= share_outside(law, samples, estimate, preset.samples)
        pairs = path.draw(test.float(), generator=torch.Generator().manual_seed(0))
        metrics["stuck"] = path.arrival(pairs[:1000], test[:1000].float()).stuck
        metrics |= {"seconds_training": result.seconds, "steps": float(result.step)}
        middle = mesh.vertices[mesh.faces].mean(1)
        arrays = {
            "vertices": mesh.vertices.numpy(),
            "faces": mesh.faces.numpy(),
            "density": law.log_prob(middle).exp().numpy(),
            "samples": samples[:4000].float().numpy(),
        }
        return Outcome(
            metrics=metrics,
            nfe=STAGES[task.method.solver] * task.method.solver_steps,
            arrays=arrays | loss_arrays(result.log),
            notes={"heat kernel": f"tau = {tau:.3g}", "checkpoint": "the last one"},
        )

    def figures(self, arrays: Mapping[str, Array], title: str) -> dict[str, Figure]:
        from flowatlas.plots import loss_curve, surface

        return {
            "density of the data, and samples": surface(
                vertices=arrays["vertices"],
                faces=arrays["faces"],
                density=arrays["density"],
                samples=arrays["samples"],
                title=title,
                up=self.up,
            ),
            "loss": loss_curve(
                arrays["loss_steps"],
                arrays["loss"],
                validation=(arrays["validation_steps"], arrays["validation"]),
                title=title,
            ),
        }


def _on_file(
    data: DataSet, target: Target, what: str, up: str = "z", **changes: int
) -> MeshBenchmark:
    presets = {name: replace(one, **changes) for name, one in (("cpu", CPU), ("gpu", GPU))}  # type: ignore[arg-type]
    return MeshBenchmark(
        name=data.name,
        summary=f"{what}; the density is known",
        data=f"drawn on the mesh {data.file} of {data.origin}: 50000 training points",
        licence=data.licence,
        load=lambda root: meshes.load_mesh(data, root),
        target=target,
        presets=presets,
        up=up,
    )


_EIGEN = "the positive part of an eigenfunction"
BUNNY = _on_file(meshes.BUNNY, eigenfunction_target, f"{_EIGEN} on the Stanford bunny", "y")
SPOT = _on_file(meshes.SPOT, eigenfunction_target, f"{_EIGEN} on Spot the cow", "y")
MAZE3 = _on_file(
    meshes.MAZE3,
    spots_target,
    "two spots in opposite corners of a maze of 3 x 3",
    eigenfunctions=50,
)
MAZE4 = _on_file(
    meshes.MAZE4,
    spots_target,
    "two spots in opposite corners of a maze of 4 x 4",
    eigenfunctions=50,
)
ICOSPHERE = MeshBenchmark(
    name="mesh/icosphere",
    summary=f"{_EIGEN} on a sphere of 320 triangles; the density is known",
    data="drawn on a mesh made here: 50000 training points",
    licence="made here, none needed",
    load=lambda _: Mesh.icosphere(2),
    presets={"demo": DEMO, "cpu": CPU, "gpu": GPU},
)
