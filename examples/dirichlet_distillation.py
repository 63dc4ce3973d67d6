"""One-step sampling of tokens: distil a Dirichlet flow into a student.

Pairs of tokens that depend on each other are learned by a classifier on a Dirichlet path: the
teacher. From one x_0 to the argmax at its end the teacher's flow draws nothing: it maps noise to
tokens. The student learns that map from pairs, as a classifier of x_0, by the same objective with
the time held at 0, and samples with one evaluation. Prints the divergence of each sampler from the
law, and of the student from its teacher.

    python examples/dirichlet_distillation.py --output runs/distillation
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flowatlas import DirichletPath, FlowMatching, Midpoint, integrate
from flowatlas.couplings import Paired
from flowatlas.networks import MLP, Logs
from flowatlas.plots import save
from flowatlas.plots.style import BASELINE, MODEL, figure, style

CATEGORIES, TOKENS, SAMPLES = 8, 2, 10_000


def law() -> Tensor:
    """Probabilities of pairs: the second token repeats the first, more often than not."""
    first = torch.softmax(torch.linspace(1, -1, CATEGORIES), 0)
    again = 0.8 * torch.eye(CATEGORIES) + 0.2 / CATEGORIES
    return (first.unsqueeze(1) * again).flatten()


def shares(x: Tensor) -> Tensor:
    """How often each pair comes; states `(n, 2, K)` at the vertices."""
    a, b = x.argmax(-1).unbind(1)
    return (a * CATEGORIES + b).bincount(minlength=CATEGORIES**TOKENS) / len(x)


def divergence(p: Tensor, q: Tensor) -> float:
    """KL(p | q) in nats; half a sample stands for none in q."""
    q = q.clamp(min=0.5 / SAMPLES)
    return torch.where(p > 0, p * (p / q).log(), 0.0).sum().item()


def train(
    model: MLP, path: DirichletPath, x_1: Tensor, x_0: Tensor | None, steps: int, seed: int
) -> None:
    """On data alone; or on pairs, with the time held at 0."""
    generator = torch.Generator().manual_seed(seed)
    objective = FlowMatching(path, coupling=None if x_0 is None else Paired())
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        rows = torch.randint(len(x_1), (512,), generator=generator)
        start, t = (None, None) if x_0 is None else (x_0[rows], torch.zeros(512))
        loss = objective(model, x_1[rows], x_0=start, t=t, generator=generator).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def main(steps: int, output: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    path = DirichletPath(CATEGORIES)
    # The end of a flow draws a category; a map from noise to tokens takes the most probable one.
    certain = DirichletPath(CATEGORIES, end="argmax")
    torch.manual_seed(0)  # of the weights
    teacher, student = (
        MLP((TOKENS, CATEGORIES), width=128, depth=3, features=Logs()) for _ in "ab"
    )

    pair = torch.multinomial(law(), 50_000, replacement=True, generator=generator)
    tokens = torch.stack([pair // CATEGORIES, pair % CATEGORIES], 1)
    train(teacher, path, path.one_hot(tokens), None, steps, seed=1)

    with torch.no_grad():
        x_0 = path.source.sample((4 * SAMPLES, TOKENS, CATEGORIES), generator=generator)
        taught = integrate(teacher, certain, x_0, solver=Midpoint(steps=12)).x
        assert isinstance(taught, Tensor)
    seen, test = slice(SAMPLES, None), slice(0, SAMPLES)
    train(student, path, taught[seen], x_0[seen], 2 * steps, seed=2)

    start, end = torch.zeros(SAMPLES), torch.ones(SAMPLES)
    exact = torch.multinomial(law(), SAMPLES, replacement=True, generator=generator)
    with torch.no_grad():
        drawn = integrate(teacher, path, x_0[test], solver=Midpoint(steps=12), generator=generator)
        assert isinstance(drawn.x, Tensor)
        # The step from 0 to 1 is the draw, or the argmax, of what the classifier says of x_0.
        rushed, quick = (
            way.conditional_step(
                x_0[test], start, end, model(x_0[test], start), generator=generator
            )
            for way, model in ((path, teacher), (certain, student))
        )
    found = {
        "exact draws": (0, exact.bincount(minlength=CATEGORIES**TOKENS) / SAMPLES),
        "teacher, drawn end": (25, shares(drawn.x)),
        "teacher, argmax": (25, shares(taught[test])),
        "teacher at once": (1, shares(rushed)),
        "student at once": (1, shares(quick)),
    }
    for name, (nfe, share) in found.items():
        print(f"{name}: {nfe} evaluations, divergence from the law {divergence(share, law()):.4f}")
    same = (quick.argmax(-1) == taught[test].argmax(-1)).all(1)
    gap = divergence(found["student at once"][1], found["teacher, argmax"][1])
    print(f"student and teacher agree on {same.float().mean():.1%}; divergence {gap:.4f}")

    with style():
        made = figure(6.8, 2.8)
        for axes, name in zip(
            made.subplots(1, 3),
            ("teacher, argmax", "teacher at once", "student at once"),
            strict=True,
        ):
            axes.plot(law().numpy(), color=BASELINE, lw=1.0)
            axes.scatter(np.arange(CATEGORIES**TOKENS), found[name][1], s=6, color=MODEL, zorder=3)
            axes.set(title=name, xlabel="pair of tokens", ylim=(0, 0.3))
    print(f"picture: {save(made, output / 'pairs.png')}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--steps", type=int, default=1500, help="of the teacher; half of the student's"
    )
    parser.add_argument("--output", type=Path, default=Path("runs/distillation"), help="directory")
    main(**vars(parser.parse_args()))
