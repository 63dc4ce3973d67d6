"""`flowatlas score`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowatlas.cli.options import add_config, add_data_root, make_parser

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser


def parser() -> ArgumentParser:
    """Options of the command."""
    made = make_parser(
        "score",
        "Log-likelihood of points under a trained flow, in nats with respect to the volume of the "
        "manifold, by Dopri5 and the exact divergence.",
        "flowatlas score runs/quakes --data new.csv --degrees --output scores.csv",
    )
    made.add_argument("flow", type=str, metavar="DIR", help="that `flowatlas train` has written")
    made.add_argument(
        "--data",
        type=str,
        required=True,
        metavar="FILE",
        help=".npy, .npz or .csv, one point a row; or a named data set",
    )
    made.add_argument("--key", type=str | None, default=None, help="which array of an .npz")
    made.add_argument("--degrees", action="store_true", help="as for flowatlas train")
    made.add_argument(
        "--output",
        type=str | None,
        default=None,
        metavar="FILE",
        help="a log-likelihood for each point: .npy, .npz or .csv",
    )
    made.add_argument("--rtol", type=float, default=1e-5, help="tolerance of the solver")
    made.add_argument("--atol", type=float, default=1e-5, help="tolerance of the solver")
    add_data_root(made)
    add_config(made)
    return made


def run(options: Any) -> int:
    """Score, print the mean, save."""
    from flowatlas.benchmarks.config import require
    from flowatlas.benchmarks.metrics import negative_log_likelihood
    from flowatlas.benchmarks.point_system import PointSystem
    from flowatlas.data import load
    from flowatlas.data.point_file import is_file_name, read_points, write_points
    from flowatlas.errors import DataError

    require(options.rtol > 0 and options.atol > 0, "rtol, atol", options.rtol, "positive")
    flow = PointSystem.load(options.flow)
    path = Path(options.data)
    if is_file_name(options.data):
        x = read_points(path, flow.manifold, key=options.key, degrees=options.degrees)
    else:
        x = load(options.data, data_root=options.data_root)
    if tuple(x.shape[1:]) != flow.event_shape:
        raise DataError(
            f"{options.data}: points have shape {tuple(x.shape[1:])}; the flow in {options.flow} "
            f"was trained on {flow.event_shape}."
        )
    found = negative_log_likelihood(
        flow.field, flow.path, flow.encode(x), rtol=options.rtol, atol=options.atol
    )
    log_prob = found.log_prob - flow.log_scale
    print(
        f"{len(x)} points: mean log-likelihood {float(log_prob.mean()):.4f} nats "
        f"(standard error {found.standard_error:.4f})"
    )
    if options.output is not None:
        print(f"scores: {write_points(Path(options.output), log_prob, name='log_prob')}")
    return 0
