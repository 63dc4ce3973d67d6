"""Palindromes by a flow over the simplex: sampled freely, and completed from their first half.

Words have six letters out of twelve; the last three repeat the first three backward.

    python examples/palindromes.py --output runs/palindromes
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from flowatlas import DirichletPath, FlowMatching, Midpoint, sample
from flowatlas.networks import MLP, Logs

LETTERS, LENGTH = 12, 6


def words(count: int, generator: torch.Generator) -> Tensor:
    """Token ids `(count, LENGTH)`."""
    half = torch.randint(LETTERS, (count, LENGTH // 2), generator=generator)
    return torch.cat([half, half.flip(1)], 1)


def share_of_palindromes(tokens: Tensor) -> float:
    return (tokens == tokens.flip(1)).all(1).double().mean().item()


def main(steps: int, output: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)  # of the weights
    path = DirichletPath(LETTERS)
    objective = FlowMatching(path)
    # A classifier: logits of the letters, whose features are the logarithms of what it sees.
    model = MLP((LENGTH, LETTERS), width=192, depth=3, features=Logs(), fixed=True)

    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        x_1 = path.one_hot(words(256, generator))
        # Half of the words have some letters given: they enter clean, and the model is told.
        given = torch.rand(256, LENGTH, generator=generator) < 0.3
        given &= torch.rand(256, 1, generator=generator) < 0.5
        loss = objective(model, x_1, fixed=(given, x_1), generator=generator).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()

    solver, shape = Midpoint(steps=15), (500, LENGTH, LETTERS)
    nothing = torch.zeros(shape[:2], dtype=torch.bool)
    x = sample(
        model,
        path,
        shape=shape,
        fixed=(nothing, torch.zeros(shape)),
        solver=solver,
        generator=generator,
    )
    tokens = x.argmax(-1)
    chance = LETTERS ** -(LENGTH // 2)
    print(f"palindromes: {share_of_palindromes(tokens):.1%} of samples, {chance:.2%} by chance")

    truth = words(len(tokens), generator)
    half = nothing.clone()
    half[:, : LENGTH // 2] = True
    x = sample(
        model,
        path,
        shape=shape,
        fixed=(half, path.one_hot(truth)),
        solver=solver,
        generator=generator,
    )
    right = (x.argmax(-1) == truth).all(1).double().mean()
    print(f"completed from their first half: {right:.1%} right")

    output.mkdir(parents=True, exist_ok=True)
    lines = ["".join(chr(ord("a") + i) for i in word) for word in tokens[:100].tolist()]
    (output / "words.txt").write_text("\n".join(lines) + "\n")
    print(f"first of {output / 'words.txt'}: {', '.join(lines[:5])}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=1200, help="of training")
    parser.add_argument("--output", type=Path, default=Path("runs/palindromes"), help="directory")
    main(**vars(parser.parse_args()))
