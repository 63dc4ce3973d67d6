"""Draws docs/figures/stochastic.png: one law at every time, and three processes that have one.

python docs/_stochastic_figure.py
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from flowatlas import AffinePath, BridgePath, Euler, EulerMaruyama, Sinkhorn, integrate
from flowatlas._random import randn
from flowatlas.exact import ExactMixtureFlow, GaussianMixture
from flowatlas.manifolds import Euclidean
from flowatlas.plots import save
from flowatlas.plots.style import DATA, MODEL, density_colours, figure, style

FIGURE = Path(__file__).with_name("figures") / "stochastic.png"
STEPS, SHOWN, STD = 200, 14, 0.5
TARGET = GaussianMixture(torch.tensor([1.0, 2.0]), torch.tensor([[-1.5], [1.2]]), stds=0.3)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def flow_paths(epsilon: float) -> Tensor:
    """Trajectories of the exact flow from one set of starting points, `(steps + 1, shown)`."""
    flow, path = ExactMixtureFlow(TARGET), AffinePath()
    x_0 = torch.linspace(-1.9, 1.9, SHOWN, dtype=torch.float64).unsqueeze(1)
    times = [i / STEPS for i in range(1, STEPS)]
    solver = EulerMaruyama(STEPS, diffusion=epsilon) if epsilon else Euler(STEPS)
    run = integrate(flow, path, x_0, times=times, solver=solver, generator=seeded())
    return torch.stack(run.x_t).squeeze(-1)


def bridges(n: int) -> Tensor:
    """Brownian bridges between pairs of the entropic plan, `(steps + 1, n)`."""
    generator = seeded()
    x_0 = 0.7 * randn((n, 1), generator=generator, dtype=torch.float64)
    x_1 = TARGET.sample(n, generator)
    index = Sinkhorn(Euclidean(), 2 * STD**2).pair(x_0, x_1, generator=generator)
    # One Brownian motion a pair, pinned at its end: BridgePath has this law at every time.
    t = torch.linspace(0, 1, STEPS + 1, dtype=torch.float64).view(-1, 1)
    walk = STD * STEPS**-0.5 * randn((STEPS, n), generator=generator, dtype=torch.float64)
    motion = torch.cat([torch.zeros(1, n, dtype=torch.float64), walk.cumsum(0)])
    straight = (1 - t) * x_0[index].T + t * x_1.T
    assert BridgePath(STD).scheduler.straight
    return straight + motion - t * motion[-1]


def main() -> None:
    """Three panels: no noise, noise and score, and the Schroedinger bridge."""
    flow = ExactMixtureFlow(TARGET)
    grid = torch.linspace(-3, 3, 241, dtype=torch.float64)
    t = torch.linspace(0, 1, STEPS + 1, dtype=torch.float64)
    density = torch.stack(
        [flow.log_prob(grid.unsqueeze(1), torch.full((241,), r.item())).exp() for r in t], 1
    )
    many = bridges(4000)
    seen = torch.stack([torch.histc(x, 80, -3, 3) for x in many], 1)
    panels = [
        ("the flow: no noise", density, flow_paths(0.0)),
        ("the same laws, epsilon = 0.5", density, flow_paths(0.5)),
        ("a Schroedinger bridge, s = 0.5", seen, many[:, :SHOWN]),
    ]
    with style():
        made = figure(9.0, 3.1)
        for axes, (title, law, lines) in zip(made.subplots(1, 3), panels, strict=True):
            law = (law / law.amax(0)) ** 0.8 * 0.75
            axes.imshow(
                law.numpy(), extent=(0, 1, -3, 3), origin="lower", aspect="auto", vmin=0, vmax=1.3,
                cmap=density_colours(), interpolation="bilinear",
            )  # fmt: skip
            axes.plot(t.numpy(), lines.numpy(), color=MODEL, lw=0.7)
            axes.scatter([1.0] * SHOWN, lines[-1].numpy(), s=9, color=DATA, zorder=3, clip_on=False)
            axes.set(title=title, xlabel="t", xlim=(0, 1), ylim=(-3, 3), xticks=[0, 0.5, 1])
    print(save(made, FIGURE))


if __name__ == "__main__":
    main()
