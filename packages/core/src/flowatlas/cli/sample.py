"""`flowatlas sample`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowatlas.cli.options import add_config, make_parser

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser


def parser() -> ArgumentParser:
    """Options of the command."""
    made = make_parser(
        "sample",
        "Draw points from a trained flow.",
        "flowatlas sample runs/quakes --count 5000 --output samples.npy --plot samples.png",
    )
    made.add_argument("flow", type=str, metavar="DIR", help="that `flowatlas train` has written")
    made.add_argument("--count", type=int, default=1000, metavar="N", help="how many points")
    made.add_argument(
        "--output",
        type=str,
        default="samples.npy",
        metavar="FILE",
        help="where they go: .npy, .npz or .csv",
    )
    made.add_argument(
        "--plot", type=str | None, default=None, metavar="FILE", help="picture: .png, .pdf or .svg"
    )
    made.add_argument(
        "--solver", type=str | None, default=None, help="euler, midpoint, heun or rk4"
    )
    made.add_argument("--steps", type=int | None, default=None, metavar="N", help="of the solver")
    made.add_argument("--seed", type=int, default=0, metavar="S", help="of the source samples")
    add_config(made)
    return made


def run(options: Any) -> int:
    """Sample, save, draw."""
    import torch

    from flowatlas.benchmarks.config import changed, require
    from flowatlas.cli.point_file import write_points
    from flowatlas.cli.saved_flow import SavedFlow
    from flowatlas.sampling import sample

    require(options.count >= 1, "count", options.count, "1 or more")
    flow = SavedFlow.load(Path(options.flow))
    wanted = {"solver": options.solver, "solver_steps": options.steps}
    method = changed(flow.method, {k: v for k, v in wanted.items() if v is not None})
    generator = torch.Generator().manual_seed(options.seed)
    x = sample(
        flow.field,
        flow.path,
        shape=(options.count, *flow.event_shape),
        solver=method.build_solver(),
        generator=generator,
        dtype=torch.float32,
    )
    x = flow.decode(x)
    path = write_points(Path(options.output), x)
    print(f"{options.count} samples, {method.nfe} evaluations each: {path}")
    if options.plot is not None:
        from flowatlas.plots import point_cloud, save

        manifold = flow.path.manifold
        picture = point_cloud(
            x.numpy(), type(manifold).__name__, title=f"samples of {options.flow}"
        )
        print(f"picture: {save(picture, options.plot)}")
    return 0
