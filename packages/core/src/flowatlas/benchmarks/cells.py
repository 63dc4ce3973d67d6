"""`bridge/emt` and `bridge/lineage`: cells at a time that training has not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from flowatlas.benchmarks.bridge_method import METHODS, BridgeMethod, BridgePreset
from flowatlas.benchmarks.bridge_training import Bridge, BridgeTask, train_bridge
from flowatlas.benchmarks.contract import Array, Benchmark, Metric, Outcome
from flowatlas.benchmarks.transport import displacement, two_halves, wasserstein
from flowatlas.data.dataset import DataSet
from flowatlas.data.single_cell import EMT as EMT_CELLS
from flowatlas.data.single_cell import LINEAGE as LINEAGE_CELLS
from flowatlas.data.single_cell import snapshots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["EMT", "LINEAGE", "CellBenchmark"]

#: Cells whose trajectories are drawn, and cells drawn of each kind.
_DRAWN, _KEPT = 120, 4000


@dataclass(frozen=True, slots=True)
class _LeftOut:
    """What was found with one time left out."""

    metrics: dict[str, float]
    made: Tensor
    trajectories: Tensor
    losses: dict[str, Array]


class CellBenchmark(Benchmark[BridgeMethod, BridgePreset]):
    """Every time but the first and the last is left out once.

    Args:
        name: of the benchmark.
        summary: one line.
        cells: the data set.
        count: how many times it has.
        presets: by name.
    """

    baselines = {  # noqa: RUF012
        "floor": "two sets of the true cells",
        "displacement": "transport of the neighbours, nothing learned",
        "previous": "cells of the time before",
    }
    protocol = (
        "A flow is trained on all times but one, at equal steps of time; the cells of the time "
        "before are moved to the one left out. EMD is the earth mover's distance, by exact "
        "transport, to all cells there, in the units of the data, mean over the times left out. "
        "Metrics are made of the cells of the training times alone. The floor is the distance of "
        "two halves, scaled to the sizes compared. Settings are common to all benchmarks of this "
        "kind; those of the metrics were chosen on `bridge/arch`, none on cells."
    )
    methods = METHODS

    def __init__(
        self,
        name: str,
        summary: str,
        cells: DataSet,
        count: int,
        presets: Mapping[str, BridgePreset],
    ) -> None:
        self.name = name
        self.summary = summary
        self.cells = cells
        self.left_out = tuple(range(1, count - 1))
        self.data = cells.name
        self.licence = cells.licence
        self.presets = presets
        each = [Metric(f"emd_{i}", f"EMD, time {i}") for i in self.left_out]
        self.metrics = (
            Metric("emd", "EMD"),
            *(each if len(each) > 1 else []),
            Metric("seconds_training", "training, s", "", 0),
        )

    def run(self, task: BridgeTask) -> Outcome:
        clouds = snapshots(self.cells, task.data_root)
        found = {i: self._leave_out(i, clouds, task) for i in self.left_out}
        metrics: dict[str, float] = {}
        for i, one in found.items():
            for name, value in one.metrics.items():
                prefix, _, key = name.rpartition("/")
                label = f"{prefix}/{key}" if prefix else key
                if key == "emd" and len(found) > 1:
                    metrics[f"{label}_{i}"] = value
                share = value / len(found) if key == "emd" else value
                metrics[label] = metrics.get(label, 0.0) + share
        shown = self.left_out[len(self.left_out) // 2]
        kept = [cloud[:_KEPT] for cloud in clouds]
        arrays = {
            "clouds": torch.cat(kept).numpy(),
            "cloud_times": np.concatenate([np.full(len(x), i) for i, x in enumerate(kept)]),
            "trajectories": found[shown].trajectories.numpy(),
            "made": found[shown].made[:_KEPT].numpy(),
            "made_times": np.full(min(_KEPT, len(found[shown].made)), shown),
            "emd": np.array([found[i].metrics["emd"] for i in self.left_out]),
            **{
                f"emd_{name}": np.array([found[i].metrics[f"{name}/emd"] for i in self.left_out])
                for name in self.baselines
            },
            "left_out": np.array(self.left_out),
            **found[shown].losses,
        }
        return Outcome(metrics=metrics, nfe=4 * task.method.solver_steps, arrays=arrays)

    def _leave_out(self, i: int, clouds: Sequence[Tensor], task: BridgeTask) -> _LeftOut:
        """Train without the cells of time i, and compare with them."""
        last = len(clouds) - 1
        seen = [j for j in range(len(clouds)) if j != i]
        kept = [clouds[j] for j in seen]
        metric = task.method.build_metric(torch.cat(kept), task.preset, task.seed)
        directory = task.directory / f"without-{i}"
        directory.mkdir(exist_ok=True)
        bridge = train_bridge(kept, [j / last for j in seen], metric, task, directory)
        before, true = clouds[i - 1], clouds[i]
        made = bridge.push(before, (i - 1) / last, i / last)[-1]
        metrics = {
            "emd": wasserstein(made, true),
            "seconds_training": bridge.seconds,
            "floor/emd": two_halves(true, beside=len(before)),
            "previous/emd": wasserstein(before, true),
            "displacement/emd": wasserstein(displacement(before, clouds[i + 1], 0.5), true),
        }
        return _LeftOut(metrics, made, _trajectories(bridge, clouds[0]), bridge.losses)

    def figures(self, arrays: Mapping[str, Array], title: str) -> dict[str, Figure]:
        from flowatlas.plots import bridges, distance_bars, loss_curve

        made = bridges(
            clouds=arrays["clouds"],
            cloud_times=arrays["cloud_times"],
            trajectories=arrays["trajectories"],
            made=arrays["made"],
            made_times=arrays["made_times"],
            title=title,
        )
        heights = {label: arrays[f"emd_{name}"] for name, label in self.baselines.items()}
        bars = distance_bars(
            {"flow": arrays["emd"], **heights},
            [f"time {i}" for i in arrays["left_out"]],
            title=title,
        )
        return {
            "trajectories over the cells": made,
            "earth mover's distance to the cells left out": bars,
            "loss": loss_curve(arrays["loss_steps"], arrays["loss"], title=title),
        }


def _trajectories(bridge: Bridge, first: Tensor) -> Tensor:
    """Of some cells from the first time to the last, `(times, n, dim)`."""
    start = first[:_DRAWN]
    moved = bridge.push(start, 0.0, 1.0, [k / 40 for k in range(1, 40)])
    return torch.cat([start.unsqueeze(0), moved])


_CPU = BridgePreset(
    batch=128,
    lr=3e-3,
    steps=800,
    warmup=50,
    ema=0.99,
    threads=1,
    bend_width=64,
    bend_steps=300,
)
_GPU = replace(
    _CPU,
    width=256,
    batch=512,
    lr=1e-3,
    steps=6000,
    ema=0.999,
    bend_steps=3000,
    bend_points=8000,
    device="auto",
)

EMT = CellBenchmark(
    "bridge/emt",
    "cells in epithelial-mesenchymal transition, one of five times left out",
    EMT_CELLS,
    5,
    {"cpu": _CPU, "gpu": _GPU},
)
LINEAGE = CellBenchmark(
    "bridge/lineage",
    "cells of mouse haematopoiesis, the second of three times left out",
    LINEAGE_CELLS,
    3,
    {"cpu": _CPU, "gpu": _GPU},
)
