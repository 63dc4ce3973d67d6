"""Rigid bodies: a flow of rotations and translations together, with padding and given bodies.

A sample is a ring of two to four bodies, each with an orientation in SO(3) and a place in R^3, all
facing the centre of the ring. Rings of fewer than four are padded, and a mask says which bodies
exist. Training gives some bodies away at random, so that the flow can complete a ring later.

    python examples/rotations_and_translations.py --output runs/rings
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from matplotlib.patches import Circle
from torch import Tensor

from flowatlas import SO3, AffinePath, FlowMatching, GeodesicPath, Midpoint, ProductPath, sample
from flowatlas.networks import ProductMLP
from flowatlas.plots.style import BASELINE, DATA, MODEL, figure, style

BODIES = 4
State = dict[str, Tensor]


def rings(count: int, generator: torch.Generator) -> tuple[State, Tensor]:
    """Rings of radius one, turned at random about the vertical, and which bodies exist."""
    size = torch.randint(2, BODIES + 1, (count, 1), generator=generator)
    turn = 2 * math.pi * torch.rand(count, 1, generator=generator)
    angle = turn + 2 * math.pi * torch.arange(BODIES) / size
    flat = torch.stack([angle.cos(), angle.sin(), torch.zeros(count, BODIES)], -1)
    # Columns are the body's axes: the first looks at the centre, the third upward.
    up = torch.tensor([0.0, 0.0, 1.0]).expand_as(flat)
    rotation = torch.stack([-flat, torch.linalg.cross(up, -flat), up], -1)
    return {"rotation": rotation, "translation": flat}, torch.arange(BODIES) < size


def draw(x: State, mask: Tensor, given: Tensor, file: Path) -> None:
    """The first six rings from above, an arrow for each body; given ones in the colour of data."""
    with style():
        made = figure(8.4, 1.7)
        for i, axes in enumerate(made.subplots(1, 6)):
            axes.add_patch(Circle((0, 0), 1, fill=False, ec=BASELINE, lw=0.5))
            for held, colour in ((True, DATA), (False, MODEL)):
                shown = mask[i] & (given[i] == held)
                place, look = x["translation"][i, shown], x["rotation"][i, shown, :, 0]
                axes.quiver(*place[:, :2].T, *look[:, :2].T, color=colour, scale=4, width=0.02)
            axes.set(xlim=(-1.4, 1.4), ylim=(-1.4, 1.4), aspect="equal")
            axes.axis("off")
        file.parent.mkdir(parents=True, exist_ok=True)
        made.savefig(file, dpi=160)


def main(steps: int, output: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)  # of the weights
    path = ProductPath(rotation=GeodesicPath(SO3()), translation=AffinePath())
    objective = FlowMatching(path)
    model = ProductMLP(
        {"rotation": (BODIES, 3, 3), "translation": (BODIES, 3)},
        manifolds={"rotation": SO3()},
        width=192,
        depth=3,
        fixed=True,  # the network is told which bodies are given
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        x_1, mask = rings(128, generator)
        # In half of the samples some bodies are given, both their orientation and their place.
        share = 0.5 * torch.randint(2, (128, 1), generator=generator)
        given = mask & (torch.rand(128, BODIES, generator=generator) < share)
        fixed = {name: (given, value) for name, value in x_1.items()}
        loss = objective(model, x_1, mask=mask, fixed=fixed, generator=generator).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()

    x_1, mask = rings(200, generator)
    shape = {name: tuple(value.shape) for name, value in x_1.items()}
    for name, given in (("free", torch.zeros_like(mask)), ("completed", mask.cumsum(1) <= 1)):
        given = given & mask
        fixed = {key: (given, value) for key, value in x_1.items()}
        solver = Midpoint(steps=20)
        x = sample(
            model, path, shape=shape, mask=mask, fixed=fixed, solver=solver, generator=generator
        )
        # How far each body that was not given is from the ring, and from facing its centre.
        made = mask & ~given
        place, look = x["translation"][made], x["rotation"][..., 0][made]
        distance = place.norm(dim=-1)
        wrong = torch.acos((-(place * look).sum(-1) / distance).clamp(-1, 1)).rad2deg()
        print(
            f"{name}: medians: {(distance - 1).abs().median():.3f} off the ring, "
            f"{wrong.median():.1f} degrees off facing its centre"
        )
        for key in x:
            assert torch.equal(x[key][given], x_1[key][given])  # held exactly
        draw(x, mask, given, output / f"rings_{name}.png")
        print(f"picture: {output / f'rings_{name}.png'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=1500, help="of training")
    parser.add_argument("--output", type=Path, default=Path("runs/rings"), help="directory")
    main(**vars(parser.parse_args()))
