"""Optimal transport within batches: straighter paths, so that few steps are enough.

Trains the same network twice from a Gaussian to eight Gaussians, with independent and with
optimally paired noise. Prints how much longer trajectories are than straight lines, and how far
samples of few Euler steps are from those of many.

    python examples/optimal_transport.py --output runs/transport
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from flowatlas import AffinePath, Coupling, Euler, FlowMatching, Independent, MinibatchOT, integrate
from flowatlas.data import EightGaussians
from flowatlas.networks import MLP, MultiScale
from flowatlas.plots import nfe_curve, save
from flowatlas.plots.style import BASELINE, MODEL, figure, style


def main(steps: int, output: Path) -> None:
    path = AffinePath()
    couplings: dict[str, Coupling] = {"independent": Independent(), "optimal": MinibatchOT(path)}
    curves, trajectories = {}, {}
    for name, coupling in couplings.items():
        generator = torch.Generator().manual_seed(0)
        torch.manual_seed(0)  # of the weights
        x_1 = EightGaussians().sample((10_000, 2), generator=generator).float()
        objective = FlowMatching(path, coupling=coupling)
        model = MLP((2,), width=128, depth=3, features=MultiScale(2, scales=(1.0, 0.5)))
        optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            batch = x_1[torch.randint(len(x_1), (256,), generator=generator)]
            loss = objective(model, batch, generator=generator).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()

        x_0 = path.draw(x_1[:1000], generator=generator)
        times = [i / 100 for i in range(1, 100)]
        run = integrate(model, path, x_0, solver=Euler(steps=100), times=times)
        x = torch.stack(run.x_t)
        travelled = x.diff(dim=0).norm(dim=-1).sum(0)
        longer = travelled.mean() / (x[-1] - x[0]).norm(dim=-1).mean() - 1
        counts = [1, 2, 4, 8, 16]
        ends = [integrate(model, path, x_0, solver=Euler(steps=n)).x for n in counts]
        errors = [(end - run.x).norm(dim=-1).mean().item() for end in ends]
        print(f"{name}: {longer:.1%} longer than straight; error of 4 steps {errors[2]:.3f}")
        curves[name] = (np.array(counts), np.array(errors))
        trajectories[name] = x[:, :200].numpy()

    label = "distance to samples of 100 steps"
    print(f"picture: {save(nfe_curve(curves, label=label), output / 'few_steps.png')}")
    with style():
        made = figure(6.8, 3.6)
        for axes, (name, lines) in zip(made.subplots(1, 2), trajectories.items(), strict=True):
            axes.plot(*lines.transpose(2, 0, 1), color=BASELINE, lw=0.4)
            axes.scatter(*lines[-1].T, s=4, color=MODEL, zorder=3)
            axes.set(title=name, aspect="equal", xlim=(-3.2, 3.2), ylim=(-3.2, 3.2))
    print(f"picture: {save(made, output / 'trajectories.png')}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=800, help="of each training")
    parser.add_argument("--output", type=Path, default=Path("runs/transport"), help="directory")
    main(**vars(parser.parse_args()))
