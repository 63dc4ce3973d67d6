"""One benchmark, one method, one seed: run it and keep what it found."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flowatlas.benchmarks.config import changed, settings
from flowatlas.benchmarks.contract import Benchmark, M, P, Task
from flowatlas.benchmarks.method import Method
from flowatlas.benchmarks.preset import Preset
from flowatlas.benchmarks.registry import benchmark as by_name
from flowatlas.benchmarks.results import FILE_NAME, Result, append, machine, read, versions
from flowatlas.errors import ConfigError, FlowAtlasError
from flowatlas.plugins import close_matches

__all__ = ["apply_settings", "run", "threads"]


def run(
    benchmark: Benchmark[Any, Any] | str,
    *,
    method: str | Method | None = None,
    preset: str | Preset = "cpu",
    seed: int = 0,
    output: str | Path = "runs/bench",
    resume: bool = False,
    data_root: str | os.PathLike[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    progress: bool = False,
) -> Result:
    """Train, sample and score; add one line to `output/results.jsonl`.

    Checkpoints and the arrays of the pictures go to `output/runs/...`.

    Args:
        benchmark: a benchmark, or its name.
        method: a name or a config; the benchmark's default if None.
        preset: a name or a config.
        seed: of the split, the weights, the training and the samples.
        output: directory of the results.
        resume: go on from the last checkpoint; a run that is in the results already, with the same
            settings, is not done again.
        data_root: directory with data files.
        settings: of the preset or the method, to change; strings are converted.
        progress: whether to draw progress bars.

    Raises:
        ConfigError: unknown names or settings.
        DataError: data that are missing or wrong.
        FlowAtlasError: a directory that cannot be written.
    """
    declared = by_name(benchmark) if isinstance(benchmark, str) else benchmark
    chosen = method if isinstance(method, Method) else declared.method(method)
    size = preset if isinstance(preset, Preset) else declared.preset(preset)
    size, chosen = apply_settings(size, chosen, settings or {})
    preset_name = preset if isinstance(preset, str) else "custom"
    output = Path(output)
    config = _plain({**_settings(size), **_settings(chosen)})
    if resume:
        done = _finished(output, declared.name, chosen.name, preset_name, seed, config)
        if done is not None:
            return done
    folder = Path("runs") / declared.name.replace("/", "-") / f"{chosen.name}-{preset_name}-{seed}"
    directory = output / folder
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FlowAtlasError(
            f"output: {directory} cannot be made ({error.strerror}). Choose another directory with "
            "--output."
        ) from error
    begin = time.monotonic()
    with threads(size.threads):
        outcome = declared.run(
            Task(
                method=chosen,
                preset=size,
                seed=seed,
                directory=directory,
                resume=resume,
                data_root=None if data_root is None else Path(data_root),
                progress=progress,
            )
        )
        used = torch.get_num_threads()
    arrays = directory / "arrays.npz"
    _store(arrays, outcome.arrays)
    result = Result(
        benchmark=declared.name,
        method=chosen.name,
        preset=preset_name,
        config=config,
        seed=seed,
        versions=versions(),
        machine=machine(size.torch_device.type, used),
        wall_time=round(time.monotonic() - begin, 3),
        nfe=outcome.nfe,
        metrics=dict(outcome.metrics),
        notes=dict(outcome.notes),
        arrays=(folder / arrays.name).as_posix(),
    )
    append(output, result)
    return result


def apply_settings(preset: P, method: M, values: Mapping[str, Any]) -> tuple[P, M]:
    """Change settings of either by name.

    Raises:
        ConfigError: a name that neither has; the message has close ones and all that are allowed.
    """
    of_preset, of_method = _settings(preset), _settings(method)
    del of_method["name"], of_method["summary"]
    for name in values:
        if name not in of_preset and name not in of_method:
            known = [*of_preset, *of_method]
            raise ConfigError(
                f"set: no setting is called {name!r}.{close_matches(name, known)} "
                f"Allowed: {', '.join(sorted(known))}."
            )
    return (
        changed(preset, {k: v for k, v in values.items() if k in of_preset}),
        changed(method, {k: v for k, v in values.items() if k in of_method}),
    )


#: `settings` is an argument of `run`.
_settings = settings


def _plain(values: Any) -> Any:
    """As JSON gives it back, for comparisons with what was stored."""
    return json.loads(json.dumps(values))


def _finished(
    output: Path, benchmark: str, method: str, preset: str, seed: int, config: Mapping[str, Any]
) -> Result | None:
    """The result of the same run, if it is there."""
    if not (output / FILE_NAME).exists():
        return None
    for result in reversed(read(output)):
        if result.key == (benchmark, method, preset, seed) and dict(result.config) == config:
            return result
    return None


def _store(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write the arrays whole or not at all."""
    temporary = path.with_name(path.name + ".part")
    try:
        with temporary.open("wb") as file:
            np.savez_compressed(file, **arrays)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise FlowAtlasError(
            f"output: {path} cannot be written ({error.strerror or error}). Choose another "
            "directory with --output, or free some space."
        ) from error


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """PyTorch with that many threads, for as long as the block lasts."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
