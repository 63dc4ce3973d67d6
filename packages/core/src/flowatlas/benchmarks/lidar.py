"""`bridge/lidar`: from one side of a mountain to the other, on the ground."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from flowatlas.benchmarks.bridge_method import METHODS, BridgeMethod, BridgePreset
from flowatlas.benchmarks.bridge_training import Bridge, BridgeTask, train_bridge
from flowatlas.benchmarks.contract import Array, Benchmark, Metric, Outcome
from flowatlas.benchmarks.transport import wasserstein
from flowatlas.data.files import find
from flowatlas.data.lidar import RAINIER, height_above
from flowatlas.metrics import RiemannianMetric

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["LIDAR", "HeightPenalty", "LidarBenchmark"]

#: Kilometres east and north of the middle of the map, in two valleys with a summit between.
START, GOAL = (-1.55, 0.35), (1.55, -0.35)
#: Spread of both clouds, kilometres.
SPREAD = 0.12
_TIMES = tuple(i / 40 for i in range(1, 40))


class HeightPenalty(RiemannianMetric):
    r"""A metric times $e^{2 c z}$: a way is the longer the higher it is.

    Args:
        metric: of points whose last coordinate is the height.
        slope: c, per unit of height.

    Reference: after the height term of the state cost in Generalized Schroedinger Bridge Matching,
    Liu et al., 2023, arXiv:2310.02233; here a factor of the metric.
    """

    def __init__(self, metric: RiemannianMetric, slope: float) -> None:
        self.metric = metric
        self.slope = slope

    def squared_norm(self, x: Tensor, u: Tensor) -> Tensor:
        return torch.exp(2 * self.slope * x[..., -1]) * self.metric.squared_norm(x, u)


#: The ground is rough at lengths of some hundred metres: kernels of about that width.
_METHODS = {
    **METHODS,
    "metric-rbf": replace(METHODS["metric-rbf"], centres=400, epsilon=3e-3),
    "metric-land": replace(METHODS["metric-land"], scale=0.15, epsilon=1e-3),
}
_CPU = BridgePreset(
    batch=128,
    lr=3e-3,
    steps=1000,
    warmup=50,
    ema=0.99,
    samples=1000,
    threads=1,
    bend_steps=1000,
    bend_width=96,
    bend_frequency=4.0,
    bend_points=3000,
)
_PRESETS = {
    "cpu": _CPU,
    "gpu": replace(
        _CPU, width=256, batch=512, lr=1e-3, steps=6000, bend_steps=6000, ema=0.999, device="auto"
    ),
}


class LidarBenchmark(Benchmark[BridgeMethod, BridgePreset]):
    """Two Gaussian clouds on the ground, and laser points of the ground between them."""

    name = "bridge/lidar"
    summary = "over Mount Rainier from one valley to another, on the ground"
    data = RAINIER.name
    licence = RAINIER.licence
    protocol = (
        "1000 fresh points of the start are moved. `distance` is that of all points of the "
        "trajectories to the nearest laser point, `height` the mean of their absolute height over "
        "the ground, in kilometres; the floor is one half of the laser points against the other. "
        "`climb` is the mean of the highest point of a trajectory. `energy` is that in the LAND "
        "metric with the height penalty, whichever path was trained, over that of straight lines "
        "between the same ends. W2 is between the ends of the trajectories and the goal."
    )
    baselines = {"floor": "the laser points themselves"}  # noqa: RUF012
    methods = _METHODS
    presets = _PRESETS
    metrics = (
        Metric("distance", "distance to the ground, km"),
        Metric("height", "height over ground, km"),
        Metric("climb", "highest point, km", "", 3),
        Metric("energy", "energy over straight"),
        Metric("w2_end", "W2 at the goal, km"),
        Metric("seconds_training", "training, s", "", 0),
    )

    #: Per kilometre: a hundred metres higher, a way is five per cent longer.
    slope = 0.5

    def run(self, task: BridgeTask) -> Outcome:
        preset, seed = task.preset, 10 * task.seed
        ground = RAINIER.read(find(RAINIER, task.data_root))
        clouds = [_cloud(ground, place, 4000, seed + i) for i, place in enumerate((START, GOAL))]
        metric = task.method.build_metric(ground, preset, task.seed)
        if metric is not None:
            metric = HeightPenalty(metric, self.slope)
        bridge = train_bridge(clouds, (0.0, 1.0), metric, task, task.directory)
        start = _cloud(ground, START, preset.samples, seed + 2)
        moved = torch.cat([start.unsqueeze(0), bridge.push(start, 0.0, 1.0, _TIMES)])
        metrics = self._score(moved, ground, task, bridge)
        kept = torch.randperm(len(ground), generator=torch.Generator().manual_seed(0))[:12_000]
        arrays = {
            "ground": ground[kept].float().numpy(),
            "trajectories": moved[:, :80].float().numpy(),
            **bridge.losses,
        }
        return Outcome(metrics=metrics, nfe=4 * task.method.solver_steps, arrays=arrays)

    def _score(
        self, moved: Tensor, ground: Tensor, task: BridgeTask, bridge: Bridge
    ) -> dict[str, float]:
        seed = 10 * task.seed
        goal, other = (_cloud(ground, GOAL, moved.shape[1], seed + i) for i in (3, 4))
        built = self.methods["metric-land"].build_metric(ground, task.preset, 0)
        assert built is not None
        metric = HeightPenalty(built, self.slope)
        share = torch.linspace(0, 1, len(moved), dtype=torch.float64).view(-1, 1, 1)
        straight = (1 - share) * moved[0] + share * moved[-1]
        half = torch.randperm(len(ground), generator=torch.Generator().manual_seed(0))
        one, two = ground[half[::2]], ground[half[1::2]]
        return {
            "distance": _nearest(ground, moved),
            "height": float(height_above(ground, moved).abs().mean()),
            "climb": float(moved[..., 2].amax(0).mean()),
            "energy": _energy(moved, metric) / _energy(straight, metric),
            "w2_end": wasserstein(moved[-1], goal, order=2),
            "seconds_training": bridge.seconds,
            "floor/distance": _nearest(one, two),
            "floor/height": float(height_above(one, two).abs().mean()),
            "floor/w2_end": wasserstein(other, goal, order=2),
        }

    def figures(self, arrays: Mapping[str, Array], title: str) -> dict[str, Figure]:
        from flowatlas.plots import loss_curve, terrain

        return {
            "trajectories over the terrain": terrain(
                ground=arrays["ground"], trajectories=arrays["trajectories"], title=title
            ),
            "loss": loss_curve(arrays["loss_steps"], arrays["loss"], title=title),
        }


def _cloud(ground: Tensor, place: tuple[float, float], count: int, seed: int) -> Tensor:
    """Points on the ground, Gaussian as seen from above."""
    generator = torch.Generator().manual_seed(seed)
    plan = torch.randn(count, 2, generator=generator, dtype=torch.float64)
    plan = torch.tensor(place, dtype=torch.float64) + SPREAD * plan
    x = torch.cat([plan, torch.zeros(count, 1, dtype=torch.float64)], 1)
    # A point at height zero is as far below the ground as the ground is above zero.
    x[:, 2] = -height_above(ground, x)
    return x


def _nearest(ground: Tensor, x: Tensor) -> float:
    """Mean distance of points `(..., 3)` to the nearest of the map."""
    from scipy.spatial import cKDTree

    distance, _ = cKDTree(ground.numpy()).query(x.reshape(-1, 3).numpy())
    return float(np.mean(distance))


def _energy(moved: Tensor, metric: RiemannianMetric) -> float:
    """Mean energy of polygons `(times, n, dim)` that take unit time."""
    velocity = moved.diff(dim=0) * (len(moved) - 1)
    middle = 0.5 * (moved[1:] + moved[:-1])
    return float(metric.squared_norm(middle.float(), velocity.float()).mean())


LIDAR = LidarBenchmark()
