"""Methods and presets of the benchmarks on meshes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from flowatlas.benchmarks.config import require
from flowatlas.benchmarks.method import Method
from flowatlas.benchmarks.preset import Preset
from flowatlas.manifolds import Mesh
from flowatlas.paths import BiharmonicDistance, DiffusionDistance, SpectralPath
from flowatlas.solvers.named import STAGES

__all__ = ["CPU", "DEMO", "GPU", "METHODS", "MeshMethod", "MeshPreset"]


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


METHODS = {
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
CPU = MeshPreset(
    width=192,
    depth=3,
    batch=256,
    optimizer="muon",
    lr=4e-3,
    steps=1000,
    max_seconds=480.0,
    ema=0.99,
    score_points=500,
    score_steps=20,
    threads=1,
)
DEMO = replace(
    CPU,
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
GPU = replace(CPU, width=512, depth=6, batch=4096, lr=2e-3, steps=20_000, device="auto")
GPU = replace(GPU, max_seconds=1500.0, score_points=4000)
