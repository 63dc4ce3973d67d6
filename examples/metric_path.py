"""Follow the data: a flow from one end of an arch to the other, along points that lie between.

Prints how far trajectories are off the arch, of a flow on straight lines and of one on curves that
were made short in the metric of the data, and draws the second.

    python examples/metric_path.py --output runs/metric_path
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from flowatlas import (
    AffinePath,
    Empirical,
    FlowMatching,
    MetricPath,
    Midpoint,
    MinibatchOT,
    RbfMetric,
    integrate,
)
from flowatlas.benchmarks.arch import arch
from flowatlas.networks import MLP, FourierTimeEmbedding, Interpolant
from flowatlas.paths import ContinuousPath
from flowatlas.plots import bridges, save
from flowatlas.training import fit_interpolant


def train(path: ContinuousPath, x_0: Tensor, x_1: Tensor, steps: int) -> torch.nn.Module:
    """A field between two clouds."""
    generator = torch.Generator().manual_seed(0)
    model = MLP((2,), width=96, depth=3, time_embedding=FourierTimeEmbedding(32, 2.0))
    objective = FlowMatching(path, coupling=MinibatchOT(path))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        rows = torch.randint(len(x_1), (128,), generator=generator)
        loss = objective(model, x_1[rows], generator=generator).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model


def main(steps: int, output: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)  # of the weights
    spread = 0.15 * torch.randn(2, 2000, generator=generator)
    x_0 = arch(torch.pi + spread[0], generator=generator)
    x_1 = arch(spread[1], generator=generator)
    between = arch(torch.pi * torch.rand(1000, generator=generator), generator=generator)

    # Short where points are, long where there are none; curves that are short in it.
    metric = RbfMetric.fit(between, centres=40, width=1.5, epsilon=0.1, generator=generator)
    curved = MetricPath(Interpolant((2,), width=64), source=Empirical(x_0))
    fit_interpolant(
        curved,
        metric,
        x_0,
        x_1,
        coupling=MinibatchOT(curved),
        steps=steps // 2,
        batch=128,
        lr=1e-2,
        generator=generator,
        progress=False,
    )

    times = [i / 20 for i in range(1, 20)]
    paths = {"straight": AffinePath(source=Empirical(x_0)), "metric": curved}
    for name, path in paths.items():
        model = train(path, x_0, x_1, steps)
        run = integrate(model, path, x_0[:300], solver=Midpoint(steps=40), times=times)
        x = torch.stack(run.x_t)
        off = (torch.linalg.vector_norm(x, dim=-1) - 1).abs().mean()
        print(f"{name}: trajectories are {off:.3f} off the arch on average")

    picture = bridges(
        clouds=torch.cat([x_0[:300], x_1[:300]]).numpy(),
        cloud_times=torch.tensor([0.0, 1.0]).repeat_interleave(300).numpy(),
        trajectories=x[:, :80].numpy(),
        made=x[-1].numpy(),
        made_times=torch.ones(300).numpy(),
        landscape=between.numpy(),
    )
    print(f"picture: {save(picture, output / 'metric_path.png')}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=600, help="of training")
    parser.add_argument("--output", type=Path, default=Path("runs/metric_path"))
    arguments = parser.parse_args()
    main(arguments.steps, arguments.output)
