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
        "Draw from a trained system of any kind: points into a file of numbers, others as files "
        "that tools of their field open.",
        "flowatlas sample runs/quakes --count 5000 --output samples.npy --plot samples.png\n"
        "  flowatlas sample runs/backbone --count 8 --output chains",
    )
    made.add_argument("system", type=str, metavar="DIR", help="that `flowatlas train` has written")
    made.add_argument(
        "--count",
        type=int | None,
        default=None,
        metavar="N",
        help="how many (1000 points; 10 of other things)",
    )
    made.add_argument(
        "--output",
        type=str | None,
        default=None,
        metavar="PATH",
        help="points: .npy, .npz or .csv (samples.npy); others: a directory (samples)",
    )
    made.add_argument(
        "--plot", type=str | None, default=None, metavar="FILE", help="picture: .png, .pdf or .svg"
    )
    made.add_argument(
        "--solver", type=str | None, default=None, help="euler, midpoint, heun, rk4 or dopri5"
    )
    made.add_argument("--steps", type=int | None, default=None, metavar="N", help="of the solver")
    made.add_argument("--seed", type=int, default=0, metavar="S", help="of everything random")
    add_config(made)
    return made


def run(options: Any) -> int:
    """Sample, save, draw."""
    from flowatlas.benchmarks.config import require
    from flowatlas.system import load_system

    require(options.count is None or options.count >= 1, "count", options.count, "1 or more")
    system = load_system(options.system)
    solver = system.solver(options.solver, options.steps)
    count = system.default_count if options.count is None else options.count
    samples = system.draw(count, seed=options.seed, solver=solver)
    files = system.export(samples, Path(options.output or system.default_output))
    where = files[0] if len(files) == 1 else f"{len(files)} files, {files[0]} to {files[-1].name}"
    print(f"{count} samples by {solver!r}: {where}")
    if options.plot is not None:
        from flowatlas.plots import save

        picture = system.figure(samples, f"samples of {options.system}")
        print(f"picture: {save(picture, options.plot)}")
    return 0
