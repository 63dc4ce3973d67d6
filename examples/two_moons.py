"""Two moons: train a flow from a Gaussian, sample from it, and draw what it does.

Prints the mean log density of points that training has not seen, beside that of the law they were
drawn from, and draws data, trajectories, samples and density.

    python examples/two_moons.py --output runs/two_moons
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from flowatlas import AffinePath, Dopri5, FlowMatching, Midpoint, integrate, log_prob, sample
from flowatlas.data import TwoMoons
from flowatlas.networks import MLP, MultiScale
from flowatlas.plots import plane, save
from flowatlas.plots.plane import plane_grid


def main(steps: int, output: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)  # of the weights
    moons = TwoMoons()
    x_1 = moons.sample((10_000, 2), generator=generator).float()
    path = AffinePath()  # x_t = (1 - t) x_0 + t x_1, from a Gaussian
    objective = FlowMatching(path)
    # The moons are narrower than the plane: features of several lengths resolve them sooner.
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

    x = sample(model, path, shape=(3000, 2), solver=Midpoint(steps=20), generator=generator)
    test = moons.sample((500, 2), generator=generator).float()
    found = log_prob(model, path, test, solver=Dopri5()).mean()
    print(f"log density: {found:.3f} nats of the flow, {moons.log_prob(test).mean():.3f} at best")

    x_0 = path.draw(test[:200], generator=generator)
    times = [i / 20 for i in range(1, 20)]
    run = integrate(model, path, x_0, solver=Midpoint(steps=20), times=times)
    grid = torch.from_numpy(plane_grid(2.5, 60)).float()
    density = log_prob(model, path, grid.view(-1, 2), solver=Midpoint(steps=20)).view(60, 60)
    picture = plane(
        points=x_1.numpy(),
        trajectories=torch.stack(run.x_t).numpy(),
        samples=x.numpy(),
        log_density=density.numpy(),
        half=2.5,
    )
    print(f"picture: {save(picture, output / 'two_moons.png')}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=1000, help="of training")
    parser.add_argument("--output", type=Path, default=Path("runs/two_moons"), help="directory")
    main(**vars(parser.parse_args()))
