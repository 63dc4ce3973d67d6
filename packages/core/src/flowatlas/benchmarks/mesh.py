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

from flowatlas.benchmarks.config import require
from flowatlas.benchmarks.contract import Array, Benchmark, Metric, Outcome, Task
from flowatlas.benchmarks.method import Method
from flowatlas.benchmarks.metrics import log_density
from flowatlas.benchmarks.point_method import STAGES, fixed_step_solver
from flowatlas.benchmarks.preset import Preset
from flowatlas.data import meshes
from flowatlas.data.dataset import DataSet
from flowatlas.manifolds import Mesh
from flowatlas.objectives import FlowMatching
from flowatlas.paths import BiharmonicDistance, DiffusionDistance, SpectralPath
from flowatlas.sampling import sample
from flowatlas.solvers import RK4
from flowatlas.sources import VertexDensity

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "BUNNY",
    "ICOSPHERE",
    "MAZE3",
    "MAZE4",
    "SPOT",
    "MeshBenchmark",
    "MeshMethod",
    "MeshPreset",
    "eigenfunction_target",
    "heat_estimate",
    "spots_target",
]


@dataclass(frozen=True, kw_only=True)
class MeshMethod(Method):
    """A spectral path and a solver.

    Attributes:
        premetric: `"biharmonic"` or `"diffusion"`.
        diffusion_time: of the diffusion distance.
        path_eigenfunctions: of the distance.
        path_steps: of the integration that gives x_t.
        solver: for samples: `"euler"`, `"midpoint"`, `"heun"` or `"rk4"`.
        solver_steps: of it.
        The others are those of `Method`.
    """

    premetric: str = "biharmonic"
    diffusion_time: float = 0.25
    path_eigenfunctions: int = 100
    path_steps: int = 25
    solver: str = "midpoint"
    solver_steps: int = 50

    def __post_init__(self) -> None:
        known = ("biharmonic", "diffusion")
        require(self.premetric in known, "premetric", self.premetric, f"one of {', '.join(known)}")
        require(self.solver in STAGES, "solver", self.solver, f"one of {', '.join(STAGES)}")
        for name in ("path_eigenfunctions", "path_steps", "solver_steps"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        require(self.diffusion_time > 0, "diffusion_time", self.diffusion_time, "positive")

    def build_path(self, mesh: Mesh) -> SpectralPath:
        """The path from the uniform law."""
        diffusion = self.premetric == "diffusion"
        return SpectralPath(
            mesh,
            premetric=DiffusionDistance(self.diffusion_time) if diffusion else BiharmonicDistance(),
            eigenfunctions=self.path_eigenfunctions,
            steps=self.path_steps,
        )


@dataclass(frozen=True, kw_only=True)
class MeshPreset(Preset):
    """Network, target and scoring of one run.

    Attributes:
        width: units of each hidden layer.
        depth: hidden layers.
        scales: lengths of the random Fourier features the network sees; none if empty.
        eigenfunctions: how many the network sees.
        target: which eigenfunction the target is made of, counted from 1, the constant one left
            out; not used by mazes.
        points: training points; a tenth as many decide the bandwidth of the baseline.
        score_points: test points.
        score_steps: of RK4 for likelihoods.
        The others are those of `Preset`.
    """

    width: int
    depth: int
    scales: tuple[float, ...] = (1.0, 0.3)
    eigenfunctions: int = 20
    target: int = 10
    points: int = 50_000
    score_points: int = 1000
    score_steps: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("width", "depth", "target", "points", "score_points", "score_steps"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        require(self.eigenfunctions >= 0, "eigenfunctions", self.eigenfunctions, "0 or more")
        require(all(s > 0 for s in self.scales), "scales", self.scales, "positive lengths")


MeshTask = Task[MeshMethod, MeshPreset]
Target = Callable[[Mesh, MeshPreset], VertexDensity]


def eigenfunction_target(mesh: Mesh, preset: MeshPreset) -> VertexDensity:
    """The positive part of an eigenfunction at the vertices, linear on faces."""
    function = mesh.spectrum(preset.target).functions[:, preset.target - 1]
    return VertexDensity(mesh, function.clamp(min=0))


def spots_target(mesh: Mesh, preset: MeshPreset) -> VertexDensity:
    """Two round spots, in the corners of a flat mesh that have least and largest x + y.

    Their width is a twelfth of the mesh's, about half a corridor.
    """
    x = mesh.vertices
    width = float((x.amax(0) - x.amin(0)).max()) / 12
    along = x[:, 0] + x[:, 1]
    values = sum(
        (1 - (x - x[int(i)]).norm(dim=1) / (2 * width)).clamp(min=0)
        for i in (along.argmin(), along.argmax())
    )
    assert isinstance(values, Tensor)
    return VertexDensity(mesh, values)


def heat_estimate(mesh: Mesh, train: Tensor, validation: Tensor) -> tuple[VertexDensity, float]:
    r"""Heat spread from the training points for a time that is chosen on validation points.

    $p = \frac{1}{A} + \sum_i e^{-\tau \lambda_i} \phi_i(x) \frac{1}{n} \sum_j \phi_i(x_j)$ over two
    hundred eigenfunctions, at least a thousandth of the uniform density: the kernel estimate of a
    mesh, since the heat kernel is its Gaussian.

    Args:
        mesh: where.
        train: `(n, 3)`.
        validation: `(m, 3)`.

    Returns:
        The density and its tau.
    """
    found = mesh.spectrum(min(200, len(mesh.vertices) - 1))
    means = mesh.interpolate(found.functions, train.double()).mean(0)
    best: tuple[float, float, VertexDensity] | None = None
    for tau in (10 ** (-0.25 * i) for i in range(20)):
        weight = (-tau * found.eigenvalues).exp() * means
        values = (found.functions @ weight + 1 / mesh.area).clamp(min=1e-3 / mesh.area)
        law = VertexDensity(mesh, values)
        nll = -float(law.log_prob(validation.double()).mean())
        if best is None or nll < best[0]:
            best = nll, tau, law
    assert best is not None
    return best[2], best[1]


_METHODS = {
    method.name: method
    for method in (
        MeshMethod(name="biharmonic", summary="down the biharmonic distance, from uniform points"),
        MeshMethod(
            name="diffusion",
            summary="down the diffusion distance, from uniform points",
            premetric="diffusion",
        ),
    )
}
_CPU = MeshPreset(
    width=192,
    depth=3,
    batch=256,
    optimizer="muon",
    lr=4e-3,
    steps=2000,
    max_seconds=300.0,
    ema=0.995,
    threads=1,
)
_DEMO = replace(
    _CPU,
    width=64,
    depth=2,
    batch=128,
    lr=1e-2,
    steps=150,
    warmup=20,
    max_seconds=12.0,
    ema=0.97,
    target=3,
    points=10_000,
    score_points=200,
    score_steps=15,
    samples=1000,
)
_GPU = replace(_CPU, width=512, depth=6, batch=4096, lr=2e-3, steps=20_000, device="auto")
_GPU = replace(_GPU, max_seconds=1500.0, score_points=4000)


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
    presets: Mapping[str, MeshPreset] = field(default_factory=lambda: {"cpu": _CPU, "gpu": _GPU})
    up: str = "z"
    methods: Mapping[str, MeshMethod] = field(default_factory=lambda: _METHODS)
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
        "what it has above the law itself. The integral is estimated from uniform points. On "
        "meshes with a boundary there is no NLL of the flow: its density has layers at the walls "
        "that the steps do not resolve. The KL of an estimate is that of the heat kernel estimate "
        "from samples, beside that from as many draws of the law; its time is chosen on "
        "validation points."
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
        if not mesh.has_boundary:
            metrics |= _likelihood(model, path, law, test, task)
        estimate, tau = heat_estimate(mesh, train, validation)
        metrics["heat/nll"] = -float(estimate.log_prob(test).mean())
        metrics["uniform/nll"] = math.log(mesh.area)
        for name in ("", "heat/", "uniform/")[int(mesh.has_boundary) :]:
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
        metrics |= _share_outside(law, samples, estimate, preset.samples)
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


def _likelihood(
    model: torch.nn.Module, path: SpectralPath, law: VertexDensity, test: Tensor, task: MeshTask
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


def _share_outside(
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


def _on_file(
    data: DataSet, target: Target, what: str, up: str = "z", **changes: int
) -> MeshBenchmark:
    presets = {name: replace(one, **changes) for name, one in (("cpu", _CPU), ("gpu", _GPU))}  # type: ignore[arg-type]
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
    presets={"demo": _DEMO, "cpu": _CPU, "gpu": _GPU},
)
