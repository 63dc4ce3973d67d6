"""From clouds of points at several times to a flow through them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from flowatlas.benchmarks.bridge_method import BridgeMethod, BridgePreset, spread_of
from flowatlas.benchmarks.contract import Array, Task
from flowatlas.benchmarks.fitting import fit_network, load_fitted, loss_arrays
from flowatlas.metrics import RiemannianMetric
from flowatlas.networks import MLP, FourierTimeEmbedding
from flowatlas.objectives import MultiMarginal
from flowatlas.paths import AffinePath, ContinuousPath
from flowatlas.sampling import integrate
from flowatlas.solvers import RK4
from flowatlas.training import TensorData

__all__ = ["Bridge", "BridgeTask", "train_bridge"]

BridgeTask = Task[BridgeMethod, BridgePreset]


@dataclass(frozen=True, slots=True)
class Bridge:
    """A trained flow through several clouds.

    Attributes:
        field: of global time, from 0 for the first cloud to 1 for the last.
        paths: of the segments.
        metric: that interpolants were fitted in; None for straight paths.
        steps: of the solver from 0 to 1.
        seconds: of training, interpolants included.
        losses: arrays of the loss curve.
    """

    field: nn.Module
    paths: tuple[ContinuousPath, ...]
    metric: RiemannianMetric | None
    steps: int
    seconds: float
    losses: dict[str, Array]

    def push(self, x: Tensor, start: float, end: float, times: Sequence[float] = ()) -> Tensor:
        """Where points `(n, dim)` of time `start` are at `times` and at `end`.

        Returns:
            `(len(times) + 1, n, dim)`.
        """
        steps = max(1, round(self.steps * abs(end - start)))
        device = next(self.field.parameters()).device
        moved = integrate(
            self.field,
            # The field is a velocity at all times, also where that of a bridge is infinite.
            AffinePath(),
            x.float().to(device),
            start=start,
            end=end,
            solver=RK4(steps=steps),
            times=times,
        )
        # The start comes first.
        points = [part for part in moved.x_t[1:] if isinstance(part, Tensor)]
        return torch.stack(points).double().cpu()


def train_bridge(
    clouds: Sequence[Tensor],
    times: Sequence[float],
    metric: RiemannianMetric | None,
    task: BridgeTask,
    directory: Path,
) -> Bridge:
    """Fit the interpolants of all segments, then the field.

    Args:
        clouds: `(n_i, dim)` for each time.
        times: of the clouds, from 0 to 1.
        metric: of the method, for learned interpolants; None for straight paths.
        task: method, preset and seed.
        directory: for interpolants and checkpoints.
    """
    method, preset = task.method, task.preset
    begin = time.monotonic()
    device = preset.torch_device
    points = [cloud.float().to(device) for cloud in clouds]
    generator = torch.Generator().manual_seed(task.seed)
    spread = spread_of(torch.cat(points))
    paths = [
        method.build_path(
            points[i],
            points[i + 1],
            metric,
            preset,
            spread=spread,
            seed=task.seed,
            directory=directory / f"interpolant-{i}",
            resume=task.resume,
            progress=task.progress,
        )
        for i in range(len(points) - 1)
    ]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(task.seed)
        network = MLP(
            (points[0].shape[1],),
            width=preset.width,
            depth=preset.depth,
            time_embedding=FourierTimeEmbedding(32, preset.frequency),
        )
    rows = torch.stack([_rows(cloud, preset.rows, generator) for cloud in clouds], 1).float()
    objective = MultiMarginal(paths, times, coupling=method.build_coupling(spread))
    result = fit_network(
        network,
        objective,
        TensorData(rows, batch_size=preset.batch, seed=task.seed),
        replace(task, directory=directory),
    )
    return Bridge(
        load_fitted(result.checkpoint, preset),
        tuple(paths),
        metric,
        method.solver_steps,
        time.monotonic() - begin,
        loss_arrays(result.log),
    )


def _rows(x: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """That many rows, every point about equally often."""
    orders = [torch.randperm(len(x), generator=generator) for _ in range(-(-count // len(x)))]
    return x[torch.cat(orders)[:count]]
