"""`flowatlas train`: the system of a benchmark, or a flow of points of the user's."""

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

    from flowatlas.benchmarks import Preset

#: Checkpoints and the loss log, in the directory of a system.
TRAINING = "training"


def parser() -> ArgumentParser:
    """Options of the command."""
    made = make_parser(
        "train",
        "Train, and save what was trained as a directory that `sample` takes: the system of a "
        "benchmark, by its name, or a flow on points of yours, by --data. Of those a tenth is kept "
        "for validation, and those of flat space are standardised.",
        "flowatlas train molecules/backbone --preset cpu --output runs/backbone\n"
        "  flowatlas train --data quakes.csv --degrees --manifold sphere --output runs/quakes",
    )
    made.add_argument(
        "name",
        nargs="?",
        type=str | None,
        default=None,
        metavar="NAME",
        help="a benchmark that trains a system, such as molecules/backbone",
    )
    made.add_argument(
        "--data",
        type=str | None,
        default=None,
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
    made.add_argument("--overwrite", action="store_true", help="replace what is in DIR already")
    made.add_argument("--seed", type=int, default=0, metavar="S", help="of everything random")
    made.add_argument(
        "--output", type=str, default="runs/flow", metavar="DIR", help="where the system goes"
    )
    add_data_root(made)
    add_config(made)
    return made


def run(options: Any) -> int:
    """Train and save."""
    from flowatlas.errors import ConfigError

    if (options.name is None) == (options.data is None):
        raise ConfigError(
            "NAME, --data: give one: the name of a benchmark (see flowatlas bench list), or a file "
            "or named set of points."
        )
    if options.name is not None:
        return _benchmark(options)
    from flowatlas.cli.train_points import run as train_points

    return train_points(options)


def _benchmark(options: Any) -> int:
    """The system of a benchmark."""
    from flowatlas.benchmarks import SystemBenchmark, Task, benchmark
    from flowatlas.benchmarks.runner import apply_settings, threads
    from flowatlas.errors import ConfigError

    declared = benchmark(options.name)
    if not isinstance(declared, SystemBenchmark):
        raise ConfigError(
            f"name: {options.name} is trained and scored in one, and leaves no system; run it by "
            f"flowatlas bench run {options.name}."
        )
    for option in ("key", "manifold"):
        if getattr(options, option) is not None:
            raise ConfigError(f"{option}: is for --data; {options.name} has its own data.")
    if options.degrees:
        raise ConfigError(f"degrees: is for --data; {options.name} has its own data.")
    preset, method = apply_settings(
        declared.preset(options.preset), declared.method(options.method), settings(options.set)
    )
    directory = Path(options.output)
    check_output(directory, resume=options.resume, overwrite=options.overwrite)
    (directory / TRAINING).mkdir(parents=True, exist_ok=True)
    with threads(preset.threads):
        fitted = declared.train(
            Task(
                method=method,
                preset=preset,
                seed=options.seed,
                directory=directory / TRAINING,
                resume=options.resume,
                data_root=None if options.data_root is None else Path(options.data_root),
                progress=not options.quiet,
            )
        )
    fitted.system.save(directory)
    print(f"trained {fitted.steps} steps in {fitted.seconds:.1f} s")
    say_where(directory, fitted.steps, preset, "--output samples --count 10")
    return 0


def check_output(directory: Path, *, resume: bool, overwrite: bool) -> None:
    """Raise for a training that would replace another by accident.

    With `overwrite` the earlier system is no more from here on, lest it is taken for the new one.

    Raises:
        ConfigError: a system or a training is there, and is neither to go on nor to be replaced; or
            both are asked for.
        DataError: what is to be replaced cannot be removed.
    """
    from flowatlas.errors import ConfigError
    from flowatlas.system import SYSTEM, remove_system
    from flowatlas.training.train import CHECKPOINT

    if resume and overwrite:
        raise ConfigError("resume, overwrite: one goes on with what the other replaces; give one.")
    done, begun = (directory / SYSTEM).exists(), (directory / TRAINING / CHECKPOINT).exists()
    if resume or not (begun or done):
        return
    if not overwrite:
        what = "a trained system" if done else "an unfinished training"
        raise ConfigError(
            f"output: {directory} holds {what}. Go on with it (--resume), replace it "
            "(--overwrite), or name another directory."
        )
    remove_system(directory)


def say_where(directory: Path, steps: int, preset: Preset, sampling: str) -> None:
    """Print where the system is, whether time ended its training, and what to do with it."""
    if steps < preset.steps and preset.max_seconds is not None:
        print(
            f"stopped by max_seconds={preset.max_seconds:g} before step {preset.steps}; for all "
            "steps: --set max_seconds=none"
        )
    print(f"system: {directory}")
    print(f"next: flowatlas sample {directory} {sampling}")
