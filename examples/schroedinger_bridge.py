"""A Schroedinger bridge between two sets of points: neither of them is noise.

Trains one network for velocity and score on Brownian bridges between eight Gaussians and two
moons, paired by entropic optimal transport. Samples with and without noise, from the same points,
and prints how far either is from the moons.

    python examples/schroedinger_bridge.py --output runs/bridge
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch

from flowatlas import (
    BridgePath,
    EulerMaruyama,
    FlowMatching,
    GivenGrid,
    Heun,
    Sinkhorn,
    integrate,
)
from flowatlas.benchmarks.metrics import energy_distance
from flowatlas.data import EightGaussians, TwoMoons
from flowatlas.networks import MLP, MultiScale
from flowatlas.plots import save
from flowatlas.plots.style import BASELINE, DATA, MODEL, figure, style
from flowatlas.sources import Empirical

STD = 0.7  # of the Brownian motion at t = 1


def main(steps: int, output: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)  # of the weights
    x_0 = EightGaussians().sample((10_000, 2), generator=generator).float()
    x_1 = 2.0 * TwoMoons().sample((10_000, 2), generator=generator).float()
    path = BridgePath(STD, source=Empirical(x_0))
    objective = FlowMatching(path, coupling=Sinkhorn(path, epsilon=2 * STD**2))
    model = MLP((2,), width=128, features=MultiScale(2), output="velocity_and_noise")
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        batch = x_1[torch.randint(len(x_1), (256,), generator=generator)]
        loss = objective(model, batch, generator=generator).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()

    start = x_0[torch.randint(len(x_0), (2000,), generator=generator)]
    times = [i / 20 for i in range(1, 20)]
    # Where the noise of the path comes and goes fast, the velocity does too: at both ends.
    grid = GivenGrid([math.sin(0.5 * math.pi * i / 50) ** 2 for i in range(51)])
    solvers = {
        "without noise": Heun(grid=grid),
        "with the noise of the bridge": EulerMaruyama(steps=100, diffusion=STD**2 / 2),
    }
    runs = {
        name: integrate(model, path, start, solver=solver, times=times, generator=generator)
        for name, solver in solvers.items()
    }
    floor = energy_distance(x_1[:2000], x_1[2000:4000])
    print(f"energy distance of {len(start)} points of the data to others: {floor:.4f}")
    for name, run in runs.items():
        print(f"{name}: {energy_distance(run.x, x_1[2000:4000]):.4f}")
    with style():
        made = figure(7.2, 3.7)
        for axes, (name, run) in zip(made.subplots(1, 2), runs.items(), strict=True):
            lines = torch.stack(run.x_t)[:, :60].numpy()
            axes.scatter(*start[:1000].T.numpy(), s=2, color=BASELINE)
            axes.plot(*lines.transpose(2, 0, 1), color=MODEL, lw=0.4)
            axes.scatter(*run.x[:1000].T.numpy(), s=2, color=DATA, zorder=3)
            axes.set(title=name, aspect="equal")
    print(f"picture: {save(made, output / 'bridge.png')}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=1500, help="of training")
    parser.add_argument("--output", type=Path, default=Path("runs/bridge"), help="directory")
    main(**vars(parser.parse_args()))
