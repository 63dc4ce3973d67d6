"""Methods and presets of benchmarks that lead from one cloud of points to others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from flowatlas.benchmarks.config import require
from flowatlas.benchmarks.method import Method
from flowatlas.benchmarks.preset import Preset
from flowatlas.couplings import Coupling, Independent, MinibatchOT, Sinkhorn
from flowatlas.manifolds import Euclidean
from flowatlas.metrics import LandMetric, RbfMetric, RiemannianMetric
from flowatlas.networks import Interpolant
from flowatlas.paths import AffinePath, BridgePath, ContinuousPath, MetricPath
from flowatlas.sources import Empirical
from flowatlas.training import fit_interpolant

__all__ = ["METHODS", "BridgeMethod", "BridgePreset", "spread_of"]

#: By name, for a standard deviation of the noise of the path.
_COUPLINGS: dict[str, Callable[[float], Coupling]] = {
    "independent": lambda noise: Independent(),
    "ot": lambda noise: MinibatchOT(Euclidean()),
    # What makes Brownian bridges with that noise the Schroedinger bridge.
    "entropic": lambda noise: Sinkhorn(Euclidean(), epsilon=2 * noise**2),
}
_PATHS = ("straight", "brownian", "land", "rbf")


@dataclass(frozen=True, kw_only=True)
class BridgePreset(Preset):
    """Networks, optimisers and budget of one bridge.

    Attributes:
        width: units of each hidden layer of the field.
        depth: hidden layers of the field.
        frequency: highest frequency of the time embedding; between marginals nothing says how fast
            a field changes, so it is low.
        bend_width: units of each hidden layer of an interpolant.
        bend_frequency: highest frequency of its time embedding.
        bend_steps: optimiser steps of an interpolant.
        bend_lr: its peak learning rate.
        bend_points: data points at most that a metric is made of.
        rows: how many rows of one point for each marginal training draws from.
        The others are those of `Preset`; `batch` and `max_seconds` hold for interpolants too, each.
    """

    width: int = 128
    depth: int = 3
    frequency: float = 2.0
    bend_width: int = 96
    bend_frequency: float = 1.0
    bend_steps: int = 600
    bend_lr: float = 1e-2
    bend_points: int = 3000
    rows: int = 16_384

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("width", "depth", "bend_width", "bend_steps", "bend_points", "rows"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        for name in ("frequency", "bend_frequency"):
            require(getattr(self, name) >= 0.25, name, getattr(self, name), "at least 0.25")
        require(self.bend_lr > 0, "bend_lr", self.bend_lr, "positive")


@dataclass(frozen=True, kw_only=True)
class BridgeMethod(Method):
    """A path and a coupling between neighbouring clouds.

    Attributes:
        path: `"straight"`, `"brownian"` for bridges with noise of their own, or `"land"` or `"rbf"`
            for learned interpolants in that metric.
        coupling: `"independent"`, `"ot"`, or `"entropic"`, the one of the Schroedinger bridge of
            the noise.
        noise: standard deviation of a Brownian motion from one cloud to the next, in those of the
            data; of Brownian paths and entropic couplings.
        scale: of the kernels: LAND's sigma in standard deviations of the data, or the width of the
            RBF kernels in those of their clusters.
        centres: of the RBF metric.
        epsilon: of either metric, in its own units: LAND's h is normalised to one on the data.
        solver_steps: RK4 steps from the first marginal to the last.
    """

    path: str = "straight"
    coupling: str = "ot"
    noise: float = 0.2
    scale: float = 0.2
    centres: int = 60
    epsilon: float = 1e-2
    solver_steps: int = 40

    def __post_init__(self) -> None:
        require(self.path in _PATHS, "path", self.path, ", ".join(_PATHS))
        require(self.coupling in _COUPLINGS, "coupling", self.coupling, ", ".join(_COUPLINGS))
        for name in ("noise", "scale", "epsilon"):
            require(getattr(self, name) > 0, name, getattr(self, name), "positive")
        for name in ("centres", "solver_steps"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")

    def build_coupling(self, spread: float) -> Coupling:
        """Which point meets which.

        Args:
            spread: standard deviation of the data.
        """
        return _COUPLINGS[self.coupling](self.noise * spread)

    def build_metric(
        self, points: Tensor, preset: BridgePreset, seed: int
    ) -> RiemannianMetric | None:
        """The metric of data points `(n, dim)`; None for paths that need none."""
        if self.path not in _METRICS:
            return None
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randperm(len(points), generator=generator)[: preset.bend_points]
        x = points[chosen].float().to(preset.torch_device)
        return _METRICS[self.path](self, x, generator)

    def build_path(
        self,
        x_0: Tensor,
        x_1: Tensor,
        metric: RiemannianMetric | None,
        preset: BridgePreset,
        *,
        spread: float,
        seed: int,
        directory: Path,
        resume: bool,
        progress: bool,
    ) -> ContinuousPath:
        """The path from one cloud to the next; an interpolant is fitted, or read if it was.

        Args:
            x_0: `(n, dim)`.
            x_1: `(m, dim)`.
            metric: of `build_metric`.
            preset: size and budget of the interpolant.
            spread: standard deviation of the data.
            seed: of its weights and batches.
            directory: where the interpolant is saved.
            resume: take the one that is saved there.
            progress: whether to draw a progress bar.
        """
        source = Empirical(x_0)
        if self.path == "brownian":
            # The velocity alone, which goes on from one bridge to the next.
            return BridgePath(self.noise * spread, source=source, prediction="velocity")
        if metric is None:
            return AffinePath(source=source)
        if resume and (directory / "model.safetensors").exists():
            found = Interpolant.from_pretrained(directory).requires_grad_(False)
            return MetricPath(found.to(x_0.device), source=source)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            interpolant = Interpolant(
                (x_0.shape[1],),
                width=preset.bend_width,
                max_frequency=preset.bend_frequency,
            )
        path = MetricPath(interpolant.to(x_0.device), source=source)
        fit_interpolant(
            path,
            metric,
            x_0,
            x_1,
            coupling=self.build_coupling(spread),
            steps=preset.bend_steps,
            batch=preset.batch,
            lr=preset.bend_lr,
            max_seconds=preset.max_seconds,
            generator=torch.Generator().manual_seed(seed),
            progress=progress,
        )
        interpolant.save_pretrained(directory)
        return path


def spread_of(points: Tensor) -> float:
    """Standard deviation of points `(n, dim)`: root mean square over coordinates."""
    return float(points.std(0).square().mean().sqrt())


def _land(method: BridgeMethod, points: Tensor, generator: torch.Generator) -> RiemannianMetric:
    sigma = method.scale * spread_of(points)
    # The sum over points grows with their number; epsilon is to mean the same for all.
    level = float(LandMetric(points, sigma=sigma).spread(points).median())
    return LandMetric(points, sigma=sigma, epsilon=method.epsilon * level)


def _rbf(method: BridgeMethod, points: Tensor, generator: torch.Generator) -> RiemannianMetric:
    return RbfMetric.fit(
        points,
        centres=min(method.centres, len(points)),
        width=method.scale,
        epsilon=method.epsilon,
        generator=generator,
    )


_METRICS: dict[str, Callable[[BridgeMethod, Tensor, torch.Generator], RiemannianMetric]] = {
    "land": _land,
    "rbf": _rbf,
}

#: Straight paths between independent and best pairs, and paths along the data.
METHODS = {
    method.name: method
    for method in (
        BridgeMethod(
            name="metric-rbf",
            summary="learned interpolants in the RBF metric, between optimal pairs",
            path="rbf",
            scale=1.5,
            epsilon=0.1,
        ),
        BridgeMethod(
            name="metric-land",
            summary="learned interpolants in the LAND metric, between optimal pairs",
            path="land",
        ),
        BridgeMethod(name="ot", summary="straight lines between optimal pairs"),
        BridgeMethod(
            name="schroedinger",
            summary="Schroedinger bridges: Brownian ones between entropic pairs",
            path="brownian",
            coupling="entropic",
        ),
        BridgeMethod(
            name="straight",
            summary="straight lines between independent pairs",
            coupling="independent",
        ),
    )
}
