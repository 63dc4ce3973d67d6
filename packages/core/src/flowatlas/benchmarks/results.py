"""Results as JSON lines: one run, one line, appended whole or not at all."""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from flowatlas.errors import DataError, FlowAtlasError

__all__ = ["FILE_NAME", "Result", "append", "latest", "machine", "read", "versions"]

FILE_NAME = "results.jsonl"


@dataclass(frozen=True, kw_only=True)
class Result:
    """One run.

    Attributes:
        benchmark: name.
        method: name.
        preset: name.
        config: every setting of method and preset.
        seed: of everything random.
        versions: of the packages that matter.
        machine: what it ran on.
        wall_time: seconds, scoring included.
        nfe: evaluations of the field per sample drawn.
        metrics: name to number; infinite and undefined ones as None.
        notes: choices made on validation, in words.
        arrays: file with what the pictures need, relative to the results.
    """

    benchmark: str
    method: str
    preset: str
    config: Mapping[str, Any]
    seed: int
    versions: Mapping[str, str]
    machine: Mapping[str, Any]
    wall_time: float
    nfe: int
    metrics: Mapping[str, float | None]
    notes: Mapping[str, str] = field(default_factory=dict)
    arrays: str | None = None

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What makes a later line replace an earlier one."""
        return (self.benchmark, self.method, self.preset, self.seed)


def append(directory: Path, result: Result) -> Path:
    """Add one line to `directory/results.jsonl`, in a single write, flushed to the disk.

    Raises:
        FlowAtlasError: the directory cannot be written.
    """
    path = directory / FILE_NAME
    values = asdict(result)
    values["metrics"] = {
        name: (value if value is not None and math.isfinite(value) else None)
        for name, value in result.metrics.items()
    }
    line = json.dumps(values, allow_nan=False) + "\n"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            size = os.fstat(handle).st_size
            # A line cut short by a crash must not swallow this one.
            if size and os.pread(handle, 1, size - 1) != b"\n":
                line = "\n" + line
            data = line.encode()
            written = os.write(handle, data)
            if written != len(data):
                with contextlib.suppress(OSError):
                    os.ftruncate(handle, size)
                raise OSError(f"only {written} of {len(data)} bytes could be written")
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise FlowAtlasError(
            f"output: {path} cannot be written ({error.strerror or error}). Choose another "
            "directory with --output, or free some space."
        ) from error
    return path


def read(directory: Path) -> list[Result]:
    """Every complete line of `directory/results.jsonl`, oldest first.

    A line that a crash cut short is left out.

    Raises:
        DataError: there is no such file, or a line is not a result.
    """
    path = directory / FILE_NAME
    if not path.is_file():
        raise DataError(
            f"{path}: not found. Name a directory that `flowatlas bench run --output DIR` has "
            "written to."
        )
    results = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except json.JSONDecodeError:
            continue
        try:
            results.append(Result(**values))
        except TypeError as error:
            raise DataError(
                f"{path}, line {number}: not a result ({error}). Delete the line, or choose "
                "another directory."
            ) from error
    return results


def latest(results: list[Result]) -> list[Result]:
    """The last line of each benchmark, method, preset and seed."""
    return list({result.key: result for result in results}.values())


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the numbers."""
    found = {"python": platform.python_version()}
    for name in ("flowatlas", "torch", "numpy", "lightning"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def machine(device: str, threads: int) -> dict[str, Any]:
    """Processor, threads used, and accelerator if it was used."""
    import torch

    found: dict[str, Any] = {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "device": device,
    }
    if device.startswith("cuda"):
        found["accelerator"] = torch.cuda.get_device_name()
    return found


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"
