"""`bridge/arch`: from one end of an arch to the other, along points that lie between.

The law at every time is known, so that what a path says of the time in between can be scored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from flowatlas._random import randn
from flowatlas.benchmarks.bridge_method import METHODS, BridgeMethod, BridgePreset
from flowatlas.benchmarks.bridge_training import BridgeTask, train_bridge
from flowatlas.benchmarks.contract import Array, Benchmark, Metric, Outcome
from flowatlas.benchmarks.transport import displacement, wasserstein

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ARCH", "ArchBenchmark", "arch"]

#: Standard deviations along the arch, in radians, and across it.
ALONG, ACROSS = 0.15, 0.04
_TIMES = tuple(i / 20 for i in range(1, 20))


def arch(angle: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
    """Points about the unit half circle, `(n, 2)`, at angles `(n,)`; scattered across it."""
    radius = 1 + ACROSS * randn((len(angle),), generator=generator, dtype=angle.dtype)
    return radius.unsqueeze(1) * torch.stack([torch.cos(angle), torch.sin(angle)], 1)


def at_time(t: float, count: int, seed: int) -> Tensor:
    """Points of time t: angles about pi (1 - t), so that all move at the same speed."""
    generator = torch.Generator().manual_seed(seed)
    angle = ALONG * torch.randn(count, generator=generator, dtype=torch.float64)
    return arch(torch.pi * (1 - t) + angle, generator=generator)


def _landscape(count: int, seed: int) -> Tensor:
    """Points all over the arch, of no known time."""
    generator = torch.Generator().manual_seed(seed)
    u = torch.rand(count, generator=generator, dtype=torch.float64)
    return arch((torch.pi + 4 * ALONG) * u - 2 * ALONG, generator=generator)


_CPU = BridgePreset(
    batch=128,
    lr=3e-3,
    steps=1000,
    warmup=50,
    ema=0.99,
    samples=1000,
    threads=1,
    bend_steps=500,
    bend_width=64,
    bend_points=1000,
)
_PRESETS = {
    "demo": replace(_CPU, width=64, steps=250, bend_steps=150, samples=500),
    "cpu": _CPU,
    "gpu": replace(
        _CPU, width=256, batch=512, lr=1e-3, steps=5000, bend_steps=3000, ema=0.999, device="auto"
    ),
}


class ArchBenchmark(Benchmark[BridgeMethod, BridgePreset]):
    """Two clouds at the ends of a half circle, and a thousand points along it.

    Every point turns by half a circle at constant speed: halfway, the cloud is on top. A straight
    flow passes far below.
    """

    name = "bridge/arch"
    summary = "between the ends of an arch along its points; the law at every time is known"
    data = "drawn here: about the unit half circle"
    licence = "drawn here, none needed"
    protocol = (
        "Trained on the two ends and on points of the arch without their times; 1000 fresh points "
        "of the start are moved. EMD is the earth mover's distance to 1000 points of the true law; "
        "the floor is that of two such sets. `off` is the mean of |radius - 1| over trajectories, "
        "for which the floor is that of the true law."
    )
    baselines = {  # noqa: RUF012
        "floor": "two sets of the true law",
        "displacement": "transport of the ends, nothing learned",
    }

    methods = METHODS
    presets = _PRESETS
    metrics = (
        Metric("emd_middle", "EMD at t = 1/2"),
        Metric("emd_end", "EMD at t = 1"),
        Metric("off", "off the arch"),
        Metric("seconds_training", "training, s", "", 0),
    )

    def run(self, task: BridgeTask) -> Outcome:
        preset, seed = task.preset, 10 * task.seed
        ends = [at_time(float(t), 4000, seed + t) for t in (0, 1)]
        landscape = _landscape(preset.bend_points, seed + 2)
        metric = task.method.build_metric(landscape, preset, task.seed)
        bridge = train_bridge(ends, (0.0, 1.0), metric, task, task.directory)
        start = at_time(0.0, preset.samples, seed + 3)
        moved = bridge.push(start, 0.0, 1.0, _TIMES)
        true = {t: at_time(t, preset.samples, seed + 4) for t in (0.5, 1.0)}
        other = {t: at_time(t, preset.samples, seed + 5) for t in (0.5, 1.0)}
        middle = moved[_TIMES.index(0.5)]
        between = displacement(start, other[1.0], 0.5)
        metrics = {
            "emd_middle": wasserstein(middle, true[0.5]),
            "emd_end": wasserstein(moved[-1], true[1.0]),
            "off": _off(moved),
            "seconds_training": bridge.seconds,
            "floor/emd_middle": wasserstein(other[0.5], true[0.5]),
            "floor/emd_end": wasserstein(other[1.0], true[1.0]),
            "floor/off": _off(true[0.5]),
            "displacement/emd_middle": wasserstein(between, true[0.5]),
        }
        arrays = {
            "clouds": torch.cat([start, true[0.5], true[1.0]]).numpy(),
            "cloud_times": np.repeat([0.0, 0.5, 1.0], preset.samples),
            "landscape": landscape.numpy(),
            "trajectories": torch.cat([start.unsqueeze(0), moved])[:, :100].numpy(),
            "made": middle.numpy(),
            "made_times": np.full(len(middle), 0.5),
            **bridge.losses,
        }
        return Outcome(metrics=metrics, nfe=4 * task.method.solver_steps, arrays=arrays)

    def figures(self, arrays: Mapping[str, Array], title: str) -> dict[str, Figure]:
        from flowatlas.plots import bridges, loss_curve

        made = bridges(
            clouds=arrays["clouds"],
            cloud_times=arrays["cloud_times"],
            trajectories=arrays["trajectories"],
            made=arrays["made"],
            made_times=arrays["made_times"],
            landscape=arrays["landscape"],
            title=title,
        )
        return {
            "trajectories over the data": made,
            "loss": loss_curve(arrays["loss_steps"], arrays["loss"], title=title),
        }


def _off(x: Tensor) -> float:
    return float((torch.linalg.vector_norm(x, dim=-1) - 1).abs().mean())


ARCH = ArchBenchmark()
