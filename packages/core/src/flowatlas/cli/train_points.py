"""`flowatlas train --data`: a flow of points."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowatlas.cli.options import settings

if TYPE_CHECKING:
    from torch import Tensor

    from flowatlas.manifolds import Manifold

__all__ = ["named_manifold", "run"]


def run(options: Any) -> int:
    """Train and save."""
    import torch

    from flowatlas.benchmarks.point_method import METHODS, method_names, named_method
    from flowatlas.benchmarks.point_system import PointSystem, check_manifold
    from flowatlas.benchmarks.runner import apply_settings, threads
    from flowatlas.benchmarks.settings import GENERAL
    from flowatlas.benchmarks.training import train_flow
    from flowatlas.cli.train import TRAINING, check_output, say_where
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
    PointSystem(
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
    say_where(directory, trained.steps, preset, "--count 1000 --output samples.npy")
    return 0


def named_manifold(name: str) -> Manifold:
    """A manifold by the name of its entry point, with its default arguments.

    Raises:
        ConfigError: the name is unknown, or stands for no manifold, or for one with arguments.
    """
    from flowatlas import plugins
    from flowatlas.errors import ConfigError
    from flowatlas.manifolds import Manifold

    made = plugins.load(plugins.MANIFOLDS, name, type)
    if not issubclass(made, Manifold):
        raise ConfigError(f"manifold: {name!r} is {made.__name__}, which is no manifold.")
    try:
        manifold: Manifold = made()
    except TypeError as error:
        raise ConfigError(
            f"manifold: {name!r} has arguments that the command line cannot give ({error}). Train "
            "on a named data set, whose manifold is known, or from Python."
        ) from error
    return manifold


def _points(options: Any) -> tuple[Tensor, Manifold]:
    """The data and their manifold."""
    from flowatlas import plugins
    from flowatlas.data import dataset, load
    from flowatlas.data.point_file import is_file_name, read_points
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
