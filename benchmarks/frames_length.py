"""Time and memory of backbone frames against the length of the chain.

python benchmarks/frames_length.py --output docs/figures/molecules_length.png

One thread, whose own time is counted, not that of other programs; the cpu preset's network; one
chain. Memory is what autograd keeps between the forward and the backward pass of a training step,
each storage counted once: the same on any machine.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from flowatlas import SO3, Euler, Exponential, integrate
from flowatlas.plots import save
from flowatlas.plots.style import figure, style
from flowatlas_molecules import BackboneFrames, backbone_objective, backbone_path
from flowatlas_molecules.networks import FrameTransformer

LENGTHS = (64, 128, 256, 512)
MEBI = 2**20


@dataclass(frozen=True, slots=True)
class Row:
    """What one length costs.

    Attributes:
        length: residues.
        geodesic: milliseconds of an interpolation of frames.
        step: of an Euler step without the network.
        sampling: of an Euler step with it.
        training: of a step of training, backward pass included.
        memory: MiB kept for the backward pass.
    """

    length: int
    geodesic: float
    step: float
    sampling: float
    training: float
    memory: float


def frames(length: int, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "rotation": SO3().random_uniform((1, length, 3, 3), generator=generator),
        "translation": 10 * torch.randn(1, length, 3, generator=generator),
    }


def milliseconds(call: Callable[[], object], repeats: int) -> float:
    """Median time of a call on its thread, after one that is not counted."""
    call()
    found = []
    for _ in range(repeats):
        begin = time.process_time()
        call()
        found.append(time.process_time() - begin)
    return 1000 * median(found)


def kept(call: Callable[[], Tensor]) -> float:
    """MiB of the storages that the graph of a loss holds, parameters not counted."""
    sizes: dict[int, int] = {}
    # Held until all are counted: an address may otherwise be used again.
    held = []

    def keep(x: Tensor) -> Tensor:
        if not isinstance(x, torch.nn.Parameter):
            storage = x.untyped_storage()
            held.append(x)
            sizes[storage.data_ptr()] = storage.nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        loss = call()
    del loss
    return sum(sizes.values()) / MEBI


def measure(length: int, repeats: int) -> Row:
    torch.manual_seed(0)
    network = FrameTransformer(width=64, pair_width=32, depth=2, heads=8)
    objective, manifold = backbone_objective(), BackboneFrames()
    path = backbone_path().with_schedule(rotation=Exponential(10.0))
    x_0, x_1 = frames(length, 0), frames(length, 1)
    a, b = (manifold.projx(manifold.join(x["rotation"], x["translation"])) for x in (x_0, x_1))
    t, generator = torch.tensor([0.6]), torch.Generator().manual_seed(0)

    def follow(field: Callable[..., object], steps: int) -> object:
        return integrate(field, path, x_0, end=0.5, solver=Euler(steps=steps), validate=False)

    def step_of(field: Callable[..., object]) -> float:
        """By difference, so that what an integration costs once is not counted."""
        short, long = (milliseconds(partial(follow, field, k), repeats) for k in (1, 5))
        return (long - short) / 4

    def loss() -> Tensor:
        return objective(network, x_1, t=t, generator=generator).loss

    return Row(
        length,
        geodesic=milliseconds(lambda: manifold.geodesic(a, b, t), repeats),
        step=step_of(lambda x, t: x_1),
        sampling=step_of(network),
        training=milliseconds(lambda: loss().backward(), repeats),
        memory=kept(loss),
    )


def table(rows: Sequence[Row]) -> str:
    """Markdown."""
    heading = (
        "| residues | geodesic, ms | Euler step, ms | with the network | training step, ms | "
        "kept for backward, MiB |"
    )
    lines = [
        f"| {row.length} | {row.geodesic:.2f} | {row.step:.2f} | {row.sampling:.0f} | "
        f"{row.training:.0f} | {row.memory:.0f} |"
        for row in rows
    ]
    return "\n".join([heading, "|---|---|---|---|---|---|", *lines])


def draw(rows: Sequence[Row], path: Path) -> None:
    lengths = [row.length for row in rows]
    with style():
        made = figure(7.2, 3.0)
        left, right = made.subplots(1, 2)
        for name, values in (
            ("training step", [row.training for row in rows]),
            ("sampling step", [row.sampling for row in rows]),
            ("without the network", [row.step for row in rows]),
        ):
            left.plot(lengths, values, marker="o", label=name)
        left.set_ylabel("ms")
        left.legend(frameon=False)
        right.plot(lengths, [row.memory for row in rows], marker="o", label="kept for backward")
        right.set_ylabel("MiB")
        square = [rows[-1].memory * (n / lengths[-1]) ** 2 for n in lengths]
        right.plot(lengths, square, linestyle=":", label="square of the length")
        right.legend(frameon=False)
        for axes in (left, right):
            axes.set(xscale="log", yscale="log", xlabel="residues", xticks=lengths)
            axes.set_xticklabels([str(n) for n in lengths])
            axes.minorticks_off()
        save(made, path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("frames_length.png"))
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [measure(length, arguments.repeats) for length in LENGTHS]
    print(table(rows))
    draw(rows, arguments.output)


if __name__ == "__main__":
    main()
