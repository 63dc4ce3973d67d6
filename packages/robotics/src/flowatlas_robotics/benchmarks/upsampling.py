"""`pointcloud/upsampling`: many points of a surface from few, on shapes that were held out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from flowatlas.benchmarks.contract import Array, Metric, Outcome
from flowatlas.benchmarks.system_benchmark import Fitted, Judge, SystemBenchmark
from flowatlas.solvers import Euler, Solver
from flowatlas_robotics.benchmarks.cloud_settings import (
    CLOUD_METHODS,
    CLOUD_PRESETS,
    LEAST,
    CloudMethod,
    CloudPreset,
    CloudTask,
)
from flowatlas_robotics.benchmarks.clouds import CloudSet, surfaces
from flowatlas_robotics.clouds import (
    PointUpsampler,
    UpsamplingFlow,
    UpsamplingSystem,
    chamfer_distance,
    earth_movers_distance,
    even_clouds,
    interpolate,
    surface_distance,
    uniform_clouds,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["UPSAMPLING", "Upsampling", "scores"]

#: Steps of Euler's method at which every flow is tried.
COUNTS = (1, 2, 4, 10)
#: Points of the surface for each dense point, to measure distances from it.
_SURFACE = 16


def scores(x: Tensor, dense: Tensor, surface: Tensor) -> dict[str, float]:
    """How far clouds are from others of the same surfaces, and from the surfaces themselves.

    Args:
        x: `(n, m, 3)`.
        dense: `(n, m, 3)`, even selections of points of the surfaces.
        surface: `(n, k, 3)`, many more points of them.
    """
    return {
        "chamfer": 1e3 * float(chamfer_distance(x, dense).mean()),
        "emd": 1e2 * float(earth_movers_distance(x, dense).mean()),
        "off": 1e2 * float(surface_distance(x, surface).mean()),
    }


class Upsampling(SystemBenchmark[CloudMethod, CloudPreset, UpsamplingSystem]):
    """Train a flow from interpolations to dense clouds, and try it on shapes it has not seen."""

    name = "pointcloud/upsampling"
    summary = "four times as many points of a surface, on shapes that were held out"
    measure = "earth mover's distance of another cloud of the surface, over that of the samples"
    data = (
        "superquadrics, rings and turned shapes of random proportions; presets cpu and gpu add the "
        "parts of Meta-World's objects, and try other objects of it, a bunny and a cow"
    )
    licence = "generated here; Meta-World MIT; bunny and cow none stated"
    protocol = (
        "Sparse and dense clouds are even selections (farthest points) of independent uniform "
        "draws from a surface of root mean square radius 1, turned at random. Shapes are split: no "
        "object is in both parts. Chamfer distance is squared, mean both ways, times 1000; earth "
        "mover's distance is by the exact assignment, times 100; off the surface is the mean "
        "distance to 16 times as many points of it, times 100, which is not zero for points on it."
    )
    baselines = {  # noqa: RUF012
        "interpolation": "midpoints of neighbours",
        "exact": "another dense cloud of the surface",
    }
    methods = CLOUD_METHODS
    presets = CLOUD_PRESETS
    metrics = (
        Metric("chamfer", "Chamfer x 1000"),
        Metric("emd", "earth mover's x 100"),
        Metric("off", "off the surface x 100"),
        Metric("seconds_training", "training, s", "", 0),
    )

    def train(self, task: CloudTask) -> Fitted[UpsamplingSystem]:
        from flowatlas.benchmarks.fitting import fit_network, load_fitted, loss_arrays
        from flowatlas.training import TensorData

        preset, method = task.preset, task.method
        generator = torch.Generator().manual_seed(task.seed)
        # Files that are missing are to be told before training, not after.
        surfaces("test", 1, files=preset.files, data_root=task.data_root)
        train = _clouds("train", preset.shapes, preset.clouds, task, generator)
        flow = UpsamplingFlow(_network(preset, task.seed), jitter=method.jitter)
        rows = flow.pairs(train.sparse, train.dense, align=method.align, generator=generator)
        # Every tenth cloud is watched: shapes come in turn, so that these are of all kinds.
        watched = torch.arange(preset.clouds) % 10 == 0
        data = TensorData(
            _part(rows, ~watched),
            _part(rows, watched),
            batch_size=preset.batch,
            val_batch_size=preset.batch,
            seed=task.seed,
        )
        result = fit_network(flow.network, flow.objective, data, task)
        network = load_fitted(result.checkpoint, preset, _network(preset, task.seed))
        assert isinstance(network, PointUpsampler)
        return Fitted(
            system=UpsamplingSystem(
                network=network,
                jitter=method.jitter,
                sparse=preset.sparse,
                factor=preset.factor,
                steps=method.evaluations,
            ),
            steps=result.step,
            seconds=result.seconds,
            losses=loss_arrays(result.log),
        )

    def score(self, fitted: Fitted[UpsamplingSystem], task: CloudTask) -> Outcome:
        preset, count = task.preset, task.method.evaluations
        test, again = _measured(task)
        generator = torch.Generator().manual_seed(task.seed + 2)
        points = _SURFACE * test.dense.shape[1]
        surface = uniform_clouds(test.surfaces, test.turns, points, generator=generator)
        drawn = {
            n: fitted.system.upsample(test.sparse, seed=task.seed, solver=Euler(n))
            for n in {*COUNTS, count}
        }
        found = {n: scores(x, test.dense, surface) for n, x in drawn.items()}
        middles = interpolate(test.sparse, preset.factor)
        metrics = dict(found[count])
        for n, values in found.items():
            metrics |= {f"{name}_{n}": value for name, value in values.items()}
        for name, cloud in (("interpolation", middles), ("exact", again)):
            values = scores(cloud, test.dense, surface)
            metrics |= {f"{name}/{key}": value for key, value in values.items()}
        metrics["seconds_training"] = fitted.seconds
        metrics["parameters"] = float(sum(p.numel() for p in fitted.system.network.parameters()))
        shown = slice(0, LEAST)
        return Outcome(
            metrics=metrics,
            nfe=count,
            arrays={
                **fitted.losses,
                "curve_nfe": np.array(COUNTS),
                "curve": np.array([found[n]["emd"] for n in COUNTS]),
                "curve_interpolation": np.array(metrics["interpolation/emd"]),
                "curve_floor": np.array(metrics["exact/emd"]),
                "sparse": test.sparse[shown].numpy(),
                "interpolated": middles[shown].numpy(),
                "samples": drawn[count][shown].numpy(),
                "points": test.dense[shown].numpy(),
            },
            notes={"shown": ", ".join(test.names[shown])},
        )

    @property
    def couplings(self) -> Mapping[str, str]:
        # What is paired are the points of a cloud, not clouds.
        return {"independent": "unaligned", "optimal transport": "aligned"}

    def judge(self, task: CloudTask) -> Judge[UpsamplingSystem]:
        test, again = _measured(task)
        floor = float(earth_movers_distance(again, test.dense).mean())

        def judged(system: UpsamplingSystem, solver: Solver) -> float:
            x = system.upsample(test.sparse, seed=task.seed, solver=solver)
            return floor / max(floor, float(earth_movers_distance(x, test.dense).mean()))

        return judged

    def figures(self, arrays: Mapping[str, Array], title: str) -> dict[str, Figure]:
        from flowatlas.plots import loss_curve
        from flowatlas_robotics.cloud_plots import clouds, upsampling_curve

        panels = {
            "given": arrays["sparse"],
            "interpolation": arrays["interpolated"],
            "flow": arrays["samples"],
            "surface": arrays["points"],
        }
        return {
            "held-out shapes": clouds(panels, title=title),
            "earth mover's distance against evaluations": upsampling_curve(
                arrays["curve_nfe"],
                arrays["curve"],
                interpolation=float(arrays["curve_interpolation"]),
                floor=float(arrays["curve_floor"]),
                title=title,
            ),
            "loss": loss_curve(
                arrays["loss_steps"],
                arrays["loss"],
                validation=(arrays["validation_steps"], arrays["validation"]),
                title=title,
            ),
        }


def _network(preset: CloudPreset, seed: int) -> PointUpsampler:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return PointUpsampler(preset.width, preset.depth, channels=preset.channels)


def _part(rows: Mapping[str, Any], part: Tensor) -> dict[str, Any]:
    """Some rows of what `UpsamplingFlow.pairs` gives."""
    return {
        name: _part(value, part) if isinstance(value, Mapping) else value[part]
        for name, value in rows.items()
    }


def _clouds(
    part: str, shapes: int, count: int, task: CloudTask, generator: torch.Generator
) -> CloudSet:
    preset = task.preset
    known = surfaces(part, shapes, files=preset.files, data_root=task.data_root)
    return CloudSet.of(known, count, preset.sparse, preset.factor, generator=generator)


def _measured(task: CloudTask) -> tuple[CloudSet, Tensor]:
    """Clouds of held-out shapes, and other dense clouds of the same surfaces."""
    generator = torch.Generator().manual_seed(task.seed + 1)
    count = task.preset.samples
    test = _clouds("test", count, count, task, generator)
    points = test.dense.shape[1]
    return test, even_clouds(test.surfaces, test.turns, points, generator=generator)


UPSAMPLING = Upsampling()
