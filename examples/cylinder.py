"""A manifold of your own, in one file, and a flow on it.

    python examples/cylinder.py

trains for a few seconds and prints how far samples are from the helix they should lie on.
"""

import argparse
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from flowatlas import (
    FlowMatching,
    Gaussian,
    GeodesicPath,
    Manifold,
    Midpoint,
    Source,
    log_prob,
    sample,
)
from flowatlas.errors import ShapeError
from flowatlas.manifolds import Capability
from flowatlas.networks import MLP


class Cylinder(Manifold):
    """Points (..., 3): a unit circle in the first two coordinates, and a height."""

    codim = 1
    injectivity_radius = math.pi
    capabilities = frozenset({Capability.TANGENT_BASIS})

    def check_shape(self, x: Tensor, name: str = "x") -> None:
        if x.ndim < 1 or x.shape[-1] != 3:
            raise ShapeError(f"{name}: got shape {tuple(x.shape)}; points are (..., 3).")

    def projx(self, x: Tensor) -> Tensor:
        circle = x[..., :2]
        radius = torch.linalg.vector_norm(circle, dim=-1, keepdim=True)
        return torch.cat([circle / radius, x[..., 2:]], -1)

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        return _tangent(x, _cross(x, u), u[..., 2:])

    def inner(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        return (u * v).sum(-1)

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        angle = _cross(x, u)
        circle = angle.cos() * x[..., :2] + angle.sin() * _quarter_turn(x)
        return torch.cat([circle, x[..., 2:] + u[..., 2:]], -1)

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        cosine = (x[..., :2] * y[..., :2]).sum(-1, keepdim=True)
        return _tangent(x, torch.atan2(_cross(x, y), cosine), y[..., 2:] - x[..., 2:])

    def tangent_basis(self, x: Tensor) -> Tensor:
        one, zero = torch.ones_like(x[..., :1]), torch.zeros_like(x[..., :1])
        return torch.stack([_tangent(x, one, zero), _tangent(x, zero, one)], -2)


def _quarter_turn(x: Tensor) -> Tensor:
    return torch.cat([-x[..., 1:2], x[..., :1]], -1)


def _cross(x: Tensor, y: Tensor) -> Tensor:
    return x[..., :1] * y[..., 1:2] - x[..., 1:2] * y[..., :1]


def _tangent(x: Tensor, turn: Tensor, rise: Tensor) -> Tensor:
    return torch.cat([turn * _quarter_turn(x), rise.expand_as(turn)], -1)


class Ring(Source):
    """Uniform around the cylinder, standard normal in height."""

    has_density = True

    def sample(self, shape: Sequence[int], *, generator: Any = None, **options: Any) -> Tensor:
        return Cylinder().projx(Gaussian().sample(shape, generator=generator, **options))

    def log_prob(self, x: Tensor) -> Tensor:
        return -0.5 * x[..., 2].square() - 1.5 * math.log(2 * math.pi)


def helix(count: int, generator: torch.Generator) -> Tensor:
    """One and a half turns, with a little noise in height."""
    angle = 3 * math.pi * (torch.rand(count, generator=generator) - 0.5)
    height = angle / 3 + 0.05 * torch.randn(count, generator=generator)
    return torch.stack([angle.cos(), angle.sin(), height], -1)


def angle_to_helix(x: Tensor) -> Tensor:
    """Angle between a point and the helix at its height, radians."""
    angle = torch.atan2(x[..., 1], x[..., 0]) - 3 * x[..., 2]
    return torch.atan2(angle.sin(), angle.cos()).abs()


def main(steps: int, count: int) -> tuple[float, float]:
    """Train, sample, and return the mean angle to the helix of the source and of the samples."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    path = GeodesicPath(Cylinder(), source=Ring())
    objective = FlowMatching(path)
    model = MLP((3,), manifold=Cylinder(), width=64, depth=3)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        loss = objective(model, helix(256, generator), generator=generator).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(f"step {step:4d}  loss {loss.item():.3f}")
    x_0 = path.source.sample((count, 3), generator=generator)
    x = sample(model, path, x_init=x_0, solver=Midpoint(steps=30))
    before, after = (angle_to_helix(points).mean().item() for points in (x_0, x))
    print(f"mean angle to the helix: source {before:.3f}, samples {after:.3f}, data 0.120 rad")
    nll = -log_prob(model, path, helix(count, generator), solver=Midpoint(steps=30)).mean().item()
    print(f"negative log likelihood of the data: {nll:.3f} nats, at best 0.667")
    return before, after


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A flow on a cylinder.")
    parser.add_argument("--steps", type=int, default=600, help="of training")
    parser.add_argument("--samples", type=int, default=2000, help="drawn at the end")
    arguments = parser.parse_args()
    main(arguments.steps, arguments.samples)
