"""Between two digits: encode both, join their codes, and decode.

A flow is a map between noise and data that can be followed in either direction. Here it is trained
on small handwritten digits; the states between two of them are drawn, row by row.

    python examples/latent_interpolation.py --output runs/digits
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from flowatlas import AffinePath, FlowMatching, Midpoint, encode, interpolate, sample
from flowatlas.data import load
from flowatlas.networks import MLP
from flowatlas.plots.style import figure, style

ROWS, COLUMNS = 6, 11


def main(steps: int, output: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)  # of the weights
    x_1 = 2 * load("demo/digits").float() - 1  # (1797, 64) in [-1, 1]
    path = AffinePath()
    objective = FlowMatching(path)
    model = MLP((64,), width=256, depth=4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        batch = x_1[torch.randint(len(x_1), (128,), generator=generator)]
        loss = objective(model, batch, generator=generator).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()

    solver = Midpoint(steps=20)
    chosen = x_1[torch.randint(len(x_1), (2 * ROWS,), generator=generator)]
    code = encode(model, path, chosen, solver=solver)  # t = 1 to t = 0
    back = sample(model, path, x_init=code, solver=solver)
    print(f"a digit encoded and decoded differs by {(back - chosen).abs().mean():.4f} on average")
    print(f"codes have standard deviation {code.std():.2f}; the source has 1")
    rows = interpolate(model, path, chosen[:ROWS], chosen[ROWS:], steps=COLUMNS, solver=solver)
    sheet = torch.stack(rows, 1).view(ROWS, COLUMNS, 8, 8)
    sheet = torch.nn.functional.pad(sheet, (1, 1, 1, 1), value=-1)

    with style():
        made = figure(COLUMNS * 0.55, ROWS * 0.55)
        axes = made.subplots()
        image = sheet.permute(0, 2, 1, 3).reshape(ROWS * 10, COLUMNS * 10).numpy()
        axes.imshow(image, cmap="gray_r", vmin=-1, vmax=1)
        axes.axis("off")
        output.mkdir(parents=True, exist_ok=True)
        made.savefig(output / "between_digits.png", dpi=160)
    print(f"picture: {output / 'between_digits.png'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=1500, help="of training")
    parser.add_argument("--output", type=Path, default=Path("runs/digits"), help="directory")
    main(**vars(parser.parse_args()))
