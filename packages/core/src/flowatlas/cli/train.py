"""`flowatlas train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowatlas.cli.options import (
    add_config,
    add_data_root,
    add_training,
    make_parser,
    settings,
)

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser
    from torch import Tensor

    from flowatlas.manifolds import Manifold


def parser() -> ArgumentParser:
    """Options of the command."""
    made = make_parser(
        "train",
        "Train a flow on points and save it as a directory that `sample` and `score` take. A tenth "
        "of the points is kept for validation. Points of flat space are standardised.",
        "flowatlas train --data quakes.csv --degrees --manifold sphere --output runs/quakes",
    )
    made.add_argument(
        "--data",
        type=str,
        required=True,
        metavar="FILE",
        help=".npy, .npz or .csv, one point a row; or a named data set such as demo/cities",
    )
    made.add_argument("--key", type=str | None, default=None, help="which array of an .npz")
    made.add_argument(
        "--degrees",
        action="store_true",
        help="the file has latitude and longitude (sphere) or angles (torus) in degrees",
    )
    made.add_argument(
        "--manifold",
        type=str | None,
        default=None,
        metavar="NAME",
        help="where the points live: euclidean (default for files), sphere, torus, so3, ...",
    )
    add_training(made, preset="cpu")
    made.add_argument(
        "--overwrite", action="store_true", help="replace the flow that is in DIR already"
    )
    made.add_argument("--seed", type=int, default=0, metavar="S", help="of everything random")
    made.add_argument(
        "--output", type=str, default="runs/flow", metavar="DIR", help="where the flow goes"
    )
    add_data_root(made)
    add_config(made)
    return made


def run(options: Any) -> int:
    """Train and save."""
    import torch

    from flowatlas.benchmarks.point_method import METHODS, method_names, named_method
    from flowatlas.benchmarks.runner import apply_settings, threads
    from flowatlas.benchmarks.settings import GENERAL
    from flowatlas.benchmarks.training import train_flow
    from flowatlas.cli.saved_flow import TRAINING, SavedFlow, check_manifold, check_output
    from flowatlas.data.splits import split
    from flowatlas.errors import ConfigError
    from flowatlas.manifolds import Euclidean
    from flowatlas.plugins import close_matches

    if options.preset not in GENERAL:
        raise ConfigError(
            f"preset: got {options.preset!r}.{close_matches(options.preset, GENERAL)}"
        )
    x, manifold = _points(options)
    check_manifold(manifold)
    default = method_names(manifold)[0]
    method = named_method(options.method) if options.method else METHODS[default]
    preset, method = apply_settings(GENERAL[options.preset], method, settings(options.set))
    mean, scale = torch.zeros_like(x[0]), torch.ones_like(x[0])
    # The test part joins the training part: there is nothing to report here.
    parts = split(x, options.seed)
    train = torch.cat([parts.train, parts.test])
    if isinstance(manifold, Euclidean):
        mean, scale = train.mean(0), train.std(0).clamp(min=1e-12)
    directory = Path(options.output)
    check_output(directory, resume=options.resume, overwrite=options.overwrite)
    with threads(preset.threads):
        trained = train_flow(
            method,
            preset,
            manifold,
            (train - mean) / scale,
            (parts.validation - mean) / scale,
            seed=options.seed,
            directory=directory / TRAINING,
            resume=options.resume,
            progress=not options.quiet,
        )
    SavedFlow(
        field=trained.field.cpu(),
        path=trained.path,
        method=method,
        manifold=manifold,
        event_shape=tuple(x.shape[1:]),
        mean=mean,
        scale=scale,
        about={
            "data": options.data,
            "points": len(x),
            "seed": options.seed,
            "steps": trained.steps,
            **trained.notes,
        },
    ).save(directory)
    print(f"trained {trained.steps} steps in {trained.seconds:.1f} s on {len(train)} points")
    if trained.steps < preset.steps and preset.max_seconds is not None:
        print(
            f"stopped by max_seconds={preset.max_seconds:g} before step {preset.steps}; for all "
            "steps: --set max_seconds=none"
        )
    print(f"flow: {directory}")
    print(f"next: flowatlas sample {directory} --count 1000 --output samples.npy")
    return 0


def _points(options: Any) -> tuple[Tensor, Manifold]:
    """The data and their manifold."""
    from flowatlas import plugins
    from flowatlas.cli.point_file import is_file_name, read_points
    from flowatlas.cli.saved_flow import named_manifold
    from flowatlas.data import dataset, load
    from flowatlas.errors import ConfigError

    path = Path(options.data)
    if is_file_name(options.data):
        manifold = named_manifold(options.manifold or "euclidean")
        return read_points(path, manifold, key=options.key, degrees=options.degrees), manifold
    x = load(options.data, data_root=options.data_root)
    manifold = dataset(options.data).space()
    declared = plugins.name_of(plugins.MANIFOLDS, type(manifold))
    if options.manifold not in (None, declared):
        raise ConfigError(
            f"manifold: {options.data} lies on {declared or repr(manifold)!r}, got "
            f"{options.manifold!r}. Leave the option out."
        )
    return x, manifold
