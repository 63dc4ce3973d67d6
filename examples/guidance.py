"""Classifier-free guidance of a small flow: the stronger the pull, the less the classes overlap.

Three classes of points overlap in the plane. The network learns them with their labels, which it
sometimes does not see, and is then sampled at several scales.

    python examples/guidance.py --output runs/guidance
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from torch import Tensor

from flowatlas import AffinePath, ClassifierFree, FlowMatching, Heun, sample
from flowatlas.networks import MLP, Classes

CLASSES, SCALES = 3, (1.0, 2.0, 4.0)


def points(label: Tensor, generator: torch.Generator) -> Tensor:
    """A cloud for each label, at the corners of a triangle."""
    angle = 2 * math.pi * label / CLASSES + math.pi / 2
    centre = torch.stack([angle.cos(), angle.sin()], 1)
    return centre + 0.8 * torch.randn(centre.shape, generator=generator)


def agreement(x: Tensor, label: Tensor) -> float:
    """Share of points that lie nearest to the centre of their own class."""
    angle = 2 * math.pi * torch.arange(CLASSES) / CLASSES + math.pi / 2
    nearest = (x @ torch.stack([angle.cos(), angle.sin()])).argmax(1)
    return (nearest == label).double().mean().item()


def main(steps: int, output: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)  # of the weights
    path = AffinePath()
    objective = FlowMatching(path)
    model = MLP((2,), width=64, depth=3, condition={"label": Classes(CLASSES)})

    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(steps):
        label = torch.randint(CLASSES, (512,), generator=generator)
        loss = objective(
            model,
            points(label, generator),
            condition={"label": label},
            condition_dropout=0.1,
            generator=generator,
        ).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    label = torch.arange(900) % CLASSES
    drawn = {"data": points(label, generator)}
    for scale in SCALES:
        drawn[f"w = {scale:g}"] = sample(
            ClassifierFree(model, path, scale=scale),
            path,
            shape=(len(label), 2),
            condition={"label": label},
            solver=Heun(steps=20),
            generator=generator,
        )
    for name, x in drawn.items():
        print(f"{name:8} nearest to their own centre: {agreement(x, label):.0%}")
    draw(drawn, label, output / "guidance.png")


def draw(drawn: dict[str, Tensor], label: Tensor, path: Path) -> None:
    """A panel for the data and each scale."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        1, len(drawn), figsize=(3 * len(drawn), 3), sharex=True, sharey=True
    )
    for axis, (name, x) in zip(axes, drawn.items(), strict=True):
        for k in range(CLASSES):
            axis.scatter(*x[label == k].T, s=4, alpha=0.6)
        axis.set(title=name, aspect="equal", xlim=(-5, 5), ylim=(-5, 5))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, bbox_inches="tight")
    plt.close(figure)
    print(f"picture: {path}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1500, help="of training")
    parser.add_argument("--output", type=Path, default=Path("runs/guidance"), help="directory")
    options = parser.parse_args()
    main(options.steps, options.output)
