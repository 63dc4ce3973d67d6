"""Rigid bodies: a flow of rotations and translations together, with padding and given bodies.

A sample is a row of two to four vehicles, each with an orientation in SO(3) and a place in R^3,
half a metre apart, each facing the way the row goes. Shorter rows are padded, and a mask says which
vehicles exist. Training gives the first one away half of the time, so that the flow can complete a
row as well as make one.

    python examples/rotations_and_translations.py --output runs/rows
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from torch import Tensor

from flowatlas import SO3, AffinePath, FlowMatching, GeodesicPath, Midpoint, ProductPath, sample
from flowatlas.networks import ProductMLP
from flowatlas.plots.style import DATA, MODEL, figure, style

BODIES = 4
GAP = 0.5  # metres
State = dict[str, Tensor]


def rows(count: int, generator: torch.Generator) -> tuple[State, Tensor]:
    """Rows that go anywhere in the plane, and which of their vehicles exist."""
    length = torch.randint(2, BODIES + 1, (count, 1), generator=generator)
    angle = 2 * math.pi * torch.rand(count, 1, generator=generator)
    ahead = torch.stack([angle.cos(), angle.sin(), torch.zeros(count, 1)], -1)
    first = 0.5 * torch.randn(count, 1, 3, generator=generator) * torch.tensor([1.0, 1.0, 0.0])
    place = first + GAP * torch.arange(BODIES).view(1, -1, 1) * ahead
    # Columns are the body's axes: the first looks ahead, the third upward.
    up = torch.tensor([0.0, 0.0, 1.0]).expand_as(ahead)
    rotation = torch.stack([ahead, torch.linalg.cross(up, ahead), up], -1)
    state = {"rotation": rotation.expand(-1, BODIES, -1, -1), "translation": place}
    return state, torch.arange(BODIES) < length


def draw(x: State, mask: Tensor, given: Tensor, file: Path) -> None:
    """The first six rows from above, an arrow for each vehicle; given ones are red."""
    with style():
        made = figure(8.4, 1.6)
        for i, axes in enumerate(made.subplots(1, 6)):
            for held, colour in ((True, DATA), (False, MODEL)):
                shown = mask[i] & (given[i] == held)
                place, look = x["translation"][i, shown], x["rotation"][i, shown, :, 0]
                axes.quiver(*place[:, :2].T, *look[:, :2].T, color=colour, scale=7, width=0.018)
            axes.set(xlim=(-2, 2), ylim=(-2, 2), aspect="equal")
            axes.axis("off")
        file.parent.mkdir(parents=True, exist_ok=True)
        made.savefig(file, dpi=160)


def main(steps: int, output: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)  # of the weights
    # The network predicts where each body ends up: on SO(3) that is smoother than how it moves.
    path = ProductPath(
        rotation=GeodesicPath(SO3(), prediction="target"),
        translation=AffinePath(prediction="target"),
    )
    objective = FlowMatching(path)
    model = ProductMLP(
        {"rotation": (BODIES, 3, 3), "translation": (BODIES, 3)},
        manifolds={"rotation": SO3()},
        outputs={"rotation": "target", "translation": "target"},
        width=192,
        depth=3,
        fixed=True,  # the network is told which bodies are given
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        x_1, mask = rows(128, generator)
        # In half of the samples the first vehicle is given, its orientation and its place.
        given = torch.rand(128, 1, generator=generator).lt(0.5) & (torch.arange(BODIES) == 0)
        fixed = {name: (given, value) for name, value in x_1.items()}
        loss = objective(model, x_1, mask=mask, fixed=fixed, generator=generator).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()

    x_1, mask = rows(200, generator)
    shape = {name: tuple(value.shape) for name, value in x_1.items()}
    for name, given in (("free", torch.zeros_like(mask)), ("completed", mask.cumsum(1) <= 1)):
        given = given & mask
        fixed = {key: (given, value) for key, value in x_1.items()}
        solver = Midpoint(steps=20)
        x = sample(
            model, path, shape=shape, mask=mask, fixed=fixed, solver=solver, generator=generator
        )
        # From each vehicle to the next: how far it is, and how far off the way it faces.
        step, there = x["translation"].diff(dim=1), mask[:, 1:]
        gap = step.norm(dim=-1)[there]
        along = (step * x["rotation"][:, :-1, :, 0]).sum(-1)[there] / gap
        print(
            f"{name}: gaps {gap.mean():.2f} +- {gap.std():.2f} m, facing "
            f"{along.clamp(-1, 1).acos().rad2deg().mean():.0f} degrees off the next"
        )
        for key in x:
            assert torch.equal(x[key][given], x_1[key][given])  # held exactly
        draw(x, mask, given, output / f"rows_{name}.png")
        print(f"picture: {output / f'rows_{name}.png'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=1500, help="of training")
    parser.add_argument("--output", type=Path, default=Path("runs/rows"), help="directory")
    main(**vars(parser.parse_args()))
